"""MediaPipe's Face Landmarker results, in the forms that people keep them in, become a stream of a dataset."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.exchange.mediapipe import BLENDSHAPES, POSE, Kept, read_track
from mse_pipeline.exchange.registry import read as read_format
from mse_pipeline.task import Classification

CLIPS = tuple(
    Clip(id=f"train/dia0_utt{k}", split=Split.TRAIN, media=f"train_splits/dia0_utt{k}.mp4", label="joy")
    for k in range(2)
)
SHAPES = Kept(blendshapes=True, pose=False, landmarks=0)
ALL = Kept(blendshapes=True, pose=True, landmarks=468)
SCORES = {name: round(0.01 * k, 3) for k, name in enumerate(BLENDSHAPES)}


def turned(x: float, y: float, z: float) -> np.ndarray:
    """A 4 x 4 matrix: turned about x, then y, then z; at (1, 2, -40) cm."""
    cx, cy, cz, sx, sy, sz = *np.cos([x, y, z]), *np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = about_z @ about_y @ about_x, (1.0, 2.0, -40.0)
    return matrix


MATRIX = turned(0.1, -0.2, 0.3)
POINTS = [{"x": 0.001 * k, "y": 0.5, "z": -0.1} for k in range(468)]


def in_javascript(faces: int = 1) -> dict:
    """A result as the JavaScript interface gives it."""
    categories = [{"index": 0, "score": 0.0, "categoryName": "_neutral", "displayName": ""}]
    categories += [{"index": k, "score": s, "categoryName": n} for k, (n, s) in enumerate(SCORES.items(), 1)]
    return {
        "faceLandmarks": [POINTS] * faces,
        "faceBlendshapes": [{"categories": categories, "headIndex": -1}] * faces,
        "facialTransformationMatrixes": [{"rows": 4, "columns": 4, "data": MATRIX.T.ravel().tolist()}] * faces,
    }


def in_python(faces: int = 1) -> dict:
    """A result as one writes the Python interface's down."""
    return {
        "face_landmarks": [[[p["x"], p["y"], p["z"]] for p in POINTS]] * faces,
        "face_blendshapes": [[{"category_name": n, "score": s} for n, s in SCORES.items()]] * faces,
        "facial_transformation_matrixes": [MATRIX.tolist()] * faces,
    }


def write(path, frames, form="json"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(frame) for frame in frames]
    texts = {"json": json.dumps(frames), "jsonl": "\n".join(lines) + "\n", "frames": json.dumps({"frames": frames})}
    path.write_text(texts[form])
    return path


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def dataset(tmp_path):
    made = store.open(tmp_path / "cache").create("meld", CLIPS, task=Classification(("joy", "anger")))
    made.put("acoustic.x", {CLIPS[0].id: store.Features(np.ones((1, 1)), [[0, 1]], [True], ("a",))})
    return made


@pytest.mark.parametrize("form", ["json", "jsonl", "frames"])
@pytest.mark.parametrize("result", [in_javascript(), in_python()], ids=["JavaScript", "Python"])
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "below result"])
def test_results_of_both_interfaces_give_the_same_track(tmp_path, form, result, inline):
    frames = [{"timestamp_ms": 40 * k, **(result if inline else {"result": result})} for k in range(3)]
    track = read_track(write(tmp_path / "a.json", frames, form), "a.json", ALL, 0.0)
    assert track.names[:2] == ("browDownLeft", "browDownRight")
    assert len(track.names) == 51 + 6 + 3 * 468
    told = dict(zip(track.names, track.values[1].tolist(), strict=True))
    assert {name: told[name] for name in BLENDSHAPES} == pytest.approx(SCORES, abs=1e-6)
    assert [told[name] for name in POSE] == pytest.approx([1.0, 2.0, -40.0, 0.1, -0.2, 0.3], abs=1e-5)
    assert (told["x_467"], told["y_467"], told["z_467"]) == pytest.approx((0.467, 0.5, -0.1), abs=1e-6)
    assert track.intervals == pytest.approx(np.array([[0, 0.04], [0.04, 0.08], [0.08, 0.12]]))
    assert track.valid.all()
    assert track.faces == 1


@pytest.mark.parametrize("mark", ["{axis}_{k}", "{axis}{k}", "lm_{k}_{axis}", "landmark{k}{axis}"])
def test_a_table_has_a_column_a_value(tmp_path, mark):
    marks = {mark.format(axis=axis, k=k): point[axis] for k, point in enumerate(POINTS) for axis in "xyz"}
    rows = [
        {"timestamp": 0.04 * k, **SCORES, **dict(zip(POSE, [1, 2, -40, 0.1, -0.2, 0.3], strict=True)), **marks}
        for k in range(2)
    ]
    track = read_track(write_csv(tmp_path / "a.csv", rows), "a.csv", ALL, 0.0)
    frames = [{"timestamp": 0.04 * k, **in_python()} for k in range(2)]
    same = read_track(write(tmp_path / "a.json", frames), "a.json", ALL, 0.0)
    np.testing.assert_allclose(track.values, same.values, atol=1e-5)
    np.testing.assert_array_equal(track.intervals, same.intervals)


