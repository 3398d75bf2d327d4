"""Grid alignment: rows of a fixed step, so that streams of different rates share one clock."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mse_pipeline.store.features import Features

_EDGE = 1e-9  # seconds by which float noise may pass a bin's edge


def to_grid(features: Features, step: float) -> Features:
    """Pool features to bins of `step` seconds by the overlap-weighted mean of their valid rows.

    Bin k holds ``sum_t w[k,t] x[t] / sum_t w[k,t]`` over valid rows t, where ``w[k,t]`` is the time in seconds that
    row t and bin k share: a row that covers 1 % of a bin counts 1 %. A bin that no valid row touches is marked
    invalid and holds zeros. The last bin ends where the features end.

    Args:
        features: On any clock; intervals may overlap and may leave gaps.
        step: Width of a bin in seconds.

    Returns:
        Features of shape (ceil(end / step), D).

    Raises:
        ValueError: The step is not a positive number.

    Examples:
        >>> f = Features([[1.0], [3.0]], [[0.0, 0.3], [0.3, 0.4]], [True, True], ["loudness"])
        >>> to_grid(f, 0.2).values.round(3).tolist()
        [[1.0], [2.0]]
    """
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"The step of a grid is a positive number of seconds, got {step!r}.")
    starts, ends = features.intervals.T if len(features) else (np.zeros(0), np.zeros(0))
    end = float(ends.max(initial=0.0))
    bins = int(np.ceil(end / step - _EDGE))
    edges = np.minimum(np.arange(bins + 1) * step, end)
    weights = _overlaps(starts, ends, features.valid, step, bins)
    total = np.asarray(weights.sum(axis=1)).reshape(-1)
    valid = total > 0
    values = np.zeros((bins, features.dim))
    values[valid] = (weights @ features.values.astype(np.float64))[valid] / total[valid, None]
    intervals = np.stack([edges[:-1], edges[1:]], axis=1)
    return Features(values, intervals, valid, features.names, features.notes)


def _overlaps(starts: np.ndarray, ends: np.ndarray, valid: np.ndarray, step: float, bins: int) -> sparse.csr_array:
    """Shared seconds of each bin and each valid row as a sparse (bins, T) matrix: long audio stays small."""
    first = np.clip(np.floor(starts / step + _EDGE).astype(np.int64), 0, None)
    last = np.minimum(np.ceil(ends / step - _EDGE).astype(np.int64), bins)
    counts = np.where(valid, np.maximum(last - first, 0), 0)
    rows = np.repeat(np.arange(len(starts)), counts)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    bin_of = first[rows] + places
    shared = np.minimum(ends[rows], (bin_of + 1) * step) - np.maximum(starts[rows], bin_of * step)
    keep = shared > 0
    return sparse.csr_array((shared[keep], (bin_of[keep], rows[keep])), shape=(bins, len(starts)))
