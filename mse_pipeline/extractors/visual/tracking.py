"""Tracking: detections of consecutive frames linked to faces, and the face that is followed chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MIN_OVERLAP = 0.2
"""Intersection over union from which two boxes are taken for the same face."""

MAX_SHIFT = 0.6
"""Where boxes hardly overlap: distance of their centres, in widths of the larger box, up to which they may be."""

MIN_SIZE_RATIO = 0.5
"""Where boxes hardly overlap: ratio of their areas from which they may be the same face."""

MAX_GAP = 0.6
"""Seconds that a face may be missed (a blink of the detector, a hand) without becoming another one."""


UNKNOWN = -1
"""Person of a track that has not been compared with others."""


@dataclass
class Track:
    """One face through time.

    Attributes:
        frames: Indices of the frames that it is in.
        picks: Which of each frame's detections it is.
        area: Sum of its boxes' areas, in frames' areas.
        score: Mean probability that the detector gave its boxes.
        identity: (128,) float32, who it is, a unit vector of `identity.Embedder`; None where that is not known.
        person: Number of the person whose track it is, as others may be; `UNKNOWN` as long as nobody has compared them.
    """

    frames: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    area: float = 0.0
    score: float = 0.0
    identity: np.ndarray | None = None
    person: int = UNKNOWN

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def rows(self) -> list[tuple[int, int]]:
        """Each frame with the detection in it."""
        return list(zip(self.frames, self.picks, strict=True))

    def overlaps(self, other: Track) -> bool:
        """Whether both are there at some time."""
        return self.frames[0] <= other.frames[-1] and other.frames[0] <= self.frames[-1]


def link(boxes: Sequence[np.ndarray], times: np.ndarray, shots: Sequence[int] | None = None) -> list[Track]:
    """Link the detections of frames to tracks, by their places alone and within a shot.

    Args:
        boxes: For each frame (N, 4), x1, y1, x2, y2 relative to the frame.
        times: (T,) seconds of the frames.
        shots: Number of each frame's shot; None where all are of one.

    Returns:
        The tracks, the one with the largest summed area first.

    Examples:
        >>> still = np.array([[0.1, 0.1, 0.5, 0.5]])
        >>> [track.frames for track in link([still, still, still + 0.45], np.array([0.0, 0.2, 0.4]))]
        [[0, 1], [2]]
    """
    tracks: list[Track] = []
    for index, found in enumerate(boxes):
        open_tracks = [
            t
            for t in tracks
            if times[index] - times[t.frames[-1]] <= MAX_GAP + 1e-9
            and (shots is None or shots[index] == shots[t.frames[-1]])
        ]
        last = np.array([boxes[t.frames[-1]][t.picks[-1]] for t in open_tracks]).reshape(-1, 4)
        taken = _match(affinity(last, found))
        for pick, box in enumerate(found):
            if pick in taken:
                track = open_tracks[taken[pick]]
            else:
                track = Track()
                tracks.append(track)
            track.frames.append(index)
            track.picks.append(pick)
            track.area += float((box[2] - box[0]) * (box[3] - box[1]))
    return sorted(tracks, key=lambda t: -t.area)


def choose(tracks: Sequence[Track], first: int = 0) -> list[int]:
    """The tracks of one person, and of nobody else: where the person is absent, there is no face.

    Args:
        tracks: All of them, each with its person.
        first: Index of a track of the person to follow.

    Returns:
        Indices of the person's tracks, `first` before the others.

    Examples:
        >>> choose([Track(person=0), Track(person=1), Track(person=0), Track(), Track()], 2), choose([Track(), Track()])
        ([2, 0], [0])
    """
    if not tracks:
        return []
    person = tracks[first].person
    same = [index for index, track in enumerate(tracks) if track.person == person != UNKNOWN and index != first]
    return [first, *same]


def affinity(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How likely boxes are the same face: (M, N), 0 where they cannot be.

    Intersection over union, and for a fast face, whose boxes hardly overlap, a smaller value for near centres.

    Args:
        before: (M, 4).
        after: (N, 4).
    """
    a, b = before[:, None], after[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None)
    shared = sides.prod(-1)
    size_a, size_b = (a[..., 2:] - a[..., :2]), (b[..., 2:] - b[..., :2])
    area_a, area_b = size_a.prod(-1), size_b.prod(-1)
    overlap = shared / np.maximum(area_a + area_b - shared, 1e-12)
    larger = np.maximum(np.maximum(size_a, size_b), 1e-12)
    shift = np.linalg.norm(((a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])) / 2 / larger, axis=-1)
    alike = np.minimum(area_a, area_b) / np.maximum(np.maximum(area_a, area_b), 1e-12)
    near = (shift <= MAX_SHIFT) & (alike >= MIN_SIZE_RATIO)
    return np.where(overlap >= MIN_OVERLAP, overlap, np.where(near, MIN_OVERLAP * (1 - shift), 0.0))


def _match(scores: np.ndarray) -> dict[int, int]:
    """One-to-one, the best pair first: column -> row."""
    pairs: dict[int, int] = {}
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        row, column = divmod(int(flat), scores.shape[1])
        if scores[row, column] <= 0.0:
            break
        if column not in pairs and row not in pairs.values():
            pairs[column] = row
    return pairs
