"""Alignments: a grid of fixed steps, equal bins, and `aligner`, which applies the alignment of a recipe.

On a grid, streams of different rates share one clock. Equal bins cut every clip into the same number of parts,
independent of its words; alignment to words is in `words`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mse_pipeline.alignment.pooling import overlaps, pooled
from mse_pipeline.store.features import Features, with_defined

_EDGE = 1e-9  # seconds: tolerance for rounding at the edge of a bin


def to_grid(features: Features, step: float) -> Features:
    """Pool features to bins of `step` seconds by the overlap-weighted mean of their valid rows.

    Bin k holds ``sum_t w[k,t] x[t] / sum_t w[k,t]`` over valid rows t, where ``w[k,t]`` is the time in seconds that
    row t and bin k share: a row that covers 1 % of a bin counts 1 %. Values that are not defined (NaN) do not count; a
    bin has NaN in dimensions of which it has no defined value. A bin without any is marked invalid and holds zeros. The
    last bin ends where the features end.

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
        raise ValueError(f"The step of a grid must be a positive number of seconds, got {step!r}.")
    starts, ends = features.intervals.T if len(features) else (np.zeros(0), np.zeros(0))
    end = float(ends.max(initial=0.0))
    bins = int(np.ceil(end / step - _EDGE))
    edges = np.minimum(np.arange(bins + 1) * step, end)
    weights = _overlaps(starts, ends, features.valid, step, bins)
    total = weights.sums(np.ones((len(features), 1)))[:, 0]
    valid = total > 0
    values = np.zeros((bins, features.dim))
    values[valid] = weights.sums(features.values)[valid] / total[valid, None]
    if np.isnan(values).any():
        values, valid = _of_defined(features.values, weights, values, valid)
    intervals = np.stack([edges[:-1], edges[1:]], axis=1)
    return Features(values, intervals, valid, features.names, features.notes)


