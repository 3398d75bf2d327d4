"""Scores of classes: confusion matrix, F1, and the metrics of MELD, CHERMA and one's own classes.

Scores of sentiment intensities: the metrics of MOSI and MOSEI, of CH-SIMS, and of one's own scale.

What may be scored: rows of numbers, or rows of classes; anything else is refused in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
        f1: (K,) harmonic mean of precision and recall; 0 for a class that occurs nowhere.
    """

    classes: tuple[Any, ...]
    confusion: np.ndarray
    recall: np.ndarray
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
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    return ClassScores(order, confusion, recall, f1)


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
