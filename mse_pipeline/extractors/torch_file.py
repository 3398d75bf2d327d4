"""Tensors of a published weight file: safetensors, or a checkpoint of torch of which nothing is run.

A checkpoint of a training holds more than its weights: settings, counters, objects of the library that trained it. Such
objects are passed over by their names; their classes are neither imported nor made.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.pretrained import first_line
from mse_pipeline.file_kinds import kind_of

_PASSED_OVER = ("argparse", "collections", "enum", "fairseq", "hydra", "numpy", "omegaconf", "pathlib", "typing")
"""Packages whose objects lie beside the weights in published checkpoints."""
_PLAIN = frozenset(
    f"builtins.{name}" for name in ("bool", "dict", "float", "getattr", "int", "list", "object", "set", "str")
)


class PassedOver:
    """Stands for an object of a checkpoint that is not read: it takes any content and keeps none."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> PassedOver:  # noqa: D102
        return object.__new__(cls)

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a weight file holds by name; tensors are mapped from the file where its format allows.

    Args:
        path: ``.safetensors``, or what `torch.save` wrote.

    Returns:
        Names with tensors (safetensors), or what the checkpoint has at its top.

    Raises:
        UsageError: The file cannot be read, is of another kind, or asks for something that is never run.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = _read_torch(path)
    except UsageError:
        raise
    except Exception as error:  # a damaged file raises a dozen types of errors
        kind = kind_of(path)
        found = f"{first_line(error)}." if kind is None or "torch.save" in kind.name else f"it is {kind}"
        raise UsageError(f"The weights {path} cannot be read: {found}") from error
    if not isinstance(content, Mapping):
        raise UsageError(f"The weights {path} hold a {type(content).__name__}, expected names with tensors.")
    return dict(content)


def _read_torch(path: Path) -> Any:
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    mapped = zipfile.is_zipfile(path)  # files before torch 1.6 are none and cannot be mapped
    names = get_unsafe_globals_in_checkpoint(str(path)) if mapped else []
    refused = [name for name in names if name not in _PLAIN and name.partition(".")[0] not in _PASSED_OVER]
    if refused:
        raise UsageError(
            f"The weights {path} ask for {sorted(refused)[0]}, which no known checkpoint needs; nothing of the file "
            "was run. If you trust it, save its tensors as .safetensors and give that file."
        )
    with safe_globals([_stand_in(name) for name in names]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _stand_in(name: str) -> type[PassedOver]:
    """A class of that name that makes nothing."""
    module, _, own = name.rpartition(".")
    return type(own, (PassedOver,), {"__module__": module})


def tensors(found: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors among named values, those of nested dictionaries under ``outer.inner``; all else is left out.

    Examples:
        >>> import torch
        >>> list(tensors({"a": torch.ones(1), "b": {"c": torch.ones(1), "d": 3}}))
        ['a', 'b.c']
    """
    import torch

    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, torch.Tensor):
            flat[str(name)] = value
        elif isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": tensor for inner, tensor in tensors(value).items()})
    return flat
