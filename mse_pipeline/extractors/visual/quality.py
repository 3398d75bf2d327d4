"""visual.quality: how large, sharp, bright and rich in contrast the followed face is."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceMeasure, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config
from mse_pipeline.media.frames import Frame
from mse_pipeline.store.features import Features

VALUES: tuple[tuple[str, str, str], ...] = (
    ("face_size", "pixels", "square root of the box's area, in the full-size frame"),
    (
        "face_sharpness",
        "",
        "variance of the Laplacian of its brightness, at 112 x 112 pixels: smaller where it is blurred",
    ),
    ("face_brightness", "", "mean brightness, from 0 (black) to 1 (white)"),
    ("face_contrast", "", "standard deviation of its brightness, from 0 to 0.5"),
)
"""Name, unit and definition of each value."""

_SIDE = 112
"""Pixels that every face is brought to: in a larger picture the same face has a smaller Laplacian."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualQualityConfig(FaceConfig):
    """Options of `VisualQuality`: how faces are found, and which is followed."""


@plain_dataclass(frozen=True)
class QualityMeasure:
    """Measures each face while frames pass."""

    key: str = "quality"
    width: int = len(VALUES)

    def __call__(self, frame: Frame, boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(N, 4) float32 of N faces."""
        return np.array([_measured(frame, box) for box in boxes], np.float32).reshape(-1, self.width)


def _measured(frame: Frame, box: np.ndarray) -> list[float]:
    import cv2

    size = float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 0.0)))
    x1, y1 = (
        int(min(max(value, 0), most - 1)) for value, most in zip(box[:2], (frame.width, frame.height), strict=True)
    )
    x2, y2 = max(int(min(box[2], frame.width)), x1 + 1), max(int(min(box[3], frame.height)), y1 + 1)
    grey = cv2.cvtColor(np.ascontiguousarray(frame.region(x1, y1, x2, y2)), cv2.COLOR_RGB2GRAY)
    way = cv2.INTER_AREA if min(grey.shape) > _SIDE else cv2.INTER_LINEAR
    face = cv2.resize(grey, (_SIDE, _SIDE), interpolation=way).astype(np.float32)
    return [size, float(cv2.Laplacian(face, cv2.CV_32F).var()), float(face.mean()) / 255.0, float(face.std()) / 255.0]


class VisualQuality(FaceExtractor[VisualQualityConfig]):
    """Stream ``visual.quality``, (T, 4), one row a sampled frame: size, sharpness, light and contrast of the face.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield
    microscopy: a comparative study") of the face's box at one size, in grey values of 0 to 255. Rows without a face are
    not valid, and a clip without any face has such rows alone: that is no failure here, but a finding. Of the rows,
    `--where` makes the share that has a face, `face_share`, and the median of each value.
    """

    name = "quality"
    revision = 1
    Config = VisualQualityConfig
    keeps_pictures = False

    @property
    def names(self) -> tuple[str, ...]:
        """face_size, face_sharpness, face_brightness, face_contrast."""
        return tuple(name for name, _, _ in VALUES)

    @property
    def units(self) -> tuple[str, ...]:
        """Pixels for the size; the others have none."""
        return tuple(unit for _, unit, _ in VALUES)

    @property
    def definitions(self) -> tuple[str, ...]:
        """What is measured."""
        return tuple(definition for _, _, definition in VALUES)

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    @property
    def measures(self) -> tuple[FaceMeasure, ...]:
        """Size, sharpness, brightness and contrast of every face while frames pass."""
        return (QualityMeasure(),)

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces."""
        return self.face.weights_digest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face, with its measures.

        Returns:
            (T, 4) features.
        """
        values = np.where(faces.valid[:, None], faces.measured[self.measures[0].key], 0.0)
        return Features(values, faces.intervals, faces.valid, self.names, faces.notes)
