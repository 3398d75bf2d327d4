"""visual.facenet: face embeddings of InceptionResnetV1."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.embedder import load_embedder
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.extractors.visual.weights import file_sha256, find_weights
from mse_pipeline.store.features import Features

NAMES = tuple(f"facenet_{k:03d}" for k in range(512))
"""Names of the 512 values."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FacenetConfig(FaceConfig):
    """Options of `Facenet`: how faces are found, and the network's weights.

    Attributes:
        weights: Path of a state dict of facenet-pytorch's InceptionResnetV1 (``.pt`` or ``.safetensors``); None for
            the released ones, trained on VGGFace2.
        precision: What the convolutions are computed in; the embedding is made of their result in float32 and has
            a cosine above 0.999 with that of float32 all along. "bfloat16" is for processors and GPUs that have it;
            elsewhere the same weights are computed in float32, which is nearer to exact. The notes tell which it was.
    """

    weights: str | None = None
    precision: Literal["bfloat16", "float32"] = "bfloat16"


class Facenet(FaceExtractor[FacenetConfig]):
    """Stream ``visual.facenet``, (T, 512), one row a sampled frame: unit vectors, near for the same person.

    Schroff et al. 2015, "FaceNet: A Unified Embedding for Face Recognition and Clustering".
    """

    name = "facenet"
    revision = 3
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
        self._embedder = load_embedder(path, file_sha256(path), self.config.precision, self.device)

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces, and of the network's."""
        own = file_sha256(find_weights(self.config.weights))
        return hashlib.blake2b(f"{self.face.weights_digest()} {own}".encode(), digest_size=16).hexdigest()

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
        if not hasattr(self, "_embedder"):
            self.load(self.device)
        values[faces.valid] = self._embedder(faces.crops[faces.valid])
        notes = {**faces.notes, "precision": self._embedder.precision}
        return Features(values, faces.intervals, faces.valid, NAMES, notes)
