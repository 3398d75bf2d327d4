"""The path through the frames is the best there is."""

import itertools

import numpy as np
import pytest

from mse_pipeline.extractors.text import ctc
from mse_pipeline.extractors.text.ctc import best_path, frames_needed

BLANK, WILD = 0, 1


def emissions(path, targets, columns, rng, *, sure=0.9):
    """Log-probabilities that say a path, with noise beside it."""
    frames = np.full((len(path), columns), (1 - sure) / (columns - 1)) * rng.uniform(0.5, 1.5, (len(path), columns))
    frames[np.arange(len(path)), [BLANK if place < 0 else targets[place] for place in path]] = sure
    return np.log(frames / frames.sum(axis=1, keepdims=True))


def some_path(targets, rng):
    """A path through targets with blanks here and there, and where two neighbours are equal."""
    path = [-1] * int(rng.integers(0, 4))
    for place in range(len(targets)):
        needs_blank = place > 0 and targets[place] == targets[place - 1]
        path += [-1] * max(int(rng.integers(0, 3)), int(needs_blank)) + [place] * int(rng.integers(1, 4))
    return np.array(path + [-1] * int(rng.integers(0, 4)))


def score(log_probs, targets, path):
    return sum(log_probs[frame, BLANK if place < 0 else targets[place]] for frame, place in enumerate(path))


def collapse(labels):
    """What CTC makes of the labels of all frames: runs become one, blanks fall away."""
    return [label for label, _ in itertools.groupby(labels) if label != BLANK]


@pytest.mark.parametrize("seed", range(20))
def test_a_known_path_is_exactly_recovered(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, 5, 30)  # few labels, so that many neighbours are equal
    path = some_path(targets, rng)
    assert best_path(emissions(path, targets, 6, rng), targets).tolist() == path.tolist()


@pytest.mark.parametrize("block", [32 << 20, 20])
def test_it_agrees_with_brute_force_on_200_small_cases(block, monkeypatch):
    monkeypatch.setattr(ctc, "_BLOCK", block)  # the small one keeps a state every frame or two
    rng = np.random.default_rng(7)
    impossible = 0
    for _ in range(200):
        frames, labels = int(rng.integers(1, 7)), 4
        targets = rng.integers(1, labels, int(rng.integers(1, 4)))
        likely = np.log(rng.dirichlet(np.ones(labels), frames))
        possible = [
            sum(likely[frame, label] for frame, label in enumerate(way))
            for way in itertools.product(range(labels), repeat=frames)
            if collapse(way) == targets.tolist()
        ]
        if not possible:
            impossible += 1
            with pytest.raises(ValueError, match="frames"):
                best_path(likely, targets)
            continue
        path = best_path(likely, targets)
        assert collapse([BLANK if place < 0 else targets[place] for place in path]) == targets.tolist()
        assert score(likely, targets, path) == pytest.approx(max(possible), abs=1e-9)
    assert 0 < impossible < 100


def test_a_wild_label_may_follow_itself():
    targets = np.array([WILD, WILD, 2])
    assert frames_needed(targets, wild=WILD) == 3
    assert frames_needed(targets) == 4
    likely = np.log([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert best_path(likely, targets, wild=WILD).tolist() == [0, 1, 2]


def test_impossible_labels_are_told():
    with pytest.raises(ValueError, match="3 labels need 4 frames, but there are 3"):
        best_path(np.log(np.full((3, 3), 1 / 3)), np.array([1, 1, 2]))
    with pytest.raises(ValueError, match="probability above 0"):
        best_path(np.array([[0.0, -np.inf]] * 3), np.array([1]))
    assert best_path(np.zeros((3, 2)), np.zeros(0, int)).tolist() == [-1, -1, -1]
