"""visual.geometry: where the followed face is, how it is turned, and how its five landmarks lie and move."""

from __future__ import annotations

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.extractors.visual.tracking import MAX_GAP
from mse_pipeline.store.features import Features

_STILL = (
    ("centre_x", "frame widths", "middle of the box, from the frame's left"),
    ("centre_y", "frame heights", "middle of the box, from the frame's top"),
    ("width", "frame widths", "width of the box"),
    ("height", "frame heights", "height of the box"),
    ("area", "", "share of the frame that the box covers"),
    ("box_ratio", "", "width of the box by its height"),
    ("roll", "°", "angle of the line through the eyes, positive where the right eye of the picture is lower"),
    (
        "yaw",
        "eye distances",
        "nose beside the middle of the eyes, along their line: 0 from the front, positive to the right",
    ),
    ("pitch", "", "nose on the way from the eyes' line (0) to the mouth (1): smaller for a face that looks up"),
    ("eye_distance", "frame heights", "from eye to eye"),
    ("mouth_width", "eye distances", "from one corner of the mouth to the other"),
    ("eyes_to_mouth", "eye distances", "from the middle of the eyes to the middle of the mouth"),
    ("nose_to_eyes", "eye distances", "from the nose to the middle of the eyes"),
    ("nose_to_mouth", "eye distances", "from the nose to the middle of the mouth"),
    ("mouth_tilt", "°", "angle of the line through the mouth's corners to that through the eyes"),
    ("mouth_asymmetry", "eye distances", "nose to the mouth's left corner, less nose to its right one"),
)
_MOVING = (
    *("centre_x", "centre_y", "roll", "yaw", "pitch", "eye_distance"),
    *("mouth_width", "eyes_to_mouth", "nose_to_mouth", "mouth_tilt", "mouth_asymmetry"),
)
_SPEED = ("speed", "frame heights/s", "way of the box's middle since the row before, a second")

_UNITS = {name: unit for name, unit, _ in _STILL}
VALUES: tuple[tuple[str, str, str], ...] = (
    *_STILL,
    *(
        (f"{name}_change", f"{_UNITS[name]}/s" if _UNITS[name] else "1/s", f"change of {name} a second")
        for name in _MOVING
    ),
    _SPEED,
)
"""Name, unit and definition of each value."""

_OF_BOX = frozenset({"centre_x", "centre_y", "width", "height", "area", "box_ratio", "eye_distance"})
"""Values that there are wherever the eyes are."""

_PLACE = {name: place for place, (name, _, _) in enumerate(VALUES)}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GeometryConfig(FaceConfig):
    """Options of `Geometry`: how faces are found."""


