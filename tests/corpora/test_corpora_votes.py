"""Annotators' votes in a table of clips: forms, what is refused, the label where there is none, and classes."""

from __future__ import annotations

import pytest

from mse_pipeline.corpora.table_votes import pairs_of
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.test_corpora_table import codes, table

MOODS = Classification(("neutral", "joy", "anger"))
COLUMNS = "id,media,split,text,votes_neutral,votes_joy,votes_anger"
CELLS = "id,media,split,text,votes"


def row(name: str, *cells: str, split: str = "train") -> str:
    return ",".join([name, "a.mp4", split, "Hi", *cells])


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("1", "2", "1"), {"neutral": 0.25, "joy": 0.5, "anger": 0.25}),
        (("0", "0.75", "0.25"), {"joy": 0.75, "anger": 0.25}),
        (("", "3", ""), {"joy": 1.0}),
        (("NA", "30", "10"), {"joy": 0.75, "anger": 0.25}),
        (("", "", ""), {}),
        (("1e308", "1e308", ""), None),
        (("0", "0", "0"), None),
        (("1", "-1", "1"), None),
        (("1", "two", "1"), None),
        (("1", "inf", "1"), None),
        (("\ufffd", "1", "1"), None),
    ],
)
def test_a_column_a_class_gives_the_share_of_each(tmp_path, cells, expected):
    corpus = table(tmp_path, row("a", *cells), row("b", "1", "0", "0"), header=COLUMNS, task=MOODS)
    assert dict(corpus.clips[0].distribution) == (expected or {})
    assert codes(corpus, "label_out_of_range") == (["a"] if expected is None else [])


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("joy:3;anger:1", {"joy": 0.75, "anger": 0.25}),
        ("joy: 3, anger: 1", {"joy": 0.75, "anger": 0.25}),
        ("joy:0.75|anger:0.25", {"joy": 0.75, "anger": 0.25}),
        ('{"joy": 3, "anger": 1}', {"joy": 0.75, "anger": 0.25}),
        ('{"joy": 3, "anger": 1, "neutral": null}', {"joy": 0.75, "anger": 0.25}),
        ("{'joy': 3.0, 'anger': 1.0, 'neutral': nan}", {"joy": 0.75, "anger": 0.25}),
        ("joy;joy;joy;anger", {"joy": 0.75, "anger": 0.25}),
        ('["joy", "joy", "joy", "anger"]', {"joy": 0.75, "anger": 0.25}),
        ("joy", {"joy": 1.0}),
        ("", {}),
        ("nan", {}),
        ("{}", {}),
        ("joy:0", None),
        ("joy:-1;anger:2", None),
        ("joy:many", None),
        ("joy:3;angr:1", None),
        ('{"joy": true}', None),
        ('{"joy": [3]}', None),
        ('{"joy": 1e999}', None),
        ("[" * 5000, None),
        ("7", None),
    ],
)
def test_one_column_gives_the_share_of_each(tmp_path, cell, expected):
    corpus = table(tmp_path, row("a", quoted(cell)), row("b", "neutral:1"), header=CELLS, task=MOODS)
    assert dict(corpus.clips[0].distribution) == (expected or {})
    assert codes(corpus, "label_out_of_range") == (["a"] if expected is None else [])


def test_a_defect_names_row_votes_and_the_class_that_was_meant(tmp_path):
    corpus = table(tmp_path, row("a", "joy:3;angr:1"), row("b", "joy:1"), header=CELLS, task=MOODS)
    (defect,) = corpus.defects
    assert defect.message == (
        "Row 2 has the votes 'joy:3;angr:1'; 'angr' is none of the classes neutral, joy, anger; did you mean anger? "
        "The clip is read without votes."
    )


def test_a_decimal_comma_is_read_where_semicolons_part_the_cells(tmp_path):
    lines = ["a;a.mp4;train;Hi;0,5;0,5;0", "b;a.mp4;test;Hi;1;0;0"]
    corpus = table(tmp_path, *lines, header=COLUMNS.replace(",", ";"), task=MOODS)
    assert dict(corpus.clips[0].distribution) == {"neutral": 0.5, "joy": 0.5}


def test_the_label_is_the_column_of_labels_and_a_difference_is_told(tmp_path):
    lines = [row("a", "0", "3", "1", "anger"), row("b", "2", "0", "0", ""), row("c", "2", "0", "0", "neutral")]
    corpus = table(tmp_path, *lines, header=COLUMNS + ",label", task=MOODS)
    assert [clip.label for clip in corpus.clips] == ["anger", None, "neutral"]
    assert dict(corpus.clips[1].distribution) == {"neutral": 1.0}
    assert "The label is not the class with the most votes in 1 clip (a): the label is kept." in corpus.notes


