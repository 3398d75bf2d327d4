"""Signs of a collapsed model, as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mse_pipeline.metrics.classes import ClassScores, class_scores
from mse_pipeline.metrics.evaluation import evaluate, primary
from mse_pipeline.metrics.inputs import numbers


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
    if primary(dataset)[0] == "weight_F1":
        scores = class_scores(predictions, targets)
        return _class_alarms(scores, classes)
    scored = evaluate(dataset, predictions, targets)
    p, t = numbers(predictions, "prediction"), numbers(targets, "target")
    found = _number_alarms(p, t)
    zeros, expected = float((p == 0).mean()), float((t == 0).mean())
    if zeros > max(0.05, 2 * expected):
        if "Has0_acc_2" in scored:
            meaning = "Has0 counts them as positive and Non0 as negative, so the two drift apart"
        elif "Mult_acc_2" in scored:
            meaning = "the two-class metrics count them as negative"
        else:
            meaning = "make sure that 0 does not stand for answers that could not be read"
        found.append(
            f"{100 * zeros:.2f} % of the predictions are exactly 0 (of the targets {100 * expected:.2f} %): {meaning}."
        )
    return found


def _class_alarms(scores: ClassScores, names: Sequence[str] | None) -> list[str]:
    support, predicted = scores.support, scores.confusion.sum(axis=0)
    if np.count_nonzero(support) < 2:
        return []  # One class is all that there was to be found.
    total = int(support.sum())

    def name(place: int) -> str:
        label = scores.classes[place]
        known = names is not None and isinstance(label, int) and 0 <= label < len(names)
        return names[label] if names is not None and known else str(label)

    def always(place: int) -> tuple[float, float]:
        share = support[place] / total
        return share, share * 2 * share / (1 + share)

    if np.count_nonzero(predicted) == 1:
        only = int(predicted.argmax())
        acc, f1 = always(only)
        return [
            f"All {total} predictions are the class {name(only)}: the model has collapsed. "
            f"This answer alone gives acc {100 * acc:.2f}, weight_F1 {100 * f1:.2f}."
        ]
    largest = int(support.argmax())
    _, f1 = always(largest)
    if scores.weighted_f1 <= f1:
        return [
            f"weight_F1 {100 * scores.weighted_f1:.2f} is no better than that of always answering "
            f"{name(largest)}, the largest class ({100 * f1:.2f})."
        ]
    return []


def _number_alarms(p: np.ndarray, t: np.ndarray) -> list[str]:
    found = []
    if np.ptp(t) > 0:
        middle = float(np.median(t))
        error, trivial = float(np.abs(p - t).mean()), float(np.abs(t - np.float32(middle)).mean())
        if np.ptp(p) == 0:
            found.append(f"All {len(p)} predictions are {p[0]:g}: the model has collapsed, and Corr is undefined.")
        elif error >= trivial:
            found.append(
                f"MAE {error:.4f} is no better than that of always answering {middle:g}, "
                f"the median of the targets ({trivial:.4f})."
            )
    return found
