"""Statistics: count, mean and spread of each dimension's valid, finite values, and how those of parts are merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of C clips, one row each.

    Attributes:
        count: (C, D) int64, numbers of valid, finite values.
        mean: (C, D) float64; 0 where there is no value.
        spread: (C, D) float64, sums of squared deviations from the mean.
    """

    count: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def of_clip(values: np.ndarray, valid: np.ndarray) -> Statistics:
    """Statistics of one clip, as one row.

    Args:
        values: (T, D) float32.
        valid: (T,) bool.

    Examples:
        >>> one = of_clip(np.float32([[1.0], [3.0], [99.0], [np.nan]]), np.array([True, True, False, True]))
        >>> one.count.tolist(), one.mean.tolist(), one.spread.tolist()
        ([[2]], [[2.0]], [[2.0]])
    """
    rows = (values if valid.all() else values[valid]).astype(np.float64)
    finite = np.isfinite(rows)
    if finite.all():
        count = np.full(rows.shape[1], len(rows), np.int64)
        mean = rows.sum(axis=0) / max(len(rows), 1)
        rows -= mean
    else:
        count = finite.sum(axis=0)
        rows[~finite] = 0.0
        mean = rows.sum(axis=0) / np.maximum(count, 1)
        rows -= mean
        rows[~finite] = 0.0
    return Statistics(count[None], mean[None], np.einsum("td,td->d", rows, rows)[None])


def merge(parts: Iterable[Statistics]) -> Statistics | None:
    """Statistics of all clips together, as one row; None without any part.

    Deviations are merged part by part (Chan, Golub & LeVeque 1983), which stays exact where sums of squares of large
    values do not.
    """
    merged: Statistics | None = None
    for part in parts:
        one = _as_one(part)
        if merged is not None:
            pairs = ((merged.count, one.count), (merged.mean, one.mean), (merged.spread, one.spread))
            one = _as_one(Statistics(*(np.concatenate(pair) for pair in pairs)))
        merged = one
    return merged


def _as_one(part: Statistics) -> Statistics:
    if len(part.count) == 1:
        return part
    count = part.count.sum(axis=0, keepdims=True)
    base = part.mean[part.count.sum(axis=1).argmax()] if len(part.mean) else np.zeros(part.mean.shape[1])
    mean = base + (part.count * (part.mean - base)).sum(axis=0, keepdims=True) / np.maximum(count, 1)
    spread = (part.spread + part.count * (part.mean - mean) ** 2).sum(axis=0, keepdims=True)
    return Statistics(count, np.where(count > 0, mean, 0.0), spread)
