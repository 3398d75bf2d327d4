"""People: detections of a clip become tracks, each of one person, and the tracks of one person are known as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mse_pipeline.extractors.visual.identity import SAME_PERSON, load_embedder
from mse_pipeline.extractors.visual.tracking import Track, link

_LOOKS = 3
"""Rows of a track that are looked at for who it is."""


def people(found: Sequence[Any], intervals: np.ndarray, shots: Sequence[int], known: bool) -> list[Track]:
    """The tracks of all people of a clip.

    Args:
        found: The faces of each frame, with `boxes`, `probabilities`, `landmarks`, `patches` and `aligned`.
        intervals: (T, 2) seconds of the frames.
        shots: Number of each frame's shot.
        known: Whether faces are known by their looks, and not by their places alone.

    Returns:
        The tracks, the largest first, each with its person.
    """
    tracks = link([frame.boxes for frame in found], intervals[:, 0], shots)
    for track in tracks:
        track.score = float(np.mean([found[f].probabilities[p] for f, p in _rows(track)]))
        if known:
            track.identity = look(track, found)
    tell_apart(tracks, [frame.boxes for frame in found], intervals, shots)
    return tracks


def look(track: Track, found: Sequence[Any]) -> np.ndarray:
    """Who a track is: the mean of what SFace makes of its best rows, the best of each third of the track."""
    rows = list(_rows(track))
    parts = [part for part in np.array_split(np.arange(len(rows)), _LOOKS) if len(part)]
    best = [max((rows[k] for k in part), key=lambda row: quality(found[row[0]], row[1])) for part in parts]
    mean = load_embedder()(np.stack([found[f].aligned[p] for f, p in best])).mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def quality(frame: Any, pick: int) -> float:
    """How well a face shows who it is: sure, large and seen from the front."""
    left, right, nose = frame.landmarks[pick][:3]
    across = (right - left)[0]
    turned = abs(nose[0] - (left[0] + right[0]) / 2) / max(abs(across), 1e-6)
    height = frame.boxes[pick][3] - frame.boxes[pick][1]
    return float(frame.probabilities[pick] * np.sqrt(height) / (1.0 + turned))


def tell_apart(
    tracks: Sequence[Track], boxes: Sequence[np.ndarray], intervals: np.ndarray, shots: Sequence[int]
) -> None:
    """Number the people: tracks that look alike, and do not stand side by side, are of one person."""
    groups: list[list[Track]] = [[track] for track in tracks]
    while len(groups) > 1:
        pairs = [(likeness(a, b), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i])]
        best, i, j = max(pairs)
        if best < SAME_PERSON:
            break
        groups[j] += groups.pop(i)
    for number, group in enumerate(sorted(groups, key=lambda g: -sum(t.area for t in g))):
        for track in group:
            track.person = number


def likeness(group: Sequence[Track], other: Sequence[Track]) -> float:
    """Mean cosine between two groups of tracks, -1 where it cannot be one person."""
    if any(set(a.frames) & set(b.frames) for a in group for b in other):
        return -1.0
    cosines = [
        a.identity @ b.identity for a in group for b in other if a.identity is not None and b.identity is not None
    ]
    return float(np.mean(cosines)) if cosines else -1.0


def _rows(track: Track) -> list[tuple[int, int]]:
    return list(zip(track.frames, track.picks, strict=True))
