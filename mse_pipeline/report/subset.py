"""Subset: runs told by their predictions for other clips than those of the whole test split."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.report.predicted import FILE
from mse_pipeline.report.runs import Predictions, RunGroup, StoredSeed, read_predictions, shown

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
            alarms = _alarms(run, seed, read, "")
        except (MseError, ValueError, TypeError) as error:
            unfinished[f"seed-{seed.seed}"] = f"it cannot be scored on these clips: {shown(str(error), 200)}"
            continue
        scored: Mapping[str, Mapping[str, float]] = {"valid": {}, "test": {}, split: scores}
        seeds.append(replace(seed, valid=scored["valid"], test=scored["test"], calibration={}, alarms=alarms))
    return replace(run, seeds=tuple(seeds), unfinished=unfinished)


def of_valid(run: RunGroup) -> RunGroup:
    """A run whose alarms are of the validation split: those that it holds tell of scores on the test split."""
    seeds = []
    for seed in run.seeds:
        try:
            alarms = _alarms(run, seed, read_predictions(seed.path / FILE, "valid"), "valid")
        except (MseError, ValueError, TypeError):  # which is told where the predictions themselves are shown
            alarms = _of_coverage(seed)
        seeds.append(replace(seed, alarms=alarms))
    return replace(run, seeds=tuple(seeds))


def _alarms(run: RunGroup, seed: StoredSeed, read: Predictions, split: str) -> tuple[str, ...]:
    of_scores = metrics.alarms(run.kind, read.predictions, read.targets, run.classes or None, split=split)
    return (*of_scores, *_of_coverage(seed))


def _of_coverage(seed: StoredSeed) -> tuple[str, ...]:
    return () if seed.coverage is None else seed.coverage.shortcomings()


def labels_changed(runs: Sequence[RunGroup], split: str, cache: Cache | None) -> list[str]:
    """Of runs whose clips have other labels in the cache by now, a sentence each: the condition sees those of now."""
    from mse_pipeline.store.cache import open_cache

    opened = open_cache() if cache is None else cache
    labels: dict[str, dict[str, object]] = {}
    sentences = []
    for run in runs:
        if run.dataset not in labels:
            labels[run.dataset] = {clip.id: clip.label for clip in opened[run.dataset].clips}
        now, changed = labels[run.dataset], set[str]()
        for seed in run.seeds:
            with suppress(MseError):
                read = read_predictions(seed.path / FILE, split)
                pairs = zip(read.clips, read.targets, strict=True)
                changed |= {clip for clip, target in pairs if clip not in now or not _same(run, target, now[clip])}
        if changed:
            sentences.append(
                f"{run.name}: {len(changed):,} clips of its {split} split have another label in the dataset by now, or "
                "are gone: they are chosen by what the dataset says now, and scored against the labels of then. Train "
                "it again."
            )
    return sentences


def _same(run: RunGroup, target: object, label: object) -> bool:
    """Whether a target, as a run has it, is a label."""
    if target is None or label is None:
        return target is label
    if run.classes:
        return isinstance(target, int) and 0 <= target < len(run.classes) and run.classes[target] == shown(str(label))
    return (
        isinstance(label, int | float) and isinstance(target, int | float) and math.isclose(target, label, abs_tol=1e-5)
    )
