"""What runs predicted: read once a seed, and what a table tells of it beside the metrics.

That are precision, recall and F1 a class with the confusion matrix, the share of predictions that are exactly 0, and
whether a training has collapsed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.report.runs import Predictions, RunGroup, read_predictions, shown

FILE = "predictions.parquet"


@dataclass(frozen=True)
class ClassTable:
    """How a run does on each of K classes of a split.

    Attributes:
        classes: The K names, in the run's own order where it tells one.
        support: Targets a class, in one seed.
        f1: Mean over seeds, as a fraction.
        f1_sd: Sample standard deviation over seeds; None for one seed.
        confusion: K rows of K counts, summed over seeds; row = target, column = prediction.
        seeds: The seeds whose predictions were read.
        precision: Mean over seeds; 0 for a class that was never predicted.
        recall: Mean over seeds; 0 for a class without targets.
    """

    classes: tuple[str, ...]
    support: tuple[int, ...]
    f1: tuple[float, ...]
    f1_sd: tuple[float, ...] | None
    confusion: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    precision: tuple[float, ...] = ()
    recall: tuple[float, ...] = ()


@dataclass(frozen=True)
class Predicted:
    """What a run predicted on a split.

    Attributes:
        seeds: By seed. Of classes, predictions and targets are places in `labels`; of numbers, they are numbers.
        classes: Scores a class; None for numbers.
        labels: Names of the classes; empty for numbers.
    """

    seeds: Mapping[int, Predictions] = field(default_factory=dict)
    classes: ClassTable | None = None
    labels: tuple[str, ...] = ()

    @property
    def collapsed(self) -> tuple[int, ...]:
        """Seeds whose predictions are all the same, although the targets are not."""
        return tuple(
            seed for seed, one in self.seeds.items() if len(set(one.predictions)) == 1 and len(set(one.targets)) > 1
        )

    def zeros(self) -> tuple[list[float], float]:
        """By seed the share of predictions that are exactly 0; and the share of such targets."""
        shares = [one.predictions.count(0) / len(one.predictions) for one in self.seeds.values()]
        first = next(iter(self.seeds.values()))
        return shares, first.targets.count(0) / len(first.targets)


NOTHING = Predicted()


def read_predicted(
    run: RunGroup, split: str = "test", only: Collection[str] | None = None
) -> tuple[Predicted, list[str]]:
    """Read the predictions of a run on a split.

    Args:
        run: The run.
        split: Whose predictions.
        only: Ids of the clips that count; None for all.

    Returns:
        What could be read of it, and sentences on what could not.
    """
    of_classes = metrics.of_classes(run.kind)
    read: dict[int, Predictions] = {}
    warnings = []
    for seed in run.seeds:
        path = seed.path / FILE
        if not path.is_file():
            if of_classes:
                warnings.append(f"{run.name}, seed {seed.seed}: there is no {FILE}, so F1 a class is left out.")
            continue
        try:
            read[seed.seed] = read_predictions(path, split, only, probabilities=of_classes)
        except MseError as error:
            warnings.append(f"{run.name}, seed {seed.seed}: {error}")
    if not read:
        return NOTHING, warnings
    try:
        return (_classes(run, read) if of_classes else _numbers(read)), warnings
    except (ValueError, TypeError) as error:
        what = "classes cannot be compared" if of_classes else "predictions cannot be read"
        return NOTHING, [*warnings, f"{run.name}: {what}; {shown(str(error), 200)}"]


def _numbers(read: Mapping[int, Predictions]) -> Predicted:
    for one in read.values():
        strange = [
            value
            for value in (*one.predictions, *one.targets)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        ]
        if strange:
            raise ValueError(f"{strange[0]!r} is no number.")
    return Predicted(dict(read))


def _classes(run: RunGroup, read: Mapping[int, Predictions]) -> Predicted:
    occurring = {label for one in read.values() for side in (one.predictions, one.targets) for label in side}
    names, order = _order(run.classes, occurring)
    scores = [metrics.class_scores(one.predictions, one.targets, order) for one in read.values()]
    f1 = _by_class(score.f1 for score in scores)
    table = ClassTable(
        classes=names,
        support=tuple(scores[0].support.tolist()),
        f1=_means(f1),
        f1_sd=tuple(statistics.stdev(values) for values in f1) if len(scores) > 1 else None,
        confusion=tuple(map(tuple, np.sum([score.confusion for score in scores], axis=0).tolist())),
        seeds=tuple(read),
        precision=_means(_by_class(score.precision for score in scores)),
        recall=_means(_by_class(score.recall for score in scores)),
    )
    place = {label: number for number, label in enumerate(order)}
    placed = {
        seed: one._replace(
            predictions=[place[label] for label in one.predictions], targets=[place[label] for label in one.targets]
        )
        for seed, one in read.items()
    }
    return Predicted(placed, table, names)


def _by_class(values: Any) -> list[tuple[float, ...]]:
    """An array a seed -> a tuple over seeds a class."""
    return list(zip(*(array.tolist() for array in values), strict=True))


def _means(by_class: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(statistics.fmean(values) for values in by_class)


def _order(classes: Sequence[str], occurring: set[Any]) -> tuple[tuple[str, ...], Sequence[Any]]:
    """Names of the classes, and the labels that stand for them in the file: indices, or the names themselves."""
    for labels in (range(len(classes)), classes):
        if occurring <= set(labels):
            return tuple(classes), labels
    order = sorted(occurring)
    return tuple(shown(str(label)) for label in order), order
