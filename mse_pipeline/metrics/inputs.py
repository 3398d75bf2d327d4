"""What may be scored: rows of numbers, or rows of classes; anything else is refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np


def numbers(values: Any, what: str) -> np.ndarray:
    """(N,) float32: the precision of the reference, in which 0.1 is neutral and 0.4 is weak."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"Every {what} must be a number; found {array.reshape(-1)[0]!r} among them.")
    with np.errstate(over="ignore"):
        array = _flat(array.astype(np.float32), what)
    if not np.isfinite(array).all():
        raise ValueError(f"The {what} in row {int(np.argmin(np.isfinite(array)))} is not a finite number.")
    return array


def labels(values: Any, what: str) -> np.ndarray:
    """(N,) int64 class indices or class names."""
    array = _flat(np.asarray(values), what)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array):
        array = array.astype(np.str_)
    if array.dtype.kind in "Ubiu":
        return array if array.dtype.kind == "U" else array.astype(np.int64)
    whole = array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.round(array)).all()
    if not whole:
        raise ValueError(f"Every {what} must be a class index or every one a class name; found others among them.")
    return array.astype(np.int64)


def _flat(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"Each {what} must be one value, in an array of shape (N,); got shape {array.shape}.")
    if not len(array):
        raise ValueError(f"There is no {what} to score.")
    return array


def pair(p: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, once it is sure that they can be compared row by row."""
    if len(p) != len(t):
        raise ValueError(f"{len(p)} predictions cannot be scored against {len(t)} targets.")
    if p.dtype.kind != t.dtype.kind:
        raise ValueError("Predictions and targets must both be class indices or both class names.")
    return p, t
