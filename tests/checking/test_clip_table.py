"""Clips -> table -> clips: the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from mse_pipeline import corpora
from mse_pipeline.checking.run import export
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Classification, Regression
from tests.checking.trees import link

CLASSES = Classification(("joy", "平静", "a, b"))
NUMBERS = Regression(-3, 3)
TEXTS = (
    "我不想嫁给李茶，“真的”！",
    'He said, "no"; then left.',
    "two\nlines",
    "carriage\r\nreturn",
    "  blanks around  ",
    "",
    "=1+1",
    "'quoted'",
    "tab\there",
    "he’s… 😀",
    "NaN?",
    "None of them",
    "007",
)
IDS = ("-3g5yACwYnA/10", "0001", "video_0001/0002", "_a_b_", "train/dia0_utt0", "1e5", "愤怒", "a,b", 'q"q', "None")


def labelled(task):
    labels = CLASSES.classes if task is CLASSES else (-1 / 3, 2.0, 0.1 + 0.2, 3.0)
    made = []
    for place, text in enumerate(TEXTS):
        more = {"sentiment": ("positive", "negative")[place % 2]} if place % 3 else {}
        made.append(
            Clip(
                id=IDS[place] if place < len(IDS) else f"c{place}",
                split=list(Split)[place % 3],
                media=f"Raw/视频 {place % 2}/{place:05d}, a.mp4" if place != 4 else None,
                start=None if place % 2 else place / 3,
                end=None if place % 2 else place / 3 + 1e-3,
                text=text,
                language=("en", "zh")[place % 2],
                speaker=None if place % 4 == 0 else "Rachel, “Rach”",
                dialogue=None if place % 2 else f"000{place}",
                turn=None if place % 2 else place,
                label=None if place == 5 else labels[place % len(labels)],
                labels={**more, "acoustic": place / 7 - 1},
            )
        )
    return made


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("task", [CLASSES, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("folder", ["", "tables/"])
def test_a_table_reads_back_to_the_same_clips(seeds, tmp_path, suffix, task, folder):
    clips = labelled(task)
    link(tmp_path, seeds, {clip.media: "good" for clip in clips if clip.media})
    path = tmp_path / f"{folder}clips{suffix}"
    assert export(path, clips, task) == []
    back = corpora.read("table", tmp_path, {"table": f"{folder}clips{suffix}"}, task)
    assert list(back.clips) == clips
    assert [defect.code for defect in back.defects] == ["missing_media"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_further_labels_alone_and_no_optional_value_at_all(tmp_path, seeds, suffix):
    link(tmp_path, seeds, {"a.mp4": "good"})
    clips = [Clip(id="a", split=Split.TEST, media="a.mp4", label=1.0)]
    export(tmp_path / f"clips{suffix}", clips, NUMBERS)
    assert list(corpora.read("table", tmp_path, {}, NUMBERS).clips) == clips


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_votes_come_back_as_the_same_shares(tmp_path, seeds, suffix):
    link(tmp_path, seeds, {"a.mp4": "good"})
    shares = [{}, {"joy": 1 / 3, "平静": 1 / 3, "a, b": 1 / 3}, {"joy": 0.1, "平静": 0.9}, {"a, b": 1.0}]
    clips = [
        Clip(id=f"c{place}", split=Split.TEST, media="a.mp4", label=None if place == 1 else "joy", distribution=one)
        for place, one in enumerate(shares)
    ]
    assert export(tmp_path / f"clips{suffix}", clips, CLASSES) == []
    assert list(corpora.read("table", tmp_path, {}, CLASSES).clips) == clips


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_real_label_files_come_back(shared, seeds, tmp_path, suffix):
    root = tmp_path / "m"
    root.mkdir()
    for path in (shared / "data/meld/current").glob("*.csv"):
        (root / path.name).write_bytes(path.read_bytes())
    link(root, seeds, {"train_splits/dia0_utt0.mp4": "good"})
    meld = corpora.read("meld", root)
    export(root / f"clips{suffix}", meld.clips, meld.task)
    back = corpora.read("table", root, {"table": f"clips{suffix}"}, meld.task)
    assert back.clips == meld.clips


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip(id="x" * 201, split=Split.TRAIN), "an id must have 1 to 200 characters"),
        (Clip(id="a", split=Split.TRAIN, start=2.0, end=1.0), "end must be after start"),
        (Clip(id="a", split=Split.TRAIN, text="half \ud800"), "Column text holds characters"),
        (Clip(id="a", split=Split.TRAIN, speaker="zero \0 byte"), "Column speaker holds characters"),
    ],
)
def test_what_a_table_cannot_hold_is_refused_and_nothing_written(tmp_path: Path, clip, message):
    with pytest.raises(MseError, match=message):
        export(tmp_path / "clips.csv", [clip], NUMBERS)
    assert not list(tmp_path.iterdir())


def test_what_changes_on_the_way_is_told(tmp_path):
    clip = Clip(id="a", split=Split.TRAIN, speaker=" Joey ", text="NaN")  # what programs write for no text at all
    assert export(tmp_path / "clips.csv", [clip], NUMBERS) == [
        "The field text of a does not come back quite the same.",
        "The field speaker of a does not come back quite the same.",
    ]


def test_other_forms_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.parquet or \.csv"):
        export(tmp_path / "clips.xlsx", [], NUMBERS)
