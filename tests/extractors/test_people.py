"""Tracks that hold one person, joined across cuts; and faces that are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mse_pipeline.extractors.visual import people as people_module
from mse_pipeline.extractors.visual.people import has_face_landmarks, join, people
from mse_pipeline.extractors.visual.tracking import Shots, Track, is_cut, reduced

FRONT = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
PROFILE = np.array([[0.88, 0.35], [0.92, 0.36], [1.05, 0.55], [0.85, 0.72], [0.87, 0.74]])
LEAST = 0.8


def frame(*faces: tuple[float, float, int], marks: np.ndarray = FRONT) -> Any:
    """A frame with faces, each (left border, probability, who); who is painted into the aligned face."""
    return SimpleNamespace(
        boxes=np.array([[x, 0.2, x + 0.2, 0.5] for x, _, _ in faces]).reshape(-1, 4),
        probabilities=np.array([probability for _, probability, _ in faces]),
        landmarks=np.array([marks for _ in faces]).reshape(-1, 5, 2),
        aligned=np.array([np.full((112, 112, 3), who, np.uint8) for *_, who in faces]),
    )


def shots_of(numbers: list[int], pictures: list[np.ndarray] | None = None) -> Shots:
    shots = Shots()
    if pictures is not None:
        shots.add(np.stack(pictures))
    shots.numbers = numbers
    return shots


def found_people(frames: list[Any], shots: list[int] | None = None, known: bool = True) -> list[Track]:
    edges = np.arange(len(frames) + 1) / 5
    numbers = shots or [0] * len(frames)
    noise = np.random.default_rng(0).integers(0, 255, (len(frames), 90, 160, 3), dtype=np.uint8)
    return people(frames, np.stack([edges[:-1], edges[1:]], 1), shots_of(numbers, list(noise)), LEAST, known)


@pytest.fixture(autouse=True)
def embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of SFace, whose weights are not here: the aligned picture says who it is."""

    def embed(faces: np.ndarray) -> np.ndarray:
        return np.eye(128, dtype=np.float32)[faces[:, 0, 0, 0]]

    monkeypatch.setattr(people_module, "load_embedder", lambda: embed)


def test_a_person_is_known_again_behind_a_cut() -> None:
    one, other = [frame((0.1, 0.9, 1), (0.6, 0.9, 2))] * 3, [frame((0.4, 0.9, 2))] * 3
    tracks = found_people([*one, *other], [0, 0, 0, 1, 1, 1])
    by_person: dict[int, set[int]] = {}
    for track in tracks:
        by_person.setdefault(track.person, set()).update(track.frames)
    assert sorted(map(sorted, by_person.values())) == [[0, 1, 2], [0, 1, 2, 3, 4, 5]]


def test_a_face_is_recognised_only_where_that_can_tell_something() -> None:
    alone = found_people([frame((0.1, 0.9, 1))] * 6)
    together = found_people([frame((0.1, 0.9, 1), (0.6, 0.9, 2))] * 6)
    assert [track.identity is None for track in [*alone, *together]] == [True] * 3
    behind_a_cut = found_people([frame((0.1, 0.9, 1))] * 6, [0, 0, 0, 1, 1, 1])
    assert [int(track.identity.argmax()) for track in behind_a_cut if track.identity is not None] == [1, 1]


def test_without_an_embedding_nobody_is_known_behind_a_cut() -> None:
    tracks = found_people([frame((0.1, 0.9, 1))] * 6, [0, 0, 0, 1, 1, 1], known=False)
    assert [track.identity for track in tracks] == [None, None]
    assert len({track.person for track in tracks}) == 2


def test_two_faces_side_by_side_are_two_people_however_alike() -> None:
    tracks = found_people([frame((0.1, 0.9, 1), (0.6, 0.9, 1))] * 4)
    assert len({track.person for track in tracks}) == 2


@pytest.mark.parametrize(("missed", "people_seen"), [(5, 1), (15, 2)])
def test_who_comes_back_to_the_same_place_within_a_shot_is_the_same(missed: int, people_seen: int) -> None:
    frames = [frame((0.1, 0.9, 1))] * 3 + [frame()] * missed + [frame((0.1, 0.9, 1))] * 3
    tracks = found_people(frames, known=False)
    assert len({track.person for track in tracks}) == people_seen


def test_a_face_in_a_single_row_that_nothing_links_is_none() -> None:
    frames = [frame((0.1, 0.9, 1))] * 2 + [frame((0.1, 0.9, 1), (0.7, 0.95, 3))] + [frame((0.1, 0.9, 1))] * 2
    assert [track.frames for track in found_people(frames)] == [[0, 1, 2, 3, 4]]


