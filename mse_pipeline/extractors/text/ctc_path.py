"""The best way of a known text through the frames of a CTC model."""

from __future__ import annotations

import itertools
import math

import numpy as np

_BLOCK = 32 << 20  # steps that are remembered at once, a byte each


def best_path(log_probs: np.ndarray, targets: np.ndarray, *, blank: int = 0, wild: int | None = None) -> np.ndarray:
    """Find the likeliest alignment of a sequence of labels with frames (Graves et al. 2006, Viterbi 1967).

    A frame has one label or the blank; a label may go on for several frames, blanks may stand anywhere between
    labels, and between two equal labels there must be one.

    Memory stays bounded for hours of sound: of the frames only every n-th state of the search is kept, and the steps
    between are found again on the way back.

    Args:
        log_probs: (T, C) log-probabilities of C labels.
        targets: (L,) labels in their order.
        blank: The blank's column.
        wild: A column that stands for any label, so that it may follow itself without a blank; None for none.

    Returns:
        (T,) int: the place in `targets` of each frame's label, -1 for the blank.

    Raises:
        ValueError: No path of so many frames goes through all labels, or each has the probability 0.

    Examples:
        >>> likely = np.log([[0.1, 0.9], [0.8, 0.2], [0.2, 0.8]])
        >>> best_path(likely, np.array([1, 1])).tolist()
        [0, -1, 1]
    """
    frames, labels = len(log_probs), len(targets)
    needed = frames_needed(targets, wild=wild)
    if frames < needed:
        raise ValueError(f"{labels} labels need {needed} frames, but there are {frames}.")
    if not labels:
        return np.full(frames, -1)
    search = _Search(np.ascontiguousarray(log_probs, np.float64), targets, blank, wild)
    size = max(_BLOCK // search.states, 1)
    begins = list(range(0, frames, size))
    before = [search.begin()]
    for begin, end in itertools.pairwise(begins):
        before.append(search.run(before[-1], begin, end))
    state = -1
    states = np.empty(frames, np.int64)
    for begin, known in zip(reversed(begins), reversed(before), strict=True):
        end = min(begin + size, frames)
        steps = np.empty((end - begin, search.states), np.uint8)
        scores = search.run(known, begin, end, steps)
        if state < 0:
            state = search.states - (1 if scores[-1] >= scores[-2] else 2)
            if not math.isfinite(scores[2 + state]):
                raise ValueError("No path through the frames has a probability above 0.")
        for frame in range(end - 1, begin - 1, -1):
            states[frame] = state
            state -= int(steps[frame - begin, state])
    # States take turns: blank, first label, blank, second label, ..., blank.
    return np.where(states % 2 == 1, states // 2, -1)


def frames_needed(targets: np.ndarray, *, wild: int | None = None) -> int:
    """The least number of frames that a sequence of labels fits into.

    Examples:
        >>> frames_needed(np.array([1, 1, 2]))
        4
    """
    equal = targets[1:] == targets[:-1]
    if wild is not None:
        equal &= targets[1:] != wild
    return len(targets) + int(equal.sum())


class _Search:
    """The search's states and its step from frame to frame, over all states at once."""

    def __init__(self, log_probs: np.ndarray, targets: np.ndarray, blank: int, wild: int | None) -> None:
        self.states = 2 * len(targets) + 1
        self._log_probs = log_probs
        self._columns = np.full(self.states, blank, np.int64)
        self._columns[1::2] = targets
        # From a label straight to the next one, past the blank between.
        self._skips = np.full(self.states, -np.inf)
        differs = targets[1:] != targets[:-1]
        if wild is not None:
            differs |= targets[1:] == wild
        self._skips[3::2][differs] = 0.0

    def begin(self) -> np.ndarray:
        """Scores before the first frame, as if it came after a blank: the same step leads into it as into others."""
        scores = np.full(self.states + 2, -np.inf)
        scores[2] = 0.0
        return scores

    def run(self, scores: np.ndarray, begin: int, end: int, steps: np.ndarray | None = None) -> np.ndarray:
        """Scores after some frames.

        Args:
            scores: (2 + states,) what `begin` or `run` gave; the first two stand for states that are not there.
            begin: First frame.
            end: Frame after the last.
            steps: (end - begin, states) filled with how many states each path came forward.

        Returns:
            (2 + states,) scores.
        """
        scores = scores.copy()
        for frame in range(begin, end):
            stay, step, skip = scores[2:], scores[1:-1], scores[:-2] + self._skips
            moved = step > stay
            best = np.where(moved, step, stay)
            skipped = skip > best
            if steps is not None:
                steps[frame - begin] = np.where(skipped, 2, moved)
            scores[2:] = np.where(skipped, skip, best) + self._log_probs[frame].take(self._columns)
        return scores
