"""MTCNN's three networks, with the weights that come with facenet-pytorch: as ONNX files on the CPU, else in torch.

facenet-pytorch's networks are used without the import of torchvision, which takes as long as that of torch.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mse_pipeline.extractors.visual.onnx import Export, Session, contents, in_parts

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

_CHUNK = {"pnet": 4, "rnet": 16, "onet": 8}
"""The most pictures in one batch on the CPU: a larger batch does not fit into its caches."""

_CHUNK_ELSEWHERE = 512

OUTPUTS = {
    "pnet": ("shifts", "probabilities"),
    "rnet": ("shifts", "probabilities"),
    "onet": ("shifts", "landmarks", "probabilities"),
}
"""What the networks give: corrections of the box, probabilities of no face and of a face, and O-Net landmarks."""

_ACTIVATIONS = "activations"


class Networks(Protocol):
    """P-Net, R-Net and O-Net on a device (Zhang et al. 2016).

    P-Net finds where faces might be. R-Net rejects most candidates that are not faces. O-Net decides what is a face,
    with its exact box and five landmarks.
    """

    def run(self, name: str, pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run a network on pictures.

        Args:
            name: "pnet", "rnet" or "onet".
            pictures: (N, H, W, 3) uint8, N above 0.

        Returns:
            The network's `OUTPUTS`, float32.
        """

    def activations(self, pictures: np.ndarray) -> np.ndarray:
        """O-Net's last hidden layer after its PReLU.

        Args:
            pictures: (N, 48, 48, 3) uint8, N above 0.

        Returns:
            (N, 256) float32.
        """


class OnnxNetworks:
    """The networks as ONNX files, on the CPU."""

    def __init__(self) -> None:
        networks = exports()
        self._sessions = {
            network.name: Session(content, network.outputs, any_size=network.any_size)
            for network, content in zip(networks, contents(networks), strict=True)
        }

    def run(self, name: str, pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Networks`."""
        return self._run(name, pictures, OUTPUTS[name])

    def activations(self, pictures: np.ndarray) -> np.ndarray:
        """See `Networks`."""
        return self._run("onet", pictures, (_ACTIVATIONS,))[0]

    def _run(self, name: str, pictures: np.ndarray, outputs: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        parts = [self._sessions[name](part, *outputs) for part in in_parts(pictures, _CHUNK[name])]
        return tuple(np.concatenate(outs) for outs in zip(*parts, strict=True))


def exports() -> tuple[Export, ...]:
    """The networks as ONNX files."""
    return tuple(
        Export(
            name,
            mtcnn_digest(),
            functools.partial(_for_export, name),
            (*OUTPUTS[name], _ACTIVATIONS) if name == "onet" else OUTPUTS[name],
            any_size=name == "pnet",
        )
        for name in SIDES
    )


def _for_export(name: str) -> tuple[Any, int]:
    network = _torch_network(name)
    if name == "onet":
        plain, caught = network.forward, []
        network.prelu5.register_forward_hook(lambda module, inputs, output: caught.append(output))
        network.forward = lambda pictures: (*plain(pictures), caught.pop())
    return network, SIDES[name]


def _torch_network(name: str) -> Any:
    import torch

    network = dict(zip(SIDES, mtcnn_classes(), strict=True))[name](pretrained=False)
    file = package_folder("facenet_pytorch") / "data" / f"{name}.pt"
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()


class TorchNetworks:
    """The networks in torch.

    Args:
        device: Torch device.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device = device
        self.networks = {
            name: _torch_network(name).to(torch.device(device), memory_format=torch.channels_last) for name in SIDES
        }

    def run(self, name: str, pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Networks`."""
        import torch

        size = _CHUNK[name] if self.device == "cpu" else _CHUNK_ELSEWHERE
        with torch.inference_mode():
            parts = [
                tuple(out.cpu().numpy() for out in self.networks[name](self._standardised(pictures[k : k + size])))
                for k in range(0, len(pictures), size)
            ]
        return tuple(np.concatenate(outs) for outs in zip(*parts, strict=True))

    def activations(self, pictures: np.ndarray) -> np.ndarray:
        """See `Networks`."""
        caught: list[np.ndarray] = []
        hook = self.networks["onet"].prelu5.register_forward_hook(
            lambda module, inputs, output: caught.append(output.cpu().numpy())
        )
        try:
            self.run("onet", pictures)
        finally:
            hook.remove()
        return np.concatenate(caught)

    def _standardised(self, pictures: np.ndarray) -> Any:
        """As the networks were trained: (x - 127.5) / 128, channels last in memory."""
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2)
        return pixels.float().sub_(127.5).div_(128.0)


@functools.cache
def load_networks(device: str) -> Networks:
    """The networks; one set for each device and process.

    Raises:
        MseError: They cannot be exported to ONNX.
    """
    return OnnxNetworks() if device == "cpu" else TorchNetworks(device)


@functools.cache
def mtcnn_digest() -> str:
    """BLAKE2b of the networks' three weight files, 16 bytes as hexadecimal digits; imports nothing heavy."""
    folder = package_folder("facenet_pytorch") / "data"
    digest = hashlib.blake2b(digest_size=16)
    for name in SIDES:
        digest.update((folder / f"{name}.pt").read_bytes())
    return digest.hexdigest()
