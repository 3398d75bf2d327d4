"""Detector: faces in a batch of frames, by the MTCNN whose weights come with facenet-pytorch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MOST_FACES = 5
"""Faces kept of one frame, the largest."""


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


NOTHING = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


@functools.cache
def load_mtcnn(min_face_size: int, thresholds: tuple[float, float, float], factor: float, device: str) -> Any:
    """The detector; one for each setting and process."""
    import torch
    from facenet_pytorch import MTCNN

    return MTCNN(
        keep_all=True,
        min_face_size=min_face_size,
        thresholds=list(thresholds),
        factor=factor,
        device=torch.device(device),
    ).eval()


@functools.cache
def mtcnn_digest() -> str:
    """BLAKE2b of the detector's three weight files, 16 bytes as hexadecimal digits; imports nothing heavy."""
    spec = importlib.util.find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("facenet-pytorch is not installed: pip install facenet-pytorch==2.5.3")
    digest = hashlib.blake2b(digest_size=16)
    for name in ("pnet.pt", "rnet.pt", "onet.pt"):
        digest.update((Path(spec.origin).parent / "data" / name).read_bytes())
    return digest.hexdigest()


def reduce_frames(pixels: np.ndarray, width: int) -> np.ndarray:
    """Frames at most `width` pixels wide, each pixel the mean of the area that it covers; never enlarged.

    Args:
        pixels: (N, H, W, 3) uint8.
        width: Pixels.

    Returns:
        (N, h, w, 3) uint8.
    """
    from PIL import Image

    height, full = pixels.shape[1:3]
    if full <= width:
        return pixels
    size = (width, max(1, round(height * width / full)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in pixels])


def detect(mtcnn: Any, pixels: np.ndarray, width: int, min_probability: float) -> list[Detections]:
    """Find the faces of each frame.

    Args:
        mtcnn: From `load_mtcnn`.
        pixels: (N, H, W, 3) uint8, RGB.
        width: Width in pixels that frames are reduced to before.
        min_probability: Faces less probable than that are left out.

    Returns:
        N detections.
    """
    small = reduce_frames(pixels, width)
    scale = np.array([pixels.shape[2] / small.shape[2], pixels.shape[1] / small.shape[1]])
    if min(small.shape[1:3]) < mtcnn.min_face_size:
        return [NOTHING] * len(pixels)  # no level of the image pyramid is left, and the detector would fail
    found = []
    for boxes, probabilities, landmarks in zip(*_run(mtcnn, small), strict=True):
        if boxes is None:
            found.append(NOTHING)
            continue
        full = np.asarray(boxes, np.float64).reshape(-1, 4) * np.tile(scale, 2)
        marks = np.asarray(landmarks, np.float64).reshape(-1, 5, 2) * scale
        found.append(_largest(full, np.asarray(probabilities, np.float64), marks, min_probability, pixels.shape))
    return found


def _run(mtcnn: Any, frames: np.ndarray) -> tuple[list[Any], list[Any], list[Any]]:
    """The detector over a batch. Its own code fails where a batch's candidates all lie outside the frame.

    It then raises from an empty concatenation or a mask of the wrong length; such frames hold no face.
    """
    try:
        boxes, probabilities, landmarks = mtcnn.detect(frames, landmarks=True)
    except (RuntimeError, IndexError) as error:
        if "expected a non-empty list" not in str(error) and "shape of the mask" not in str(error):
            raise
        if len(frames) == 1:
            return [None], [None], [None]
        singles = [_run(mtcnn, frame[None]) for frame in frames]
        return tuple([single[k][0] for single in singles] for k in range(3))  # type: ignore[return-value]
    return list(boxes), list(probabilities), list(landmarks)


def _largest(
    boxes: np.ndarray,
    probabilities: np.ndarray,
    landmarks: np.ndarray,
    min_probability: float,
    shape: tuple[int, ...],
) -> Detections:
    """The largest probable faces, cut at the frame's borders."""
    limits = np.array([shape[2], shape[1], shape[2], shape[1]], np.float64)
    boxes = np.clip(boxes, 0.0, limits)
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = np.flatnonzero((probabilities >= min_probability) & (sides >= 2.0).all(1))
    order = keep[np.argsort(-sides[keep].prod(1), kind="stable")][:MOST_FACES]
    return Detections(boxes[order], probabilities[order], landmarks[order])
