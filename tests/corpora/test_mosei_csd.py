"""CMU-MOSEI's labels as computational sequences: which clip a segment is, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mse_pipeline import corpora
from mse_pipeline.clip import Split
from mse_pipeline.corpora.mosei_files import EMOTIONS, LabelSequence, numbers_by_time
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.corpora.raw_folder import tree
from tests.corpora.test_corpora_mosei import FULL, LABELS, SEGMENTED, TRANSCRIPTS, codes, small, table


def csd(path: Path, videos: dict[str, list[tuple[float, float, float]]], root="All Labels") -> Path:
    """video -> (start, end, sentiment) a segment; emotions are 0, 1/3, 2/3 ... of the sentiment's size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for video, segments in videos.items():
            group = file.create_group(f"{root}/data/{video}")
            group["intervals"] = np.array([segment[:2] for segment in segments], dtype=np.float64)
            emotions = [[abs(segment[2]) * index / 6 for index in range(6)] for segment in segments]
            group["features"] = np.array([[s[2], *e] for s, e in zip(segments, emotions, strict=True)], np.float32)
    return path


SEQUENCE = {"-aB": [(-0.417, 4.2, 0.5), (4.2, 9.9, 1.5)], "A_1": [(10.5, 12.25, -3.0)], "x": [(1.0, 2.0, 0.0)]}


def test_csd_labels_get_their_numbers_from_the_transcripts_times(tmp_path):
    csd(tmp_path / "labels/CMU_MOSEI_Labels.csd", SEQUENCE)
    media = {f"{SEGMENTED}/-aB_1.mp4": b""}
    corpus = small(tmp_path, {"label.csv": LABELS, **TRANSCRIPTS, **media}, labels="csd")
    assert [(c.id, c.split, c.label, c.text) for c in corpus.clips] == [
        ("-aB$_$0", Split.TRAIN, 0.5, "Yes."),
        ("-aB$_$1", Split.TRAIN, 1.5, "And."),
        ("A_1$_$3", Split.VALID, -3.0, "No."),
        ("x$_$12", Split.TEST, 0.0, "Hm."),
    ]
    assert corpus.clips[1].media == f"{SEGMENTED}/-aB_1.mp4"
    assert corpus.clips[2].labels == pytest.approx(dict(zip(EMOTIONS, (0.0, 0.5, 1.0, 1.5, 2.0, 2.5), strict=True)))
    assert corpus.sources == ("label.csv", "labels/CMU_MOSEI_Labels.csd")
    assert corpus.expected == {}


def test_official_counts_are_not_those_of_csd_labels(tmp_path):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", SEQUENCE)
    corpus = corpora.read("mosei", tree(tmp_path, {"label.csv": LABELS}), {"labels": "csd"})
    assert codes(corpus, "split_count_mismatch") == []
    assert any(note.startswith("Counts are not compared") for note in corpus.notes)


def test_csd_segments_without_a_number_are_called_as_the_sdk_does(tmp_path):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", {"-aB": [(0.0, 1.0, 1.0), (1.0, 2.0, 2.0)], "other": [(0.0, 1.0, 1.0)]})
    corpus = small(tmp_path, {"label.csv": LABELS, f"{FULL}/-aB.mp4": b""}, labels="csd")
    assert [(clip.id, clip.start, clip.end, clip.turn) for clip in corpus.clips] == [
        ("-aB[0]", 0.0, 1.0, None),
        ("-aB[1]", 1.0, 2.0, None),
    ]
    assert any("other[0]" in note for note in corpus.notes if "in no split" in note)
    assert any("have no number" in note for note in corpus.notes)


def test_one_transcript_segment_gives_one_number(tmp_path):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", {"x": [(1.0, 2.0, 1.0), (1.01, 2.0, 2.0), (5.0, 6.0, 0.5)]})
    corpus = small(tmp_path, {"label.csv": LABELS, **TRANSCRIPTS}, labels="csd")
    assert [clip.id for clip in corpus.clips] == ["x$_$12", "x[1]", "x[2]"]


def test_csd_emotions_complete_mmsa_labels_by_order_and_sentiment(tmp_path):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", {"v": [(5.0, 9.0, 2.0), (0.0, 5.0, -1.0)], "w": [(0.0, 1.0, 1.0)]})
    labels = table(("v", 2, -1.0, "train"), ("v", 7, 2.0, "train"), ("w", 1, 0.0, "train"))
    corpus = small(tmp_path, {"label.csv": labels, f"{FULL}/v.mp4": b""})
    assert [(clip.id, clip.start, clip.labels.get("fear")) for clip in corpus.clips] == [
        ("v$_$2", 0.0, pytest.approx(5 / 6)),
        ("v$_$7", 5.0, pytest.approx(10 / 6)),
        ("w$_$1", None, None),
    ]
    assert any("1 videos have no transcript" in note for note in corpus.notes)


def test_sources_that_disagree_are_told(tmp_path):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", {"x": [(1.0, 2.0, 2.0)]})
    corpus = small(tmp_path, {"label.csv": LABELS, **TRANSCRIPTS})
    assert "Sentiment differs between label.csv and CMU_MOSEI_Labels.csd: x$_$12." in corpus.notes
    assert corpus.clips[2].label == 0.0


