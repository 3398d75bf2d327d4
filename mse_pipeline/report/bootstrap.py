"""Paired bootstrap: whether one run is better than another on the same clips, or by chance (Koehn, EMNLP 2004).

Clips are drawn with replacement, as many as there are, the same ones for both runs; of each draw the difference of the
metric that chooses epochs is taken, where a run's value is the mean over its seeds. The interval holds the middle 95 %
of the differences. Clips of one dialogue or speaker are not independent, so that true intervals are wider.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.report.predicted import FILE
from mse_pipeline.report.runs import RunGroup, read_predictions

DRAWS = 1000


@dataclass(frozen=True)
class Comparison:
    """A run against another one.

    Attributes:
        against: Name of the other run.
        metric: What is compared.
        clips: Those that both have.
        difference: The run's value less the other's, in the scale of `metrics.evaluate`.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Two-sided: how probable a difference of the other sign is, twice; at most 1.
    """

    against: str
    metric: str
    clips: int
    difference: float
    low: float
    high: float
    p: float


def compare(
    run: RunGroup,
    other: RunGroup,
    split: str,
    draws: int = DRAWS,
    seed: int = 0,
    *,
    only: Collection[str] | None = None,
) -> Comparison:
    """Compare two runs on the clips that both predicted.

    Args:
        run: With at least one finished seed.
        other: Likewise, of the same dataset and metrics.
        split: Whose predictions.
        draws: How many.
        seed: Of the draws.
        only: Ids of the clips that count; None for all.

    Raises:
        MseError: Predictions cannot be read, or the runs share no clip with the same label.
    """
    mine, theirs = _seeds(run, split, only), _seeds(other, split, only)
    clips = sorted(set.intersection(*(set(one) for one in (*mine, *theirs))))
    clips = [clip for clip in clips if len({repr(one[clip][1]) for one in (*mine, *theirs)}) == 1]
    if not clips:
        raise MseError(f"{run.name} and {other.name} share no clip with the same label on the split {split}.")
    metric, _ = metrics.primary(run.kind)
    targets = np.array([mine[0][clip][1] for clip in clips])
    ours, others = (_predictions(every, clips) for every in (mine, theirs))

    def difference(chosen: np.ndarray | slice) -> float:
        values = [
            np.mean([metrics.evaluate(run.kind, one[chosen], targets[chosen])[metric] for one in every])
            for every in (ours, others)
        ]
        return float(values[0] - values[1])

    generator = np.random.default_rng(seed)
    drawn = np.array([difference(generator.integers(0, len(clips), len(clips))) for _ in range(draws)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        raise MseError(f"The {metric} of {run.name} and {other.name} is not defined on draws of their clips.")
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Comparison(
        against=other.name,
        metric=metric,
        clips=len(clips),
        difference=difference(slice(None)),
        low=float(low),
        high=float(high),
        p=min(1.0, float(2 * (tail + 1) / (len(drawn) + 1))),
    )


def _predictions(seeds: Sequence[dict[str, tuple[Any, Any]]], clips: Sequence[str]) -> list[np.ndarray]:
    return [np.array([one[clip][0] for clip in clips]) for one in seeds]


def _seeds(run: RunGroup, split: str, only: Collection[str] | None) -> list[dict[str, tuple[Any, Any]]]:
    """Prediction and target by clip, of each seed."""
    found = []
    for seed in run.seeds:
        try:
            read = read_predictions(seed.path / FILE, split, only)
        except MseError as error:
            raise MseError(f"{run.name}, seed {seed.seed}: {FILE} cannot be read ({error})") from None
        rows = zip(read.clips, read.predictions, read.targets, strict=True)
        found.append({clip: (prediction, target) for clip, prediction, target in rows if target is not None})
    return found


def probability(p: float) -> str:
    """A p value as papers print it.

    Examples:
        >>> probability(0.0312), probability(0.0)
        ('p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
