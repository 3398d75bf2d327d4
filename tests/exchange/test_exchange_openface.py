"""OpenFace's CSV files become a stream of a dataset that is in the cache."""

from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import openface
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.exchange.openface import read_track
from mse_pipeline.exchange.registry import read as read_format
from mse_pipeline.task import Classification

# As FeatureExtraction 2.x writes it: a space before each name but the first.
HEADER = (
    "frame, face_id, timestamp, confidence, success, gaze_0_x, gaze_angle_y, eye_lmk_x_0, "
    "pose_Tx, pose_Rz, x_0, p_scale, AU01_r, AU45_c"
)
NAMES = ("gaze_0_x", "gaze_angle_y", "pose_Tx", "pose_Rz", "AU01_r", "AU45_c")


def row(frame, time, *, face=0, confidence=0.98, success=1, value=1.0):
    rest = ", ".join([f"{value:.3f}"] * 9)
    return f"{frame}, {face}, {time:.3f}, {confidence:.2f}, {success}, {rest}"


def write_csv(path, rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def frames(count, rate=25.0, **options):
    return [row(n + 1, n / rate, value=n, **options) for n in range(count)]


CLIPS = (
    Clip(id="train/dia0_utt0", split=Split.TRAIN, media="train_splits/dia0_utt0.mp4", label="joy"),
    Clip(id="dev/dia0_utt0", split=Split.VALID, media="dev_splits/dia0_utt0.mp4", label="joy"),
    Clip(id="test/dia9_utt1", split=Split.TEST, media="out/dia9_utt1.mp4", label="anger"),
    Clip(id="v$_$1", split=Split.TRAIN, media="Full/v.mp4", start=0.0, end=0.2, label="joy"),
    Clip(id="v$_$2", split=Split.TRAIN, media="Full/v.mp4", start=0.2, end=0.44, label="joy"),
    Clip(id="v$_$3", split=Split.TRAIN, media="Full/v.mp4", start=7.0, end=8.0, label="joy"),
)


@pytest.fixture
def dataset(tmp_path):
    cache = store.open(tmp_path / "cache")
    source = {"corpus": "meld", "sources": ["train_sent_emo.csv"]}
    made = cache.create("meld", CLIPS, task=Classification(("joy", "anger")), recipe={"name": "meld"}, source=source)
    made.put("acoustic.x", {"v$_$1": store.Features(np.ones((1, 1)), [[0, 1]], [True], ("a",))})
    return made


def stream_of(folder, dataset, **options):
    imported = openface.read(folder, dataset=dataset, **options)
    return dict(imported.streams["visual.openface"]()), imported.notes


def test_the_stream_joins_the_dataset(tmp_path, dataset):
    write_csv(tmp_path / "of/train/dia0_utt0.csv", frames(4))
    cache = store.open(tmp_path / "cache")
    imported = read_format("openface", tmp_path / "of", {"confidence": "0.9"}, dataset=dataset)
    after = bring_in(imported, cache, "meld")
    assert after.clips == CLIPS
    assert set(after) == {"acoustic.x", "visual.openface"}
    assert after.manifest.recipe == {"name": "meld"}
    assert after.manifest.source["corpus"] == "meld"
    features = after["visual.openface"]["train/dia0_utt0"]
    assert features.names == NAMES
    assert features.values[:, 0].tolist() == [0, 1, 2, 3]
    assert features.intervals == pytest.approx(np.array([[0, 0.04], [0.04, 0.08], [0.08, 0.12], [0.12, 0.16]]))
    assert features.valid.all()


def test_failures_and_low_confidence_are_not_valid(tmp_path, dataset):
    rows = [row(1, 0), row(2, 0.04, success=0), row(3, 0.08, confidence=0.5), row(4, 0.12, value=float("nan"))]
    write_csv(tmp_path / "of/train/dia0_utt0.csv", rows)
    rows_by_clip, notes = stream_of(tmp_path / "of", dataset)
    features = rows_by_clip["train/dia0_utt0"]
    assert features.valid.tolist() == [True, False, False, False]
    assert not features.values[1:].any()
    assert "visual.openface: 3 of 4 frames are not valid (failure, or confidence under 0.8)." in notes
    assert "visual.openface: 1 frames with a face lack values, which are not defined there." in notes
    rows_by_clip, _ = stream_of(tmp_path / "of", dataset, confidence=0.4)
    assert rows_by_clip["train/dia0_utt0"].valid.tolist() == [True, False, True, False]


def test_a_value_that_is_no_number_is_not_defined_and_its_frame_stays(tmp_path, dataset):
    cells = row(2, 0.04, value=2.0).split(", ")
    cells[5], cells[-1] = "nan", "1e300"
    write_csv(tmp_path / "of/train/dia0_utt0.csv", [row(1, 0), ", ".join(cells), row(3, 0.08)])
    rows_by_clip, notes = stream_of(tmp_path / "of", dataset)
    features = rows_by_clip["train/dia0_utt0"]
    assert features.valid.all()
    np.testing.assert_array_equal(features.values[1], [np.nan, 2, 2, 2, 2, np.nan])
    assert "visual.openface: 0 of 3 frames are not valid (failure, or confidence under 0.8)." in notes
    assert "visual.openface: 1 frames with a face lack values, which are not defined there." in notes


def test_of_several_faces_the_one_most_often_sure_is_taken(tmp_path, dataset):
    rows = [
        line
        for n in range(5)
        for line in (
            row(n + 1, n / 25, face=0, confidence=0.3, value=0),
            row(n + 1, n / 25, face=3, value=3),
        )
    ] + [row(6, 0.2, face=7, value=7)]
    write_csv(tmp_path / "of/train/dia0_utt0.csv", rows)
    rows_by_clip, notes = stream_of(tmp_path / "of", dataset)
    features = rows_by_clip["train/dia0_utt0"]
    assert features.values[:, 0].tolist() == [3] * 5
    assert features.notes == {"faces": 3, "face_id": 3}
    assert any("1 clips show several faces" in note for note in notes)


def test_a_gap_is_not_filled(tmp_path):
    write_csv(tmp_path / "a.csv", [row(1, 0), row(2, 0.04), row(3, 0.08), row(50, 2.0)])
    track = read_track(tmp_path / "a.csv", "a.csv", 0.8, False)
    assert track.intervals == pytest.approx(np.array([[0, 0.04], [0.04, 0.08], [0.08, 0.14], [2.0, 2.04]]))


def test_landmarks_are_kept_when_asked_for(tmp_path, dataset):
    write_csv(tmp_path / "of/train/dia0_utt0.csv", frames(2))
    rows_by_clip, _ = stream_of(tmp_path / "of", dataset, landmarks=True)
    assert set(rows_by_clip["train/dia0_utt0"].names) - set(NAMES) == {"eye_lmk_x_0", "x_0", "p_scale"}


@pytest.mark.parametrize(
    ("file", "clip"),
    [
        ("train/dia0_utt0.csv", "train/dia0_utt0"),
        ("train_dia0_utt0.csv", "train/dia0_utt0"),
        ("deep/er/dev/dia0_utt0.csv", "dev/dia0_utt0"),
        ("dev_splits/dia0_utt0.csv", "dev/dia0_utt0"),
        ("dia9_utt1.csv", "test/dia9_utt1"),
        ("v_1.csv", "v$_$1"),
        ("v/2.csv", "v$_$2"),
    ],
)
def test_files_are_known_by_clip_or_media(tmp_path, dataset, file, clip):
    write_csv(tmp_path / "of" / file, frames(3))
    rows_by_clip, notes = stream_of(tmp_path / "of", dataset)
    assert list(rows_by_clip) == [clip]
    assert any("5 of 6 clips of meld have no file" in note for note in notes)


def test_the_file_of_a_long_video_serves_its_spans(tmp_path, dataset):
    write_csv(tmp_path / "of/v.csv", frames(11))
    rows_by_clip, notes = stream_of(tmp_path / "of", dataset)
    assert {clip: features.values[:, 0].tolist() for clip, features in rows_by_clip.items()} == {
        "v$_$1": [0, 1, 2, 3, 4],
        "v$_$2": [5, 6, 7, 8, 9, 10],
    }
    assert rows_by_clip["v$_$2"].intervals[0] == pytest.approx([0, 0.04])
    assert rows_by_clip["v$_$2"].intervals[-1] == pytest.approx([0.2, 0.24])
    assert "visual.openface: 1 clips have no frame within their span, and no features." in notes


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        ([], {}, r"no \.csv file below"),
        (["stranger.csv"], {}, "named like a clip of meld, as train/dia0_utt0.csv; the first is stranger.csv"),
        (["dia0_utt0.csv"], {}, "dia0_utt0.csv could be of several clips: dev/dia0_utt0, train/dia0_utt0"),
        (["v.csv"], {"confidence": 3.0}, "between 0 and 1; got 3"),
    ],
)
def test_files_that_do_not_fit_are_told(tmp_path, dataset, files, options, says):
    (tmp_path / "of").mkdir()
    for file in files:
        write_csv(tmp_path / "of" / file, frames(2))
    with pytest.raises(UsageError, match=says):
        openface.read(tmp_path / "of", dataset=dataset, **options)


