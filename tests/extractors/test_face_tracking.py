"""Which detections are one face, and which face is followed."""

from __future__ import annotations

import numpy as np
import pytest

from mse_pipeline.extractors.visual.tracking import affinity, choose, link

NONE = np.zeros((0, 4))


def box(x: float, y: float = 0.3, side: float = 0.2) -> np.ndarray:
    return np.array([[x, y, x + side, y + side]])


def times(count: int) -> np.ndarray:
    return np.arange(count) / 5


def test_a_still_face_is_one_track() -> None:
    (track,) = link([box(0.1)] * 5, times(5))
    assert (track.frames, track.picks) == ([0, 1, 2, 3, 4], [0] * 5)
    assert track.area == pytest.approx(5 * 0.04)


def test_a_moving_face_is_one_track() -> None:
    assert len(link([box(0.1 + 0.11 * k) for k in range(5)], times(5))) == 1


def test_a_jump_across_the_picture_is_another_face() -> None:
    assert [t.frames for t in link([box(0.1), box(0.1), box(0.7)], times(3))] == [[0, 1], [2]]


def test_a_much_larger_face_elsewhere_is_another_face() -> None:
    assert len(link([box(0.1), box(0.25, 0.0, 0.7)], times(2))) == 2


def test_two_faces_keep_apart_whatever_their_order_in_the_frames() -> None:
    left, right = box(0.1), box(0.6)
    found = [np.concatenate(pair) for pair in ((left, right), (right, left), (left, right))]
    tracks = link(found, times(3))
    assert sorted(t.picks for t in tracks) == [[0, 1, 0], [1, 0, 1]]


def test_one_detection_belongs_to_one_track_alone() -> None:
    near = np.concatenate([box(0.10), box(0.14)])
    tracks = link([near, box(0.11), near], times(3))
    assert sum(len(t.frames) for t in tracks) == 5
    for index in range(3):
        picks = [t.picks[t.frames.index(index)] for t in tracks if index in t.frames]
        assert len(picks) == len(set(picks))


@pytest.mark.parametrize(("missed", "tracks"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_a_face_may_be_missed_for_a_moment(missed: int, tracks: int) -> None:
    found = [box(0.1)] * 3 + [NONE] * missed + [box(0.1)] * 3
    assert len(link(found, times(len(found)))) == tracks


def test_the_largest_summed_area_is_followed() -> None:
    small, large = box(0.1, side=0.2), box(0.5, side=0.4)
    found = [np.concatenate([large, small])] + [small] * 9
    tracks = link(found, times(10))
    assert choose(tracks) == [0]
    assert len(tracks[0].frames) == 10  # long and small beats short and large


def test_where_the_followed_person_is_absent_nobody_fills_in() -> None:
    shot_one = [np.concatenate([box(0.1, side=0.4), box(0.7, side=0.1)])] * 6
    shot_two = [np.concatenate([box(0.6, side=0.3), box(0.1, 0.6, side=0.1)])] * 4
    tracks = link(shot_one + shot_two, times(10))
    assert [tracks[k].frames for k in choose(tracks)] == [list(range(6))]


def test_all_tracks_of_the_followed_person_are_followed() -> None:
    tracks = link([box(0.1), box(0.7), box(0.1), box(0.7)], times(4), shots=[0, 1, 2, 3])
    for track in tracks:
        track.person = track.frames[0] % 2
    for first, track in enumerate(tracks):
        followed = sorted(frame for k in choose(tracks, first) for frame in tracks[k].frames)
        assert followed == [track.person, track.person + 2]


def test_a_cut_ends_a_track_even_where_a_face_is_at_the_same_place() -> None:
    assert [t.frames for t in link([box(0.1)] * 4, times(4), shots=[0, 0, 1, 1])] == [[0, 1], [2, 3]]


def test_a_face_seen_beside_the_followed_one_never_fills_in() -> None:
    main, other = box(0.1, side=0.4), box(0.7, side=0.1)
    found = [main, np.concatenate([main, other]), other, other, other, main]
    tracks = link(found, np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
    chosen = choose(tracks)
    frames = {frame for k in chosen for frame in tracks[k].frames}
    assert 3 not in frames


def test_nothing_found_gives_no_track() -> None:
    assert link([NONE] * 3, times(3)) == []
    assert link([], times(0)) == []
    assert choose([]) == []


def test_affinity_is_the_overlap_and_never_negative() -> None:
    one = np.array([[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.5, 0.5]])
    scores = affinity(one, np.array([[0.0, 0.0, 0.2, 0.2], [0.1, 0.0, 0.3, 0.2], [0.8, 0.8, 0.9, 0.9]]))
    assert scores.shape == (2, 3)
    assert scores[0, 0] == pytest.approx(1.0)
    assert scores[0, 1] == pytest.approx(1 / 3)
    assert (scores >= 0).all()
    assert scores[0, 2] == scores[1, 0] == 0.0
