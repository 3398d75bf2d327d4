"""visual.action_units: which facial muscles move, by py-feat's multitask network on the followed face."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceMeasure, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.extractors.visual.weights import file_sha256, models_folder
from mse_pipeline.media.frames import Frame
from mse_pipeline.store.features import Features

UNITS: tuple[tuple[str, str], ...] = (
    ("AU01", "inner brow raiser"),
    ("AU02", "outer brow raiser"),
    ("AU04", "brow lowerer"),
    ("AU05", "upper lid raiser"),
    ("AU06", "cheek raiser"),
    ("AU07", "lid tightener"),
    ("AU09", "nose wrinkler"),
    ("AU10", "upper lip raiser"),
    ("AU11", "nasolabial deepener"),
    ("AU12", "lip corner puller"),
    ("AU14", "dimpler"),
    ("AU15", "lip corner depressor"),
    ("AU17", "chin raiser"),
    ("AU20", "lip stretcher"),
    ("AU23", "lip tightener"),
    ("AU24", "lip pressor"),
    ("AU25", "lips part"),
    ("AU26", "jaw drop"),
    ("AU28", "lip suck"),
    ("AU43", "eyes closed"),
)
"""Name of each action unit of the Facial Action Coding System, and what it does."""

FILE = "face_multitask_v28.safetensors"
_FROM = "https://huggingface.co/py-feat/face_multitask_v2"
_CHIP, _EXPAND = 256, 1.2
"""Side of the picture that py-feat's network was trained on, and what of the surroundings of the box is in it."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ActionUnitsConfig(FaceConfig):
    """Options of `ActionUnits`: how faces are found, and the network's weights.

    Attributes:
        weights: Path of py-feat's weights (``.safetensors``); None for face_multitask_v28.safetensors in the models'
            folder.
    """

    weights: str | None = None


@plain_dataclass(frozen=True)
class ActionUnitsMeasure:
    """Looks at each face while frames pass, so that no picture is kept of it.

    Attributes:
        weights: As in the configuration.
        device: Where the network runs.
    """

    weights: str | None
    device: str

    @property
    def key(self) -> str:
        """What no other measure of the same faces has."""
        return f"action_units weights={self.weights}"

    @property
    def width(self) -> int:
        """Number of values a face."""
        return len(UNITS)

    def __call__(self, frame: Frame, boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(N, 20) float32 of N faces."""
        if not len(boxes):
            return np.zeros((0, self.width), np.float32)
        import torch
        from feat.utils.image_operations import extract_face_from_bbox_torch

        model = load_model(find_file(self.weights), self.device)
        whole = torch.from_numpy(np.ascontiguousarray(frame.pixels)).permute(2, 0, 1)[None].float() / 255.0
        found = torch.from_numpy(boxes.astype(np.float32))
        chips, _ = extract_face_from_bbox_torch(whole, found, face_size=_CHIP, expand_bbox=_EXPAND)
        return np.asarray(model(chips).au, np.float32)


def find_file(given: str | None) -> Path:
    """The file of the weights, which are never downloaded unasked: they are for non-commercial research.

    Raises:
        UsageError: There is none, or it is of a format that may hold programs.
    """
    path = models_folder() / FILE if given is None else Path(given).expanduser()
    if path.suffix != ".safetensors":
        raise UsageError(f"The weights {path} of visual.action_units must be a .safetensors file, which holds no code.")
    if not path.is_file():
        raise UsageError(
            f"visual.action_units needs {path}, which is not there. Download {FILE} from {_FROM} (for non-commercial "
            "research) into that folder, or give its path as option `weights`."
        )
    return path


@functools.lru_cache(maxsize=1)
def load_model(path: Path, device: str) -> Any:
    """py-feat's network with a file's weights, once a process.

    Raises:
        UsageError: py-feat is not installed, or the file is not of its multitask network.
    """
    if importlib.util.find_spec("feat") is None:
        raise UsageError('visual.action_units needs py-feat, which is not installed: pip install "mse-pipeline[aus]"')
    from feat.multitask.inference import MultitaskModel

    try:
        model = MultitaskModel(device=device, weights_path=str(path), amp=False)
    except Exception as error:  # safetensors, JSON, py-feat and torch have errors of their own
        raise UsageError(f"{path} is not of py-feat's multitask network ({type(error).__name__}: {error}).") from error
    names = tuple(name for name, _ in UNITS)
    if tuple(model.au_names) != names:
        raise UsageError(f"{path} gives {', '.join(model.au_names)}; visual.action_units has {', '.join(names)}.")
    return model


class ActionUnits(FaceExtractor[ActionUnitsConfig]):
    """Stream ``visual.action_units``, (T, 20), one row a sampled frame: how likely each action unit is, from 0 to 1.

    Py-feat 2 (Cheong et al. 2023, "Py-Feat: Python Facial Expression Analysis Toolbox"), its multitask network on the
    followed face, cut out of the full-size frame as py-feat does. Py-feat finds faces by RetinaFace, this package by
    its own detectors, whose boxes differ a little, and so do the values.
    """

    name = "action_units"
    revision = 1
    Config = ActionUnitsConfig
    not_values = frozenset({"weights"})
    keeps_pictures = False

    @property
    def names(self) -> tuple[str, ...]:
        """AU01, ..., AU43."""
        return tuple(name for name, _ in UNITS)

    @property
    def definitions(self) -> tuple[str, ...]:
        """What each action unit does."""
        return tuple(definition for _, definition in UNITS)

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    @property
    def measures(self) -> tuple[FaceMeasure, ...]:
        """The action units of every face while frames pass."""
        return (ActionUnitsMeasure(self.config.weights, self.device),)

    def load(self, device: str = "cpu") -> None:
        """Load the networks that find faces, and py-feat's.

        Raises:
            MseError: Weights or py-feat are missing, or the weights are of another network.
        """
        super().load(device)
        load_model(find_file(self.config.weights), self.device)

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces, and of py-feat's."""
        both = f"{self.face.weights_digest()} {file_sha256(find_file(self.config.weights))}"
        return hashlib.blake2b(both.encode(), digest_size=16).hexdigest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face, with its measures.

        Returns:
            (T, 20) features.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        values = np.where(faces.valid[:, None], faces.measured[self.measures[0].key], 0.0)
        return Features(values, faces.intervals, faces.valid, self.names, faces.notes)
