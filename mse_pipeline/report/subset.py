"""Subset: runs scored on those clips alone that meet a condition, by their predictions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.report.predicted import FILE
from mse_pipeline.report.runs import RunGroup, read_predictions, shown

if TYPE_CHECKING:  # the cache's libraries take their time, and few reports need them
    from mse_pipeline.store.cache import Cache
    from mse_pipeline.store.where import Selection


def select_all(runs: Sequence[RunGroup], where: str, cache: Cache | None) -> dict[str, Selection]:
    """The clips that meet a condition, by the dataset of the runs.

    Args:
        runs: The runs.
        where: See `mse_pipeline.store.where`.
        cache: Where their datasets are; None for the default.

    Raises:
        UsageError: The condition cannot be used, or a dataset is not in the cache.
    """
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.store.where import select

    opened = open_cache() if cache is None else cache
    return {name: select(opened[name], where) for name in sorted({run.dataset for run in runs})}


def rescored(run: RunGroup, split: str, kept: Collection[str]) -> RunGroup:
    """A run whose seeds are scored on some clips of a split; a seed that cannot be is told as unfinished."""
    seeds, unfinished = [], dict(run.unfinished)
    for seed in run.seeds:
        try:
            read = read_predictions(seed.path / FILE, split, kept)
            scores = metrics.evaluate(run.kind, read.predictions, read.targets)
        except (MseError, ValueError, TypeError) as error:
            unfinished[f"seed-{seed.seed}"] = f"it cannot be scored on these clips: {shown(str(error), 200)}"
            continue
        scored: Mapping[str, Mapping[str, float]] = {"valid": {}, "test": {}, split: scores}
        seeds.append(replace(seed, valid=scored["valid"], test=scored["test"], calibration={}))
    return replace(run, seeds=tuple(seeds), unfinished=unfinished)
