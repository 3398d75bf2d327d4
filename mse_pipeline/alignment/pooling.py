"""Pooling: rows of features that fall into a segment -> one row for the segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FUNCTIONALS = ("mean", "std", "min", "max", "range", "slope")
"""What pooling by ``functionals`` gives of each dimension: those of the INTERSPEECH 2009 Emotion Challenge's set that
a word of a few rows can carry (Schuller et al. 2009; skewness, kurtosis and positions need more rows)."""

POOLS: dict[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "max": ("max",),
    "std": ("std",),
    "functionals": FUNCTIONALS,
}
"""Ways of pooling -> the statistics of each dimension."""

_BLOCK = 1 << 22  # values that are gathered at once


@dataclass(frozen=True)
class Overlaps:
    """Which rows fall into which segments, and by how much: P pairs, sorted by segment.

    Attributes:
        segment: (P,) index of the segment.
        row: (P,) index of the row.
        shared: (P,) what both share, greater than 0, in the unit of the intervals.
        middle: (P,) middle of the shared part.
        segments: Number of segments.
    """

    segment: np.ndarray
    row: np.ndarray
    shared: np.ndarray
    middle: np.ndarray
    segments: int


def overlaps(rows: np.ndarray, segments: np.ndarray, usable: np.ndarray) -> Overlaps:
    """Find the pairs of rows and segments that share something.

    Args:
        rows: (T, 2) begin and end of each row, in any order; they may overlap and leave gaps.
        segments: (W, 2) begin and end of each segment, in the same unit, in any order.
        usable: (T,) bool; other rows are left out. Rows with NaN share nothing.

    Examples:
        >>> found = overlaps(np.array([[0, 2], [2, 3]]), np.array([[1, 2.5]]), np.array([True, True]))
        >>> found.row.tolist(), found.shared.tolist()
        ([0, 1], [1.0, 0.5])
    """
    index = np.flatnonzero(usable & np.isfinite(rows).all(axis=1))
    index = index[np.argsort(rows[index, 0], kind="stable")]
    starts, ends = rows[index].T
    # Rows that end later than one after them are found through the latest end so far.
    first = np.searchsorted(np.maximum.accumulate(ends), segments[:, 0], side="right")
    last = np.searchsorted(starts, segments[:, 1], side="left")
    counts = np.maximum(last - first, 0)
    segment = np.repeat(np.arange(len(segments)), counts)
    place = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts) + first[segment]
    begin = np.maximum(starts[place], segments[segment, 0])
    end = np.minimum(ends[place], segments[segment, 1])
    keep = end > begin
    segment, place, begin, end = segment[keep], place[keep], begin[keep], end[keep]
    return Overlaps(segment, index[place], end - begin, (begin + end) / 2, len(segments))


def pooled(values: np.ndarray, found: Overlaps, pool: str) -> tuple[np.ndarray, np.ndarray]:
    """Pool rows into segments; every row weighs what it shares with the segment.

    With weights w, the mean is ``sum w x / sum w``, the standard deviation ``sqrt(sum w (x - mean)^2 / sum w)`` and
    the slope that of the weighted least-squares line through the middles of the shared parts; least and greatest
    value are those of the rows that share anything.

    Args:
        values: (T, D).
        found: Which rows fall into which segments.
        pool: One of `POOLS`.

    Returns:
        (W, D * number of statistics) float64, statistic by statistic within a dimension, zero where a segment has no
        row; and (W,) bool, whether it has one.

    Examples:
        >>> found = overlaps(np.array([[0.0, 0.99], [0.99, 1.0]]), np.array([[0.0, 1.0]]), np.array([True, True]))
        >>> pooled(np.array([[0.0], [100.0]]), found, "mean")[0].round(9).tolist()
        [[1.0]]
    """
    statistics = POOLS[pool]
    width = values.shape[1]
    result = np.zeros((found.segments, width, len(statistics)))
    there = np.unique(found.segment)
    for segments, pairs in _blocks(found, there, max(width, 1)):
        local = np.flatnonzero(np.r_[True, np.diff(found.segment[pairs]) > 0])
        group = _Group(values[found.row[pairs]].astype(np.float64), found.shared[pairs], found.middle[pairs], local)
        for number, statistic in enumerate(statistics):
            result[segments, :, number] = _STATISTICS[statistic](group)
    valid = np.zeros(found.segments, bool)
    valid[there] = True
    return result.reshape(found.segments, width * len(statistics)), valid


def pooled_names(names: Sequence[str], pool: str) -> tuple[str, ...]:
    """Names after pooling: a mean is still what it is a mean of, all else says what it is.

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
    """Pairs of some segments: values (P, D), weights (P,), times (P,), and where each segment begins (W,)."""

    x: np.ndarray
    w: np.ndarray
    t: np.ndarray
    begins: np.ndarray

    def mean(self, what: np.ndarray) -> np.ndarray:
        weights = self.w.reshape(-1, *[1] * (what.ndim - 1))
        return np.add.reduceat(weights * what, self.begins) / np.add.reduceat(weights, self.begins)

    def centred(self, what: np.ndarray) -> np.ndarray:
        counts = np.diff(np.r_[self.begins, len(self.w)])
        return what - np.repeat(self.mean(what), counts, axis=0)


def _std(group: _Group) -> np.ndarray:
    return np.sqrt(group.mean(group.centred(group.x) ** 2))


def _min(group: _Group) -> np.ndarray:
    return np.minimum.reduceat(group.x, group.begins)


def _max(group: _Group) -> np.ndarray:
    return np.maximum.reduceat(group.x, group.begins)


def _slope(group: _Group) -> np.ndarray:
    times = group.centred(group.t)[:, None]
    spread = group.mean(times**2)
    # One row has no slope, and the float noise of its own middle is none either.
    flat = spread < np.finfo(float).eps * np.maximum(group.mean(group.t[:, None] ** 2), 1e-12)
    return np.where(flat, 0.0, group.mean(times * group.x) / np.where(flat, 1.0, spread))


_STATISTICS: dict[str, Callable[[_Group], np.ndarray]] = {
    "mean": lambda group: group.mean(group.x),
    "std": _std,
    "min": _min,
    "max": _max,
    "range": lambda group: _max(group) - _min(group),
    "slope": _slope,
}


def _blocks(found: Overlaps, there: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Segments and their pairs, so many at once as are gathered at once: hours of sound stay small."""
    ends = np.searchsorted(found.segment, there, side="right")
    most = max(_BLOCK // width, 1)
    first = 0
    while first < len(there):
        begin = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, begin + most, side="right")), first + 1)
        yield there[first:last], slice(begin, ends[last - 1])
        first = last
