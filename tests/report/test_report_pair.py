"""mse report A B: two runs clip by clip."""

import csv
import json

import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.report import build
from mse_pipeline.report.pair import compare_clips, mcnemar, rows_of, to_csv
from mse_pipeline.store.cache import open_cache
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401 - pytest finds it by its name

TARGETS = [0, 1, 2, 0, 1]
EVIL = '<script>alert(1)</script> [red]x[/red], "quoted" \x1b[31m مرحبا 😀'


def add(folders, name, *seeds, targets=TARGETS, **changes):
    """A run whose seeds have these predictions."""
    folder = folders.add(name, **changes)
    for seed, predictions in enumerate(seeds, start=1):
        place = folders.seed(folder, seed, {"acc": 0.5, "weight_F1": 0.5})
        folders.predictions(place, targets, predictions)
    return folder


def paired(*paths, cache=None):
    report = build(paths)
    return compare_clips(*rows_of(report.tables, paths), cache=cache, draws=50)


def test_clips_are_counted_by_what_changed_and_those_that_changed_come_first(folders):
    pair = paired(add(folders, "a", [0, 1, 0, 1, 1]), add(folders, "b", [0, 2, 2, 2, 1]))
    assert pair.counts == {"both right": 2, "fixed": 1, "broken": 1, "both wrong": 1}
    assert [(clip.clip, clip.change) for clip in pair.clips[:2]] == [("test/2", "fixed"), ("test/1", "broken")]
    fixed = pair.clips[0]
    assert (fixed.label, fixed.first, fixed.second, fixed.text) == ("fear", "neutral", "fear", None)
    assert pair.mcnemar == 1.0
    assert pair.comparison.against == "a"
    assert pair.comparison.clips == 5
    assert "no sign of more than chance" in " ".join(pair.sentences())


def test_the_answer_of_several_seeds_is_that_of_most_and_then_the_likeliest(folders):
    three = add(folders, "a", [0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [2, 1, 0, 2, 0])
    one = add(folders, "b", TARGETS)
    pair = paired(three, one)
    assert {clip.clip: clip.first for clip in pair.clips} == {
        "test/0": "neutral",
        "test/1": "surprise",
        "test/2": "neutral",
        "test/3": "neutral",  # one vote each: without probabilities, the first class
        "test/4": "neutral",
    }
    assert any("The first has 3 seeds and the second 1" in sentence for sentence in pair.sentences())


@pytest.mark.parametrize(("fixed", "broken", "p"), [(0, 0, 1.0), (1, 1, 1.0), (9, 1, 0.021484), (0, 6, 0.03125)])
def test_mcnemars_test_is_the_exact_binomial_one(fixed, broken, p):
    assert mcnemar(fixed, broken) == mcnemar(broken, fixed) == pytest.approx(p, abs=1e-6)


def test_numbers_are_compared_by_their_distance_from_the_label(folders):
    targets = [1.0, -2.0, 0.5]
    of_numbers = {"dataset": "mosei", "metrics": "mosei", "targets": targets, "classes": None}
    pair = paired(add(folders, "a", [0.0, -2.0, 0.5], **of_numbers), add(folders, "b", [0.5, 0.0, 0.5], **of_numbers))
    assert [(clip.clip, clip.change, clip.difference) for clip in pair.clips] == [
        ("test/1", "farther", 2.0),
        ("test/0", "nearer", -0.5),
        ("test/2", "same", 0.0),
    ]
    assert pair.mcnemar is None
    assert pair.comparison.metric == "MAE"


def test_clips_of_one_run_alone_or_with_another_label_are_left_out_and_told(folders):
    pair = paired(add(folders, "a", TARGETS), add(folders, "b", TARGETS[:4], targets=[0, 1, 2, 1]))
    assert len(pair.clips) == 3
    assert pair.left_out == 2
    assert any("2 clips are left out" in sentence for sentence in pair.sentences())


@pytest.fixture
def told(folders, tmp_path):
    """A cache that has the texts of the clips."""
    clips = [Clip(id=f"test/{n}", split=Split.TEST, text=EVIL.replace("\x1b", ""), label="a") for n in range(5)]
    open_cache(tmp_path / "cache").create("meld", clips, task=Classification(("a", "b")))
    return tmp_path / "cache"


def test_two_run_folders_are_compared_below_their_table(mse, folders, told):  # noqa: F811
    a, b = add(folders, "a", [0, 1, 0, 1, 1]), add(folders, "b", [0, 2, 2, 2, 1])
    table = folders.root.parent / "clips.csv"
    shown = mse("report", a, b, "--cache", told, "--clips", table, "--bootstrap", 20, "--limit", 1)
    assert shown.code == 0
    assert "1 of 2 clips that changed" in shown.out
    assert "<script>alert(1)</script> [red]x" in shown.out
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["change"] for row in rows[:2]] == ["fixed", "broken"]
    assert {row["text"] for row in rows} == {EVIL.replace("\x1b", "")}
    found = mse("report", a, b, "--cache", told, "--bootstrap", 20, "--json").json
    assert found["pair"]["counts"]["fixed"] == 1
    assert len(found["pair"]["clips"]) == 5
    assert len(found["tables"][0]["runs"]) == 2


def test_texts_steer_no_terminal(mse, folders, told):  # noqa: F811
    a = add(folders, "a", [0, 1, 0, 1, 1], classes=["x\x1b[31m", "[bold]y", "z"])
    b = add(folders, "b", [0, 2, 2, 2, 1], classes=["x\x1b[31m", "[bold]y", "z"])
    out = mse("report", a, b, "--cache", told, "--bootstrap", 20).out
    assert "\x1b" not in out
    assert "[bold]y" in out


def test_anything_else_than_two_run_folders_is_not_compared(mse, folders):  # noqa: F811
    a, b = add(folders, "a", TARGETS), add(folders, "b", TARGETS)
    assert "pair" not in mse("report", folders.root, "--json").json
    refused = mse("report", folders.root, "--clips", folders.root / "c.csv")
    assert refused.code == 2
    assert "--clips is of two run folders" in refused.err
    assert "give a file that ends in .csv or .json" in mse("report", a, b, "--clips", folders.root / "c.txt").err
    other = add(folders, "other", TARGETS, dataset="cherma", metrics="cherma")
    apart = mse("report", a, other, "--json")
    assert "Not compared clip by clip" in apart.err
    assert len(json.loads(apart.out)["tables"]) == 2
    assert "both paths are the run a" in " ".join(mse("report", a, a).err.split())


def test_csv_has_every_clip(folders):
    pair = paired(add(folders, "a", TARGETS), add(folders, "b", TARGETS))
    lines = to_csv(pair).splitlines()
    assert lines[0] == "clip,label,first,second,change,difference,text"
    assert len(lines) == 6