def test_a_single_row_of_a_person_who_is_seen_elsewhere_stays() -> None:
    frames = [frame((0.1, 0.9, 1))] * 3 + [frame((0.7, 0.9, 1))]
    assert len({track.person for track in found_people(frames, [0, 0, 0, 0])}) == 1
    assert len(found_people(frames, [0, 0, 0, 0])) == 2


def test_a_shot_of_one_row_may_hold_a_face() -> None:
    assert [track.frames for track in found_people([frame((0.1, 0.9, 1))], [0])] == [[0]]


@pytest.mark.parametrize(("best", "stays"), [(0.81, False), (0.88, True)])
def test_a_face_that_is_never_sure_is_none(best: float, stays: bool) -> None:
    frames = [frame((0.1, 0.8, 1))] * 4 + [frame((0.1, best, 1))]
    assert bool(found_people(frames)) == stays


@pytest.mark.parametrize(
    ("marks", "stays"),
    [
        (FRONT, True),
        (PROFILE, True),
        (FRONT[[3, 4, 2, 0, 1]], False),  # the mouth over the eyes
        (np.full((5, 2), 0.5), False),  # all in one point
        (FRONT * 4, False),  # far outside of the box
    ],
)
def test_landmarks_lie_as_in_a_face(marks: np.ndarray, stays: bool) -> None:
    frames = [frame((0.1, 0.9, 1), marks=marks)] * 3
    assert has_face_landmarks(Track([0, 1, 2], [0, 0, 0]), frames) == stays


def scene(count: int, face_moves: bool, rest_moves: bool) -> list[np.ndarray]:
    """Pictures with a face at the left and something at the right, each of which moves or not."""
    rng = np.random.default_rng(1)
    texture = rng.integers(0, 255, (180, 320, 3), dtype=np.uint8)
    pictures = []
    for k in range(count):
        picture = texture.copy()
        if face_moves:
            picture[36:90, 32:96] = np.roll(texture[36:90, 32:96], 5 * k, axis=0)
        if rest_moves:
            picture[:, 200:] = np.roll(texture[:, 200:], 9 * k, axis=1)
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize(
    ("count", "face_moves", "rest_moves", "stays"),
    [
        (12, False, True, False),  # a photograph on the wall behind somebody
        (12, True, True, True),
        (12, False, False, True),  # a still picture as a whole: nothing tells
        (6, False, True, True),  # somebody may rest for a second
    ],
)
def test_a_face_that_never_moves_while_others_do_is_a_picture(
    count: int, face_moves: bool, rest_moves: bool, stays: bool
) -> None:
    edges = np.arange(count + 1) / 5
    shots = shots_of([0] * count, scene(count, face_moves, rest_moves))
    frames = [frame((0.1, 0.9, 1))] * count
    assert bool(people(frames, np.stack([edges[:-1], edges[1:]], 1), shots, LEAST, True)) == stays


def test_cuts_are_found_and_movement_is_none() -> None:
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 255, (2, 9, 16, 1, 1, 3), dtype=np.uint8)
    one, other = (np.broadcast_to(b.transpose(0, 2, 1, 3, 4), (9, 20, 16, 20, 3)).reshape(180, 320, 3) for b in blocks)
    moved = one.copy()
    moved[60:160, 100:200] = 0
    shots = Shots()
    shots.add(np.stack([one, moved, one]))
    shots.add(np.stack([other, other]))
    assert shots.numbers == [0, 0, 0, 1, 1]
    assert [shots.length(0), shots.length(4)] == [3, 2]


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (90, 160), (271, 481)])
def test_frames_of_any_size_are_compared(shape: tuple[int, int]) -> None:
    small = reduced(np.full((*shape, 3), 90, np.uint8))
    assert (small == 90).all()
    assert not is_cut(small, small)


def test_nobody_is_found_where_there_is_nobody() -> None:
    assert found_people([frame()] * 3) == []
    assert join([], [], np.zeros((0, 2)), Shots()) == []


@pytest.mark.parametrize("shape", [(1, 320), (2, 480), (1, 1), (3, 640), (200, 1)])
def test_frames_of_any_shape_have_a_small_picture(shape: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, *shape, 3), np.uint8)
    shots = Shots()
    shots.add(frames)
    assert len(shots.numbers) == 2
    assert min(reduced(frames[0]).shape) >= 1
