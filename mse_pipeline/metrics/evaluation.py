"""Which metrics belong to which dataset."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from mse_pipeline.metrics.classes import emotions, own_classes
from mse_pipeline.metrics.inputs import labels, numbers, pair
from mse_pipeline.metrics.intensity import mosei, own_scale, sims
from mse_pipeline.task import Classification, Task

ERRORS = frozenset({"MAE", "RMSE"})
"""Metrics in the unit of the labels, of which less is better; all others are shares, and more is better."""

_Family = Callable[[np.ndarray, np.ndarray], dict[str, float]]
_REGRESSION: dict[str, _Family] = {"mosei": mosei, "mosi": mosei, "simsv2": sims, "sims": sims}
_CLASSIFICATION: dict[str, _Family] = {
    "meld": emotions,
    "cherma": emotions,
    "classification": own_classes,
}
_RANGE = re.compile(r"regression\(\s*([^\s,]+)\s*,\s*([^\s,]+)\s*\)")


def evaluate(dataset: str, predictions: Any, targets: Any) -> dict[str, float]:
    """Scores predictions as the papers on a dataset do.

    Args:
        dataset: ``mosei``, ``mosi``, ``simsv2``, ``sims``, ``meld``, ``cherma``; for other data ``classification``,
            ``regression``, or ``regression(low, high)`` with the range of the labels.
        predictions: (N,) numbers, or class indices or names. Lists, arrays and CPU tensors will do.
        targets: (N,) of the same sort.

    Returns:
        Metric name -> value. A value that is not defined (`Corr` of constant predictions) is NaN.

    Raises:
        ValueError: The dataset is unknown, the input is empty, of different lengths, not finite or of another sort.

    Examples:
        >>> evaluate("meld", [0, 4, 4, 6], [0, 4, 6, 6])
        {'acc': 0.75, 'weight_F1': 0.75}
        >>> evaluate("mosei", [1.2, -0.4, 0.0], [1.0, -2.0, -0.333333])["Has0_acc_2"]
        0.6667
    """
    if dataset in _CLASSIFICATION:
        p, t = pair(labels(predictions, "prediction"), labels(targets, "target"))
        return _CLASSIFICATION[dataset](p, t)
    p, t = pair(numbers(predictions, "prediction"), numbers(targets, "target"))
    if dataset in _REGRESSION:
        return _REGRESSION[dataset](p, t)
    return own_scale(p, t, _label_range(dataset))


def primary(dataset: str) -> tuple[str, bool]:
    """The metric that selects the best epoch on the validation split, and whether higher is better.

    Raises:
        ValueError: The dataset is unknown.

    Examples:
        >>> primary("meld"), primary("simsv2")
        (('weight_F1', True), ('MAE', False))
    """
    if dataset in _CLASSIFICATION:
        return "weight_F1", True
    if dataset not in _REGRESSION:
        _label_range(dataset)
    return "MAE", False


def kind(dataset: str, task: Task) -> str:
    """The first argument of `evaluate` for a dataset and what is predicted in it.

    Examples:
        >>> from mse_pipeline.task import Regression
        >>> kind("mosei", Regression(-3, 3)), kind("my_table", Regression(1, 5))
        ('mosei', 'regression(1.0, 5.0)')
    """
    if isinstance(task, Classification):
        return dataset if dataset in _CLASSIFICATION else "classification"
    return dataset if dataset in _REGRESSION else f"regression({float(task.low)}, {float(task.high)})"


def _label_range(dataset: str) -> tuple[float, float] | None:
    """The limits in ``regression(low, high)``; None for plain ``regression``."""
    if dataset == "regression":
        return None
    found = _RANGE.fullmatch(dataset)
    if found is None:
        known = [*_REGRESSION, *_CLASSIFICATION, "regression", "regression(low, high)"]
        near = difflib.get_close_matches(dataset, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"No metrics are known for {dataset!r}; there are {', '.join(known)}.{hint}")
    try:
        low, high = float(found[1]), float(found[2])
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{dataset!r} needs two finite numbers, the lower one first.")
    return low, high
