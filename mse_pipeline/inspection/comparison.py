"""How far two streams are from each other: correlation value by value, canonical correlation, and linear CKA.

Each number stands beside what it is by chance, where the clips of one stream are exchanged: wide streams on few rows
agree with anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mse_pipeline.alignment.apply import to_equal_bins, to_grid
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features

MOST_ROWS = 10_000
"""Rows that are compared at most; of more, each clip gives some at equal distances."""

_LEAST_ROWS = 10
_ROWS_A_COMPONENT = 10  # with fewer, canonical correlations of noise are high
_LEAST_VARIANCE = 1e-9  # share of the largest, below which a component is rounding
_DEFINED = 0.5  # least share of rows in which a value is defined
_SHUFFLES = 10
_OTHER_LENGTH = 0.05  # share by which a clip's two lengths may differ, beside one row


@dataclass(frozen=True)
class Clock:
    """How rows of two streams are brought together.

    Attributes:
        step: Seconds of the bins of a grid.
        bins: Equal parts of each clip. None of both: row by row.
    """

    step: float | None = None
    bins: int | None = None

    def __str__(self) -> str:
        if self.step is not None:
            return f"a grid of {self.step:g} s"
        if self.bins is None:
            return "row by row"
        return "one row a clip" if self.bins == 1 else f"{self.bins} equal parts of each clip"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of two streams at the same times.

    Attributes:
        a: (N, A) float64, NaN where a value is not defined.
        b: (N, B).
        names_a: Of the A values.
        names_b: Of the B values.
        clip_of: (N,) number of the clip that each row belongs to.
        clock: How they were brought together.
        clips: Clips that gave rows.
        left_out: Clips that gave none, by reason.
        thinned: Whether only some rows were taken.
    """

    a: np.ndarray
    b: np.ndarray
    names_a: tuple[str, ...]
    names_b: tuple[str, ...]
    clip_of: np.ndarray
    clock: Clock
    clips: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    thinned: bool = False


def timed(features: Features) -> bool:
    """Whether rows have times in seconds; formats that keep none number their rows."""
    return "clock" not in features.notes and bool(np.isfinite(features.intervals).all())


def choose_clock(pairs: Sequence[tuple[Features, Features]], step: float | None, bins: int | None) -> Clock:
    """The clock that is asked for, else the one that fits both streams.

    One row a clip where a stream has no more; a grid where both have times, with the distance of rows in the slower
    stream as step; row by row elsewhere.

    Raises:
        UsageError: A grid is asked for, and a stream has no times.
    """
    if step is not None and not all(timed(one) for pair in pairs for one in pair):
        raise UsageError(
            "A grid needs the times of rows, and a stream has none. Use --bins N for equal parts of clips."
        )
    if step is not None or bins is not None:
        return Clock(step, bins)
    sides = list(zip(*pairs, strict=True))
    if any(all(len(one) <= 1 for one in side) for side in sides):
        return Clock(bins=1)
    if all(timed(one) for side in sides for one in side):
        return Clock(step=max(float(np.median([_step(one) for one in side if len(one) > 1])) for side in sides))
    return Clock()


def _step(features: Features) -> float:
    """Seconds from row to row; rounded, since the first and the last row are often shorter or longer."""
    return float(np.round(np.median(np.diff(features.intervals.mean(1))), 6)) or 1e-3


