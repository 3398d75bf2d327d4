"""facenet-pytorch's networks and torchvision's NMS without importing torchvision, which takes as long as torch itself.

A host that works on its first clip four seconds earlier is what makes two workers pay on a small corpus.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

_PACKAGE = f"{__name__}_of_facenet_pytorch"


def mtcnn_classes() -> tuple[Any, Any, Any]:
    """The classes PNet, RNet and ONet."""
    module = _facenet_module("mtcnn")
    return module.PNet, module.RNet, module.ONet


def inception_resnet_class() -> Any:
    """The class InceptionResnetV1."""
    return _facenet_module("inception_resnet_v1").InceptionResnetV1


def package_folder(package: str) -> Path:
    """Folder of an installed package, which is not imported.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed: pip install mse-pipeline brings it.", name=package)
    return Path(spec.origin).parent


@functools.cache
def nms() -> Any:
    """Operator of torchvision: (boxes (N, 4), scores (N,), threshold) -> indices that stay, the most probable first."""
    import torch

    if "torchvision" not in sys.modules:
        # The library registers the operator; torchvision's own import does no more for it.
        for library in sorted(package_folder("torchvision").glob("_C*")):
            try:
                torch.ops.load_library(str(library))
                return torch.ops.torchvision.nms
            except (OSError, AttributeError):  # another layout of torchvision: its import knows where things are
                continue
    from torchvision.ops import nms

    return nms


@functools.cache
def _facenet_module(name: str) -> Any:
    """A module of facenet-pytorch, read from its file under a package name of our own.

    Under its own name it would be imported with its whole package, whose face cutting needs torchvision. Networks do
    not cut faces, so the module of that is left empty.
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
