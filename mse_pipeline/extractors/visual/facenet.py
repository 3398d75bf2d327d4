"""visual.facenet: face embeddings of InceptionResnetV1."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.detector import mtcnn_digest
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face, standardised
from mse_pipeline.extractors.visual.weights import file_sha256, find_weights, read_state
from mse_pipeline.store.features import Features

NAMES = tuple(f"facenet_{k:03d}" for k in range(512))
"""Names of the 512 values."""

BATCH = 16
"""Faces that go through the network at once."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FacenetConfig(FaceConfig):
    """Options of `Facenet`: how faces are found, and the network's weights.

    Attributes:
        weights: Path of a state dict of facenet-pytorch's InceptionResnetV1 (``.pt`` or ``.safetensors``); None for
            the released ones, trained on VGGFace2.
    """

    weights: str | None = None


class Facenet(FaceExtractor[FacenetConfig]):
    """Stream ``visual.facenet``, (T, 512), one row a sampled frame: unit vectors, near for the same person.

    Schroff et al. 2015, "FaceNet: A Unified Embedding for Face Recognition and Clustering".
    """

    name = "facenet"
    revision = 1
    Config = FacenetConfig
    not_values = frozenset({"weights"})  # the weights' content counts, not where they lie

    @property
    def names(self) -> tuple[str, ...]:
        """facenet_000, ..., facenet_511."""
        return NAMES

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    def load(self, device: str = "cpu") -> None:
        """Load the network; the released weights are fetched where they are missing.

        Raises:
            MseError: The weights are missing and cannot be fetched, damaged, or of another network.
        """
        super().load(device)
        path = find_weights(self.config.weights)
        self._network = _network(path, file_sha256(path), self.device)

    def model_digest(self) -> str:
        """Digest of the detector's and the network's weights."""
        own = file_sha256(find_weights(self.config.weights))
        return hashlib.blake2b(f"{mtcnn_digest()} {own}".encode(), digest_size=16).hexdigest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face.

        Returns:
            (T, 512) features; valid rows have length 1.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        values = np.zeros((len(faces), len(NAMES)), np.float32)
        values[faces.valid] = self._embed(faces.crops[faces.valid])
        return Features(values, faces.intervals, faces.valid, NAMES, faces.notes)

    def _embed(self, crops: np.ndarray) -> np.ndarray:
        import torch

        if not hasattr(self, "_network"):
            self.load(self.device)
        with torch.inference_mode():
            parts = [
                self._network(standardised(crops[start : start + BATCH], self.device)).cpu()
                for start in range(0, len(crops), BATCH)
            ]
        return torch.cat(parts).numpy()


@functools.lru_cache(maxsize=2)
def _network(path: Path, sha256: str, device: str) -> Any:
    """The network with a file's weights; one for each content and process."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    network = InceptionResnetV1(classify=False)
    # The head that told VGGFace2's people apart is no part of the embedding.
    state = {name: value for name, value in read_state(path).items() if not name.startswith("logits.")}
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or wrong:
        told = "; ".join(
            f"{len(names)} {what}, as {names[0]}"
            for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", sorted(wrong)))
            if names
        )
        raise UsageError(f"The weights {path} are not those of facenet-pytorch's InceptionResnetV1: {told}.")
    network.load_state_dict(state)
    return network.eval().to(torch.device(device))