def _of_defined(
    rows: np.ndarray, weights: _Overlaps, values: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means of a grid whose bins have undefined values among others; those without any stay as they are.

    Args:
        rows: (T, D) values that the bins are made of.
        weights: Shared seconds of bins and rows.
        values: (bins, D) means, NaN where a value of the bin is not defined.
        valid: (bins,) whether a bin has a row.
    """
    defined = ~np.isnan(rows)
    seconds = weights.sums(defined)
    sums = weights.sums(np.where(defined, rows, 0.0))
    with np.errstate(invalid="ignore"):  # 0 by 0 where no value is defined
        return with_defined(np.where(np.isnan(values), sums / seconds, values), valid)


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """Shared seconds of bins and rows, as far as they share any: small for long audio.

    Attributes:
        bins: Number of bins.
        bin_of: (N,) the bin of each overlap, ascending.
        row_of: (N,) its row.
        seconds: (N,) float64.
    """

    bins: int
    bin_of: np.ndarray
    row_of: np.ndarray
    seconds: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of rows (T, D) in each bin, weighted by shared seconds: (bins, D) float64."""
        sums = np.zeros((self.bins, values.shape[1]))
        bins, first, counts = np.unique(self.bin_of, return_index=True, return_counts=True)
        # One row of each bin after the other: how numpy adds up many at once decides the last digits.
        for number in range(counts.max(initial=0)):
            more = counts > number
            place = first[more] + number
            sums[bins[more]] += self.seconds[place, None] * values[self.row_of[place]]
        return sums


def _overlaps(starts: np.ndarray, ends: np.ndarray, valid: np.ndarray, step: float, bins: int) -> _Overlaps:
    """Shared seconds of each bin and each valid row."""
    first = np.clip(np.floor(starts / step + _EDGE).astype(np.int64), 0, None)
    last = np.minimum(np.ceil(ends / step - _EDGE).astype(np.int64), bins)
    counts = np.where(valid, np.maximum(last - first, 0), 0)
    rows = np.repeat(np.arange(len(starts)), counts)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    bin_of = first[rows] + places
    shared = np.minimum(ends[rows], (bin_of + 1) * step) - np.maximum(starts[rows], bin_of * step)
    keep = np.flatnonzero(shared > 0)
    order = keep[np.argsort(bin_of[keep], kind="stable")]
    return _Overlaps(bins, bin_of[order], rows[order], shared[order])


def to_equal_bins(features: Features, bins: int) -> Features:
    """Pool features to `bins` parts of equal length by the overlap-weighted mean of their valid rows.

    Values that are not defined do not count, as on a grid. This is not a word alignment, although papers often call it
    aligned: part k of a clip is the same part of each stream, whatever is said in it. Rows without times count as
    equally long.

    Args:
        features: On any clock.
        bins: Number of parts.

    Returns:
        Features of shape (bins, D); without rows if there were none.

    Examples:
        >>> f = Features([[1], [2], [4]], [[0, 1], [1, 2], [2, 4]], [True] * 3, ["loudness"])
        >>> to_equal_bins(f, 2).values.tolist()
        [[1.5], [4.0]]
    """
    timed = len(features) > 0 and bool(np.isfinite(features.intervals).any())
    places = np.arange(len(features), dtype=float)
    rows = features.intervals if timed else np.stack([places, places + 1], axis=1)
    end = float(np.nanmax(rows)) if len(features) else 0.0
    edges = np.linspace(0.0, end, bins + 1 if end > 0 else 1)
    parts = np.stack([edges[:-1], edges[1:]], axis=1)
    values, valid = pooled(features.values, overlaps(rows, parts, features.valid), "mean")
    intervals = parts if timed else np.full(parts.shape, np.nan)
    kept = {key: value for key, value in features.notes.items() if key not in {"tokens", "spans", "words"}}
    return Features(values, intervals, valid, features.names, kept)


Align = Callable[[str, Features], Features]
"""Clip id and its features on their own clock -> features on the chosen clock."""


def aligner(
    alignment: Mapping[str, Any], words_of: Callable[[str], Features | None] | None = None, *, of_words: bool = False
) -> Align:
    """The function that puts a clip's features on the clock of a recipe's alignment.

    Args:
        alignment: ``{"kind": "none"}`` (own clock, true length), ``{"kind": "grid", "step": seconds}``,
            ``{"kind": "equal_bins", "bins": number}``, or ``{"kind": "words", "stream": name, "pool": "mean",
            "silence": "drop", "subtokens": tokenizer or None}``.
        words_of: The rows of the word stream by clip id, None for a clip that has none; only for ``words``.
        of_words: Whether the features are those of the word stream itself.

    Raises:
        ValueError: There is no such alignment.
        UsageError: The tokenizer of ``subtokens`` cannot be used.

    Examples:
        >>> aligner({"kind": "none"})("a", f := Features([[1.0]], [[0, 1]], [True], ["a"])) is f
        True
    """
    match alignment:
        case {"kind": "none"}:
            return lambda _, features: features
        case {"kind": "grid", "step": step}:
            return lambda _, features: to_grid(features, float(step))
        case {"kind": "equal_bins", "bins": bins}:
            return lambda _, features: to_equal_bins(features, int(bins))
        case {"kind": "words", "pool": pool, "silence": silence} if words_of is not None:
            return _on_words(str(pool), silence, alignment.get("subtokens"), words_of, of_words)
        case _:
            raise ValueError(
                f"There is no alignment {dict(alignment)!r}. Use the kind none, grid or equal_bins, "
                "or words with a stream of words."
            )


def _on_words(
    pool: str, silence: Any, subtokens: str | None, words_of: Callable[[str], Features | None], of_words: bool
) -> Align:
    from mse_pipeline.alignment.words import load_tokenizer, to_subtokens, to_words, unaligned, why_not, word_rows

    tokenizer = None if subtokens is None else load_tokenizer(subtokens)

    def align(clip: str, features: Features) -> Features:
        if of_words:
            aligned = word_rows(features, silence=silence)
        else:
            words = words_of(clip)
            reason = why_not(features, words)
            if words is None or reason is not None:
                return unaligned(features, str(reason), pool=pool)
            aligned = to_words(features, words, pool=pool, silence=silence)
        return aligned if tokenizer is None else to_subtokens(aligned, tokenizer)

    return align
