"""visual.geometry: drawn landmarks give the numbers that one reads off them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mse_pipeline.alignment.apply import to_grid
from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import CROP, Faces
from mse_pipeline.extractors.visual.geometry import VALUES

FRONTAL = np.array([[-50.0, 0.0], [50.0, 0.0], [0.0, 60.0], [-40.0, 100.0], [40.0, 100.0]])
"""Eyes, nose and mouth's corners in pixels from the middle of the eyes."""


def faces(*marks: np.ndarray, size=(640, 480), step: float = 0.2, tracks=None) -> Faces:
    """Faces with landmarks at places in the frame, in pixels; None for a frame without a face."""
    count = len(marks)
    valid = np.array([one is not None for one in marks])
    boxes, landmarks = np.zeros((count, 4)), np.zeros((count, 5, 2))
    for row, points in enumerate(marks):
        if points is not None:
            corner, side = points.min(0) - 30.0, points.max(0) - points.min(0) + 60.0
            boxes[row] = np.concatenate([corner, corner + side]) / np.tile(size, 2)
            landmarks[row] = (points - corner) / side
    starts = np.arange(count) * step
    return Faces(
        intervals=np.stack([starts, starts + step], 1),
        valid=valid,
        boxes=boxes,
        probabilities=valid * 0.99,
        landmarks=landmarks,
        patches=np.zeros((count, 48, 48, 3), np.uint8),
        crops=np.zeros((count, CROP, CROP, 3), np.uint8),
        track=np.array(tracks if tracks is not None else np.where(valid, 0, -1)),
        aspect=size[0] / size[1],
    )


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def values(found: Faces, row: int = 0) -> dict[str, float]:
    features = create("visual.geometry")(found)
    return dict(zip(features.names, map(float, features.values[row]), strict=True))


MIDDLE = np.array([320.0, 200.0])


def test_a_row_is_measured_in_the_shape_of_its_own_frame() -> None:
    narrow, wide = faces(FRONTAL + MIDDLE, FRONTAL + MIDDLE), faces(FRONTAL + MIDDLE, size=(1280, 480))
    both = replace(
        narrow,
        boxes=np.concatenate([narrow.boxes[:1], wide.boxes]),
        landmarks=np.concatenate([narrow.landmarks[:1], wide.landmarks]),
        aspect=np.array([narrow.aspect, wide.aspect]),
    )
    still = [name for name in values(narrow) if name not in ("centre_x", "width", "area") and "change" not in name]
    for row, alone in enumerate((narrow, wide)):
        assert {name: values(both, row)[name] for name in still} == pytest.approx(
            {name: values(alone)[name] for name in still}, nan_ok=True
        )
    assert np.isnan(values(both, 1)["speed"])  # of frames of two shapes, nothing has a way from one to the other
    assert values(narrow, 1)["speed"] == 0.0


