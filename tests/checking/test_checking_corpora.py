"""MOSEI, CH-SIMS v2 and CHERMA in full trees: the right counts, every planted defect, and nothing else."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest

from mse_pipeline import recipe
from mse_pipeline.checking.run import check
from mse_pipeline.clip import Split
from mse_pipeline.corpora import mosei
from mse_pipeline.corpora.cherma import EMOTIONS
from mse_pipeline.corpora.simsv2 import OFFICIAL_BINS
from tests.checking.trees import cherma_tree, mmsa_tree

COUNTS = {"mosei": (16326, 1871, 4659), "simsv2": (2722, 647, 1034)}


def found(report):
    """(code, path or clip) of all defects -> how often."""
    return Counter((defect.code, defect.path or defect.clip) for defect in report.defects)


def splits(report):
    return tuple(part.found for part in report.splits.values())


@pytest.mark.slow
def test_mosei_with_its_real_ids(shared, seeds, tmp_path):
    planted = {
        "Raw/cEXJ2zFbC9I/1.mp4": (None, "missing_media"),
        "Raw/cEXJ2zFbC9I/2.mp4": ("no index", "undecodable"),
        "Raw/208416/0.mp4": ("empty", "undecodable"),
        "Raw/208416/1.mp4": ("no sound", "no_audio"),
        "Raw/208416/2.mp4": ("one frame", "too_short"),
        "Raw/208416/3.mp4": ("long", "too_long"),
        "Raw/208416/999.mp4": ("good", "unlabelled_media"),
        "Raw/-mJ2ud6oKI8/1.mp4": ("text", "known_bad"),
    }
    kinds = {path: kind for path, (kind, _) in planted.items()}
    root = mmsa_tree(tmp_path / "MOSEI", shared / "data/mosei/label.csv", seeds, kinds)
    report = check(recipe.load("mosei"), root, workers=2)
    by_media = {clip.media: clip for clip in report.clips}
    known_bad = {path for path in by_media if path and path.split("/")[1] in mosei.MMSA_CUT}
    expected = {("known_bad", path) for path in known_bad}
    [gone] = [clip.id for clip in report.clips if clip.media is None]
    expected |= {(code, path if kind else gone) for path, (kind, code) in planted.items()}
    assert found(report) == dict.fromkeys(expected, 1)
    assert splits(report) == COUNTS["mosei"]
    assert sum(clip.media is not None and clip.media.startswith("Raw/-") for clip in report.clips) > 100
    with (shared / "data/mosei/label.csv").open(encoding="utf-8", newline="") as file:
        labels = np.array([float(row["label"]) for row in csv.DictReader(file)])
    values, counts = np.unique(np.round(labels), return_counts=True)
    told = [sum(bins.values()) for bins in report.labels.values()]
    assert dict(zip(map(int, values), map(int, counts), strict=True)) == dict(zip(range(-3, 4), told, strict=True))


@pytest.mark.slow
def test_simsv2_with_its_real_ids(shared, seeds, tmp_path):
    planted = {
        "Raw/video_0001/0001.mp4": (None, "missing_media"),
        "Raw/video_0001/0002.mp4": ("cut off", "undecodable"),
        "Raw/test15/00016.mp4": ("no video", "no_video"),
        "Raw/test15/00017.mp4": ("short sound", "too_short"),
        "Raw/test15/99999.mp4": ("good", "unlabelled_media"),
    }
    kinds = {path: kind for path, (kind, _) in planted.items()}
    root = mmsa_tree(tmp_path / "ch-simsv2s", shared / "data/simsv2/meta.csv", seeds, kinds)
    report = check(recipe.load("simsv2"), root, workers=2)
    [gone] = [clip.id for clip in report.clips if clip.media is None]
    expected = {(code, path if kind else gone) for path, (kind, code) in planted.items()}
    assert found(report) == dict.fromkeys(expected, 1)
    assert splits(report) == COUNTS["simsv2"]
    for split, numbers in OFFICIAL_BINS.items():
        assert tuple(counts[split] for counts in report.labels.values()) == numbers
    assert report.splits[Split.TEST].expected == 1034


def test_cherma_in_its_documented_form(seeds, tmp_path):
    planted = {
        "mp4/train_00001.mp4": (None, "missing_media"),
        "mp4/train_00002.mp4": ("no index", "undecodable"),
        "mp4/dev_00000.mp4": ("no sound", "no_audio"),
        "mp4/test_00003.mp4": ("long", "too_long"),
        "mp4/nobody.mp4": ("good", "unlabelled_media"),
    }
    kinds = {path: kind for path, (kind, _) in planted.items()}
    root = cherma_tree(tmp_path / "c", {"train": 70, "dev": 21, "test": 14}, (*EMOTIONS[:-1], "开心"), seeds, kinds)
    report = check(recipe.load("cherma"), root, workers=1)
    by_code = {code: {d.path or d.clip for d in told} for code, told in report.by_code().items()}
    assert len(report.by_code()["label_out_of_range"]) == 15 * 4  # a class nobody knows, in all four annotations
    assert by_code.pop("label_out_of_range") == {"train.json", "dev.json", "test.json"}
    assert by_code.pop("split_count_mismatch") == {None}
    [gone] = [clip.id for clip in report.clips if clip.media is None]
    expected: dict[str, set[str]] = {}
    for path, (kind, code) in planted.items():
        expected.setdefault(code, set()).add(path if kind else gone)
    assert by_code == expected
    assert splits(report) == (70, 21, 14)
    assert [report.labels[emotion][Split.TRAIN] for emotion in EMOTIONS] == [10] * 6 + [0]
    assert report.labels["(none)"] == {Split.TRAIN: 10, Split.VALID: 3, Split.TEST: 2}
    assert report.clips[7].text == "第7句，“好”。"
