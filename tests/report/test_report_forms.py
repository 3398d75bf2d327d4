"""What is written: to the terminal at any width, as Markdown, as JSON; names are shown, never obeyed."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from mse_pipeline import metrics
from mse_pipeline.report import build, to_json, to_markdown, to_terminal
from mse_pipeline.report.formats import escape
from mse_pipeline.report.formats.latex import to_latex
from mse_pipeline.report.formats.page import to_html
from mse_pipeline.report.table import labels
from tests.report.test_report_coverage import LOW

EVIL = "a|b [red]c[/red] <img src=x> `d` *e*"


def terminal(report, width=120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    to_terminal(report, console)
    return console.file.getvalue()


def mosei(mae, corr=0.7):
    return {**metrics.evaluate("mosei", [1, -1, 0.5], [0.5, -1, 1]), "MAE": mae, "Corr": corr}


@pytest.fixture
def meld(folders):
    folders.add("full", seeds=[{"acc": 0.66, "weight_F1": 0.65}, {"acc": 0.68, "weight_F1": 0.66}])
    folders.add("text", variant="text-only", streams={}, seeds=[{"acc": 0.48, "weight_F1": 0.31}])
    return build([folders.root])


def test_the_terminal_shows_runs_above_published_rows_with_percent_and_direction(meld):
    lines = [line.rstrip() for line in terminal(meld).splitlines()]
    (head,) = (line for line in lines if "weighted F1 ↑" in line)
    assert head.split() == ["run", "reads", "n", "Acc", "↑", "weighted", "F1", "↑", "s/epoch"]
    (full,) = (line for line in lines if line.startswith("full"))
    assert full.endswith("2  67.00 ± 1.41  65.50 ± 0.71      1.39")
    (text,) = (line for line in lines if line.startswith("text"))
    assert text.endswith("1  48.00         31.00             1.39")
    (theirs,) = (line for line in lines if "ChatGLM3-6B" in line)
    assert "published (authors)" in theirs
    assert theirs.endswith("5  66.23 ± 1.22  65.13 ± 1.15")
    assert lines.index(full) < lines.index(text) < lines.index(theirs)
    assert "10 more published rows in Markdown and JSON" in terminal(meld)


def test_decimal_points_stand_below_each_other(meld):
    rows = [line for line in terminal(meld).splitlines() if re.search(r"\d\d\.\d\d", line)]
    means = [found.start() for line in rows for found in re.finditer(r"(?<!± )\b\d\d\.\d\d\b", line)]
    assert len(means) > 6
    assert len(set(means)) == 2  # one place for each metric


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal_and_the_primary_metric_stays(folders, width):
    folders.add("a-long-name-of-a-run-" * 3, dataset="mosei", metrics="mosei", seeds=[mosei(0.5), mosei(0.6)])
    text = terminal(build([folders.root]), width)
    assert max(map(cell_len, text.splitlines())) <= width
    if width >= 80:
        assert "MAE ↓" in text
        assert "0.5500" in text
        assert "0.0707" in text
    if width < 160:
        assert "no room here for" in text
    if width >= 200:
        assert "Corr ↑" in text
        assert "no room" not in text


def test_a_name_that_is_too_long_gives_way_to_variant_and_digest(folders):
    folders.add("meld-a-backbone-of-long-name-adapter-0a1b2c3d", seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    (run,) = build([folders.root]).tables[0].runs
    assert f"{run.variant} {run.config_digest[:8]}  " in terminal(build([folders.root]), 80)


def test_best_values_are_bold_in_terminal_and_markdown(meld):
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")
    to_terminal(meld, console)
    assert "\x1b[1;32m67.00 ± 1.41" in console.file.getvalue()
    assert "| **67.00 ± 1.41** | **65.50 ± 0.71** |" in to_markdown(meld)


def test_what_numbers_and_marks_mean_is_told_once_below_all_tables(folders):
    for dataset in ("meld", "sims"):
        for name, score in (("one", 0.5), ("two", 0.6)):
            scores = [{"acc": score, "weight_F1": score}]
            run = folders.add(f"{dataset}-{name}", dataset=dataset, seeds=[])
            folders.seed(run, 1, scores[0], coverage=LOW["no test clip at all"])
    report = build([folders.root])
    assert [len(table.rows) for table in report.tables] == [2, 2]
    for text in (terminal(report, 200), to_markdown(report), to_html(report)):
        for meaning in ("ample standard deviation over", "the best of our runs", "less than 90 % of a split"):
            assert text.count(meaning) == 1, meaning
            assert text.index(meaning) > text.index("sims-two")  # a row of the last table


def test_rows_of_latex_captions_are_called_what_tells_them_apart(folders):
    collapsed = {"alarms": ["All 9 predictions are the class joy: the model has collapsed."]}
    for name, changes in {
        "folder-a": {"backbone": "hub/one"},
        "folder-b": {"backbone": "two"},
        "folder-c": {"variant": "text-only", "streams": {}},
    }.items():
        folders.seed(folders.add(name, seeds=[], **changes), 1, {"acc": 0.5, "weight_F1": 0.5}, **collapsed)
    report = build([folders.root])
    assert sorted(labels(report.tables[0].rows)) == [
        "one · text + egemaps + mtcnn",
        "text-only",
        "two · text + egemaps + mtcnn",
    ]
    caption = next(line for line in to_latex(report).splitlines() if line.startswith("\\caption"))
    assert "one $\\cdot$ text + egemaps + mtcnn: all predictions of seed 1 are the same" in caption
    assert "text-only: all predictions of seed 1 are the same" in caption
    assert "folder-" not in caption


def test_rows_that_nothing_else_tells_apart_are_called_by_their_digest(folders):
    for name in ("first", "second"):
        folders.add(name, seeds=[{"acc": 0.5, "weight_F1": 0.5}], config_digest=f"{name}-digest")
    assert sorted(labels(build([folders.root]).tables[0].rows)) == ["adapter first-di", "adapter second-d"]


def test_markup_in_names_is_shown_as_it_stands(folders):
    folders.add(backbone=EVIL, variant="text-only", dataset=EVIL, seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    report = build([folders.root])
    assert "[red]c[/red]" in terminal(report, 200)
    markdown = to_markdown(report)
    rows = [line for line in markdown.splitlines() if line.startswith("| a ")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 8  # seven cells
    assert "<img" not in markdown
    assert "\\`d\\`" in markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a\nb\r\n c", "a b c"),
        ("\\|", r"\\\|"),
        ("_x_", r"\_x\_"),
        ("a & b", "a &amp; b"),
        ("https://x.org", r"https\://x.org"),
        ("www.x.org", r"www\.x.org"),
        ("plain: 1.5", "plain: 1.5"),
    ],
)
def test_markdown_is_escaped(text, expected):
    assert escape(text) == expected


def test_markdown_has_all_published_rows_with_their_sources(meld):
    markdown = to_markdown(meld)
    for system in ("DialogueRNN", "COSMIC", "LaERC-S"):
        assert f"| *{system}* | published (DiaRelay) |" in markdown
    assert "| *MSE-Adapter, ChatGLM3-6B* | published (authors) |  | 5 | 66.23 ± 1.22 | 65.13 ± 1.15 |" in markdown
    assert "<https://github.com/AZYoung233/MSE-Adapter>" in markdown
    assert "- COSMIC (DiaRelay)" in markdown or "COSMIC (DiaRelay)," in markdown


def test_every_markdown_row_has_as_many_cells_as_its_heading(meld):
    rows = [line for line in to_markdown(meld).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_json_is_strict_and_keeps_fractions_seeds_and_classes(folders):
    folder = folders.add("a", seeds=[{"acc": 0.5, "weight_F1": None}])
    folders.predictions(folder / "seed-1", ["joy", "anger"], ["joy", "joy"])
    folders.add("b", seeds=[])
    found = json.loads(json.dumps(to_json(build([folders.root])), allow_nan=False))
    (table,) = found["tables"]
    assert (found["format"], table["dataset"], table["metrics"]) == (1, "meld", "meld")
    assert table["columns"][0] == {"key": "acc", "title": "Acc ↑", "unit": "fraction", "higher_is_better": True}
    (run,) = table["runs"]
    assert run["test"]["acc"] == {"mean": 0.5, "sd": None, "best": False}
    assert run["test"]["weight_F1"]["mean"] is None
    assert run["seeds"][0]["valid"] == {"acc": 0.5, "weight_F1": None}
    assert (run["seeds"][0]["seed"], run["seeds"][0]["seconds"]) == (1, 12.5)
    assert run["classes"]["classes"][4:] == ["joy", "disgust", "anger"]
    assert run["classes"]["confusion"][6] == [0, 0, 0, 0, 1, 0, 0]
    assert run["config_digest"] == "0a1b2c3d"
    assert [row["name"] for row in table["pending"]] == ["b"]
    theirs = {row["system"]: row for row in table["published"]}
    assert theirs["MSE-Adapter, ChatGLM3-6B"]["test"]["weight_F1"] == {"mean": 0.6513, "sd": 0.0115}
    assert theirs["COSMIC"]["note"].startswith("Reads the conversation")


def test_json_is_strict_about_errors_in_label_units(folders):
    folders.add(dataset="mosei", metrics="mosei", seeds=[mosei(0.5)])
    columns = to_json(build([folders.root]))["tables"][0]["columns"]
    assert {"key": "MAE", "title": "MAE ↓", "unit": "label", "higher_is_better": False} in columns


def test_a_dataset_of_ones_own_has_no_published_rows(folders):
    folders.add(dataset="sample", seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    report = build([folders.root])
    assert "published" not in terminal(report)
    assert "published" not in to_markdown(report).lower()


def test_pending_runs_notes_and_warnings_are_shown(folders):
    folders.add("begun")
    for i in range(10):
        (folders.root / f"foreign{i}").mkdir()
    report = build([folders.root])
    text = terminal(report, 300)
    assert "meld: no run has a result on the test split." in text
    assert "! begun, run: no seed was begun; not averaged." in text
    assert "foreign0 is passed over" in text
    assert "… and 2 more: Markdown and JSON have all." in text
    markdown = to_markdown(report)
    assert "Without a result on the test split: begun." in markdown
    assert "foreign9 is passed over" in markdown


# Calibration


@pytest.fixture
def calibrated(folders):
    """A run of two seeds that tell their calibration, and one of an earlier version, which does not."""
    path = folders.add("told")
    for seed, ece in enumerate((0.1, 0.2), start=1):
        told = {"test": {"ECE": ece}, "valid": {"ECE": 0.5}}
        folders.seed(path, seed, {"acc": 0.6, "weight_F1": 0.6}, calibration=told, learning_rate=0.002)
    folders.add("before", seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    return build([folders.root])


def test_json_has_the_calibration_of_runs_and_seeds(calibrated):
    before, told = sorted(to_json(calibrated)["tables"][0]["runs"], key=lambda run: run["name"])
    assert told["calibration"]["ECE"]["mean"] == pytest.approx(0.15)
    assert told["calibration"]["ECE"]["sd"] == pytest.approx(0.0707, abs=1e-4)
    assert [seed["calibration"] for seed in told["seeds"]] == [{"ECE": 0.1}, {"ECE": 0.2}]
    assert [seed["learning_rate"] for seed in told["seeds"]] == [0.002, 0.002]
    assert before["calibration"] == {}
    assert before["seeds"][0]["learning_rate"] is None
    assert [column["key"] for column in to_json(calibrated)["tables"][0]["columns"]] == ["acc", "weight_F1"]


def test_the_calibration_has_a_column_where_there_is_room(calibrated):
    wide, narrow = terminal(calibrated, 140), terminal(calibrated, 60)
    (head,) = (line for line in wide.splitlines() if "weighted F1 ↑" in line)
    assert head.split()[-3:] == ["ECE", "↓", "s/epoch"]
    (told,) = (line for line in wide.splitlines() if line.startswith("told"))
    assert told.split()[-2] == "15.00"
    assert "ECE ↓" not in narrow
    assert "ECE, s/epoch" in " ".join(narrow.split())
    assert "weighted F1 ↑" in narrow
    lines = to_markdown(calibrated).splitlines()
    (head,) = (line for line in lines if line.startswith("| run"))
    assert head.endswith("| weighted F1 ↑ | ECE ↓ | s/epoch |")
    assert {line.count("|") for line in lines if line.startswith("| ") and "clips" not in line} == {head.count("|")}


def test_a_table_without_calibration_has_no_such_column(meld):
    assert "ECE" not in terminal(meld, 200) + to_markdown(meld)


@pytest.mark.parametrize("stored", ["x", 3, [], {"test": 3}, {"test": {"ECE": "x"}}, None])
def test_a_calibration_that_is_damaged_is_left_out(folders, stored):
    path = folders.add("odd")
    folders.seed(path, 1, {"acc": 0.6, "weight_F1": 0.6}, calibration=stored)
    (run,) = to_json(build([folders.root]))["tables"][0]["runs"]
    assert run["calibration"] == {}