def test_surplus_files_are_told(tmp_path, dataset):
    write_csv(tmp_path / "of/v.csv", frames(2))
    write_csv(tmp_path / "of/stranger.csv", frames(2))
    _, notes = stream_of(tmp_path / "of", dataset)
    assert "visual.openface: 1 files are of no clip: stranger.csv." in notes


def test_columns_must_be_alike(tmp_path, dataset):
    write_csv(tmp_path / "of/train/dia0_utt0.csv", frames(2))
    write_csv(tmp_path / "of/v.csv", ["1, 0, 1, 1, 0.5"], "frame, timestamp, confidence, success, AU01_r")
    with pytest.raises(UsageError, match=r"v\.csv has other columns than the files before it"):
        stream_of(tmp_path / "of", dataset)


def test_a_file_without_frames_or_face_ids(tmp_path):
    write_csv(tmp_path / "a.csv", [])
    assert read_track(tmp_path / "a.csv", "a.csv", 0.8, False).values.shape == (0, 6)
    write_csv(tmp_path / "b.csv", ["1, 0, 1, 1, 0.5", ""], "frame, timestamp, confidence, success, AU01_r")
    track = read_track(tmp_path / "b.csv", "b.csv", 0.8, False)
    assert (track.faces, track.values.tolist()) == (1, [[0.5]])
    assert track.intervals[0] == pytest.approx([0, 1 / 30])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,label\na,b\n", "holds something else than numbers in row 2"),
        ("frame, timestamp\n1, 2\n", "no column confidence, success"),
        ("frame, timestamp, confidence, success, x_0\n", "no column of gaze, pose or action units"),
        (f"{HEADER}\n1, 2\n", "has 2 cells in row 2, its header 14"),
        (f"{HEADER}\n{row(1, float('nan'))}\n", "timestamps that are not numbers"),
        (f"{HEADER}, AU01_r\n", "several columns named AU01_r"),
        ("a" * 200_000, "not valid CSV"),
        ("", "no column frame"),
    ],
)
def test_other_files_are_refused_and_named(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(MseError, match=says) as caught:
        read_track(tmp_path / "a.csv", "a.csv", 0.8, False)
    assert "a.csv" in str(caught.value)


def test_a_file_that_vanishes_is_named(tmp_path):
    with pytest.raises(MseError, match=r"gone\.csv cannot be read: No such file"):
        read_track(tmp_path / "gone.csv", "gone.csv", 0.8, False)