@pytest.mark.parametrize(
    ("times", "fps"),
    [
        ([{"timestamp": 40 * k} for k in range(3)], 0.0),
        ([{"time": 0.04 * k} for k in range(3)], 0.0),
        ([{"timestampMs": 40 * k} for k in range(3)], 0.0),
        ([{"frame": k} for k in range(3)], 25.0),
    ],
    ids=["milliseconds by their size", "seconds", "milliseconds by name", "numbered frames"],
)
def test_times_are_told_in_several_ways(tmp_path, times, fps):
    frames = [{**time, **in_python()} for time in times]
    track = read_track(write(tmp_path / "a.json", frames), "a.json", SHAPES, fps)
    assert track.intervals[:, 0] == pytest.approx([0.0, 0.04, 0.08])


def test_frames_without_a_face_are_not_valid_and_holes_are_not_defined(tmp_path):
    rows = [{"timestamp": 0.04 * k, **SCORES} for k in range(4)]
    rows[1] = dict.fromkeys(rows[1], "") | {"timestamp": 0.04}
    rows[2]["jawOpen"] = "nan"
    track = read_track(write_csv(tmp_path / "a.csv", rows), "a.csv", SHAPES, 0.0)
    assert track.valid.tolist() == [True, False, True, True]
    assert not track.values[1].any()
    assert [track.names[column] for column in np.flatnonzero(np.isnan(track.values[2]))] == ["jawOpen"]
    assert np.isfinite(track.values[[0, 1, 3]]).all()
    assert track.partial == 1
    frames = [{"timestamp": 0.0, "faceBlendshapes": []}, {"timestamp": 0.04, **in_javascript()}]
    assert read_track(write(tmp_path / "a.json", frames), "a.json", SHAPES, 0.0).valid.tolist() == [False, True]


def test_the_stream_joins_the_dataset_and_several_faces_are_told(tmp_path, dataset):
    write(tmp_path / "mp/train/dia0_utt0.json", [{"timestamp": 0.04 * k, **in_javascript(2)} for k in range(3)])
    imported = read_format("mediapipe", tmp_path / "mp", {"pose": "true"}, dataset=dataset)
    after = bring_in(imported, store.open(tmp_path / "cache"), "meld")
    features = after["visual.mediapipe"]["train/dia0_utt0"]
    assert features.dim == 57
    assert features.valid.all()
    told = after.manifest.source["imports"][-1]["notes"]
    assert "visual.mediapipe: 1 of 2 clips of meld have no file." in told
    assert "visual.mediapipe: 1 clips show several faces; the first of each frame was taken." in told


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[1, 2]", "is not a list of frames"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", "[" * 100_000, "is not valid JSON"),
        ("a.json", '[{"faceBlendshapes": []}]', "does not tell every frame's time"),
        ("a.json", '[{"timestamp": 0}, {"frame": 1}]', "does not tell every frame's time"),
        ("a.json", '[{"timestamp": "soon"}]', "has a timestamp that is not a number: 'soon'"),
        ("a.json", '[{"frame": 0}, {"frame": 1}]', "give --option fps=25"),
        ("a.json", '[{"timestamp": 0, "faceLandmarks": [[{"x": 1}]]}]', "no frame has all of: blendshapes"),
        ("a.csv", "timestamp,jawOpen\n0,1,2\n", "another number of cells in line 2"),
        ("a.csv", "timestamp,jawOpen,jawOpen\n0,1,2\n", "several columns of one name"),
        ("a.csv", "timestamp,jawOpen\n0,1\n", "no frame has all of: blendshapes"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(MseError) as caught:
        read_track(tmp_path / name, name, SHAPES, 0.0)
    assert words in str(caught.value)


def test_odd_values_never_become_features(tmp_path):
    shapes = [{"categoryName": name, "score": 1e300 if name == "jawOpen" else 0.5} for name in BLENDSHAPES]
    frames = [
        {"timestamp": 0.0, "faceBlendshapes": [{"categories": shapes}]},
        {"timestamp": 0.04, "faceBlendshapes": [{"categories": "none"}], "faceLandmarks": "none", "result": None},
        {
            "timestamp": 0.08,
            **in_javascript(),
            "facialTransformationMatrixes": [[1, [2], {}]],
            "faceLandmarks": [[None]],
        },
    ]
    track = read_track(write(tmp_path / "a.json", frames), "a.json", SHAPES, 0.0)
    assert track.valid.tolist() == [True, False, True]
    assert [track.names[column] for column in np.flatnonzero(np.isnan(track.values[0]))] == ["jawOpen"]
    assert np.isfinite(track.values[1:]).all()
    assert not np.isinf(track.values).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"landmarks": "5"}, "landmarks must be 478, 468, or 0"),
        ({"blendshapes": "false"}, "at least one must be kept"),
        ({"fps": "-1"}, "fps must be between 0 and 1000"),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path, dataset, options, words):
    with pytest.raises(UsageError, match=words):
        read_format("mediapipe", tmp_path, options, dataset=dataset)


def test_a_folder_without_such_files_is_told(tmp_path, dataset):
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"There is no \.json or \.jsonl or \.csv file below"):
        read_format("mediapipe", folder, {}, dataset=dataset)
