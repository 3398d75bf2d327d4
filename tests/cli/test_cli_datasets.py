"""mse datasets: list, show, check and export, as a user calls them."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mse_pipeline import corpora
from mse_pipeline.cli.app import app
from mse_pipeline.errors import UsageError

_SPEC = importlib.util.spec_from_file_location("trees", Path(__file__).parents[1] / "checking" / "trees.py")
trees = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(trees)

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
ROWS = [
    '1,"“Oh, no!”",Ross,anger,negative,0,0,1,1,0:00:01,0:00:02',
    '2,"[bold]Hi[/]",Joey,joy,positive,0,1,1,1,0:00:02,0:00:03',
    '3,"See you",Joey,neutral,neutral,0,2,1,1,0:00:03,0:00:04',
]


def run(*words, code: int = 0):
    result = CliRunner().invoke(app, ["datasets", *map(str, words)], env={"COLUMNS": "200", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def run_json(*words, code: int = 0):
    return json.loads(run(*words, "--json", "--quiet", code=code).stdout.splitlines()[-1])


@pytest.fixture
def meld(tmp_path) -> tuple[Path, Path]:
    """A recipe for data in MELD's layout, and a root of three clips, one without sound, one without file."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text("version: 1\nname: small\ncorpus: {name: meld, options: {official: false}}\n")
    root = tmp_path / "root"
    seeds = trees.write_seeds(tmp_path / "seeds")
    trees.link(root, seeds, {"train_splits/dia0_utt0.mp4": "good", "train_splits/dia0_utt1.mp4": "no sound"})
    (root / "train_sent_emo.csv").write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    return recipe, root


def test_list_has_every_reader_with_counts():
    text = run("list").stdout
    assert all(name in text for name in corpora.available())
    assert "9,989" in text


def test_list_as_json_holds_licence_source_and_layouts():
    entries = {entry["name"]: entry for entry in run_json("list")["datasets"]}
    assert entries["meld"]["splits"] == {"train": 9989, "valid": 1109, "test": 2610}
    assert entries["meld"]["supported"] is True
    assert all(entry["licence"] and entry["source"] and entry["layouts"] for entry in entries.values())


def test_show_tells_all_of_one():
    text = run("show", "simsv2").stdout
    assert "2,722" in text
    assert "icmi" in text
    assert run_json("show", "cherma")["labels"].startswith("愤怒 anger")


def test_show_refuses_an_unknown_name():
    with pytest.raises(UsageError, match="did you mean meld"):
        run("show", "mled")


def test_check_tells_counts_streams_and_defects(meld):
    recipe, root = meld
    text = run("check", recipe, "--root", root, "--workers", 1).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "train 3 – 2 2" in lines
    assert "neutral 1 0 0 1" in lines
    assert "train 2 0.400 0.400 0.400 0.400 0.00" in lines
    assert "streams sound+video (1), video (1)" in lines
    assert "frame size 32x32 (2)" in lines
    assert "missing_media 1 train/dia0_utt2 is annotated, but its file is missing." in lines
    assert "no_audio 1 train_splits/dia0_utt1.mp4 has no sound." in lines


def test_check_as_json_and_csv(meld, tmp_path):
    recipe, root = meld
    value = run_json("check", recipe, "--root", root, "--csv", tmp_path / "out.csv", "--digests", "--examples", 0)
    assert value["clips"] == 3
    assert value["files"] == 2
    assert value["defects"] == {
        "missing_media": {"count": 1, "examples": []},
        "no_audio": {"count": 1, "examples": []},
    }
    assert value["splits"]["train"]["seconds"]["median"] == 0.4
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["defects"]) for row in rows] == [
        ("train/dia0_utt0", ""),
        ("train/dia0_utt1", "no_audio"),
        ("train/dia0_utt2", "missing_media"),
    ]


def test_check_finds_nothing_wrong_with_sound_files(meld):
    recipe, root = meld
    (root / "train_sent_emo.csv").write_text("\n".join([HEADER, ROWS[0]]) + "\n", encoding="utf-8")
    (root / "train_splits/dia0_utt1.mp4").unlink()
    assert "No defect was found." in run("check", recipe, "--root", root).stdout


def test_strict_ends_with_one_where_counts_differ_and_still_tells_all(meld):
    _, root = meld
    result = run("check", "meld", "--root", root, "--strict", code=1)
    assert "split_count_mismatch" in result.stdout
    assert "Of clips of split train there are 3; officially there are 9989." in result.stderr
    assert run("check", "meld", "--root", root)


def test_markup_and_terminal_commands_in_labels_stay_text(meld):
    recipe, root = meld
    damaged = "\n".join([HEADER, ROWS[0].replace("anger", "[red]\x1b[31mx")])
    (root / "train_sent_emo.csv").write_text(damaged + "\n", encoding="utf-8")
    text = run("check", recipe, "--root", root).stdout
    assert "[red]" in text
    assert "\x1b[31m" not in text


def test_export_is_read_back_by_the_table_corpus(meld):
    recipe, root = meld
    told = run("export", recipe, "--root", root, "--out", root / "clips.parquet")
    assert "3 clips written to" in told.stdout.replace("\n", "")
    before = corpora.read("meld", root, {"official": False})
    assert corpora.read("table", root, {}, before.task).clips == before.clips


def test_export_elsewhere_tells_where_the_table_belongs(meld, tmp_path):
    recipe, root = meld
    value = run_json("export", recipe, "--root", root, "--out", tmp_path / "clips.csv")
    assert value["clips"] == 3
    assert value["notes"] == [f"Media paths start from {root}. Put the table there before you read it."]
    assert "Put the table there" in run(
        "export", recipe, "--root", root, "--out", tmp_path / "clips.csv"
    ).stderr.replace("\n", " ")


def test_a_wrong_root_is_told(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        run("check", "meld", "--root", tmp_path / "nowhere")


def test_a_reader_without_recipe_is_checked_with_its_defaults(monkeypatch, meld):
    _, root = meld
    monkeypatch.setattr("mse_pipeline.recipe.names", list)
    assert run_json("check", "meld", "--root", root)["dataset"] == "meld"
