"""MTCNN's three networks, with the weights that come with facenet-pytorch, arranged for speed.

facenet-pytorch's networks and torchvision's NMS are used without the import of torchvision, which takes as long as that
of torch. A host then starts with its first clip four seconds earlier; on a small corpus this decides whether two
workers are faster than one.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGE = f"{__name__}_of_facenet_pytorch"


def mtcnn_classes() -> tuple[Any, Any, Any]:
    """The classes PNet, RNet and ONet."""
    module = _facenet_module("mtcnn")
    return module.PNet, module.RNet, module.ONet


def inception_resnet_class() -> Any:
    """The class InceptionResnetV1."""
    return _facenet_module("inception_resnet_v1").InceptionResnetV1


def package_folder(package: str) -> Path:
    """Folder of an installed package; the package is not imported.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{package} is not installed. Install it with: pip install mse-pipeline", name=package
        )
    return Path(spec.origin).parent


@functools.cache
def nms() -> Any:
    """Operator of torchvision: (boxes (N, 4), scores (N,), threshold) -> indices that stay, the most probable first."""
    import torch

    if "torchvision" not in sys.modules:
        # The library registers the operator; that is all of torchvision's import that is needed here.
        for library in sorted(package_folder("torchvision").glob("_C*")):
            try:
                torch.ops.load_library(str(library))
                return torch.ops.torchvision.nms
            except (OSError, AttributeError):  # another layout of torchvision: import it as a whole
                continue
    from torchvision.ops import nms

    return nms


@functools.cache
def _facenet_module(name: str) -> Any:
    """A module of facenet-pytorch, read from its file under a package name of our own.

    Under its own name, the whole package would be imported, and its module that cuts faces needs torchvision. The
    networks do not use that module, so it is left empty.
    """
    folder = package_folder("facenet_pytorch") / "models"
    for package, path in ((_PACKAGE, folder), (f"{_PACKAGE}.utils", folder / "utils")):
        bare = types.ModuleType(package)
        bare.__path__ = [str(path)]
        sys.modules.setdefault(package, bare)
    cutting: Any = types.ModuleType(f"{_PACKAGE}.utils.detect_face")
    cutting.detect_face = cutting.extract_face = None
    sys.modules.setdefault(cutting.__name__, cutting)
    return importlib.import_module(f"{_PACKAGE}.{name}")


SIDES = {"pnet": 12, "rnet": 24, "onet": 48}
"""Side in pixels of the pictures that the networks look at; P-Net slides over larger ones."""

_CHUNK = {"pnet": 4, "rnet": 64, "onet": 8}
"""Pictures in one batch on the CPU: a larger batch does not fit into its caches."""

_CHUNK_ELSEWHERE = 512


@dataclass(frozen=True, eq=False)
class Networks:
    """P-Net, R-Net and O-Net on a device (Zhang et al. 2016).

    Attributes:
        pnet: Finds where faces might be.
        rnet: Rejects most candidates that are not faces.
        onet: Decides what is a face, with its exact box and five landmarks.
        device: Torch device.
    """

    pnet: Any
    rnet: Any
    onet: Any
    device: str

    def run(self, name: str, pictures: Any) -> tuple[Any, ...]:
        """Run a network on pictures.

        Args:
            name: "pnet", "rnet" or "onet".
            pictures: (N, 3, H, W) uint8 tensor on the CPU, N above 0.

        Returns:
            The network's outputs, float32 on the CPU: corrections of the box and probabilities, and from O-Net
            landmarks between the two.
        """
        import torch

        network = getattr(self, name)
        size = _CHUNK[name] if self.device == "cpu" else _CHUNK_ELSEWHERE
        with torch.inference_mode():
            parts = [
                tuple(out.cpu() for out in network(self._standardised(pictures[start : start + size])))
                for start in range(0, len(pictures), size)
            ]
        return tuple(torch.cat(outs) for outs in zip(*parts, strict=True))

    def activations(self, pictures: np.ndarray) -> np.ndarray:
        """O-Net's last hidden layer after its PReLU.

        Args:
            pictures: (N, 48, 48, 3) uint8, N above 0.

        Returns:
            (N, 256) float32.
        """
        import torch

        caught: list[Any] = []
        hook = self.onet.prelu5.register_forward_hook(lambda module, inputs, output: caught.append(output.cpu()))
        try:
            self.run("onet", torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2))
        finally:
            hook.remove()
        return np.asarray(torch.cat(caught).numpy())

    def _standardised(self, pictures: Any) -> Any:
        """As the networks were trained: (x - 127.5) / 128, channels last in memory."""
        import torch

        pixels = pictures.to(self.device).contiguous(memory_format=torch.channels_last)
        return pixels.float().sub_(127.5).div_(128.0)


@functools.cache
def load_networks(device: str) -> Networks:
    """The networks; one set for each device and process."""
    import torch

    folder = package_folder("facenet_pytorch") / "data"
    networks = {}
    for name, network in zip(SIDES, mtcnn_classes(), strict=True):
        networks[name] = network(pretrained=False)
        networks[name].load_state_dict(torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True))
        networks[name].eval().to(torch.device(device), memory_format=torch.channels_last)
    return Networks(**networks, device=device)


@functools.cache
def mtcnn_digest() -> str:
    """BLAKE2b of the networks' three weight files, 16 bytes as hexadecimal digits; imports nothing heavy."""
    folder = package_folder("facenet_pytorch") / "data"
    digest = hashlib.blake2b(digest_size=16)
    for name in SIDES:
        digest.update((folder / f"{name}.pt").read_bytes())
    return digest.hexdigest()
