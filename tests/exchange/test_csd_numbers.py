"""Ids of CMU's segments mean the same segment, whether they have its place or its number."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange import csd
from tests.exchange.test_exchange_csd import SPLITS, steps, write_csd


@pytest.fixture
def numbered(tmp_path):
    """A video whose segments 1, 4 and 7 are labelled; the label file does not have them in the order of time."""
    folder = tmp_path / "numbered"
    labels = {"v_": ([[4, 5], [1, 2], [7, 8]], np.float32([[0.5] + [0] * 6, [-1] + [0] * 6, [2] + [0] * 6]))}
    write_csd(folder / "labels.csd", "All Labels", labels)
    write_csd(folder / "covarep.csd", "COVAREP", {"v_": (steps(100, 0.1), np.arange(100.0)[:, None])})
    return folder


def transcripts(folder):
    lines = [f"v____{n}___{n}.0___{n + 1}.0___words of {n}" for n in (1, 2, 4, 5, 7)]
    (folder / "Segmented").mkdir()
    (folder / "Segmented/v_.txt").write_text("\n".join(lines) + "\n")


def mmsa_table(folder):
    rows = "".join(f"v_,{n},,{label},,,,,train\n" for n, label in ((1, -1), (4, 0.5), (7, 2)))
    (folder / "label.csv").write_text(SPLITS + rows)


def listed(folder, **splits):
    (folder / "splits.json").write_text(json.dumps(splits))
    return str(folder / "splits.json")


BY_NUMBER = {
    "as files have it": ["v__1", "v__4", "v__7"],
    "as MMSA has it": ["v_$_$1", "v_$_$4", "v_$_$7"],
    "as folders have it": ["v_/1", "v_/4", "v_/7"],
    "in brackets": ["v_[1]", "v_[4]", "v_[7]"],
    "with zeros": ["v__0001", "v__0004", "v__0007"],
}


@pytest.mark.parametrize("ids", BY_NUMBER.values(), ids=BY_NUMBER)
def test_lists_of_splits_may_have_the_numbers_of_segments(numbered, ids):
    first, second, third = ids
    imported = csd.read(numbered, splits=listed(numbered, train=[first], valid=[second], test=[third]))
    assert {clip.id: (clip.split, clip.label) for clip in imported.clips} == {
        "v_[0]": (Split.VALID, 0.5),
        "v_[1]": (Split.TRAIN, -1),
        "v_[2]": (Split.TEST, 2),
    }


def test_lists_of_splits_may_have_places(numbered):
    imported = csd.read(numbered, splits=listed(numbered, train=["v_[0]"], test=["v_[1]", "v_[2]"]))
    assert [(clip.id, clip.split) for clip in imported.clips] == [
        ("v_[0]", Split.TRAIN),
        ("v_[1]", Split.TEST),
        ("v_[2]", Split.TEST),
    ]


@pytest.mark.parametrize("tell", [transcripts, mmsa_table])
@pytest.mark.parametrize("one", ["v__4", "v_$_$4", "v_[4]"])
def test_a_few_numbers_are_known_by_transcripts_or_by_mmsas_table(numbered, tell, one):
    tell(numbered)
    imported = csd.read(numbered, splits=listed(numbered, test=[one]))
    assert [(clip.id, clip.start, clip.split) for clip in imported.clips] == [("v_[0]", 4, Split.TEST)]


def test_numbers_that_nobody_knows_are_told(numbered):
    splits = listed(numbered, test=["v__4", "v__9"], train=["v_[1]"])
    imported = csd.read(numbered, splits=splits)
    assert [(clip.id, clip.split) for clip in imported.clips] == [("v_[1]", Split.TRAIN)]
    (told,) = [note for note in imported.notes if "2 ids of the list of splits have a number" in note]
    assert "v__4, v__9" in told
    assert "transcripts" in told


ENTRIES = {
    "places": ["v_[1]", "v_[0]", "v_[2]"],
    "numbers in brackets": ["v_[1]", "v_[4]", "v_[7]"],
    "numbers as files have them": ["v__1", "v__4", "v__7"],
    "numbers as MMSA has them": ["v_$_$1", "v_$_$4", "v_$_$7"],
}


@pytest.mark.parametrize("entries", ENTRIES.values(), ids=ENTRIES)
def test_entries_of_clips_are_found_by_place_and_by_number(numbered, entries):
    transcripts(numbered)
    own = {entry: ([[start, start + 1]], [[start]]) for entry, start in zip(entries, (1, 4, 7), strict=True)}
    write_csd(numbered / "covarep.csd", "COVAREP", own)
    said = {entry: ([[start, start + 1]], np.array([[f"w{start}"]], "S4")) for entry, ([[start, _]], _) in own.items()}
    write_csd(numbered / "words.csd", "words", said)
    imported = csd.read(numbered, splits=listed(numbered, train=["v_"]))
    assert [(clip.start, clip.text) for clip in imported.clips] == [(4, "w4"), (1, "w1"), (7, "w7")]
    rows = {clip: features.values.tolist() for clip, features in imported.streams["acoustic.covarep"]()}
    assert rows == {"v_[0]": [[4.0]], "v_[1]": [[1.0]], "v_[2]": [[7.0]]}


@pytest.mark.parametrize("tell", [transcripts, mmsa_table])
def test_clips_may_be_called_by_the_numbers_of_their_segments(numbered, tell):
    tell(numbered)
    imported = csd.read(numbered, splits=listed(numbered, train=["v_"]), ids="number")
    assert [(clip.id, clip.start) for clip in imported.clips] == [("v_$_$4", 4), ("v_$_$1", 1), ("v_$_$7", 7)]
    rows = dict(imported.streams["acoustic.covarep"]())
    assert rows["v_$_$7"].values[0].tolist() == [70.0]
    assert rows["v_$_$7"].intervals[0] == pytest.approx([0.0, 0.1])


@pytest.mark.parametrize(
    ("ids", "says"), [("number", r"numbers of 3 segments are not known: v_\[0\].*ids=index"), ("x", "index or number")]
)
def test_names_that_cannot_be_made_are_told(numbered, ids, says):
    with pytest.raises(UsageError, match=says):
        csd.read(numbered, splits=listed(numbered, train=["v_"]), ids=ids)


@pytest.mark.parametrize("entry", ["v__4", "v_$_$4"])
def test_label_files_may_have_an_entry_a_segment(numbered, entry):
    write_csd(numbered / "labels.csd", "All Labels", {entry: ([[4, 5]], np.float32([[1] + [0] * 6]))})
    write_csd(numbered / "covarep.csd", "COVAREP", {entry: (steps(50, 0.1) + 4, np.ones((50, 1)))})
    imported = csd.read(numbered, splits=listed(numbered, test=["v_"]))
    assert [(clip.id, clip.split) for clip in imported.clips] == [(f"{entry}[0]", Split.TEST)]
    assert len(dict(imported.streams["acoustic.covarep"]())[f"{entry}[0]"]) == 10


@pytest.mark.parametrize("one", ["c_3", "c$_$3", "c[3]"])
def test_aligned_label_files_are_listed_by_number_too(numbered, one):
    write_csd(numbered / "labels.csd", "All Labels", {"c[3]": ([[4, 5]], np.float32([[1] + [0] * 6]))})
    imported = csd.read(numbered, splits=listed(numbered, test=[one]))
    assert [(clip.id, clip.split) for clip in imported.clips] == [("c[3]", Split.TEST)]
