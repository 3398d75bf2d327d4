"""YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"): finds faces, profiles and small ones too."""

from __future__ import annotations

import functools

import numpy as np

from mse_pipeline.extractors.visual.detector import Detections, largest, strongest
from mse_pipeline.extractors.visual.onnx import Session, in_parts, open_session
from mse_pipeline.extractors.visual.zoo import STRIDES, yunet

_MULTIPLE = 32
"""Height and width of what the network takes are multiples of that."""

_OVERLAP = 0.3
"""Intersection over union from which two boxes are of one face."""

_CHUNK = 4
"""The most frames in one batch."""


class YunetDetector:
    """Finds the faces of frames, each frame by itself. It is so small that each frame is searched.

    Args:
        min_size: Smaller faces, in pixels of the frame, are left out.
        min_probability: Less probable faces are left out.
    """

    def __init__(self, min_size: int, min_probability: float) -> None:
        self._min_size, self._min_probability = min_size, min_probability
        self._network = load_yunet()

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        """Find the faces of the next frames.

        Args:
            frames: (N, H, W, 3) uint8, RGB.

        Returns:
            N detections.
        """
        return [faces for part in in_parts(frames, _CHUNK) for faces in self._detect(part)] if len(frames) else []

    def _detect(self, frames: np.ndarray) -> list[Detections]:
        below, right = (-side % _MULTIPLE for side in frames.shape[1:3])
        padded = np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)))
        index, boxes, scores, landmarks = _decoded(self._network(padded), padded.shape, self._min_probability)
        # Whole pixels decide which boxes are of one face, as in OpenCV.
        low, sides = np.trunc(boxes[:, :2]), np.trunc(boxes[:, 2:] - boxes[:, :2])
        kept = strongest(np.concatenate([low, low + sides], 1), scores, index, _OVERLAP)
        index, boxes, scores, landmarks = index[kept], boxes[kept], scores[kept], landmarks[kept]
        found = []
        for k in range(len(frames)):
            own = index == k
            faces = Detections(boxes[own], scores[own], landmarks[own])
            found.append(largest(faces, frames.shape[1:], self._min_probability, self._min_size))
        return found


def _decoded(
    outputs: list[np.ndarray], shape: tuple[int, ...], least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of all places where a face may be: which frame, box (K, 4), probability (K,) and landmarks (K, 5, 2), float64.

    Args:
        outputs: Those of `YUNET_OUTPUTS`.
        shape: Of the frames that the network was given.
        least: Places of less probability are left out.
    """
    found = []
    maps = [outputs[k :: len(STRIDES)] for k in range(len(STRIDES))]
    for stride, (of_class, of_object, sides, marks) in zip(STRIDES, maps, strict=True):
        columns = shape[2] // stride
        places = shape[1] // stride * columns
        score = np.sqrt(np.clip(of_class, 0.0, 1.0) * np.clip(of_object, 0.0, 1.0)).ravel()
        (sure,) = (score >= least).nonzero()
        place = sure % places
        corner = np.stack([place % columns, place // columns], 1)
        box, points = sides.reshape(-1, 4)[sure], marks.reshape(-1, 5, 2)[sure]
        centre, half = (corner + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        corners = np.concatenate([centre - half, centre + half], 1)
        # YuNet names left and right as the person does, and goes from right to left: the picture's left to right.
        found.append((sure // places, corners, score[sure].astype(float), (points + corner[:, None]) * stride))
    index, boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return index, boxes, scores, landmarks


@functools.cache
def load_yunet() -> Session:
    """The network; one for each process. Its weights are downloaded if they are missing.

    Raises:
        MseError: The weights are missing and cannot be downloaded, or damaged.
    """
    return open_session(yunet())
