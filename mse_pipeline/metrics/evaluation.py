"""Which metrics belong to which dataset.

Signs of a collapsed model, as sentences.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.metrics.families import (
    emotions,
    labels,
    mosei,
    numbers,
    own_classes,
    own_scale,
    pair,
    sims,
)
from mse_pipeline.plugins import Kind
from mse_pipeline.task import Classification, Task

ERRORS = frozenset({"MAE", "RMSE"})
"""Metrics in the unit of the labels, of which less is better; all others are shares, and more is better."""


@dataclass(frozen=True)
class Family:
    """Metrics that belong together, as the papers on a dataset report them.

    Attributes:
        score: Predictions (N,) and targets (N,) -> metric name -> value. They are class indices (int64) or class names
            where `classes`, else numbers (float32).
        main: The metric by which the best epoch is chosen, and runs are ranked.
        classes: Whether classes are scored; else numbers.
        errors: Metrics of which less is better, told in the unit of the labels. All others are shares from 0 to 1 of
            which more is better, told in percent.
    """

    score: Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
    main: str
    classes: bool
    errors: frozenset[str] = ERRORS


_FAMILIES = {
    "mosei": Family(mosei, "MAE", False),
    "mosi": Family(mosei, "MAE", False),
    "simsv2": Family(sims, "MAE", False),
    "sims": Family(sims, "MAE", False),
    "meld": Family(emotions, "weight_F1", True),
    "cherma": Family(emotions, "weight_F1", True),
    "classification": Family(own_classes, "weight_F1", True),
}
"""By the dataset that they are of, or by their own name."""


def _problem_of(found: Any) -> str:
    """What is wrong with what a package offers; empty where nothing is."""
    return "" if isinstance(found, Family) else "is no mse_pipeline.metrics.Family"


KIND = Kind("mse_pipeline.metrics", "metric family", _problem_of)
"""Other packages add a family by an entry point that is a `Family`; named as a corpus, it is that corpus's."""
_RANGE = re.compile(r"regression\(\s*([^\s,]+)\s*,\s*([^\s,]+)\s*\)")


def evaluate(dataset: str, predictions: Any, targets: Any) -> dict[str, float]:
    """Scores predictions as the papers on a dataset do.

    Args:
        dataset: ``mosei``, ``mosi``, ``simsv2``, ``sims``, ``meld``, ``cherma``; for other data ``classification``,
            ``regression``, or ``regression(low, high)`` with the range of the labels; or a family of another package.
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
    family = _family(dataset)
    read = labels if family.classes else numbers
    scored = family.score(*pair(read(predictions, "prediction"), read(targets, "target")))
    if family.main not in scored:
        raise ValueError(
            f"The metrics {dataset} gave {', '.join(scored) or 'nothing'}, but not {family.main}, the main."
        )
    return {name: float(value) for name, value in scored.items()}


def primary(dataset: str) -> tuple[str, bool]:
    """The metric that selects the best epoch on the validation split, and whether higher is better.

    Raises:
        ValueError: The dataset is unknown.

    Examples:
        >>> primary("meld"), primary("simsv2")
        (('weight_F1', True), ('MAE', False))
    """
    family = _family(dataset)
    return family.main, family.main not in family.errors


def errors(dataset: str) -> frozenset[str]:
    """The metrics of which less is better.

    Raises:
        ValueError: The dataset is unknown.
    """
    return _family(dataset).errors


def of_classes(dataset: str) -> bool:
    """Whether classes are scored; else numbers.

    Raises:
        ValueError: The dataset is unknown.

    Examples:
        >>> of_classes("meld"), of_classes("regression")
        (True, False)
    """
    return _family(dataset).classes


def kind(dataset: str, task: Task) -> str:
    """The first argument of `evaluate` for a dataset and what is predicted in it.

    Examples:
        >>> from mse_pipeline.task import Regression
        >>> kind("mosei", Regression(-3, 3)), kind("my_table", Regression(1, 5))
        ('mosei', 'regression(1.0, 5.0)')
    """
    classes = isinstance(task, Classification)
    if task.metrics:
        for problem in _problems(task.metrics, classes):
            raise UsageError(f"The task cannot be scored: {problem}.")
        return task.metrics
    own = _named(dataset)
    if own is not None and own.classes == classes:
        return dataset
    return (
        "classification" if isinstance(task, Classification) else f"regression({float(task.low)}, {float(task.high)})"
    )


def check(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the metrics of a recipe's `task`; one of the checks that `mse_pipeline.recipe.load` takes.

    Yields:
        (place, message).

    Examples:
        >>> list(check({"task": {"kind": "classification", "metrics": "sims"}}))
        [('task.metrics', 'the metrics sims are of numbers, and the task has classes')]
    """
    section = recipe.get("task") or {}
    if section.get("metrics"):
        for problem in _problems(section["metrics"], section["kind"] == "classification"):
            yield "task.metrics", problem


def _problems(name: str, classes: bool) -> Iterator[str]:
    """Why a task cannot be scored by a family."""
    try:
        family = _named(name)
    except UsageError as error:
        yield str(error).removesuffix(".")
        return
    if family is None:
        names = _known()
        yield f"there are no metrics {name}{did_you_mean(name, names)}; there are {', '.join(names)}"
    elif family.classes != classes:
        sorts = ("classes", "numbers") if family.classes else ("numbers", "classes")
        yield f"the metrics {name} are of {sorts[0]}, and the task has {sorts[1]}"


