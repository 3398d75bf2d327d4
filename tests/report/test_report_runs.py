"""Run folders are read with distrust: whatever is wrong with them is told, and the others are still there."""

from __future__ import annotations

import json
import math

import pytest

from mse_pipeline.report import runs

SCORES = {"acc": 0.6, "weight_F1": 0.5}


def test_a_run_and_its_seeds_are_read(folders):
    folder = folders.add("meld-tiny", seeds=[SCORES, {"acc": 0.7, "weight_F1": 0.6}])
    found = runs.find([folders.root])
    assert found.warnings == ()
    (run,) = found.runs
    assert (run.name, run.dataset, run.kind, run.backbone, run.variant) == (
        "meld-tiny",
        "meld",
        "meld",
        "tiny",
        "adapter",
    )
    assert run.path == folder
    assert run.streams == {"acoustic": "acoustic.egemaps", "visual": "visual.mtcnn"}
    assert (run.trainable_parameters, run.config_digest) == (1312072, "0a1b2c3d")
    assert [seed.seed for seed in run.seeds] == [1, 2]
    assert run.seeds[1].test == {"acc": 0.7, "weight_F1": 0.6}
    assert (run.seeds[0].best_epoch, run.seeds[0].epochs, run.seeds[0].seconds) == (3, 9, 12.5)
    assert run.unfinished == {}


def test_a_run_folder_and_its_parent_name_the_run_once(folders):
    folder = folders.add()
    assert len(runs.find([folders.root, folder, str(folder)]).runs) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no result.json yet"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "cannot be read"),
        ("\udcff", "cannot be read"),
        (json.dumps({"format": 2}), "reads format 1"),
        (json.dumps({"format": 1, "status": "running"}), "its status is 'running'"),
        (json.dumps({"format": 1, "status": "done", "test": SCORES}), "names no seed"),
        (json.dumps({"format": 1, "status": "done", "seed": 2, "test": {}}), "no test metrics"),
        (json.dumps({"format": 1, "status": "done", "seed": 1, "test": SCORES}), "a second result of seed 1"),
    ],
)
def test_an_unfinished_or_broken_seed_is_told_apart_from_the_finished(folders, content, reason):
    folder = folders.add(seeds=[SCORES])
    (folder / "seed-2").mkdir()
    if content is not None:
        (folder / "seed-2" / "result.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    (run,) = runs.find([folders.root]).runs
    assert [seed.seed for seed in run.seeds] == [1]
    assert reason in run.unfinished["seed-2"]


def test_a_run_without_seeds_says_so(folders):
    folders.add()
    (run,) = runs.find([folders.root]).runs
    assert run.unfinished == {"run": "no seed was begun"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 7}, "has format '7'"),
        ({"dataset": None}, "lacks 'dataset'"),
        ({"backbone": 3}, "lacks 'backbone'"),
        ({"metrics": "imagenet"}, "No metrics are known for 'imagenet'"),
        ({"metrics": ["meld"]}, "lacks 'metrics'"),
    ],
)
def test_a_bad_run_file_is_named_and_the_other_runs_are_read(folders, changes, reason):
    folders.add("bad", **changes)
    folders.add("good")
    found = runs.find([folders.root])
    assert [run.name for run in found.runs] == ["good"]
    (warning,) = found.warnings
    assert "bad is passed over" in warning
    assert reason in warning


def test_foreign_folders_and_paths_are_named(folders):
    folders.add("good")
    (folders.root / "foreign").mkdir()
    (folders.root / ".hidden").mkdir()
    (folders.root / "empty" / "run.json").mkdir(parents=True)
    (folders.root / "notes.txt").write_text("")
    found = runs.find([folders.root, folders.root / "typo", folders.root / "notes.txt", folders.root / "\0"])
    assert len(found.runs) == 1
    text = "\n".join(found.warnings)
    assert "foreign is passed over: it holds no run.json" in text
    assert "empty is passed over: run.json cannot be read" in text
    assert "There is no folder" in text
    assert "typo." in text
    assert "hidden" not in text


def test_an_empty_folder_is_no_run(folders):
    folders.root.mkdir()
    assert "holds no run" in runs.find([folders.root]).warnings[0]


def test_an_oversized_file_is_not_read(folders, monkeypatch):
    folders.add()
    monkeypatch.setattr(runs, "_LARGEST", 10)
    assert "is larger than" in runs.find([folders.root]).warnings[0]


def test_metrics_that_are_no_numbers_are_left_out_and_undefined_ones_are_nan(folders):
    test = {"acc": 0.5, "weight_F1": "high", "macro_F1": True, "UAR": None, "huge": 10**400}
    folders.add(seeds=[test])
    found = runs.find([folders.root])
    read = found.runs[0].seeds[0].test
    assert list(read) == ["acc", "UAR"]
    assert math.isnan(read["UAR"])
    assert any("the test metric weight_F1 is no number" in warning for warning in found.warnings)


def test_optional_entries_may_be_missing_or_wrong(folders):
    folder = folders.add(streams="none", config=None, trainable_parameters="many")
    folders.seed(folder, 1, SCORES, best_epoch=None, epochs="x", seconds=None, alarms="none", valid=None)
    (run,) = runs.find([folders.root]).runs
    assert (run.streams, run.config, run.trainable_parameters) == ({}, {}, None)
    seed = run.seeds[0]
    assert (seed.best_epoch, seed.epochs, seed.seconds, seed.alarms, seed.valid) == (None, None, None, (), {})


def test_names_lose_what_a_terminal_would_obey(folders):
    folders.add(backbone="\x1b[31mred\x07", variant="a\u202eb\ud800", dataset="x" * 500)
    (run,) = runs.find([folders.root]).runs
    assert run.backbone == "\ufffd[31mred\ufffd"
    assert run.variant == "a\ufffdb\ufffd"
    assert len(run.dataset) == 80
