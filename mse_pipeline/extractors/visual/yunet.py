"""visual.yunet: where the face is, as YuNet finds it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import NAMES as MTCNN_NAMES
from mse_pipeline.extractors.visual.mtcnn import UNITS as MTCNN_UNITS
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.store.features import Features

NAMES, UNITS = MTCNN_NAMES[:15], MTCNN_UNITS[:15]
"""Names and units of the 15 values: those that `visual.mtcnn` begins with."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class YunetConfig(FaceConfig):
    """Options of `Yunet`: how faces are found, here by YuNet where nothing else is said."""

    detector: Literal["auto", "mtcnn", "yunet"] = "yunet"


class Yunet(FaceExtractor[YunetConfig]):
    """Stream ``visual.yunet``, (T, 15), one row a sampled frame.

    Box (4, relative to the frame), probability (1) and five landmarks (10, relative to the box), without any network
    behind them: Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector".
    """

    name = "yunet"
    revision = 1
    Config = YunetConfig

    @property
    def names(self) -> tuple[str, ...]:
        """box_x1, ..., probability, left_eye_x, ..., mouth_right_y."""
        return NAMES

    @property
    def units(self) -> tuple[str, ...]:
        """Shares of the frame for the box, of the box for the landmarks."""
        return UNITS

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
            (T, 15) features.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        marks = faces.landmarks.reshape(len(faces), 10)
        values = np.concatenate([faces.boxes, faces.probabilities[:, None], marks], axis=1).astype(np.float32)
        return Features(values, faces.intervals, faces.valid, NAMES, faces.notes)