def _known() -> list[str]:
    return [*_FAMILIES, *KIND.discover(_FAMILIES).plugins]


def _named(name: str) -> Family | None:
    """The family of a name; None where there is none.

    Raises:
        UsageError: The package that brings it does not fit.
    """
    return _FAMILIES.get(name) or KIND.find(name, _FAMILIES)


def _family(dataset: str) -> Family:
    """The family of a name, or that of a range."""
    try:
        family = _named(dataset)
    except UsageError as error:
        raise ValueError(str(error)) from error
    if family is not None:
        return family
    limits = _label_range(dataset)
    return Family(partial(own_scale, limits=limits), "MAE", False)


def _label_range(dataset: str) -> tuple[float, float] | None:
    """The limits in ``regression(low, high)``; None for plain ``regression``."""
    if dataset == "regression":
        return None
    bounds = _RANGE.fullmatch(dataset)
    if bounds is None:
        names = [*_known(), "regression", "regression(low, high)"]
        near = difflib.get_close_matches(dataset, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"No metrics are known for {dataset!r}; there are {', '.join(names)}.{hint}")
    try:
        low, high = float(bounds[1]), float(bounds[2])
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{dataset!r} needs two finite numbers, the lower one first.")
    return low, high


def alarms(dataset: str, predictions: Any, targets: Any, classes: Sequence[str] | None = None) -> list[str]:
    """What smells of a collapsed model, as sentences; an empty list is good news.

    Args:
        dataset: As in `evaluate`.
        predictions: As in `evaluate`.
        targets: As in `evaluate`.
        classes: Names of the class indices, for the sentences.

    Raises:
        ValueError: As `evaluate`.

    Examples:
        >>> print(*alarms("meld", [0, 0, 0, 0], [0, 0, 4, 6], classes=["neutral"]))
        All 4 predictions are the class neutral: the model has collapsed.
        This answer alone gives acc 50.00, weight_F1 33.33.
    """
    family = _family(dataset)
    read = labels if family.classes else numbers
    p, t = pair(read(predictions, "prediction"), read(targets, "target"))
    scored = evaluate(dataset, p, t)
    if family.classes:
        return _class_alarms(dataset, scored, p, t, classes)
    return [*_number_alarms(dataset, scored, p, t), *_zero_alarms(scored, p, t)]


def _class_alarms(
    dataset: str, scored: Mapping[str, float], p: np.ndarray, t: np.ndarray, names: Sequence[str] | None
) -> list[str]:
    classes, support = np.unique(t, return_counts=True)
    if len(classes) < 2:
        return []  # One class is all that there was to be found.

    def name(label: Any) -> str:
        listed = names is not None and not isinstance(label, str) and 0 <= label < len(names)
        return names[label] if names is not None and listed else str(label)

    if len(np.unique(p)) == 1:
        reported = [key for key in ("acc", "weight_F1") if key in scored] or [_family(dataset).main]
        values = ", ".join(f"{key} {_shown(dataset, key, scored[key])}" for key in reported)
        return [
            f"All {len(p)} predictions are the class {name(p[0])}: the model has collapsed. "
            f"This answer alone gives {values}."
        ]
    largest = classes[support.argmax()]
    return _no_better(dataset, scored, t, largest, f"{name(largest)}, the largest class")


def _number_alarms(dataset: str, scored: Mapping[str, float], p: np.ndarray, t: np.ndarray) -> list[str]:
    if np.ptp(t) == 0:
        return []
    if np.ptp(p) == 0:
        undefined = ", and Corr is undefined" if "Corr" in scored else ""
        return [f"All {len(p)} predictions are {p[0]:g}: the model has collapsed{undefined}."]
    middle = np.median(t)
    return _no_better(dataset, scored, t, middle, f"{middle:g}, the median of the targets")


def _no_better(dataset: str, scored: Mapping[str, float], t: np.ndarray, answer: Any, told: str) -> list[str]:
    """Whether one answer to all clips would do as well, by the main metric."""
    key, more = primary(dataset)
    trivial = evaluate(dataset, np.full(t.shape, answer, t.dtype), t)[key]
    if scored[key] > trivial if more else scored[key] < trivial:
        return []
    own, other = (_shown(dataset, key, value) for value in (scored[key], trivial))
    return [f"{key} {own} is no better than that of always answering {told} ({other})."]


def _shown(dataset: str, key: str, value: float) -> str:
    """A value as reports show it: errors in the unit of the labels, all others in percent."""
    return f"{value:.4f}" if key in errors(dataset) else f"{100 * value:.2f}"


def _zero_alarms(scored: Mapping[str, float], p: np.ndarray, t: np.ndarray) -> list[str]:
    zeros, expected = float((p == 0).mean()), float((t == 0).mean())
    if zeros <= max(0.05, 2 * expected):
        return []
    if "Has0_acc_2" in scored:
        meaning = "Has0 counts them as positive and Non0 as negative, so the two drift apart"
    elif "Mult_acc_2" in scored:
        meaning = "the two-class metrics count them as negative"
    else:
        meaning = "make sure that 0 does not stand for answers that could not be read"
    return [f"{100 * zeros:.2f} % of the predictions are exactly 0 (of the targets {100 * expected:.2f} %): {meaning}."]
