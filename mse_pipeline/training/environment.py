"""What a run was made with, so that a number can be told from another version's."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

_PACKAGES = (
    "mse-pipeline",
    "torch",
    "accelerate",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "h5py",
    "scikit-learn",
)


def describe(device: str, processes: int = 1) -> dict[str, Any]:
    """Versions of Python and of the libraries that shape a result, the machine, and the device.

    Args:
        device: Of this process.
        processes: How many train together.

    Examples:
        >>> sorted(describe("cpu"))
        ['device', 'machine', 'packages', 'processes', 'python', 'system', 'threads']
    """
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return {
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "system": platform.system(),
        "machine": platform.machine(),
        "device": name,
        "processes": processes,
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