class Geometry(FaceExtractor[GeometryConfig]):
    """Stream ``visual.geometry``, (T, 28), one row a sampled frame: box, pose and proportions, and how they change.

    From the detector's box and five landmarks (eyes, nose, corners of the mouth). Distances are taken in the picture,
    where pixels are square, and left and right are the picture's. Changes are those since the row before, if it shows
    the same face in a frame of the same shape at most 0.6 s earlier; else they are NaN, and so are angles and
    proportions where both eyes are one point.

    Five points of a flat picture have no depth: `yaw` and `pitch` rise and fall with the head's angles, but are no
    degrees, and depend on the face's own proportions. Nor is there anything of lids, gaze, brows or lips: a blink, a
    look aside, a frown and an open mouth leave the five points where they are. OpenFace's action units and MediaPipe's
    blendshapes have them, which `mse import` brings in.

    Examples:
        >>> from mse_pipeline import extractors
        >>> geometry = extractors.create("visual.geometry")
        >>> list(zip(geometry.names, geometry.units))[6:8]
        [('roll', '°'), ('yaw', 'eye distances')]
    """

    name = "geometry"
    revision = 4
    Config = GeometryConfig

    @property
    def names(self) -> tuple[str, ...]:
        """centre_x, ..., mouth_asymmetry, centre_x_change, ..., speed."""
        return tuple(name for name, _, _ in VALUES)

    @property
    def units(self) -> tuple[str, ...]:
        """Shares of the frame, degrees, or distances between the eyes."""
        return tuple(unit for _, unit, _ in VALUES)

    @property
    def definitions(self) -> tuple[str, ...]:
        """What is measured."""
        return tuple(definition for _, _, definition in VALUES)

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces."""
        return self.face.weights_digest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face.

        Returns:
            (T, 28) features.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        values = np.zeros((len(faces), len(VALUES)))
        aspect = np.broadcast_to(faces.aspect, len(faces))
        values[faces.valid] = _measured(faces.boxes[faces.valid], faces.landmarks[faces.valid], aspect[faces.valid])
        _add_changes(values, faces, aspect)
        return Features(values, faces.intervals, faces.valid, self.names, faces.notes)


def _measured(boxes: np.ndarray, landmarks: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """What a single frame shows, (N, 28), the changes still NaN.

    Args:
        boxes: (N, 4), relative to the frame.
        landmarks: (N, 5, 2), relative to the box.
        aspect: (N,) width of the frames by their height.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    # In frame heights both ways, so that angles and distances are those of the picture.
    points = (boxes[:, None, :2] + landmarks * sides[:, None]) * np.stack([aspect, np.ones_like(aspect)], 1)[:, None]
    left_eye, right_eye, nose, left_corner, right_corner = points.transpose(1, 0, 2)
    eyes, mouth = (left_eye + right_eye) / 2, (left_corner + right_corner) / 2
    line, lips = right_eye - left_eye, right_corner - left_corner
    distance = np.maximum(np.linalg.norm(line, axis=1), 1e-9)
    along = line / distance[:, None]
    down = np.stack([-along[:, 1], along[:, 0]], 1)
    depth = _across(mouth - eyes, down)
    roll = np.degrees(np.arctan2(line[:, 1], line[:, 0]))
    measured = {
        "centre_x": boxes[:, [0, 2]].mean(1),
        "centre_y": boxes[:, [1, 3]].mean(1),
        "width": sides[:, 0],
        "height": sides[:, 1],
        "area": sides.prod(1),
        "box_ratio": sides[:, 0] * aspect / np.maximum(sides[:, 1], 1e-9),
        "roll": roll,
        "yaw": _across(nose - eyes, along) / distance,
        # A mouth on the eyes' line is a slip of the detector, and no face that looks up without bounds.
        "pitch": np.clip(_across(nose - eyes, down) / np.where(np.abs(depth) < 1e-9, 1e-9, depth), -2.0, 3.0),
        "eye_distance": distance,
        "mouth_width": np.linalg.norm(lips, axis=1) / distance,
        "eyes_to_mouth": np.linalg.norm(mouth - eyes, axis=1) / distance,
        "nose_to_eyes": np.linalg.norm(nose - eyes, axis=1) / distance,
        "nose_to_mouth": np.linalg.norm(nose - mouth, axis=1) / distance,
        "mouth_tilt": _turned(np.degrees(np.arctan2(lips[:, 1], lips[:, 0])) - roll),
        "mouth_asymmetry": (np.linalg.norm(nose - left_corner, axis=1) - np.linalg.norm(nose - right_corner, axis=1))
        / distance,
    }
    values = np.full((len(boxes), len(VALUES)), np.nan)
    for name, value in measured.items():
        # Without a line through the eyes nothing is along it, across it, or as long as it.
        defined = True if name in _OF_BOX else np.linalg.norm(line, axis=1) > 0.0
        values[:, _PLACE[name]] = np.where(defined, value, np.nan)
    return values


def _add_changes(values: np.ndarray, faces: Faces, aspect: np.ndarray) -> None:
    """Fill in the changes a second, in place."""
    times = faces.intervals[:, 0]
    rows = np.flatnonzero(faces.valid)
    before, after = rows[:-1], rows[1:]
    passed = times[after] - times[before]
    same = (faces.track[before] == faces.track[after]) & (aspect[before] == aspect[after])
    same &= (passed > 0.0) & (passed <= MAX_GAP + 1e-9)
    before, after, passed = before[same], after[same], passed[same]
    for name in _MOVING:
        change = values[after, _PLACE[name]] - values[before, _PLACE[name]]
        values[after, _PLACE[f"{name}_change"]] = (_turned(change) if _UNITS[name] == "°" else change) / passed
    across, along = (values[after, _PLACE[f"{name}_change"]] for name in ("centre_x", "centre_y"))
    values[after, _PLACE["speed"]] = np.hypot(across * aspect[after], along)


def _across(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far vectors go in a direction of length 1; both (N, 2)."""
    return (vectors * direction).sum(1)


def _turned(degrees: np.ndarray) -> np.ndarray:
    """Angles from -180 to 180 degrees.

    Examples:
        >>> _turned(np.array([190.0, -350.0])).tolist()
        [-170.0, 10.0]
    """
    return (degrees + 180.0) % 360.0 - 180.0
