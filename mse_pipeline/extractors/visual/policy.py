"""Policy: which of several faces is followed, as a score for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mse_pipeline.extractors.visual.tracking import Track

Policy = Literal["largest", "longest", "central", "speaking", "speaker"]
"""Which face is followed; see `FaceConfig`."""

MIN_AGREEMENT = 0.0
"""Agreement of a mouth with the sound above which its owner is taken to speak; what lies below is chance."""


def scores(
    policy: Policy,
    tracks: Sequence[Track],
    boxes: Sequence[np.ndarray],
    intervals: np.ndarray,
    agreements: Sequence[float | None] = (),
) -> list[float]:
    """Score of each track; the highest is followed.

    Args:
        policy: What counts.
        tracks: What `link` gave.
        boxes: For each frame (N, 4), x1, y1, x2, y2 relative to the frame.
        intervals: (T, 2) seconds of the frames.
        agreements: For ``speaking``: of each track the agreement of its mouth with the sound, None where unknown.

    Returns:
        ``largest``, and ``speaker`` as long as it is not known: summed area in frames' areas. ``longest``: seconds.
        ``central``: summed nearness of the box's middle to the frame's, 1 there and 0 in a corner. ``speaking``: the
        agreement, -1 where it is unknown.

    Examples:
        >>> small_and_central, large = np.array([[0.4, 0.4, 0.6, 0.6]]), np.array([[0.0, 0.0, 0.5, 0.5]])
        >>> frames = [np.concatenate([small_and_central, large])] * 2
        >>> tracks = [Track([0, 1], [1, 1], 0.5), Track([0, 1], [0, 0], 0.08)]
        >>> seconds = np.array([[0.0, 0.2], [0.2, 0.4]])
        >>> scores("largest", tracks, frames, seconds), scores("central", tracks, frames, seconds)
        ([0.5, 0.08], [1.0, 2.0])
    """
    if policy in {"largest", "speaker"}:
        return [track.area for track in tracks]
    if policy == "longest":
        return [float(np.diff(intervals[track.frames], axis=1).sum()) for track in tracks]
    if policy == "central":
        return [_centrality(track, boxes) for track in tracks]
    return [-1.0 if one is None else one for one in agreements]


def favourite(policy: Policy, tracks: Sequence[Track], found: Sequence[float]) -> int:
    """The best track of the person who is followed.

    Args:
        policy: What counts.
        tracks: All of them, each with its person; at least one.
        found: What `scores` gave for them.

    Returns:
        Index of the best track of the person with the highest score: the sum over the person's tracks, and for
        ``speaking`` the best of them.

    Examples:
        >>> tracks = [Track(person=0), Track(person=1), Track(person=1)]
        >>> favourite("largest", tracks, [0.5, 0.3, 0.4]), favourite("speaking", tracks, [0.5, 0.3, 0.4])
        (2, 0)
    """
    totals: dict[int, float] = {}
    for track, score in zip(tracks, found, strict=True):
        before = totals.get(track.person)
        if before is None:
            totals[track.person] = score
        else:
            totals[track.person] = max(before, score) if policy == "speaking" else before + score
    return max(range(len(tracks)), key=lambda k: (totals[tracks[k].person], found[k]))


def confidence(tracks: Sequence[Track], agreements: Sequence[float], activities: Sequence[float]) -> float:
    """How sure it is that the person chosen by ``speaking`` speaks.

    Args:
        tracks: All of them, each with its person.
        agreements: What `scores` gave for them.
        activities: How long and how much their mouths move while there is a voice.

    Returns:
        From 0, nobody is seen to speak, to 1: the agreement with the sound where a mouth moves in time with it, raised
        by a half, else half of the most active person's share of all activity.

    Examples:
        >>> tracks = [Track(person=0), Track(person=1)]
        >>> confidence(tracks, [0.3, -0.2], [1.0, 2.0]), confidence(tracks, [-0.1, -0.2], [1.0, 3.0])
        (0.8, 0.375)
    """
    if max(agreements, default=-1.0) > MIN_AGREEMENT:
        return round(min(0.5 + max(agreements), 1.0), 3)
    by_person = {track.person: active for track, active in zip(tracks, activities, strict=True)}
    total = sum(by_person.values())
    return round(0.5 * max(by_person.values()) / total, 3) if total > 0.0 else 0.0


def _centrality(track: Track, boxes: Sequence[np.ndarray]) -> float:
    own = np.array([boxes[index][pick] for index, pick in zip(track.frames, track.picks, strict=True)])
    away = np.linalg.norm((own[:, :2] + own[:, 2:]) / 2 - 0.5, axis=1) / np.sqrt(0.5)
    return float((1.0 - away).sum())
