"""visual.facenet: face embeddings of InceptionResnetV1, with its normalisation folded into its convolutions."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.visual.faces import CROP, FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.extractors.visual.networks import inception_resnet_class
from mse_pipeline.extractors.visual.onnx import Export, in_parts, open_session
from mse_pipeline.extractors.visual.weights import file_sha256, find_weights, read_state
from mse_pipeline.posix import processor_flags
from mse_pipeline.store.features import Features

_BATCH = 8
"""The most faces in one batch on the CPU; larger batches are not faster there, and take 10 MB more for each face."""

_BATCH_ELSEWHERE = 128


class Embedder(Protocol):
    """Face pictures in, unit vectors out.

    Attributes:
        precision: The format that it computes in: "float32" if the device lacks bfloat16.
    """

    precision: str

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Embed.

        Args:
            crops: (N, 160, 160, 3) uint8, N above 0.

        Returns:
            (N, 512) float32; rows have length 1.
        """


class TorchEmbedder:
    """The embedder in torch.

    Args:
        network: facenet-pytorch's InceptionResnetV1 with its weights, without its classifying head; it is changed.
        precision: "bfloat16" where the device has it, "float32" all along.
        device: Torch device.
    """

    def __init__(self, network: Any, precision: str, device: str) -> None:
        import torch

        self._device = torch.device(device)
        self.precision = precision if precision == "float32" or has_bfloat16(device) else "float32"
        self._dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        network = _folded(network.eval()).to(self._device, memory_format=torch.channels_last)
        # The last layer stays in float32: in bfloat16 its sums would be rounded to 8 bits.
        self._head = torch.nn.Sequential(network.last_linear, network.last_bn)
        network.last_linear = network.last_bn = network.logits = torch.nn.Identity()
        network.classify = True  # so that the vectors are not normalised before the last layer
        self._trunk = network.to(self._dtype)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """See `Embedder`."""
        import torch

        with torch.inference_mode():
            parts = [self._embed(torch.from_numpy(part)) for part in in_parts(crops, _BATCH_ELSEWHERE)]
            return np.asarray(torch.cat(parts).numpy())

    def _embed(self, crops: Any) -> Any:
        import torch

        pixels = crops.to(self._device).permute(0, 3, 1, 2)
        standardised = pixels.float().sub_(127.5).div_(128.0).to(self._dtype)
        return torch.nn.functional.normalize(self._head(self._trunk(standardised).float())).cpu()


class OnnxEmbedder:
    """The embedder on the CPU (`Session`).

    Args:
        export: The network as an ONNX file.
        precision: "bfloat16" where the processor has it and OpenVINO is installed, "float32" all along.
    """

    def __init__(self, export: Export, precision: Literal["bfloat16", "float32"]) -> None:
        self._run = open_session(export, precision if has_bfloat16("cpu") else "float32")
        self.precision: str = self._run.precision

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """See `Embedder`."""
        return np.concatenate([self._run(part)[0] for part in in_parts(crops, _BATCH)])


def has_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 in hardware, and so faster than in float32.

    Of a processor only Linux tells it.

    Args:
        device: Torch device, as in "cpu" or "cuda:0".
    """
    if device == "cpu":
        return bool(processor_flags() & {"avx512_bf16", "amx_bf16"})
    import torch

    return torch.device(device).type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


@functools.lru_cache(maxsize=2)
def load_embedder(path: Path, sha256: str, precision: Literal["bfloat16", "float32"], device: str) -> Embedder:
    """The embedder with a file's weights; one for each content, precision and process.

    Raises:
        UsageError: The file is not a state dict of this network.
        MseError: The same, where the network is exported by a process of its own.
    """
    if device == "cpu":
        return OnnxEmbedder(export_of(path, sha256), precision)
    return TorchEmbedder(read_network(path), precision, device)


def export_of(path: Path, sha256: str) -> Export:
    """The network with a file's weights as an ONNX file.

    Args:
        path: The weights.
        sha256: Digest of their content.
    """
    return Export("facenet", sha256, functools.partial(_for_export, path), ("vectors",))


def _for_export(path: Path) -> tuple[Any, int]:
    return _folded(read_network(path).eval()), CROP


def read_network(path: Path) -> Any:
    """facenet-pytorch's InceptionResnetV1 with a file's weights.

    Raises:
        UsageError: The file is not a state dict of this network.
    """
    network = inception_resnet_class()(classify=False)
    # The classifier of VGGFace2's people is not a part of the embedding.
    state = {name: value for name, value in read_state(path).items() if not name.startswith("logits.")}
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    reshaped = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or reshaped:
        differences = "; ".join(
            f"{len(names)} {difference}, as {names[0]}"
            for difference, names in (
                ("missing", missing),
                ("unknown", unknown),
                ("of another shape", sorted(reshaped)),
            )
            if names
        )
        raise UsageError(f"The weights {path} are not those of facenet-pytorch's InceptionResnetV1: {differences}.")
    network.load_state_dict(state)
    return network


def _folded(network: Any) -> Any:
    """The same function with each batch normalisation folded into the convolution before it, and ReLU in place."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        if isinstance(getattr(module, "conv", None), torch.nn.Conv2d) and isinstance(
            getattr(module, "bn", None), torch.nn.BatchNorm2d
        ):
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), torch.nn.Identity()
        if isinstance(module, torch.nn.ReLU):
            module.inplace = True
    return network


NAMES = tuple(f"facenet_{k:03d}" for k in range(512))
"""Names of the 512 values."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FacenetConfig(FaceConfig):
    """Options of `Facenet`: how faces are found, and the network's weights.

    Attributes:
        weights: Path of a state dict of facenet-pytorch's InceptionResnetV1 (``.pt`` or ``.safetensors``); None for
            the released ones, trained on VGGFace2.
        precision: What the network is computed in; in bfloat16 the embedding has a cosine above 0.999 with that of
            float32. "bfloat16" is for processors and GPUs that have it; elsewhere the same weights are computed in
            float32, which is nearer to exact. The notes tell which it was.
    """

    weights: str | None = None
    precision: Literal["bfloat16", "float32"] = "bfloat16"


class Facenet(FaceExtractor[FacenetConfig]):
    """Stream ``visual.facenet``, (T, 512), one row a sampled frame: unit vectors, near for the same person.

    Schroff et al. 2015, "FaceNet: A Unified Embedding for Face Recognition and Clustering".
    """

    name = "facenet"
    revision = 4
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

    def exports(self) -> tuple[Export, ...]:
        """The network, and those that find faces."""
        path = find_weights(self.config.weights)
        return (*super().exports(), export_of(path, file_sha256(path)))

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
