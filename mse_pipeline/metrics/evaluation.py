"""Metrics: the scores of predictions, which of them belong to which dataset, and signs of a collapsed model.

The scores come first: of classes (confusion matrix, F1, the metrics of MELD, CHERMA and own classes) and of sentiment
intensities (the metrics of MOSI and MOSEI, of CH-SIMS and of own scales). Then the families, by which a dataset finds
its metrics, and the alarms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.plugins import Kind
from mse_pipeline.task import Classification, Regression, Task

ERRORS = frozenset({"MAE", "RMSE"})
"""Metrics in the unit of the labels, of which less is better; all others are shares, and more is better."""


def numbers(values: Any, what: str) -> np.ndarray:
    """(N,) float32: the precision of the reference, in which 0.1 is neutral and 0.4 is weak."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"Every {what} must be a number; found {array.reshape(-1)[0]!r} among them.")
    with np.errstate(over="ignore"):
        array = _flat(array.astype(np.float32), what)
    if not np.isfinite(array).all():
        raise ValueError(f"The {what} in row {int(np.argmin(np.isfinite(array)))} is not a finite number.")
    return array


def labels(values: Any, what: str) -> np.ndarray:
    """(N,) int64 class indices or class names."""
    array = _flat(np.asarray(values), what)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array):
        array = array.astype(np.str_)
    if array.dtype.kind in "Ubiu":
        return array if array.dtype.kind == "U" else array.astype(np.int64)
    whole = array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.round(array)).all()
    if not whole:
        raise ValueError(f"Every {what} must be a class index or every one a class name; found others among them.")
    return array.astype(np.int64)


def _flat(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"Each {what} must be one value, in an array of shape (N,); got shape {array.shape}.")
    if not len(array):
        raise ValueError(f"There is no {what} to score.")
    return array


