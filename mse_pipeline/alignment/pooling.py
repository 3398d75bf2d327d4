"""Pooling: rows of features that fall into a segment -> one row for the segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mse_pipeline.store.features import with_defined

FUNCTIONALS = ("mean", "std", "min", "max", "range", "slope")
"""Statistics of pooling by ``functionals``: those of the INTERSPEECH 2009 Emotion Challenge's set that make sense for
a word of a few rows (Schuller et al. 2009; skewness, kurtosis and positions need more rows)."""

POOLS: dict[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "max": ("max",),
    "std": ("std",),
    "functionals": FUNCTIONALS,
}
"""Ways of pooling -> the statistics of each dimension."""

_BLOCK = 1 << 17  # values in memory at once; more would not stay in the processor's cache


@dataclass(frozen=True)
class Overlaps:
    """Pairs of rows and segments that overlap, and by how much: P pairs, sorted by segment.

    Attributes:
        segment: (P,) index of the segment.
        row: (P,) index of the row.
        shared: (P,) length of the shared part, greater than 0, in the unit of the intervals.
        middle: (P,) middle of the shared part.
        segments: Number of segments.
    """

    segment: np.ndarray
    row: np.ndarray
    shared: np.ndarray
    middle: np.ndarray
    segments: int


def overlaps(rows: np.ndarray, segments: np.ndarray, usable: np.ndarray) -> Overlaps:
    """Find the pairs of rows and segments that overlap.

    Args:
        rows: (T, 2) begin and end of each row, in any order; they may overlap and leave gaps.
        segments: (W, 2) begin and end of each segment, in the same unit, in any order.
        usable: (T,) bool; other rows are left out. Rows with NaN overlap with nothing.

    Examples:
        >>> pairs = overlaps(np.array([[0, 2], [2, 3]]), np.array([[1, 2.5]]), np.array([True, True]))
        >>> pairs.row.tolist(), pairs.shared.tolist()
        ([0, 1], [1.0, 0.5])
    """
    index = np.flatnonzero(usable & np.isfinite(rows).all(axis=1))
    index = index[np.argsort(rows[index, 0], kind="stable")]
    starts, ends = rows[index].T
    # A row may end later than rows that start after it: the search uses the latest end so far.
    first = np.searchsorted(np.maximum.accumulate(ends), segments[:, 0], side="right")
    last = np.searchsorted(starts, segments[:, 1], side="left")
    counts = np.maximum(last - first, 0)
    segment = np.repeat(np.arange(len(segments)), counts)
    position = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts) + first[segment]
    begin = np.maximum(starts[position], segments[segment, 0])
    end = np.minimum(ends[position], segments[segment, 1])
    keep = end > begin
    segment, position, begin, end = segment[keep], position[keep], begin[keep], end[keep]
    return Overlaps(segment, index[position], end - begin, (begin + end) / 2, len(segments))


def pooled(values: np.ndarray, overlap: Overlaps, pool: str) -> tuple[np.ndarray, np.ndarray]:
    """Pool rows into segments; every row weighs what it shares with the segment.

    A value that is not defined (NaN) does not count; the other values of its row do. With weights w, the mean is
    ``sum w x / sum w``, the standard deviation ``sqrt(sum w (x - mean)^2 / sum w)`` and the slope that of the weighted
    least-squares line through the middles of the shared parts; minimum and maximum are those of the overlapping rows.

    Args:
        values: (T, D), NaN where a value is not defined.
        overlap: Which rows fall into which segments.
        pool: One of `POOLS`.

    Returns:
        (W, D * number of statistics) float64, statistic by statistic within a dimension: NaN where a segment has no
        defined value of the dimension, zero where it has none of any; and (W,) bool, whether it has one of any.

    Examples:
        >>> overlap = overlaps(np.array([[0.0, 0.99], [0.99, 1.0]]), np.array([[0.0, 1.0]]), np.array([True, True]))
        >>> pooled(np.array([[0.0], [100.0]]), overlap, "mean")[0].round(9).tolist()
        [[1.0]]
        >>> overlap = overlaps(np.array([[0, 1], [1, 2]]), np.array([[0, 2]]), np.array([True, True]))
        >>> pooled(np.array([[np.nan, np.nan], [100.0, np.nan]]), overlap, "mean")[0].tolist()
        [[100.0, nan]]
    """
    statistics = POOLS[pool]
    width = values.shape[1]
    partial = bool(np.isnan(values).any())
    result = np.zeros((overlap.segments, width, len(statistics)))
    filled = np.unique(overlap.segment)
    for segments, pairs in _blocks(overlap, filled, max(width, 1)):
        local = np.flatnonzero(np.r_[True, np.diff(overlap.segment[pairs]) > 0])
        rows, shared, middle = (
            values[overlap.row[pairs]].astype(np.float64),
            overlap.shared[pairs],
            overlap.middle[pairs],
        )
        group = _with_undefined(rows, shared, middle, local) if partial else _Group(rows, shared, middle, local)
        for number, statistic in enumerate(statistics):
            result[segments, :, number] = _STATISTICS[statistic](group)
    valid = np.zeros(overlap.segments, bool)
    valid[filled] = True
    flat = result.reshape(overlap.segments, width * len(statistics))
    return with_defined(flat, valid) if partial else (flat, valid)


def pooled_names(names: Sequence[str], pool: str) -> tuple[str, ...]:
    """Names after pooling: a mean keeps its name, other statistics are added to it.

    Examples:
        >>> pooled_names(["loudness"], "functionals")[:3], pooled_names(["loudness"], "mean")
        (('loudness_mean', 'loudness_std', 'loudness_min'), ('loudness',))
    """
    if pool == "mean":
        return tuple(names)
    return tuple(f"{name}_{statistic}" for name in names for statistic in POOLS[pool])


def pooled_units(units: Sequence[str], pool: str) -> tuple[str, ...]:
    """Units after pooling: a slope is per second.

    Examples:
        >>> pooled_units(["Hz"], "functionals")
        ('Hz', 'Hz', 'Hz', 'Hz', 'Hz', 'Hz/s')
    """
    return tuple(f"{unit or '1'}/s" if statistic == "slope" else unit for unit in units for statistic in POOLS[pool])


@dataclass(frozen=True)
class _Group:
    """Pairs of some segments.

    Attributes:
        x: (P, D) values.
        w: (P,) weights; (P, D) where some values are not defined, whose weight is 0.
        t: (P,) times; (P, D) likewise, since each dimension then has its own mean time.
        begins: (W,) where each segment begins.
    """

    x: np.ndarray
    w: np.ndarray
    t: np.ndarray
    begins: np.ndarray

    @property
    def partial(self) -> bool:
        """Whether some values are not defined."""
        return self.w.ndim == 2

    def mean(self, values: np.ndarray) -> np.ndarray:
        if self.partial:
            weighted = np.where(self.w > 0.0, self.w * values, 0.0)
            with np.errstate(invalid="ignore"):  # 0 by 0 where no value is defined
                return np.add.reduceat(weighted, self.begins) / np.add.reduceat(self.w, self.begins)
        weights = self.w.reshape(-1, *[1] * (values.ndim - 1))
        return np.add.reduceat(weights * values, self.begins) / np.add.reduceat(weights, self.begins)

    def centred(self, values: np.ndarray) -> np.ndarray:
        counts = np.diff(np.r_[self.begins, len(self.w)])
        return values - np.repeat(self.mean(values), counts, axis=0)


def _with_undefined(values: np.ndarray, weights: np.ndarray, times: np.ndarray, begins: np.ndarray) -> _Group:
    """The group of pairs some of whose values are NaN."""
    own = np.where(np.isnan(values), 0.0, weights[:, None])
    return _Group(values, own, np.broadcast_to(times[:, None], values.shape), begins)


def _std(group: _Group) -> np.ndarray:
    return np.sqrt(group.mean(group.centred(group.x) ** 2))


def _min(group: _Group) -> np.ndarray:
    return (np.fmin if group.partial else np.minimum).reduceat(group.x, group.begins)


def _max(group: _Group) -> np.ndarray:
    return (np.fmax if group.partial else np.maximum).reduceat(group.x, group.begins)


def _slope(group: _Group) -> np.ndarray:
    shape = (len(group.t), -1)
    times = group.centred(group.t).reshape(shape)
    spread = group.mean(times**2)
    # One row has no slope, and the float noise of its own middle is none either.
    flat = spread < np.finfo(float).eps * np.maximum(group.mean(group.t.reshape(shape) ** 2), 1e-12)
    return np.where(flat, 0.0, group.mean(times * group.x) / np.where(flat, 1.0, spread))


_STATISTICS: dict[str, Callable[[_Group], np.ndarray]] = {
    "mean": lambda group: group.mean(group.x),
    "std": _std,
    "min": _min,
    "max": _max,
    "range": lambda group: _max(group) - _min(group),
    "slope": _slope,
}


def _blocks(overlap: Overlaps, filled: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Blocks of segments with their pairs, so that hours of sound need little memory."""
    ends = np.searchsorted(overlap.segment, filled, side="right")
    most = max(_BLOCK // width, 1)
    first = 0
    while first < len(filled):
        begin = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, begin + most, side="right")), first + 1)
        yield filled[first:last], slice(begin, ends[last - 1])
        first = last
