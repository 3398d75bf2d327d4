"""Statistics of a stream's values, a dimension at a time: how much of each is defined, and in which range it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.store.features import Features
from mse_pipeline.store.pack import Statistics, merge_statistics, of_clip


@dataclass(frozen=True, eq=False)
class ValueStatistics:
    """Statistics of a stream over its valid rows.

    Attributes:
        names: The D dimensions' names.
        clips: Number of clips.
        rows: Number of rows.
        valid: Number of valid rows among them.
        defined: (D,) share of the valid rows in which a dimension is a finite number.
        mean: (D,) mean of these; NaN where there is none, as in the following.
        deviation: (D,) population standard deviation.
        low: (D,) least value.
        high: (D,) greatest value.
    """

    names: tuple[str, ...]
    clips: int
    rows: int
    valid: int
    defined: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray


def value_statistics(stream: Mapping[str, Features]) -> ValueStatistics | None:
    """Statistics of all clips of a stream, one clip in memory at a time; None without any clip.

    Args:
        stream: Features by clip id.

    Raises:
        MseError: Clips differ in their dimensions.

    Examples:
        >>> a = Features([[1.0, np.nan], [3.0, 9.0]], [[0, 1], [1, 2]], [True, True], ("loudness", "f0"))
        >>> found = value_statistics({"a": a})
        >>> found.defined.tolist(), found.mean.tolist(), found.high.tolist()
        ([1.0, 0.5], [2.0, 9.0], [3.0, 9.0])
    """
    names: tuple[str, ...] = ()
    clips = rows = valid = 0
    low = high = np.zeros(0)

    def parts() -> Iterator[Statistics]:
        nonlocal names, clips, rows, valid, low, high
        for clip, features in stream.items():
            if not clips:
                names = tuple(features.names)
                low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
            elif tuple(features.names) != names:
                raise MseError(f"{clip} has other dimensions than the clips before it; extract them with one recipe.")
            clips, rows, valid = clips + 1, rows + len(features), valid + int(features.valid.sum())
            values = features.values if features.valid.all() else features.values[features.valid]
            known = np.isfinite(values)
            low = np.minimum(low, np.min(values, axis=0, where=known, initial=np.inf))
            high = np.maximum(high, np.max(values, axis=0, where=known, initial=-np.inf))
            yield of_clip(features.values, features.valid)

    merged = merge_statistics(parts())
    if merged is None:
        return None
    count = merged.count[0]
    some = count > 0
    return ValueStatistics(
        names,
        clips,
        rows,
        valid,
        count / max(valid, 1),
        *(np.where(some, of, np.nan) for of in (merged.mean[0], np.sqrt(merged.spread[0] / np.maximum(count, 1)))),
        *(np.where(some, of, np.nan) for of in (low, high)),
    )


def notable(statistics: ValueStatistics, most: int) -> np.ndarray:
    """Places of the dimensions that are worth a look first, at most so many, in their own order.

    These are dimensions that are not defined everywhere, the least defined ones first, then constant ones, then the
    others from the front.

    Examples:
        >>> a = Features([[1.0, 2.0, np.nan], [3.0, 2.0, 9.0]], [[0, 1], [1, 2]], [True, True], ("a", "constant", "f0"))
        >>> notable(value_statistics({"a": a}), 2).tolist()
        [1, 2]
    """
    order = np.lexsort((~(statistics.deviation == 0.0), statistics.defined))
    return np.sort(order[:most])
