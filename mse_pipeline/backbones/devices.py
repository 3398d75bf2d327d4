"""Where a backbone computes and in which numbers: the names that users give, checked against this machine."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import torch

from mse_pipeline.errors import UsageError, did_you_mean

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Number formats that a backbone can be loaded in."""
QUANTIZATIONS = ("4bit", "8bit")
"""Formats that weights of linear layers can be squeezed into as they are loaded."""
_DEVICE = re.compile(r"(cpu|mps|cuda)(?::(\d+))?")


def number_format(name: str) -> torch.dtype:
    """The number format of a name.

    Raises:
        UsageError: It is none of `DTYPES`.
    """
    if name not in DTYPES:
        raise UsageError(f"Number format {name!r} is none of {', '.join(DTYPES)}{did_you_mean(name, DTYPES) or '.'}")
    return DTYPES[name]


def device(name: str) -> torch.device:
    """The device of a name, if this machine has it.

    Raises:
        UsageError: It is none of a device, or of one that is not here.
    """
    match = _DEVICE.fullmatch(name)
    if match is None:
        near = did_you_mean(name, ("cpu", "cuda", "mps")) or "."
        raise UsageError(f"Device {name!r} is none of cpu, cuda, cuda:N and mps{near}")
    kind, index = match[1], int(match[2] or 0)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("Device mps needs a Mac with Apple silicon: take --device cpu.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError(
                f"Device {name} asks for CUDA, which torch {torch.__version__} does not find here: take --device cpu, "
                "or install a torch built for CUDA and a driver that it can use."
            )
        if index >= count:
            raise UsageError(f"Device {name} does not exist: this machine has cuda:0 to cuda:{count - 1}.")
    return torch.device(name)


def require_quantization(name: str | None) -> None:
    """Refuse a name of a quantization that there is not.

    Raises:
        UsageError: It is none of `QUANTIZATIONS`.
    """
    if name is not None and name not in QUANTIZATIONS:
        near = did_you_mean(name, QUANTIZATIONS) or "."
        raise UsageError(f"Quantization {name!r} is none of {', '.join(QUANTIZATIONS)}{near}")


def quantization_config(name: str | None, where: torch.device, dtype: torch.dtype) -> Any:
    """How transformers is to squeeze the weights: bitsandbytes, 4 bits (NF4) or 8; None for not at all.

    Args:
        name: One of `QUANTIZATIONS`, or None.
        where: Device of the model.
        dtype: Number format that products are computed in.

    Raises:
        UsageError: It is another name, the device is no GPU, or a package is missing.
    """
    require_quantization(name)
    if name is None:
        return None
    if where.type != "cuda":
        raise UsageError(f"Quantization {name} needs a CUDA GPU, and the device is {where}: give --device cuda.")
    missing = [package for package in ("bitsandbytes", "accelerate") if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"Quantization {name} needs {' and '.join(missing)}: install with `pip install {' '.join(missing)}`."
        )
    from transformers import BitsAndBytesConfig

    if name == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
