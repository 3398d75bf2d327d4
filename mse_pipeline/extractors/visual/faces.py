"""Faces: one face followed through a clip's sampled frames, with what the visual extractors need of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.extractors.visual.detector import Detections, detect, load_mtcnn
from mse_pipeline.extractors.visual.tracking import Track, choose, link
from mse_pipeline.media.frames import FrameBatch

CROP = 160
"""Side of a crop in pixels, what InceptionResnetV1 takes."""

PATCH = 48
"""Side of a patch in pixels, what O-Net takes."""

_TOLD = 20
"""Tracks that the notes tell of, the largest; a crowd has hundreds."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FaceConfig:
    """How faces are found and followed.

    Attributes:
        rate: Sampled frames a second.
        width: Width in pixels that frames are reduced to before detection; narrower frames stay as they are.
        min_face_size: Smallest face that is looked for, in pixels of the reduced frame.
        thresholds: MTCNN's thresholds of its three networks.
        factor: MTCNN's ratio of one level of the image pyramid to the next.
        min_probability: Faces less probable than that count as none.
        policy: Which face is followed: the one whose boxes have the largest summed area.
    """

    rate: Annotated[float, Field(gt=0.0, le=120.0)] = 5.0
    width: Annotated[int, Field(ge=64, le=8192)] = 480
    min_face_size: Annotated[int, Field(ge=12, le=4096)] = 40
    thresholds: tuple[Probability, Probability, Probability] = (0.6, 0.7, 0.7)
    factor: Annotated[float, Field(gt=0.1, lt=1.0)] = 0.709
    min_probability: Probability = 0.9
    policy: Literal["largest"] = "largest"


@plain_dataclass(frozen=True, eq=False)
class Faces:
    """The face that was followed, one row a sampled frame; rows without a face are zero and not valid.

    Attributes:
        intervals: (T, 2) float64, seconds from the clip's start.
        valid: (T,) bool.
        boxes: (T, 4) float64, x1, y1, x2, y2 relative to the frame's width and height, in [0, 1].
        probabilities: (T,) float64, the detector's.
        landmarks: (T, 5, 2) float64, x and y relative to the box: left eye, right eye, nose, left and right corner
            of the mouth, left and right as the picture shows them.
        patches: (T, 48, 48, 3) uint8, the box made square, from the full-size frame.
        crops: (T, 160, 160, 3) uint8, the box stretched to a square, from the full-size frame.
        track: (T,) int64, number of the track among the notes' tracks; -1 where there is no face.
        notes: The choice that was made: policy and tracks with from, to, score, frames, chosen. Plain JSON.
        aspect: Width of the frames by their height, without which there is no angle in relative coordinates.
    """

    intervals: np.ndarray
    valid: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray
    landmarks: np.ndarray
    patches: np.ndarray
    crops: np.ndarray
    track: np.ndarray
    notes: Mapping[str, Any] = field(default_factory=dict)
    aspect: float = 1.0

    def __len__(self) -> int:
        return len(self.valid)