def pair(found: Sequence[tuple[Features, Features]], *, step: float | None = None, bins: int | None = None) -> Pairs:
    """Bring the rows of two streams together, clip by clip.

    Args:
        found: Features of both, a pair a clip.
        step: Seconds of a grid; None to let the streams decide.
        bins: Equal parts of each clip, in place of a grid.

    Raises:
        UsageError: No clip has rows of both that fit together.
    """
    clock = choose_clock(found, step, bins)
    most = max(MOST_ROWS // max(len(found), 1), 1)
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    left_out: dict[str, int] = {}
    thinned, example = False, ""
    for one, other in found:
        a, b = (_on(clock, features) for features in (one, other))
        difference = abs(len(a) - len(b))
        allowed = 0 if clock.step is None else 1 + _OTHER_LENGTH * max(len(a), len(b))
        if len(one) and len(other) and difference > allowed:
            left_out["other length"] = left_out.get("other length", 0) + 1
            example = example or f"a clip has {len(a)} rows in one and {len(b)} in the other"
            continue
        count = min(len(a), len(b))
        both = np.flatnonzero(a.valid[:count] & b.valid[:count])
        if not len(both):
            left_out["no common row"] = left_out.get("no common row", 0) + 1
            continue
        if len(both) > most:
            both, thinned = both[np.linspace(0, len(both) - 1, most).round().astype(int)], True
        rows.append((a.values[both].astype(np.float64), b.values[both].astype(np.float64)))
    if not rows:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
        mend = " Use --bins N to compare equal parts of clips." if example else ""
        raise UsageError(
            f"None of the {len(found)} clips has rows of both streams that fit together ({clock}): {reasons}"
            f"{f', as {example}' if example else ''}.{mend}"
        )
    lengths = [len(a) for a, _ in rows]
    names_a, names_b = (tuple(features.names) for features in found[0])
    sides = [np.concatenate(side) for side in zip(*rows, strict=True)]
    owner = np.repeat(np.arange(len(rows)), lengths)
    return Pairs(sides[0], sides[1], names_a, names_b, owner, clock, len(rows), left_out, thinned)


def _on(clock: Clock, features: Features) -> Features:
    if clock.step is not None:
        return to_grid(features, clock.step)
    return features if clock.bins is None else to_equal_bins(features, clock.bins)


@dataclass(frozen=True)
class Correlated:
    """A value of the first stream.

    Attributes:
        name: Its name.
        other: The value of the second stream at its place; empty where the streams have other numbers of values.
        r: Pearson's correlation with that one; NaN where one of them never changes.
        best: The value of the second stream that it is most correlated with, of either sign.
        best_r: That correlation.
    """

    name: str
    other: str
    r: float
    best: str
    best_r: float


@dataclass(frozen=True)
class Comparison:
    """How far two streams are from each other.

    Attributes:
        rows: Rows in which all compared values of both are defined.
        correlated: The values of the first stream.
        matched: How values were put beside each other: ``name``, ``place``, or empty for not at all.
        chance_r: Median of the absolute correlations by chance: of pairs, or, unmatched, of the best partners.
        cca: Canonical correlations, the largest first.
        chance_cca: Mean of them by chance, of each shuffle.
        components: Principal components of each stream that they were computed of.
        dims: Values of each stream that count: neither constant nor mostly undefined.
        cka: Linear CKA (Kornblith et al. 2019) of values brought to variance 1.
        chance_cka: By chance, of each shuffle.
    """

    rows: int
    correlated: tuple[Correlated, ...]
    matched: str
    chance_r: float
    cca: tuple[float, ...]
    chance_cca: tuple[float, ...]
    components: tuple[int, int]
    dims: tuple[int, int]
    cka: float
    chance_cka: tuple[float, ...]

    @property
    def mean_cca(self) -> float:
        """Mean canonical correlation (Raghu et al. 2017, SVCCA)."""
        return float(np.mean(self.cca))


def compare(pairs: Pairs, seed: int = 0) -> Comparison:
    """Compare rows that belong together.

    Canonical correlations are computed of principal components, at most one for ten rows: with more, those of noise
    come near 1. With rows enough, all are kept, and two streams that are linear images of each other have 1.

    Args:
        pairs: The rows.
        seed: Of the shuffles.

    Raises:
        UsageError: There are too few rows, or a stream has no value that is defined and changes.
    """
    sides = [(pairs.a, _usable(pairs.a)), (pairs.b, _usable(pairs.b))]
    for name, (_, used) in zip(("first", "second"), sides, strict=True):
        if not used.any():
            raise UsageError(f"The {name} stream has no value that is defined in half of the rows and changes.")
    whole = np.logical_and(*(~np.isnan(values[:, used]).any(1) for values, used in sides))
    rows = int(whole.sum())
    if rows < _LEAST_ROWS:
        raise UsageError(
            f"{rows} rows have all values of both streams, fewer than {_LEAST_ROWS}: compare more clips (--clips), or "
            "a finer clock (--step, --bins)."
        )
    a, b = (values[whole][:, used] for values, used in sides)
    own, cap = _components(a), max(rows // _ROWS_A_COMPONENT, 1)
    matrix = _correlations(pairs.a, pairs.b)
    matched, partners = _partners(pairs.names_a, pairs.names_b)
    cca, cka, _, kept = _agreement(own, _components(b), cap)
    by_chance = [_agreement(own, _components(b[order]), cap) for order in _shuffles(pairs.clip_of[whole], seed)]
    shuffled = [np.full_like(matrix, np.nan) for _ in by_chance]
    for full, (_, _, part, _) in zip(shuffled, by_chance, strict=True):
        full[np.ix_(sides[0][1], sides[1][1])] = part
    return Comparison(
        rows=rows,
        correlated=_correlated(matrix, pairs, partners),
        matched=matched,
        chance_r=float(np.nanmedian([np.abs(_of_partners(full, partners)) for full in shuffled])),
        cca=tuple(map(float, cca)),
        chance_cca=tuple(float(shuffle[0].mean()) for shuffle in by_chance),
        components=kept,
        dims=(int(sides[0][1].sum()), int(sides[1][1].sum())),
        cka=cka,
        chance_cka=tuple(shuffle[1] for shuffle in by_chance),
    )


def _usable(values: np.ndarray) -> np.ndarray:
    """(D,) which values are defined in half of the rows, and change."""
    defined = ~np.isnan(values)
    enough = defined.mean(0) >= _DEFINED
    low = np.where(defined, values, np.inf).min(0)
    high = np.where(defined, values, -np.inf).max(0)
    return np.asarray(enough & (high > low))


_Side = tuple[np.ndarray, np.ndarray, np.ndarray]


def _agreement(a: _Side, b: _Side, cap: int) -> tuple[np.ndarray, float, np.ndarray, tuple[int, int]]:
    """Canonical correlations, CKA, correlations (A, B), and the numbers of components that the first were made of.

    Args:
        a: As `_components` gives it.
        b: Of the other stream.
        cap: Components of each that count for canonical correlations.
    """
    from scipy.linalg import svdvals

    (base_a, length_a, back_a), (base_b, length_b, back_b) = a, b
    shared, kept = base_a.T @ base_b, (min(len(length_a), cap), min(len(length_b), cap))
    weighted = length_a[:, None] * shared * length_b
    cka = np.square(weighted).sum() / np.linalg.norm(length_a**2) / np.linalg.norm(length_b**2)
    return np.clip(svdvals(shared[: kept[0], : kept[1]]), 0.0, 1.0), float(cka), back_a @ weighted @ back_b.T, kept


def _components(values: np.ndarray) -> _Side:
    """Principal components of values brought to mean 0 and length 1.

    Returns:
        (N, K) orthonormal, (K,) their lengths, and (D, K) directions.
    """
    from scipy.linalg import eigh

    centred = values - values.mean(0)
    length = np.linalg.norm(centred, axis=0)
    centred /= np.where(length > 0, length, 1.0)
    variances, directions = eigh(centred.T @ centred)
    keep = np.flatnonzero(variances > _LEAST_VARIANCE * variances[-1])[::-1]
    lengths = np.sqrt(variances[keep])
    return centred @ directions[:, keep] / lengths, lengths, directions[:, keep]


def _shuffles(clip_of: np.ndarray, seed: int) -> Iterable[np.ndarray]:
    """Orders that give each clip the rows of another one, stretched to its length; a single clip, those of other times.

    Rows of a clip are alike and stay together, and clips begin and end where they did: with single rows exchanged,
    chance would look lower than it is.
    """
    random = np.random.default_rng(seed)
    places = [np.flatnonzero(clip_of == clip) for clip in np.unique(clip_of)]
    for _ in range(_SHUFFLES):
        if len(places) == 1:
            yield np.roll(places[0], int(random.integers(1, len(clip_of))))
            continue
        cycle = random.permutation(len(places))
        instead = dict(zip(cycle, np.roll(cycle, 1), strict=True))  # no clip stays where it is
        rows = ((own, places[instead[k]]) for k, own in enumerate(places))
        yield np.concatenate([other[np.arange(len(own)) * len(other) // len(own)] for own, other in rows])


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each value with each of the other stream, (A, B), over rows that have both."""
    known_a, known_b = ~np.isnan(a), ~np.isnan(b)
    # Centred first: sums of squares of large values would lose their digits.
    plain_a, plain_b = (
        np.where(known, values - _means(values, known), 0.0) for values, known in ((a, known_a), (b, known_b))
    )
    if known_a.all() and known_b.all():
        product = plain_a.T @ plain_b
        spread = np.square(plain_a).sum(0)[:, None] * np.square(plain_b).sum(0)
    else:
        weight_a, weight_b = known_a.astype(np.float64), known_b.astype(np.float64)
        count = np.maximum(weight_a.T @ weight_b, 1.0)
        sum_a, sum_b = plain_a.T @ weight_b, weight_a.T @ plain_b
        product = plain_a.T @ plain_b - sum_a * sum_b / count
        spread = (np.square(plain_a).T @ weight_b - sum_a**2 / count) * (
            weight_a.T @ np.square(plain_b) - sum_b**2 / count
        )
    scale = np.square(plain_a).sum(0)[:, None] * np.square(plain_b).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(spread > 1e-20 * scale, product / np.sqrt(np.maximum(spread, 0.0)), np.nan)
    return np.clip(np.where(spread > 0, found, np.nan), -1.0, 1.0)


def _means(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1))


def _partners(names_a: Sequence[str], names_b: Sequence[str]) -> tuple[str, np.ndarray | None]:
    """How values are put beside each other, and the place of each one's partner; None where they are not."""
    if set(names_a) == set(names_b) and len(set(names_a)) == len(names_a):
        places = {name: place for place, name in enumerate(names_b)}
        return "name", np.array([places[name] for name in names_a])
    return ("place", np.arange(len(names_a))) if len(names_a) == len(names_b) else ("", None)


def _of_partners(matrix: np.ndarray, partners: np.ndarray | None) -> np.ndarray:
    """Each value's correlation with its partner; without one, the highest."""
    if partners is not None:
        return np.asarray(matrix[np.arange(len(matrix)), partners])
    return np.where(np.isnan(matrix).all(1), np.nan, np.where(np.isnan(matrix), 0.0, np.abs(matrix)).max(1))


def _correlated(matrix: np.ndarray, pairs: Pairs, partners: np.ndarray | None) -> tuple[Correlated, ...]:
    found = []
    for place, name in enumerate(pairs.names_a):
        row = matrix[place]
        known = not bool(np.isnan(row).all())
        best = int(np.nanargmax(np.abs(row))) if known else 0
        other = None if partners is None else int(partners[place])
        found.append(
            Correlated(
                name=name,
                other="" if other is None else pairs.names_b[other],
                r=float("nan") if other is None else float(row[other]),
                best=pairs.names_b[best] if known else "",
                best_r=float(row[best]) if known else float("nan"),
            )
        )
    return tuple(found)


def to_dict(pairs: Pairs, result: Comparison) -> dict[str, Any]:
    """Both as plain JSON values."""
    paired = np.array([one.r if result.matched else one.best_r for one in result.correlated])
    known = np.abs(paired[~np.isnan(paired)])
    return {
        "clips": pairs.clips,
        "clips_left_out": dict(pairs.left_out),
        "rows": len(pairs.a),
        "rows_with_all_values": result.rows,
        "thinned": pairs.thinned,
        "clock": str(pairs.clock),
        "values": [len(pairs.names_a), len(pairs.names_b)],
        "values_used": list(result.dims),
        "correlation": {
            "matched_by": result.matched or None,
            "median": float(np.median(known)) if len(known) else None,
            "least": float(known.min()) if len(known) else None,
            "greatest": float(known.max()) if len(known) else None,
            "above_0.9": float((known > 0.9).mean()) if len(known) else None,
            "chance": result.chance_r,
            "of_each": [
                {"name": one.name, "other": one.other, "r": one.r, "best": one.best, "best_r": one.best_r}
                for one in result.correlated
            ],
        },
        "cca": {
            "mean": result.mean_cca,
            "chance": float(np.mean(result.chance_cca)),
            "chance_most": max(result.chance_cca),
            "components": list(result.components),
            "correlations": list(result.cca),
        },
        "cka": {
            "value": result.cka,
            "chance": float(np.mean(result.chance_cka)),
            "chance_most": max(result.chance_cka),
        },
    }
