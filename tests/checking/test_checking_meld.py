"""The whole of MELD, with its real ids and labels and planted defects: each is found, and nothing else."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from mse_pipeline import recipe
from mse_pipeline.checking.report import CheckReport, write_csv
from mse_pipeline.checking.run import check
from mse_pipeline.clip import Split
from mse_pipeline.corpora import meld
from mse_pipeline.corpora.meld import EMOTIONS, OFFICIAL_EMOTIONS
from tests.checking.trees import meld_media, meld_tree

PLANTED: dict[str, tuple[str | None, str]] = {  # clip -> kind of its file, defect to be found
    "train/dia125_utt3": ("no index", "known_bad"),
    "test/dia220_utt0": ("long", "known_bad"),
    "dev/dia110_utt7": (None, "missing_media"),
    "train/dia5_utt0": (None, "missing_media"),
    "train/dia1_utt0": ("empty", "undecodable"),
    "train/dia2_utt0": ("cut off", "undecodable"),
    "dev/dia1_utt1": ("text", "undecodable"),
    "test/dia1_utt0": ("no index", "undecodable"),
    "train/dia3_utt0": ("no sound", "no_audio"),
    "dev/dia2_utt0": ("no video", "no_video"),
    "test/dia3_utt0": ("one frame", "too_short"),
    "test/dia4_utt0": ("short sound", "too_short"),
    "train/dia4_utt0": ("long", "too_long"),
}
TWINS = ("test/dia6_utt0", "test/dia7_utt1")  # the first cut of both is damaged, the corrected one is not
UNREADABLE = {"train": 2, "valid": 1, "test": 1}  # besides the cut off file, whose beginning can be read


@pytest.fixture(scope="module")
def report(shared, seeds, tmp_path_factory) -> CheckReport:
    kinds = {clip: kind for clip, (kind, _) in PLANTED.items()} | dict.fromkeys(TWINS, "no index")
    extra = {meld_media(clip): "good" for clip in meld.UNLABELLED}
    for clip in TWINS:
        extra[meld_media(clip).replace("/dia", "/final_videos_testdia")] = "good"
    extra |= {"train_splits/._dia0_utt0.mp4": "text", "train_splits/dia7_utt0.copy.mp4": "good"}
    root = meld_tree(tmp_path_factory.mktemp("meld") / "MELD.Raw", shared / "data/meld/current", seeds, kinds, extra)
    return check(recipe.load("meld"), root, workers=2)


def test_every_planted_defect_is_found_and_nothing_else(report):
    known_bad = set(meld.CLIPS) | {clip.id for clip in report.clips if clip.dialogue == "train/dia241"}
    expected = {("known_bad", meld_media(clip)) for clip in known_bad}
    expected |= {(code, meld_media(clip) if kind else clip) for clip, (kind, code) in PLANTED.items()}
    expected |= {("unlabelled_media", meld_media(clip)) for clip in meld.UNLABELLED}
    expected |= {("duplicate", meld_media(clip)) for clip in TWINS}
    assert Counter((d.code, d.path or d.clip) for d in report.defects) == dict.fromkeys(expected, 1)


def test_a_known_bad_clip_is_told_once_with_what_probing_found(report):
    [defect] = [defect for defect in report.defects if defect.clip == "train/dia125_utt3"]
    assert "issue 39" in defect.message
    assert "Probing found it undecodable" in defect.message


def test_counts_are_the_official_ones(report):
    for split, classes in OFFICIAL_EMOTIONS.items():
        part = report.splits[split]
        assert part.found == part.expected == sum(classes)
        assert [report.labels[emotion][split] for emotion in EMOTIONS] == list(classes)
        missing = sum(kind is None and clip.startswith(_folder(split)) for clip, (kind, _) in PLANTED.items())
        assert part.with_media == part.found - missing
        assert part.readable == part.with_media - UNREADABLE[split]


def _folder(split: Split) -> str:
    return {"train": "train/", "valid": "dev/", "test": "test/"}[split]


def test_streams_and_lengths_are_those_of_the_files(report):
    files = sum(part.with_media for part in report.splits.values())
    broken = sum(UNREADABLE.values())
    assert report.media["streams"] == {
        "sound+video": files - broken - 2,
        "unreadable": broken,
        "sound": 1,
        "video": 1,
    }
    assert report.media["frame rate"] == {"10/s": files - broken - 1}
    assert report.media["sample rate"] == {"16000 Hz": files - broken - 1}
    seconds = report.splits[Split.TRAIN].seconds
    assert (seconds.minimum, seconds.median, seconds.maximum) == (0.4, 0.4, 32.0)


def test_the_table_of_clips_has_a_row_for_each(report, tmp_path):
    write_csv(tmp_path / "clips.csv", report)
    with (tmp_path / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 13708
    good = rows["train/dia0_utt0"]
    assert [good[name] for name in ("split", "media", "seconds", "streams", "sound_codec", "frames", "defects")] == [
        "train",
        "train_splits/dia0_utt0.mp4",
        "0.4",
        "sound+video",
        "pcm_s16le",
        "4",
        "",
    ]
    assert [rows["train/dia1_utt0"][name] for name in ("streams", "seconds", "defects")] == [
        "unreadable",
        "",
        "undecodable",
    ]
    assert [rows["dev/dia110_utt7"][name] for name in ("media", "streams", "defects")] == ["", "", "missing_media"]
    assert {row["defects"] for row in rows.values()} == {""} | {code for _, code in PLANTED.values()} | {"duplicate"}


def test_json_has_numbers_and_some_examples(report):
    value = report.to_dict(examples=1)
    assert value["splits"]["test"]["expected"] == 2610
    assert value["labels"]["disgust"] == {"train": 271, "valid": 22, "test": 68}
    assert value["defects"]["undecodable"]["count"] == 4
    assert len(value["defects"]["undecodable"]["examples"]) == 1


def test_missing_rows_are_told_as_differences(shared, seeds, tmp_path):
    root = meld_tree(tmp_path / "m", shared / "data/meld/current", seeds, {}, {})
    path = root / "dev_sent_emo.csv"
    path.write_bytes(b"\r\n".join(path.read_bytes().split(b"\r\n")[:100]) + b"\r\n")
    for folder in ("train_splits", "output_repeated_splits_test"):
        (root / folder).rename(tmp_path / folder)
    report = check(recipe.load("meld"), root, workers=1)
    assert report.splits[Split.VALID].found == 99
    assert "Of clips of split valid there are 99; officially there are 1109." in report.count_differences
