"""What a CTC model hears, frame by frame -> the frames of each word."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from mse_pipeline.extractors.text.ctc_path import best_path
from mse_pipeline.extractors.text.ctc_targets import WILD, Targets
from mse_pipeline.extractors.text.units import Unit

BLANK, ANY = 0, 1
"""The first columns of emissions: the blank, and any label at all. Those of the labels asked for follow."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """A word in the frames.

    Attributes:
        unit: The word.
        start: Its first frame.
        end: The frame after its last.
        confidence: Mean posterior of its labels in the frames that they take; 0 if the model knows none of them.
    """

    unit: Unit
    start: int
    end: int
    confidence: float


def heard(emissions: np.ndarray, targets: Targets) -> list[Heard]:
    """Find each word in the frames.

    Args:
        emissions: (T, 2 + K) log-probabilities of the blank, of any label, and of the K labels of `targets` that the
            model knows, in the order of their ids.
        targets: The labels of the text.

    Raises:
        ValueError: There are fewer frames than labels.

    Examples:
        >>> from mse_pipeline.extractors.text.ctc_targets import Vocabulary
        >>> targets = Vocabulary({"a": 1, "b": 2}, blank=0).targets("ab", "en")
        >>> frames = np.log([[0.8, 0.2, 0.1, 0.1], [0.1, 0.9, 0.9, 0.0001], [0.5, 0.5, 0.0001, 0.5]])
        >>> [(word.unit.text, word.start, word.end, round(word.confidence, 3)) for word in heard(frames, targets)]
        [('ab', 1, 3, 0.7)]
    """
    known = targets.labels != WILD
    columns = np.full(len(targets.labels), ANY)
    columns[known] = np.unique(targets.labels[known], return_inverse=True)[1] + 2
    scores = emissions.copy()
    # Any label is never less likely than a known one. At half its worth it yields each frame in which the known one is
    # likelier than all others together.
    scores[:, ANY] -= np.log(2)
    path = best_path(scores, columns, blank=BLANK, wild=ANY)
    frames = np.flatnonzero(path >= 0)
    frames = frames[targets.owners[path[frames]] >= 0]
    owners = targets.owners[path[frames]]
    posteriors = np.exp(emissions[frames, columns[path[frames]]])
    words = []
    # The path goes forward only, so that a word's frames stand together.
    for begin, end in _runs(owners):
        sure = posteriors[begin:end][known[path[frames[begin:end]]]]
        confidence = float(sure.mean()) if len(sure) else 0.0
        words.append(Heard(targets.units[owners[begin]], int(frames[begin]), int(frames[end - 1]) + 1, confidence))
    return words


def parted(words: Sequence[Heard], shortest: float, frames: int) -> list[tuple[float, float]]:
    """Begin and end of each word, silence that is too short shared by its neighbours.

    Args:
        words: In the order of time.
        shortest: Frames from which on silence between words is kept apart.
        frames: Number of frames in all.

    Returns:
        (begin, end) in frames, fractions where a boundary lies within one.

    Examples:
        >>> from mse_pipeline.extractors.text.units import Unit
        >>> words = [Heard(Unit("a", 0, 1), 3, 4, 1.0), Heard(Unit("b", 2, 3), 7, 8, 1.0)]
        >>> parted(words, 4, 30), parted(words, 3, 30)
        ([(0.0, 5.5), (5.5, 8.0)], [(3.0, 4.0), (7.0, 8.0)])
    """
    edges = [0, *(edge for word in words for edge in (word.start, word.end)), frames]
    borders: list[tuple[float, float]] = []
    for number, (before, after) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        if after - before >= shortest:
            borders.append((before, after))
        elif number == 0:
            borders.append((0, 0))
        elif number == len(words):
            borders.append((frames, frames))
        else:
            borders.append(((before + after) / 2,) * 2)
    return [(float(left[1]), float(right[0])) for left, right in itertools.pairwise(borders)]


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of each run of equal values."""
    edges = np.flatnonzero(np.r_[True, values[1:] != values[:-1], True]) if len(values) else np.zeros(0, int)
    return list(itertools.pairwise(edges.tolist()))
