"""Weight files: names and shapes first, then one tensor after the other, never the whole checkpoint at once."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.errors import MseError, UsageError


def shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint's files; no weight is read.

    Raises:
        UsageError: A pickle holds more than tensors.
        MseError: A file is broken, or two files hold one name.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        for name, shape in _shapes(path):
            if name in found:
                raise MseError(f"{path} holds {name}, which another file of the checkpoint holds as well.")
            found[name] = shape
    return found


def tensors(files: Sequence[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor, on the CPU, file by file. Pickles are mapped into memory where their form allows.

    Raises:
        UsageError: A pickle holds more than tensors.
        MseError: A file is broken.
    """
    for path in files:
        if path.suffix == ".bin":
            # Taken out one by one, so that what has been used can go.
            state = _unpickled(path, "cpu")
            for name in list(state):
                yield name, state.pop(name)
        else:
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 - the handle of safetensors is no mapping
                    yield name, file.get_tensor(name)


def unsafe_sentence(folder: Path, file: str) -> str:
    """The sentence on a pickle that could run code."""
    return (
        f"The weights in {folder} ({file}) hold more than tensors, which could be code, and "
        "were not loaded: take a checkpoint with .safetensors files."
    )


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if path.suffix == ".bin":
        yield from ((name, tuple(tensor.shape)) for name, tensor in _unpickled(path, "meta").items())
    else:
        with _opened(path) as file:
            yield from ((name, tuple(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise MseError(f"{path} cannot be read as safetensors: {error}. Download it again.") from error


def _unpickled(path: Path, device: str) -> dict[str, torch.Tensor]:
    """A pickle's tensors; only tensors are taken (`weights_only`), and nothing in it runs."""
    try:
        try:
            state = torch.load(path, map_location=device, weights_only=True, mmap=True)
        except RuntimeError:
            # Files of torch before 1.6 cannot be mapped.
            state = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(unsafe_sentence(path.parent, path.name)) from error
    except Exception as error:
        # torch lets a dozen unrelated types through, those of zip files and of its own reader among them.
        raise MseError(
            f"{path} cannot be read as weights of torch: {type(error).__name__}. Download it again."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        for name, tensor in state.items()
    ):
        raise UsageError(f"{path} holds other things than weights by name: take a checkpoint with .safetensors files.")
    return state