@pytest.mark.parametrize(
    ("emotions", "task", "labels"),
    [
        ("intensity", Regression(0.0, 3.0), [0.0, 1.5]),
        ("presence", Classification(("absent", "present")), ["absent", "present"]),
    ],
)
def test_an_emotion_can_be_the_label(tmp_path, emotions, task, labels):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", SEQUENCE)
    corpus = small(tmp_path, {"label.csv": LABELS, **TRANSCRIPTS}, target="surprise", emotions=emotions)
    assert corpus.task == task
    by_id = {clip.id: clip for clip in corpus.clips}
    assert [by_id["x$_$12"].label, by_id["A_1$_$3"].label] == labels
    assert by_id["A_1$_$3"].labels["sentiment"] == -3.0
    assert "surprise" not in by_id["A_1$_$3"].labels


def hostile(path: Path, kind: str) -> None:
    good = csd(path.with_name("good.bin"), SEQUENCE)
    values = np.zeros((1, 7), np.float32)
    with h5py.File(path, "w") as file:
        data = file.create_group("All Labels/data")
        group = data.create_group("x")
        group["intervals"] = np.array([[1.0, 2.0]])
        if kind == "external link":
            group["features"] = h5py.ExternalLink(str(good), "/All Labels/data/x/features")
        elif kind == "soft link":
            group["features"] = h5py.SoftLink("/All Labels/data/x/intervals")
        elif kind == "linked video":
            group["features"] = values
            data["y"] = h5py.ExternalLink(str(good), "/All Labels/data/x")
        elif kind == "external storage":
            group.create_dataset("features", (1, 7), "f4", external=[(str(good), 0, 28)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((1, 7), "f4")
            layout[:] = h5py.VirtualSource(str(good), "/All Labels/data/x/features", (1, 7))
            group.create_virtual_dataset("features", layout)
        elif kind == "huge":
            group.create_dataset("features", (10**9, 7), "f4", chunks=(1000, 7), compression="gzip")
        elif kind == "many":
            group["features"] = np.zeros((20_000, 7), np.float32)
        elif kind == "text":
            group.create_dataset("features", (1, 7), h5py.string_dtype())
        elif kind == "uneven":
            group["features"] = np.zeros((2, 7), np.float32)
        elif kind == "name":
            group["features"] = values
            data.move("x", "..")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("external link", r"data/x/features is a link to another file, '.*good\.bin'; that is refused"),
        ("soft link", "data/x/features is a link to another place; that is refused"),
        ("linked video", "data/y is a link to another file"),
        ("external storage", "keeps its values in other files; that is refused"),
        ("virtual", "keeps its values in other files; that is refused"),
        ("huge", "claims 28,000,000,000 bytes"),
        ("many", r"has the shape \(20000, 7\); expected is \(N, 7\)"),
        ("text", "holds values of type object; only numbers are read"),
        ("uneven", "1 intervals but 2 labels of video x"),
        ("missing", "data/x/features is missing"),
        ("name", r"names a video '\.\.', which is not a plain name"),
    ],
)
def test_hostile_csd_files_are_refused(tmp_path, kind, message):
    hostile(tree(tmp_path, {"label.csv": LABELS}) / "CMU_MOSEI_Labels.csd", kind)
    with pytest.raises(UsageError, match=message):
        small(tmp_path, {})


def test_csd_files_are_told_by_their_content(tmp_path, monkeypatch):
    csd(tmp_path / "words.csd", SEQUENCE, root="words")
    tree(tmp_path, {"label.csv": LABELS, "broken_labels.csd": b"none"})
    corpus = small(tmp_path, {})
    assert any("broken_labels.csd is ignored: " in note and "cannot be read as HDF5" in note for note in corpus.notes)
    assert all(set(clip.labels) == set() for clip in corpus.clips)
    csd(tmp_path / "all.csd", SEQUENCE)
    monkeypatch.setattr("mse_pipeline.corpora.mosei_files._MAX_VIDEOS", 2)
    with pytest.raises(UsageError, match=r"all\.csd claims 3 videos; at most 2 are read"):
        small(tmp_path, {})


@pytest.mark.parametrize(
    ("intervals", "numbers"),
    [
        ([(1.09, 4.0), (4.0, 9.0)], {0: "0", 1: "1"}),
        ([(1.0, 4.09), (3.91, 9.0)], {0: "0", 1: "1"}),
        ([(1.11, 4.0), (4.0, 9.11)], {}),
        ([(1.0, 4.0), (4.0, 8.89)], {0: "0"}),
        ([(4.02, 9.0), (1.0, 4.0), (1.05, 4.0)], {0: "1", 1: "0"}),  # each clip once
    ],
)
def test_times_match_within_a_tenth_of_a_second(intervals, numbers):
    sequence = LabelSequence(np.array(intervals), np.zeros((len(intervals), 7)))
    assert numbers_by_time(sequence, {"0": (1.0, 4.0), "1": (4.0, 9.0)}) == numbers


def test_without_a_split_list_the_error_tells_what_would_help(tmp_path):
    csd(tmp_path / "CMU_MOSEI_Labels.csd", SEQUENCE)
    with pytest.raises(UsageError, match=r"Nothing tells the splits.*cmu_mosei_std_folds\.py"):
        small(tmp_path, {})
