"""Detector: the faces of consecutive frames, by MTCNN or by YuNet.

MTCNN (Zhang et al. 2016) searches some frames in full and follows faces through those between. YuNet (Wu et al. 2023,
"YuNet: A Tiny Millisecond-level Face Detector") is so small that it searches each frame; it also knows profiles.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.extractors.visual.cascade import Found, Search, refine, search, squares
from mse_pipeline.extractors.visual.networks import load_networks
from mse_pipeline.extractors.visual.tracking import affinity
from mse_pipeline.extractors.visual.weights import YUNET, fetched, unreadable

MOST_FACES = 5
"""Faces kept of one frame, the largest."""

MIN_STAY = 0.4
"""Intersection over union with a face's box in the frame before, below which following it is not believed."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Faces of one frame, the largest first.

    Attributes:
        boxes: (N, 4) float64, x1, y1, x2, y2 in pixels of the frame.
        probabilities: (N,) float64.
        landmarks: (N, 5, 2) float64, x and y in pixels of the frame: left eye, right eye, nose, left and right
            corner of the mouth, left and right as the picture shows them.
    """

    boxes: np.ndarray
    probabilities: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


class FaceDetector(Protocol):
    """Finds the faces of one clip's frames, batch by batch."""

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Find the faces of the next frames, (N, H, W, 3) uint8 RGB."""


class YunetDetector:
    """Finds the faces of frames by YuNet, each frame by itself.

    Args:
        min_size: Faces narrower than that, in pixels of the frame, are left out.
        min_probability: Faces less probable than that are left out.
    """

    def __init__(self, min_size: int, min_probability: float) -> None:
        self._min_size, self._min_probability = min_size, min_probability

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Find the faces of the next frames.

        Args:
            frames: (N, H, W, 3) uint8, RGB.

        Returns:
            N detections.
        """
        network = load_yunet()
        network.setScoreThreshold(self._min_probability)
        network.setInputSize((frames.shape[2], frames.shape[1]))
        return [self._found(network, frame) for frame in frames]

    def _found(self, network: Any, frame: np.ndarray) -> Detections:
        rows = network.detect(np.ascontiguousarray(frame[..., ::-1]))[1]
        rows = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        # YuNet names left and right as the person does, and goes from right to left: the picture's left to right.
        found = Detections(boxes, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))
        return largest(found, frame.shape, self._min_probability, self._min_size)


@functools.cache
def load_yunet() -> Any:
    """YuNet in OpenCV; one for each process. Its weights are fetched where they are missing.

    Raises:
        MseError: The weights are missing and cannot be fetched, or damaged.
    """
    import cv2

    path = fetched(YUNET)
    try:
        return cv2.FaceDetectorYN.create(str(path), "", (320, 320))
    except cv2.error as error:
        raise MseError(unreadable(path)) from error


class Detector:
    """Finds the faces of one clip's frames by MTCNN, batch by batch.

    Every `every`-th frame is searched in full. In a frame between, each face is looked for where it was one frame
    before: O-Net, the last of MTCNN's networks, is given its box and says whether a face is there and where exactly.
    Where one is lost or leaps, as behind a cut, and where there was none, the frame is searched in full all the same.

    Args:
        how: Sizes and thresholds.
        min_probability: Faces less probable than that are left out.
        every: A full search every so many frames; 1 searches all.
        device: Torch device.
    """

    def __init__(self, how: Search, min_probability: float, every: int = 1, device: str = "cpu") -> None:
        self._how, self._min_probability, self._every = how, min_probability, every
        self._networks = load_networks(device)
        self._seen = 0
        self._last: tuple[tuple[int, ...], Detections] | None = None
        self.searched = 0

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Find the faces of the next frames.

        Args:
            frames: (N, H, W, 3) uint8, RGB.

        Returns:
            N detections.
        """
        found: dict[int, Detections] = {}
        if self._last is not None and self._last[0] == frames.shape[1:]:
            found[-1] = self._last[1]
        due = [k for k in range(len(frames)) if (self._seen + k) % self._every == 0 or (k == 0 and -1 not in found)]
        self._search(frames, due, found)
        # All frames whose predecessor is known go on together, so that the networks see whole batches.
        while waiting := [k for k in range(len(frames)) if k not in found]:
            self._follow(frames, [k for k in waiting if k - 1 in found], found)
        self._seen += len(frames)
        if len(frames):
            self._last = frames.shape[1:], found[len(frames) - 1]
        return [found[k] for k in range(len(frames))]

    def _search(self, frames: np.ndarray, chosen: Sequence[int], found: dict[int, Detections]) -> None:
        """Search some frames in full."""
        if chosen:
            self.searched += len(chosen)
            faces = search(self._networks, frames[list(chosen)], self._how)
            found.update({k: self._kept(faces, place, frames.shape) for place, k in enumerate(chosen)})

    def _follow(self, frames: np.ndarray, chosen: Sequence[int], found: dict[int, Detections]) -> None:
        """Look for the faces of the frames before, and search those frames in full where one is not there any more."""
        before = [found[k - 1].boxes for k in chosen]
        index = np.repeat(np.arange(len(chosen)), [len(boxes) for boxes in before])
        boxes = squares(np.concatenate(before)) if len(index) else np.zeros((0, 4))
        faces = refine(self._networks, frames[list(chosen)], boxes, index, self._how.thresholds[2])
        lost = []
        for place, k in enumerate(chosen):
            now = self._kept(faces, place, frames.shape)
            if _stayed(before[place], now.boxes):
                found[k] = now
            else:
                lost.append(k)
        self._search(frames, lost, found)

    def _kept(self, faces: Found, frame: int, shape: tuple[int, ...]) -> Detections:
        """The largest probable faces of a frame."""
        own = faces.frame == frame
        found = Detections(faces.boxes[own], faces.probabilities[own], faces.landmarks[own])
        return largest(found, shape[1:], self._min_probability)


def largest(found: Detections, shape: Sequence[int], min_probability: float, min_size: float = 2.0) -> Detections:
    """The largest probable faces of a frame, cut at its borders.

    Args:
        found: All of them, in any order.
        shape: Height and width of the frame.
        min_probability: Less probable ones are left out.
        min_size: Those with a shorter side are left out, in pixels.
    """
    boxes = np.clip(found.boxes, 0.0, np.array([shape[1], shape[0]] * 2, np.float64))
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = np.flatnonzero((found.probabilities >= min_probability) & (sides >= min_size).all(1))
    order = keep[np.argsort(-sides[keep].prod(1), kind="stable")][:MOST_FACES]
    return Detections(boxes[order], found.probabilities[order], found.landmarks[order])


def _stayed(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether all faces of one frame are there in the next, each near where it was."""
    if not len(before) or len(now) < len(before):
        return False
    return bool((affinity(before, now).max(1) >= MIN_STAY).all())
