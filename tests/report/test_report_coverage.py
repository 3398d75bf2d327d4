"""A row says of how many clips it is, and of which data; one that is not of the whole dataset is never unmarked."""

import io
import json

import pytest
from rich.console import Console

from mse_pipeline.report import build, to_json, to_markdown, to_terminal

DATA = {"clips": "aa", "label": "bb", "text": "cc", "previous": "dd", "acoustic.egemaps": "ee", "visual.mtcnn": "ff"}
SCORES = {"acc": 0.5, "weight_F1": 0.5}
FULL = {"train": (9989, 9989, 9989), "valid": (1109, 1109, 1109), "test": (2610, 2610, 2610)}


def coverage(visual=None, read=FULL):
    return {
        split: {
            "clips": clips,
            "read": of,
            "official": official,
            "streams": {"acoustic.egemaps": of, "visual.mtcnn": of if visual is None else visual[split]},
        }
        for split, (clips, of, official) in read.items()
    }


LOW = {
    "few have a stream": coverage(visual={"train": 14, "valid": 13, "test": 13}),
    "few of one split alone": coverage(visual={"train": 9989, "valid": 1109, "test": 2000}),
    "few of the official split": coverage(read={**FULL, "test": (40, 40, 2610)}),
    "few have a label": coverage(read={**FULL, "train": (9989, 500, 9989)}),
    "no test clip at all": coverage(read={**FULL, "test": (0, 0, 2610)}),
}


def add(folders, name="a", stored=None, data=DATA, score=0.5, **changes):
    folder = folders.add(name, config={"data": data}, **changes)
    folders.seed(folder, 1, {"acc": score, "weight_F1": score}, coverage=coverage() if stored is None else stored)
    return folder


def terminal(report, width=160):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    to_terminal(report, console)
    return console.file.getvalue()


@pytest.mark.parametrize("name", LOW)
def test_a_row_of_few_clips_is_marked_beside_the_published_ones_in_every_form(folders, name):
    add(folders, "few", LOW[name], score=0.9)
    add(folders, "whole", score=0.5)
    add(folders, "other", score=0.6)
    report = build([folders.root])
    (table,) = report.tables
    assert table.published
    told, markdown, found = terminal(report), to_markdown(report), to_json(report)["tables"][0]
    assert next(line[:6] for line in told.splitlines() if "tiny · text" in line) == "† few "
    assert "†: less than 90 % of a split was read, or had a stream: not to be compared with published rows." in told
    assert "| † few |" in markdown
    assert "†: less than 90 % of a split" in markdown
    rows = {row["name"]: row for row in found["runs"]}
    assert (rows["few"]["partial"], rows["whole"]["partial"]) == (True, False)
    assert rows["few"]["coverage"] == LOW[name]
    assert rows["few"]["shortcomings"]
    assert "less than 90 %" in found["marks"][0]
    best = {row.run.name for row in table.rows if row.cells["weight_F1"].best}
    assert best == {"other"}  # a row of other clips is none that the others are compared with


def test_every_row_says_how_many_clips_of_each_split_had_each_stream(folders):
    add(folders, "few", LOW["few have a stream"])
    add(folders, "whole")
    report = build([folders.root])
    for text in (terminal(report), to_markdown(report)):
        assert "train 9,989/9,989, valid 1,109/1,109, test 2,610/2,610" in text
        assert "train 14/9,989, valid 13/1,109, test 13/2,610 †" in text
    assert "| visual.mtcnn | train 14/9,989, valid 13/1,109, test 13/2,610 † | few |" in to_markdown(report)
    assert "| acoustic.egemaps | train 9,989/9,989, valid 1,109/1,109, test 2,610/2,610 | all |" in to_markdown(report)


def test_a_row_of_the_whole_dataset_has_no_mark(folders):
    add(folders)
    report = build([folders.root])
    assert "†" not in terminal(report) + to_markdown(report)
    assert to_json(report)["tables"][0]["marks"] == []


def test_a_row_of_an_earlier_version_is_told_to_be_of_an_unknown_number_of_clips(folders):
    folders.add("old", seeds=[SCORES])
    report = build([folders.root])
    for text in (terminal(report), to_markdown(report), json.dumps(to_json(report))):
        assert "An earlier version of mse trained old, and did not keep of how many clips it is." in text


@pytest.mark.parametrize("kind", ["label", "text", "clips"])
def test_rows_of_other_labels_texts_or_splits_are_no_group(folders, kind):
    add(folders, "a", score=0.9)
    add(folders, "b", score=0.5, data={**DATA, kind: "00"})
    add(folders, "c", score=0.6, data={**DATA, kind: "00"})
    report = build([folders.root])
    (table,) = report.tables
    rows = {row.run.name: row for row in table.rows}
    assert {name for name, row in rows.items() if row.cells["acc"].best} == {"c"}
    assert rows["b"].run.labelled == rows["c"].run.labelled != rows["a"].run.labelled
    for text in (terminal(report), to_markdown(report)):
        assert f"data {rows['a'].run.labelled}" in text
        assert "are of other clips, splits, labels or texts: not to be compared." in text
    assert to_json(report)["tables"][0]["runs"][0]["labelled"] == rows["a"].run.labelled


def test_ablations_on_the_same_data_are_one_group(folders):
    add(folders, "a", score=0.9)
    without = {name: digest for name, digest in DATA.items() if name != "visual.mtcnn"}
    add(folders, "b", data=without, variant="without visual", streams={"acoustic": "acoustic.egemaps"})
    report = build([folders.root])
    assert [row.cells["acc"].best for row in report.tables[0].rows] == [True, False]
    assert "data " not in "".join(row.reads for row in report.tables[0].rows)
    assert to_json(report)["tables"][0]["marks"] == []


def test_features_that_were_made_anew_between_two_rows_are_told(folders):
    add(folders, "a")
    add(folders, "b", data={**DATA, "visual.mtcnn": "00"})
    (sentence,) = to_json(build([folders.root]))["tables"][0]["marks"]
    assert sentence.startswith("Not all rows read the same features visual.mtcnn:")


def test_seeds_of_other_data_than_the_run_tells_are_not_averaged(folders):
    folder = add(folders)
    folders.seed(folder, 2, {"acc": 0.9, "weight_F1": 0.9}, config_digest="99999999")
    report = build([folders.root])
    assert report.tables[0].rows[0].cells["acc"].mean == 0.5
    assert report.notes == (
        "a, seed-2: trained on other data, or with another configuration, than run.json tells; not averaged.",
    )


@pytest.mark.parametrize(
    "damaged",
    [[], "many", {"dev": {}}, {"test": None}, {"test": {"clips": -1}}, {"test": {**coverage()["test"], "read": "9"}}],
)
def test_a_coverage_that_cannot_be_read_is_told_and_not_guessed(folders, damaged):
    add(folders, stored=damaged)
    report = build([folders.root])
    assert any("its coverage cannot be read" in warning for warning in report.warnings)
    assert report.tables[0].rows[0].run.coverage is None
