"""Scores of classes: confusion matrix, F1, and the metrics of MELD, CHERMA and one's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mse_pipeline.metrics.inputs import labels, pair


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
    place = {label: i for i, label in enumerate(order)}
    strange = [label for label in occurring.tolist() if label not in place]
    if strange:
        raise ValueError(f"Label {strange[0]!r} is none of the classes {', '.join(map(str, order))}.")
    codes = np.array([place[label] for label in occurring.tolist()])[codes.reshape(-1)]
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
