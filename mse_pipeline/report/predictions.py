"""predictions.parquet -> F1 a class and the confusion matrix, over the seeds of a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.report.runs import RunGroup, shown

_COLUMNS = ("split", "target", "prediction")


@dataclass(frozen=True)
class ClassTable:
    """How a run does on each of K classes of the test split.

    Attributes:
        classes: The K names, in the run's own order where it tells one.
        support: Targets a class, in one seed.
        f1: Mean over seeds, as a fraction.
        f1_sd: Sample standard deviation over seeds; None for one seed.
        confusion: K rows of K counts, summed over seeds; row = target, column = prediction.
        seeds: The seeds whose predictions were read.
    """

    classes: tuple[str, ...]
    support: tuple[int, ...]
    f1: tuple[float, ...]
    f1_sd: tuple[float, ...] | None
    confusion: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]


def class_table(run: RunGroup) -> tuple[ClassTable | None, list[str]]:
    """Reads the test predictions of a classification run.

    Returns:
        The table, or None if no seed's predictions can be read or the run predicts numbers; and sentences on
        files that could not be read.
    """
    if metrics.primary(run.kind)[0] != "weight_F1":
        return None, []
    rows: dict[int, tuple[list[Any], list[Any]]] = {}
    warnings = []
    for seed in run.seeds:
        try:
            rows[seed.seed] = read_test(seed.path / "predictions.parquet")
        except MseError as error:
            warnings.append(f"{run.name}, seed {seed.seed}: {error}")
    if not rows:
        return None, warnings
    try:
        names, order = _order(run.classes, {label for pair in rows.values() for side in pair for label in side})
        scores = [metrics.class_scores(p, t, order) for p, t in rows.values()]
    except (ValueError, TypeError) as error:
        return None, [*warnings, f"{run.name}: classes cannot be compared; {shown(str(error), 200)}"]
    f1 = list(zip(*(score.f1.tolist() for score in scores), strict=True))
    table = ClassTable(
        classes=names,
        support=tuple(scores[0].support.tolist()),
        f1=tuple(statistics.fmean(values) for values in f1),
        f1_sd=tuple(statistics.stdev(values) for values in f1) if len(scores) > 1 else None,
        confusion=tuple(map(tuple, np.sum([score.confusion for score in scores], axis=0).tolist())),
        seeds=tuple(rows),
    )
    return table, warnings


def read_test(path: Path) -> tuple[list[Any], list[Any]]:
    """Predictions and targets of the test split, in the file's order.

    Raises:
        MseError: The file is absent or unreadable, or holds no test predictions.
    """
    if not path.is_file():
        raise MseError("there is no predictions.parquet, so F1 a class is left out.")
    import pyarrow.parquet as pq

    try:
        # One file, not a data set: folder names of the form key=value would become columns.
        with pq.ParquetFile(path) as file:
            columns = file.read(columns=list(_COLUMNS)).to_pydict()
    except (OSError, ValueError, RuntimeError) as error:
        raise MseError(f"predictions.parquet cannot be read ({shown(str(error), 120)}).") from None
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise MseError(f"predictions.parquet lacks {', '.join(missing)}.")
    rows = [
        (prediction, target)
        for split, target, prediction in zip(*(columns[name] for name in _COLUMNS), strict=True)
        if split == "test"
    ]
    if not rows:
        raise MseError("predictions.parquet holds no predictions of the test split.")
    predictions, targets = zip(*rows, strict=True)
    return list(predictions), list(targets)


def _order(classes: Sequence[str], occurring: set[Any]) -> tuple[tuple[str, ...], Sequence[Any]]:
    """Names of the classes, and the labels that stand for them in the file: indices, or the names themselves."""
    for labels in (range(len(classes)), classes):
        if occurring <= set(labels):
            return tuple(classes), labels
    order = sorted(occurring)
    return tuple(shown(str(label)) for label in order), order