class FaceSession:
    """Finds the faces of one clip: `add` its frames batch by batch, then `finish`.

    Of each frame only the faces' small pictures are kept.

    Args:
        config: How faces are found.
        device: Torch device of the detector.
    """

    def __init__(self, config: FaceConfig, device: str = "cpu") -> None:
        self._config = config
        self._device = str(device)
        self._intervals: list[np.ndarray] = []
        self._found: list[_Frame] = []
        self._aspect = 1.0

    def add(self, batch: FrameBatch) -> None:
        """Find the faces of some more frames."""
        config = self._config
        mtcnn = load_mtcnn(config.min_face_size, config.thresholds, config.factor, self._device)
        self._intervals.append(batch.intervals)
        self._aspect = batch.pixels.shape[2] / batch.pixels.shape[1]
        detections = detect(mtcnn, batch.pixels, config.width, config.min_probability)
        for frame, found in zip(batch.pixels, detections, strict=True):
            self._found.append(_Frame(frame, found))

    def finish(self) -> Faces:
        """Follow the largest face through all frames that were added."""
        intervals = np.concatenate(self._intervals) if self._intervals else np.zeros((0, 2))
        tracks = link([frame.boxes for frame in self._found], intervals[:, 0])
        chosen = choose(tracks)
        count = len(self._found)
        faces = Faces(
            intervals=intervals,
            valid=np.zeros(count, bool),
            boxes=np.zeros((count, 4)),
            probabilities=np.zeros(count),
            landmarks=np.zeros((count, 5, 2)),
            patches=np.zeros((count, PATCH, PATCH, 3), np.uint8),
            crops=np.zeros((count, CROP, CROP, 3), np.uint8),
            track=np.full(count, -1, np.int64),
            notes=_notes(self._config.policy, tracks, chosen, intervals),
            aspect=self._aspect,
        )
        for number in chosen:
            for index, pick in zip(tracks[number].frames, tracks[number].picks, strict=True):
                frame = self._found[index]
                faces.valid[index] = True
                faces.boxes[index] = frame.boxes[pick]
                faces.probabilities[index] = frame.probabilities[pick]
                faces.landmarks[index] = frame.landmarks[pick]
                faces.patches[index] = frame.patches[pick]
                faces.crops[index] = frame.crops[pick]
                faces.track[index] = number
        return faces


class _Frame:
    """What is kept of one frame."""

    def __init__(self, pixels: np.ndarray, found: Detections) -> None:
        height, width = pixels.shape[:2]
        self.boxes = found.boxes / np.array([width, height, width, height], np.float64)
        self.probabilities = found.probabilities
        corners, sides = found.boxes[:, None, :2], found.boxes[:, 2:] - found.boxes[:, :2]
        self.landmarks = (found.landmarks - corners) / np.maximum(sides, 1.0)[:, None]
        self.crops = [cut(pixels, box, CROP) for box in found.boxes]
        self.patches = [cut(pixels, square(box), PATCH) for box in found.boxes]


def square(box: np.ndarray) -> np.ndarray:
    """A box made square around its centre, by its longer side, as MTCNN does it before O-Net.

    Examples:
        >>> square(np.array([10.0, 0.0, 20.0, 40.0])).tolist()
        [-5.0, 0.0, 35.0, 40.0]
    """
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / 2
    return np.concatenate([centre - half, centre + half])


def cut(pixels: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Cut a box out of a frame, as far as it lies inside, and stretch it to a square picture.

    The same pixels and filter as facenet-pytorch's `extract_face` with margin 0.

    Args:
        pixels: (H, W, 3) uint8.
        box: (4,) x1, y1, x2, y2 in pixels.
        side: Pixels of the picture.

    Returns:
        (side, side, 3) uint8.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    x1, y1 = (int(max(value, 0)) for value in box[:2])
    x2, y2 = int(min(box[2], width)), int(min(box[3], height))
    region = np.ascontiguousarray(pixels[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)])
    return np.asarray(Image.fromarray(region).resize((side, side), Image.Resampling.BILINEAR))


def _notes(policy: str, tracks: list[Track], chosen: list[int], intervals: np.ndarray) -> dict[str, Any]:
    """Which face was followed, as plain JSON; the score is the summed area in frames' areas."""
    told = sorted({*range(min(len(tracks), _TOLD)), *chosen})
    return {
        "policy": policy,
        "tracks_found": len(tracks),
        "tracks": [
            {
                "track": number,
                "from": round(float(intervals[tracks[number].frames[0], 0]), 3),
                "to": round(float(intervals[tracks[number].frames[-1], 1]), 3),
                "score": round(tracks[number].area, 4),
                "frames": len(tracks[number].frames),
                "chosen": number in chosen,
            }
            for number in told
        ],
    }
