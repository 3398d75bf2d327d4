"""Calibration: whether what is said with 80 % probability is right in 80 % of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 15
"""Bins of equal width of the expected calibration error, as in Guo et al. 2017."""
CENTRAL = 0.8
"""Probability of the central interval of numbers."""


def class_calibration(predictions: Any, probabilities: Any, targets: Any) -> dict[str, float]:
    """The expected calibration error (ECE, Guo et al. 2017) of the predicted classes' probabilities, as a fraction.

    Args:
        predictions: (N,) index of each predicted class, as a rule the likeliest.
        probabilities: (N, K) of each class.
        targets: (N,) index of each right class.

    Raises:
        ValueError: There is nothing to compare, or a value is no probability.

    Examples:
        >>> class_calibration([0, 0, 1, 0], [[0.9, 0.1]] * 2 + [[0.2, 0.8]] * 2, [0, 0, 1, 1])
        {'ECE': 0.15}
    """
    rows, chosen = _checked(probabilities), np.asarray(predictions, np.int64)
    confidence = rows[np.arange(len(rows)), chosen]
    right = chosen == np.asarray(targets, np.int64)
    # Bins are closed on the right, as in the paper; probabilities of 0 are in the first one.
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return {"ECE": round(float(np.abs(gaps).sum() / len(rows)), 6)}


def number_calibration(values: Sequence[float], probabilities: Any, targets: Any) -> dict[str, float]:
    """The central 80 % interval of the answers' probabilities: its mean width, and the share of targets within it.

    It goes from the first answer with which a tenth of the probability is reached to the first with which nine tenths
    are; as answers are some way apart, well calibrated ones have a coverage somewhat above .8.

    Args:
        values: (K,) the numbers that may be answered, ascending.
        probabilities: (N, K) of each.
        targets: (N,) index of each right answer.

    Returns:
        ``coverage_80``, a fraction, and ``width_80``, in the unit of the labels.

    Raises:
        ValueError: There is nothing to compare, or a value is no probability.

    Examples:
        >>> number_calibration([-1.0, 0.0, 1.0], [[0.05, 0.9, 0.05], [0.3, 0.3, 0.4]], [2, 2])
        {'coverage_80': 0.5, 'width_80': 1.0}
    """
    rows, right = _checked(probabilities), np.asarray(targets, np.int64)
    reached = rows.cumsum(1)
    tail = (1 - CENTRAL) / 2
    # Sums of float32 probabilities are off by some 1e-6.
    low, high = ((reached >= share - 1e-5).argmax(1) for share in (tail, 1 - tail))
    scale = np.asarray(values, np.float64)
    return {
        "coverage_80": round(float(((low <= right) & (right <= high)).mean()), 6),
        "width_80": round(float((scale[high] - scale[low]).mean()), 6),
    }


def _checked(probabilities: Any) -> np.ndarray:
    """(N, K) float64."""
    rows = np.asarray(probabilities, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"Probabilities must be (clips, answers) and some; got shape {rows.shape}.")
    if not ((rows >= 0) & (rows <= 1 + 1e-5)).all():
        raise ValueError("A value is no probability: all must lie between 0 and 1.")
    return rows


LEAST = 1e-12
"""Predicted probabilities that are smaller count as this: the KL divergence of an impossible class has no limit."""


def distribution_distances(probabilities: Any, distributions: Any) -> dict[str, float]:
    """How near predicted probabilities are to the shares of annotators' votes (label distribution learning, Geng 2016).

    Args:
        probabilities: (N, K) q, predicted.
        distributions: (N, K) p, given; each row sums to 1.

    Returns:
        Means over the clips: ``KL``, the Kullback-Leibler divergence sum p log(p / q) in nats; ``JSD``, the
        Jensen-Shannon divergence in nats, from 0 to log 2; ``cosine``, the cosine similarity of p and q, 1 at best; and
        ``distributions``, the number of clips.

    Raises:
        ValueError: There is nothing to compare, or a value is no probability.

    Examples:
        >>> distribution_distances([[0.8, 0.2]], [[0.5, 0.5]])
        {'KL': 0.223144, 'JSD': 0.050672, 'cosine': 0.857493, 'distributions': 1.0}
    """
    predicted, given = _checked(probabilities), _checked(distributions)
    predicted, given = (rows / rows.sum(1, keepdims=True) for rows in (predicted, given))
    middle = (predicted + given) / 2
    norms = np.linalg.norm(predicted, axis=1) * np.linalg.norm(given, axis=1)
    measures = {
        "KL": _divergence(given, np.maximum(predicted, LEAST)),
        "JSD": (_divergence(given, middle) + _divergence(predicted, middle)) / 2,
        "cosine": (predicted * given).sum(1) / norms,
    }
    return {
        **{name: round(float(values.mean()), 6) for name, values in measures.items()},
        "distributions": float(len(given)),
    }


def _divergence(given: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N,) sum p log(p / q) in nats; classes without a share add nothing."""
    shares = np.where(given > 0, given, 1.0)
    return np.where(given > 0, given * (np.log(shares) - np.log(np.where(given > 0, predicted, 1.0))), 0.0).sum(1)