def test_a_frontal_face_has_the_proportions_it_was_drawn_with() -> None:
    told = values(faces(FRONTAL + MIDDLE))
    expected = {
        "roll": 0.0,
        "yaw": 0.0,
        "pitch": 0.6,
        "eye_distance": 100 / 480,
        "mouth_width": 0.8,
        "eyes_to_mouth": 1.0,
        "nose_to_eyes": 0.6,
        "nose_to_mouth": 0.4,
        "mouth_tilt": 0.0,
        "mouth_asymmetry": 0.0,
        "centre_x": 0.5,
        "centre_y": 250 / 480,
        "width": 160 / 640,
        "height": 160 / 480,
        "area": 160 * 160 / (640 * 480),
        "box_ratio": 1.0,
    }
    for name, value in expected.items():
        assert told[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("degrees", [-70.0, -20.0, 35.0, 90.0])
@pytest.mark.parametrize("size", [(640, 480), (360, 640)])
def test_a_head_on_its_side_changes_its_roll_and_no_proportion(degrees: float, size) -> None:
    upright = values(faces(FRONTAL + MIDDLE, size=size))
    told = values(faces(turned(FRONTAL, degrees) + MIDDLE, size=size))
    assert told["roll"] == pytest.approx(degrees, abs=1e-4)
    for name in ("yaw", "pitch", "eye_distance", "mouth_width", "nose_to_mouth", "mouth_tilt", "mouth_asymmetry"):
        assert told[name] == pytest.approx(upright[name], abs=1e-6), name


def test_the_nose_tells_where_the_head_is_turned() -> None:
    right, up = FRONTAL.copy(), FRONTAL.copy()
    right[2, 0] += 30.0
    up[2, 1] -= 30.0
    assert values(faces(right + MIDDLE))["yaw"] == pytest.approx(0.3)
    assert values(faces(right + MIDDLE))["mouth_asymmetry"] > 0.2
    assert values(faces(up + MIDDLE))["pitch"] == pytest.approx(0.3)


def test_a_crooked_mouth_is_told_relative_to_the_eyes() -> None:
    crooked = FRONTAL.copy()
    crooked[3:, 1] += (-40.0, 40.0)
    assert values(faces(turned(crooked, 25.0) + MIDDLE))["mouth_tilt"] == pytest.approx(45.0, abs=1e-4)


def test_changes_are_those_of_a_second() -> None:
    moved = values(faces(FRONTAL + MIDDLE, FRONTAL + MIDDLE + (64.0, -48.0)), row=1)
    assert moved["centre_x_change"] == pytest.approx(0.1 / 0.2)
    assert moved["centre_y_change"] == pytest.approx(-0.1 / 0.2)
    assert moved["speed"] == pytest.approx(np.hypot(64, 48) / 480 / 0.2)
    assert moved["roll_change"] == pytest.approx(0.0, abs=1e-4)
    spun = values(faces(turned(FRONTAL, 175.0) + MIDDLE, turned(FRONTAL, -175.0) + MIDDLE), row=1)
    assert spun["roll_change"] == pytest.approx(10.0 / 0.2, abs=1e-3)  # the short way round


def test_a_gap_is_bridged_and_the_time_over_it_counts() -> None:
    over = values(faces(FRONTAL + MIDDLE, None, FRONTAL + MIDDLE + (64.0, 0.0)), row=2)
    assert over["centre_x_change"] == pytest.approx(0.1 / 0.4)


@pytest.mark.parametrize(
    "found",
    [
        faces(FRONTAL + MIDDLE, FRONTAL + MIDDLE + 9.0, tracks=[0, 1]),
        faces(FRONTAL + MIDDLE, FRONTAL + MIDDLE + 9.0, step=1.0),
    ],
    ids=["another face", "a second later"],
)
def test_no_change_is_told_where_there_is_none_to_measure(found: Faces) -> None:
    told = values(found, row=1)
    changes = {name for name in told if name.endswith("_change") or name == "speed"}
    assert {name for name, value in told.items() if np.isnan(value)} == changes


def test_the_mean_of_a_change_is_that_of_the_rows_that_have_one() -> None:
    moving = faces(
        *(FRONTAL + MIDDLE + (8.0 * row, 0.0) for row in range(3)), None, FRONTAL + MIDDLE, tracks=[0, 0, 0, -1, 1]
    )
    grid = to_grid(create("visual.geometry")(moving), 1.0)
    assert dict(zip(grid.names, grid.values[0], strict=True))["centre_x_change"] == pytest.approx(8 / 640 / 0.2)


def test_rows_without_a_face_are_zero_and_not_valid() -> None:
    features = create("visual.geometry")(faces(FRONTAL + MIDDLE, None))
    assert features.valid.tolist() == [True, False]
    assert not features.values[1].any()


def test_landmarks_that_fall_together_have_a_box_and_no_proportions() -> None:
    found = faces(FRONTAL + MIDDLE, FRONTAL + MIDDLE)
    told = values(replace(found, landmarks=np.full((2, 5, 2), 0.5)), row=1)
    defined = {"centre_x", "centre_y", "width", "height", "area", "box_ratio", "eye_distance"}
    changes = {"centre_x_change", "centre_y_change", "eye_distance_change", "speed"}
    assert {name for name, value in told.items() if np.isfinite(value)} == defined | changes


def test_a_clip_without_a_face_is_refused() -> None:
    with pytest.raises(ClipError) as caught:
        create("visual.geometry")(faces(None, None))
    assert caught.value.code == "no_face"


def test_every_value_has_a_name_a_unit_and_a_definition() -> None:
    extractor = create("visual.geometry", {"rate": 10})
    assert extractor.step == 0.1
    assert len(extractor.names) == len(extractor.units) == len(extractor.definitions) == len(VALUES)
    assert all(extractor.definitions)