def pair(p: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, once it is sure that they can be compared row by row."""
    if len(p) != len(t):
        raise ValueError(f"{len(p)} predictions cannot be scored against {len(t)} targets.")
    if p.dtype.kind != t.dtype.kind:
        raise ValueError("Predictions and targets must both be class indices or both class names.")
    return p, t


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of K classes, in the order of `classes`.

    Attributes:
        classes: The K labels, as they stand in the input.
        confusion: (K, K) int64; row = target, column = prediction.
        recall: (K,) share of a class's targets that were found; 0 for a class without targets.
        precision: (K,) share of a class's predictions that are right; 0 for a class that was never predicted.
        f1: (K,) harmonic mean of precision and recall; 0 for a class that occurs nowhere.
    """

    classes: tuple[Any, ...]
    confusion: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    f1: np.ndarray

    @property
    def support(self) -> np.ndarray:
        """(K,) number of targets a class."""
        return self.confusion.sum(axis=1)

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def weighted_f1(self) -> float:
        """Mean of the classes' F1, weighted by their number of targets."""
        return float(self.f1 @ self.support / self.support.sum())


def class_scores(predictions: Any, targets: Any, classes: Sequence[Any] | None = None) -> ClassScores:
    """Confusion matrix, recall and F1 a class.

    Args:
        predictions: (N,) class indices or names.
        targets: (N,) of the same sort.
        classes: The classes and their order; without it, all that occur, sorted.

    Raises:
        ValueError: As `evaluate`, or a label is none of the `classes`.

    Examples:
        >>> scores = class_scores(["joy", "joy"], ["joy", "anger"])
        >>> scores.classes, scores.confusion.tolist()
        (('anger', 'joy'), [[0, 1], [0, 1]])
    """
    p, t = pair(labels(predictions, "prediction"), labels(targets, "target"))
    occurring, codes = np.unique(np.concatenate([t, p]), return_inverse=True)
    order = tuple(occurring.tolist()) if classes is None else tuple(classes)
    number = {label: i for i, label in enumerate(order)}
    strange = [label for label in occurring.tolist() if label not in number]
    if strange:
        raise ValueError(f"Label {strange[0]!r} is none of the classes {', '.join(map(str, order))}.")
    codes = np.array([number[label] for label in occurring.tolist()])[codes.reshape(-1)]
    size = len(order)
    confusion = np.bincount(codes[: len(t)] * size + codes[len(t) :], minlength=size * size)
    confusion = confusion.reshape(size, size).astype(np.int64)
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    # The numerators are 0 wherever the denominators are, so 1 in their place gives the 0 that is wanted.
    recall, precision = hits / np.maximum(support, 1), hits / np.maximum(predicted, 1)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    return ClassScores(order, confusion, recall, precision, f1)


def emotions(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """MELD and CHERMA: accuracy and F1 weighted by the classes' number of targets."""
    scores = class_scores(p, t)
    return {"acc": scores.accuracy, "weight_F1": scores.weighted_f1}


def own_classes(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """Adds the unweighted means: F1 over all classes that occur, recall (UAR) over those that have targets."""
    scores = class_scores(p, t)
    return {
        "acc": scores.accuracy,
        "weight_F1": scores.weighted_f1,
        "macro_F1": float(scores.f1.mean()),
        "UAR": float(scores.recall[scores.support > 0].mean()),
    }


def mosei(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """MOSI and MOSEI: errors and correlation on raw values, classes by clip, then round half to even."""
    scores = _signs(p, t)
    for limit, classes in ((2, 5), (3, 7)):
        same = np.round(np.clip(p, -limit, limit)) == np.round(np.clip(t, -limit, limit))
        scores[f"Mult_acc_{classes}"] = float(same.mean())
    scores["MAE"] = float(np.round(np.abs(p - t).mean(), 4))
    scores["Corr"] = _corr(p, t)
    return {name: round(value, 4) for name, value in scores.items()}


def _signs(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """Two classes in both readings: a prediction of exactly 0 is positive in Has0 and negative in Non0."""
    has0 = class_scores(p >= 0, t >= 0)
    scores = {"Has0_acc_2": has0.accuracy, "Has0_F1_score": has0.weighted_f1}
    rows = t != 0
    if not rows.any():
        return {**scores, "Non0_acc_2": math.nan, "Non0_F1_score": math.nan}
    non0 = class_scores(p[rows] > 0, t[rows] > 0)
    return {**scores, "Non0_acc_2": non0.accuracy, "Non0_F1_score": non0.weighted_f1}


def sims(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """CH-SIMS and CH-SIMS v2: all on values clipped to [-1, 1]; the bins are right-closed, so 0 is negative."""
    p, t = np.clip(p, -1, 1), np.clip(t, -1, 1)

    def bins(values: np.ndarray, *inner: float) -> np.ndarray:
        # float32 edges, as in the reference: against float64 ones the float32 of 0.1 would fall above 0.1.
        return np.digitize(values, np.array(inner, np.float32), right=True)

    two = class_scores(bins(p, 0.0), bins(t, 0.0))
    weak = np.abs(t) <= np.float32(0.4)
    return {
        "Mult_acc_2": two.accuracy,
        "F1_score": two.weighted_f1,
        "Mult_acc_2_weak": float((bins(p, 0.0) == bins(t, 0.0))[weak].mean()) if weak.any() else math.nan,
        "MAE": float(np.abs(p - t).mean()),
        "Corr": _corr(p, t),
        "Mult_acc_3": float((bins(p, -0.1, 0.1) == bins(t, -0.1, 0.1)).mean()),
        "Mult_acc_5": float((bins(p, -0.7, -0.1, 0.1, 0.7) == bins(t, -0.7, -0.1, 0.1, 0.7)).mean()),
        "R_squre": _r2(p, t),
    }


def own_scale(p: np.ndarray, t: np.ndarray, limits: tuple[float, float] | None) -> dict[str, float]:
    """Numbers on a scale of one's own; with a range around 0 the signs as well. CCC: Lin, Biometrics 45 (1989)."""
    if limits is not None:
        outside = t[(t < np.float32(limits[0])) | (t > np.float32(limits[1]))]
        if len(outside):
            raise ValueError(f"Target {outside[0]:g} lies outside the range {limits[0]:g} to {limits[1]:g}.")
        p = np.clip(p, np.float32(limits[0]), np.float32(limits[1]))
    a, b = p.astype(np.float64), t.astype(np.float64)
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    scores = {
        "MAE": float(np.abs(a - b).mean()),
        "RMSE": float(np.sqrt(((a - b) ** 2).mean())),
        "Corr": _corr(p, t),
        "CCC": float(2 * covariance / spread) if spread > 0 else math.nan,
        "R2": _r2(p, t),
    }
    return {**scores, **_signs(p, t)} if limits is not None and limits[0] < 0 < limits[1] else scores


def _corr(p: np.ndarray, t: np.ndarray) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    return math.nan if np.ptp(p) == 0 or np.ptp(t) == 0 else float(np.corrcoef(p, t)[0][1])


def _r2(p: np.ndarray, t: np.ndarray) -> float:
    """Share of variance explained; with constant targets 1 if all are hit, else 0, as scikit-learn has it."""
    if len(t) < 2:
        return math.nan
    residual = float(((t - p).astype(np.float64) ** 2).sum())
    total = float(((t - t.mean(dtype=np.float64)) ** 2).sum())
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1 - residual / total


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
        task: What the papers predict, in which the scores are theirs; None for any. A dataset that has the family's
            name but another range, or other classes, is scored as data of its own.
    """

    score: Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
    main: str
    classes: bool
    errors: frozenset[str] = ERRORS
    task: Task | None = None


_MELD = "neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"
_CHERMA = "愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇"
_IEMOCAP = "hap", "sad", "neu", "ang", "exc", "fru"
_FAMILIES = {
    "mosei": Family(mosei, "MAE", False, task=Regression(-3.0, 3.0)),
    "mosi": Family(mosei, "MAE", False, task=Regression(-3.0, 3.0)),
    "simsv2": Family(sims, "MAE", False, task=Regression(-1.0, 1.0)),
    "sims": Family(sims, "MAE", False, task=Regression(-1.0, 1.0)),
    "meld": Family(emotions, "weight_F1", True, task=Classification(_MELD)),
    "cherma": Family(emotions, "weight_F1", True, task=Classification(_CHERMA)),
    "iemocap": Family(own_classes, "weight_F1", True, task=Classification(_IEMOCAP)),
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
        >>> kind("mosei", Regression(-3, 3)), kind("my_table", Regression(1, 5))
        ('mosei', 'regression(1.0, 5.0)')
        >>> kind("mosei", Regression(0, 10)), kind("meld", Classification(("positive", "negative")))
        ('regression(0.0, 10.0)', 'classification')
    """
    classes = isinstance(task, Classification)
    if task.metrics:
        for problem in _problems(task.metrics, classes):
            raise UsageError(f"The task cannot be scored: {problem}.")
        return task.metrics
    own = _named(dataset)
    if own is not None and own.classes == classes and _fits(own.task, task):
        return dataset
    return (
        "classification" if isinstance(task, Classification) else f"regression({float(task.low)}, {float(task.high)})"
    )


def _fits(own: Task | None, task: Task) -> bool:
    """Whether a task is that of a family, whatever the order of its classes."""
    if isinstance(own, Classification) and isinstance(task, Classification):
        return set(own.classes) == set(task.classes)
    if isinstance(own, Regression) and isinstance(task, Regression):
        return (own.low, own.high) == (task.low, task.high)
    return own is None


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
        near = did_you_mean(dataset, names, sentence=True)
        raise ValueError(f"No metrics are known for {dataset!r}; there are {', '.join(names)}.{near}")
    try:
        low, high = float(bounds[1]), float(bounds[2])
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{dataset!r} needs two finite numbers, the lower one first.")
    return low, high


def alarms(
    dataset: str,
    predictions: Any,
    targets: Any,
    classes: Sequence[str] | None = None,
    *,
    split: str = "",
    train: Any = None,
) -> list[str]:
    """What smells of a collapsed model, as sentences; an empty list is good news.

    The answer that a model should beat is the largest class, or the median, of what it was trained on.

    Args:
        dataset: As in `evaluate`.
        predictions: As in `evaluate`.
        targets: As in `evaluate`.
        classes: Names of the class indices, for the sentences.
        split: Whose clips these are, as in ``test``; empty where it is not known.
        train: Targets of the train split; None, or none at all, where they are not known: the answer is then taken
            from the targets themselves, which is told.

    Raises:
        ValueError: As `evaluate`.

    Examples:
        >>> print(*alarms("meld", [0, 0, 0, 0], [0, 0, 4, 6], classes=["neutral"]))
        All 4 predictions are the class neutral: the model has collapsed.
        This answer alone gives acc 50.00, weight_F1 33.33.
        >>> print(*alarms("meld", [4, 4, 0], [0, 0, 0], split="test", train=[0, 0, 4], classes=["neutral"]))
        >>> print(*alarms("meld", [4, 4, 0], [0, 0, 4], split="test", train=[0, 0, 4], classes=["neutral"]))
        weight_F1 0.00 on the test split is no better than that of always answering neutral,
        the largest class of the train split (53.33).
    """
    family = _family(dataset)
    read = labels if family.classes else numbers
    p, t = pair(read(predictions, "prediction"), read(targets, "target"))
    scored = evaluate(dataset, p, t)
    known = train is not None and len(train) > 0
    of = _Trivial(split, read(train, "train target") if known else t, known)
    if family.classes:
        return _class_alarms(dataset, scored, p, t, classes, of=of)
    return [*_number_alarms(dataset, scored, p, t, of=of), *_zero_alarms(scored, p, t)]


@dataclass(frozen=True)
class _Trivial:
    """Where the one answer is from that a model is compared with.

    Attributes:
        split: Whose clips are scored; empty where it is not known.
        targets: Whose largest class, or median, the answer is.
        trained: Whether these are the train split's.
    """

    split: str
    targets: np.ndarray
    trained: bool

    def words(self) -> str:
        if self.trained:
            return "of the train split"
        own = f"the {self.split} split itself" if self.split else "these clips themselves"
        return f"of {own}, as the train split is not known"


def _class_alarms(
    dataset: str,
    scored: Mapping[str, float],
    p: np.ndarray,
    t: np.ndarray,
    names: Sequence[str] | None,
    *,
    of: _Trivial,
) -> list[str]:
    if len(np.unique(t)) < 2:
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
    classes, support = np.unique(of.targets, return_counts=True)
    largest = classes[support.argmax()]
    return _no_better(dataset, scored, t, largest, f"{name(largest)}, the largest class {of.words()}", of=of)


def _number_alarms(dataset: str, scored: Mapping[str, float], p: np.ndarray, t: np.ndarray, of: _Trivial) -> list[str]:
    if np.ptp(t) == 0:
        return []
    if np.ptp(p) == 0:
        undefined = ", and Corr is undefined" if "Corr" in scored else ""
        return [f"All {len(p)} predictions are {p[0]:g}: the model has collapsed{undefined}."]
    middle = np.median(of.targets)
    return _no_better(dataset, scored, t, middle, f"{middle:g}, the median {of.words()}", of=of)


def _no_better(
    dataset: str, scored: Mapping[str, float], t: np.ndarray, answer: Any, told: str, *, of: _Trivial
) -> list[str]:
    """Whether one answer to all clips would do as well, by the main metric."""
    key, more = primary(dataset)
    one = np.full(t.shape, answer, np.result_type(t.dtype, of.targets.dtype))  # a word of the train split may be longer
    trivial = evaluate(dataset, one, t)[key]
    if scored[key] > trivial if more else scored[key] < trivial:
        return []
    own, other = (_shown(dataset, key, value) for value in (scored[key], trivial))
    where = f" on the {of.split} split" if of.split else ""
    return [f"{key} {own}{where} is no better than that of always answering {told} ({other})."]


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
