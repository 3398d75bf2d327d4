"""visual.mtcnn and visual.yunet: place of the face, and for MTCNN the last hidden layer of its detector."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.networks import exports, load_networks, mtcnn_digest
from mse_pipeline.extractors.visual.onnx import Export
from mse_pipeline.store.features import Features

ACTIVATIONS = 256
"""Width of O-Net's last hidden layer."""

_MARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
NAMES = (
    *("box_x1", "box_y1", "box_x2", "box_y2", "probability"),
    *(f"{mark}_{axis}" for mark in _MARKS for axis in "xy"),
    *(f"onet_{k:03d}" for k in range(ACTIVATIONS)),
)
"""Names of the 271 values of `Mtcnn`; the first 15 are those of `Yunet`."""

PLACES = 15
"""Number of values that say where the face is: box, probability and landmarks."""

_FRAME, _BOX = ("frame widths", "frame heights"), ("box widths", "box heights")
UNITS = (*_FRAME, *_FRAME, "", *(_BOX * len(_MARKS)), *("",) * ACTIVATIONS)
"""Their units: shares of the frame for the box, of the box for the landmarks; the rest has none."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MtcnnConfig(FaceConfig):
    """Options of `Mtcnn`: how faces are found."""


class Mtcnn(FaceExtractor[MtcnnConfig]):
    """Stream ``visual.mtcnn``, (T, 271), one row a sampled frame.

    Box (4, relative to the frame), probability (1), five landmarks (10, relative to the box), all by the detector that
    is asked for, and the activations of O-Net's last hidden layer on the box (256). O-Net is the third network of MTCNN
    (Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks"); it finds
    landmarks from that layer, which therefore knows the shape of eyes and mouth. Its weights come with facenet-pytorch.
    """

    name = "mtcnn"
    revision = 4
    Config = MtcnnConfig

    @property
    def names(self) -> tuple[str, ...]:
        """box_x1, ..., probability, left_eye_x, ..., onet_000, ..., onet_255."""
        return NAMES

    @property
    def units(self) -> tuple[str, ...]:
        """Shares of the frame for the box, of the box for the landmarks; the rest has none."""
        return UNITS

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    def load(self, device: str = "cpu") -> None:
        """Load the detector."""
        super().load(device)
        load_networks(self.device)

    def exports(self) -> tuple[Export, ...]:
        """MTCNN's networks, whatever finds the faces."""
        return exports()

    def model_digest(self) -> str:
        """Digest of the weights of O-Net, and of those that find and know faces."""
        both = f"{mtcnn_digest()} {self.face.weights_digest()}"
        return hashlib.blake2b(both.encode(), digest_size=16).hexdigest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face.

        Returns:
            (T, 271) features.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        values = np.zeros((len(faces), len(NAMES)), np.float32)
        values[:, :4] = faces.boxes
        values[:, 4] = faces.probabilities
        values[:, 5:PLACES] = faces.landmarks.reshape(len(faces), 10)
        values[faces.valid, PLACES:] = load_networks(self.device).activations(faces.patches[faces.valid])
        return Features(values, faces.intervals, faces.valid, NAMES, faces.notes)


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
        return NAMES[:PLACES]

    @property
    def units(self) -> tuple[str, ...]:
        """Shares of the frame for the box, of the box for the landmarks."""
        return UNITS[:PLACES]

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
        return Features(values, faces.intervals, faces.valid, NAMES[:PLACES], faces.notes)


def face_config(config: FaceConfig) -> FaceConfig:
    """The part of an extractor's options that says how faces are found."""
    return FaceConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(FaceConfig)})


def require_face(faces: Faces) -> None:
    """Refuse a clip without any face.

    Raises:
        ClipError: `no_face`.
    """
    if not faces.valid.any():
        raise ClipError("no_face", f"No face was found in any of the {len(faces)} sampled frames.")
