"""Identity: who a face is, as a vector of SFace that is near for the same person and far for another.

Zhong et al. 2021, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition"; run by OpenCV.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.extractors.visual.weights import SFACE, fetched, unreadable

SIDE = 112
"""Side in pixels of an aligned face."""

SAME_PERSON = 0.36
"""Cosine from which two faces are taken for the same person: the bound that SFace's authors chose for single
pictures, rounded down. On films the median is about 0.6 for the same person and 0.15 for another."""

_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""Where SFace wants eyes, nose and corners of the mouth, in pixels of the aligned face."""


class Embedder:
    """Aligned faces in, unit vectors out.

    Args:
        path: SFace's weights, as OpenCV reads them.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        try:
            self._network = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            raise MseError(unreadable(path)) from error

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Embed.

        Args:
            faces: (N, 112, 112, 3) uint8 RGB, aligned as `aligned` does.

        Returns:
            (N, 128) float32; rows have length 1.
        """
        if not len(faces):
            return np.zeros((0, 128), np.float32)
        found = np.concatenate([self._network.feature(np.ascontiguousarray(face[..., ::-1])) for face in faces])
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), np.float32)


@functools.cache
def load_embedder() -> Embedder:
    """SFace; one for each process. Its weights are fetched where they are missing.

    Raises:
        MseError: The weights are missing and cannot be fetched, or damaged.
    """
    return Embedder(fetched(SFACE))


def aligned(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face turned and scaled so that its landmarks lie where SFace wants them.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) pixels: eyes, nose, corners of the mouth.

    Returns:
        (112, 112, 3) uint8 RGB; black where it goes beyond the picture.
    """
    import cv2

    turn = similarity(landmarks, _TEMPLATE)
    return np.asarray(cv2.warpAffine(np.ascontiguousarray(pixels), turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR))


def around(landmarks: np.ndarray) -> np.ndarray:
    """The part of the picture that `aligned` looks at.

    Args:
        landmarks: (5, 2) pixels.

    Returns:
        (4,) x1, y1, x2, y2 in pixels; it may go beyond the picture.
    """
    back = similarity(_TEMPLATE, landmarks)
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float64) @ back[:, :2].T + back[:, 2]
    return np.concatenate([corners.min(0), corners.max(0)])


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that brings points nearest to others (Umeyama 1991, without reflection).

    Args:
        points: (N, 2).
        onto: (N, 2).

    Returns:
        (2, 3) float64 matrix.

    Examples:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> similarity(square, square * 2 + 3).round(6).tolist()
        [[2.0, -0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    one, other = points - points.mean(0), onto - onto.mean(0)
    # In the plane, turn and scale are one complex number.
    size = max(float((one**2).sum()), 1e-12)
    along = float((one * other).sum()) / size
    across = float((one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()) / size
    turn = np.array([[along, -across], [across, along]])
    return np.concatenate([turn, (onto.mean(0) - turn @ points.mean(0))[:, None]], axis=1)


def to_text(identity: np.ndarray) -> str:
    """A vector as text for notes: base64 of its float16 values, little-endian.

    Examples:
        >>> from_text(to_text(np.array([1.0, -0.5]))).tolist()
        [1.0, -0.5]
    """
    return base64.b64encode(np.asarray(identity, "<f2").tobytes()).decode("ascii")


def from_text(text: str) -> np.ndarray:
    """The vector that `to_text` wrote, float32."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)