def test_without_a_column_of_labels_the_most_votes_are_the_label_and_a_tie_is_told(tmp_path):
    lines = [row("a", "1", "3", "1"), row("b", "2", "2", "1"), row("c", "", "", "")]
    corpus = table(tmp_path, *lines, header=COLUMNS)
    assert corpus.task == Classification(("anger", "joy", "neutral"))
    assert [clip.label for clip in corpus.clips] == ["joy", None, None]
    assert [bool(clip.distribution) for clip in corpus.clips] == [True, True, False]
    assert (
        "Several classes have the most votes in 1 clip (b): no label; the votes alone are learned from." in corpus.notes
    )
    assert any(note.startswith("2 of 3 clips have votes: training.targets: distribution") for note in corpus.notes)


def test_the_recipe_names_the_columns_of_others(tmp_path):
    names = {"votes_joy": "n_joy", "votes_anger": "n_anger"}
    header = "id,media,split,text,n_joy,n_anger"
    corpus = table(tmp_path, row("a", "3", "1"), row("b", "0", "1"), header=header, columns=names)
    assert dict(corpus.clips[0].distribution) == {"joy": 0.75, "anger": 0.25}
    one = table(tmp_path, row("a", "joy;anger"), row("b", "joy"), header=CELLS[:-5] + "said", columns={"votes": "said"})
    assert dict(one.clips[0].distribution) == {"joy": 0.5, "anger": 0.5}


@pytest.mark.parametrize(
    ("header", "cells", "classes"),
    [
        # Codes with votes for each are classes, where numbers alone would be a range.
        ("label,votes_1,votes_2,votes_3", ("1", "2", "1", "0"), ("1", "2", "3")),
        ("label,votes_joy,votes_anger,votes_sad", ("joy", "2", "1", "0"), ("anger", "joy", "sad")),
        ("label,votes_joy,votes_anger,votes_total", ("joy", "2", "1", "3"), ("anger", "joy")),
        ("label,votes", ("joy", "joy:2;anger:1"), ("anger", "joy")),
    ],
)
def test_classes_are_those_of_the_votes(tmp_path, header, cells, classes):
    corpus = table(tmp_path, row("a", *cells), row("b", *cells), header="id,media,split,text," + header)
    assert corpus.task == Classification(classes)
    assert all(clip.distribution and clip.label == cells[0] for clip in corpus.clips)


@pytest.mark.parametrize(
    ("header", "rows", "task", "told"),
    [
        (
            "label,votes",
            [("joy", "3"), ("anger", "17")],
            Classification(("anger", "joy")),
            "no cell holds votes, as '3'",
        ),
        (
            "label,votes",
            [("1", "3"), ("4", "17")],
            Regression(1, 4),
            "Votes are for classes, and numbers are predicted",
        ),
        (
            "label,votes_up",
            [("joy", "3"), ("anger", "17")],
            Classification(("anger", "joy")),
            "column votes_up is ignored",
        ),
    ],
)
def test_a_column_of_that_name_about_something_else_is_told_and_changes_nothing(tmp_path, header, rows, task, told):
    lines = [row(str(place), *cells) for place, cells in enumerate(rows)]
    corpus = table(tmp_path, *lines, header="id,media,split,text," + header)
    assert corpus.task == task
    assert all(not clip.distribution and clip.label is not None for clip in corpus.clips)
    assert corpus.defects == ()
    assert any(told in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("header", "cells", "task", "told"),
    [
        (CELLS, ("7",), None, "no column label, and its votes name no class"),
        (CELLS, ("joy:3",), None, "its votes name one class only, 'joy'"),
        (CELLS, ("sad:3",), MOODS, "no votes for the task .neutral, joy, anger."),
        (CELLS, ("joy:0",), MOODS, "no votes for the task .*no class has a vote"),
        (CELLS, ("joy:3",), Regression(-1, 1), "no votes for the task .-1 to 1."),
        ("id,media,split,text", (), MOODS, "there is no column label"),
        (CELLS + ",votes_", ("joy:3;anger:1", "1"), Regression(0, 1), "no votes for the task"),
    ],
)
def test_a_table_without_labels_and_votes_is_refused(tmp_path, header, cells, task, told):
    with pytest.raises(UsageError, match=told):
        table(tmp_path, row("a", *cells), row("b", *cells), header=header, task=task)


def test_an_unknown_name_among_the_columns_tells_of_the_votes(tmp_path):
    with pytest.raises(UsageError, match="label_NAME, votes and votes_CLASS"):
        table(tmp_path, row("a", "1", "1", "1"), header=COLUMNS, columns={"vote": "votes_joy"})


def test_items_without_a_class_are_no_votes():
    for cell in ("3", "joy;3", '[["joy", 3]]', "[1, 2]"):
        with pytest.raises(ValueError, match="names no class with its votes, as joy:3 does"):
            pairs_of(cell)
