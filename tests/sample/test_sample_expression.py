from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline.sample.expression import EXPRESSIONS, Pose, perform

TIMES = np.arange(25) / 12.5


def act(emotion: str, strength: float = 1.0, opening: float = 0.0, seed: int = 0) -> list[Pose]:
    lips = np.full(len(TIMES), opening)
    return perform(emotion, strength, TIMES, opening=lips, rounding=0 * lips, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("emotion", "shown", "absent"),
    [
        ("surprise", ("au1", "au2", "au5", "au26"), ("au4", "au12")),
        ("fear", ("au1", "au4", "au5", "au20"), ("au6", "au12")),
        ("sadness", ("au1", "au15"), ("au12", "au26")),
        ("joy", ("au6", "au12"), ("au4", "au15")),
        ("disgust", ("au9", "au10"), ("au2", "au12")),
        ("anger", ("au4", "au7", "au24"), ("au1", "au12")),
    ],
)
def test_an_emotion_shows_the_action_units_of_its_prototype(
    emotion: str, shown: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    takes = [act(emotion, seed=seed)[12] for seed in range(8)]
    assert all(np.mean([getattr(pose, name) for pose in takes]) > 0.5 for name in shown)
    assert all(np.mean([getattr(pose, name) for pose in takes]) < 0.15 for name in absent)


@pytest.mark.parametrize("emotion", EXPRESSIONS)
def test_without_strength_only_the_face_at_rest_is_left(emotion: str) -> None:
    poses = act(emotion, strength=0.0)
    assert max(pose.au1 + pose.au4 + pose.au9 + pose.au12 + pose.au26 for pose in poses) < 0.9
    assert poses == act("neutral", strength=0.0)


def test_an_expression_rises_at_the_beginning() -> None:
    smiles = np.mean([[pose.au12 for pose in act("joy", seed=seed)] for seed in range(8)], 0)
    assert smiles[0] < 0.5 * smiles[8]


def test_lips_follow_speech_and_pressed_lips_part_for_it() -> None:
    silent, speaking = act("anger", opening=0.0)[12], act("anger", opening=0.8)[12]
    assert silent.opening == 0.0
    assert speaking.opening > 0.4
    assert speaking.au24 < 0.5 * silent.au24


def test_eyes_blink_now_and_then_and_not_all_the_time() -> None:
    closed = np.array([[pose.blink for pose in act("neutral", seed=seed)] for seed in range(20)])
    assert closed.min() == 0.0
    assert closed.max() == 1.0
    assert 0.02 < np.mean(closed > 0.5) < 0.3


def test_the_head_moves_a_little_and_two_takes_differ() -> None:
    first, second = act("neutral", seed=1), act("neutral", seed=2)
    assert first != second
    assert np.ptp([pose.across for pose in first]) > 0.01
    assert max(abs(pose.roll) for pose in first) < 0.3
