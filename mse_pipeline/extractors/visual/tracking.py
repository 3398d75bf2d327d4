"""Tracking: detections of consecutive frames linked to faces, and the face that is followed chosen.

Shots: where one shot of a clip ends and the next begins, and what stands still within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_WIDTH = 160
"""Pixels across the small pictures that are kept of the frames."""

_CELLS = (9, 16)
"""Rows and columns of the cells whose mean brightness is compared."""

MIN_CHANGE = 0.4
"""Median change of a cell's brightness from one frame to the next, as a share of the frames' own contrast, from which
it is another shot. In films it is about 1 behind a cut, and below 0.2 within a shot."""

_LEAST_CONTRAST = 8.0  # of 255: a change within a dark or even frame is noise

_STILL = 0.02
"""Change of a region from frame to frame, as a share of its contrast, below which nothing lives in it. The face of
someone who rests is above 0.05, a photograph before a camera that stands still below 0.006."""

_MOVES = 0.2
"""The same of the part of the frame that changes most, above which the frame is no still picture itself."""


class Shots:
    """Collects the shots of a clip: `add` its frames in the order of time.

    Attributes:
        numbers: Of each frame the number of its shot.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._small: list[np.ndarray] = []

    def add(self, frames: np.ndarray) -> None:
        """Take some more frames, (N, H, W, 3) uint8."""
        for frame in frames:
            small = reduced(frame)
            new = bool(self._small) and is_cut(self._small[-1], small)
            self.numbers.append((self.numbers[-1] if self.numbers else 0) + int(new))
            self._small.append(small)

    def length(self, frame: int) -> int:
        """Number of frames of the shot that a frame belongs to."""
        return self.numbers.count(self.numbers[frame])

    def is_still(self, frames: list[int], boxes: np.ndarray) -> bool:
        """Whether nothing lives in some boxes, as in a photograph on a wall, while something else moves.

        Args:
            frames: Indices of the frames, of one shot.
            boxes: (N, 4) x1, y1, x2, y2 relative to the frame, one a frame.
        """
        changes, elsewhere = [], []
        for before, after, box in zip(frames, frames[1:], boxes[1:], strict=False):
            one, other = self._small[before].astype(np.float64), self._small[after].astype(np.float64)
            change = np.abs(_smooth(other - one))
            x1, y1, x2, y2 = (box * np.array([*change.shape[::-1]] * 2)).astype(int)
            region = np.s_[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1]
            changes.append(change[region].mean() / max(float(other[region].std()), _LEAST_CONTRAST))
            elsewhere.append(np.percentile(change, 99) / max(float(other.std()), _LEAST_CONTRAST))
        return bool(changes) and float(np.median(changes)) < _STILL and float(np.median(elsewhere)) > _MOVES


def reduced(frame: np.ndarray) -> np.ndarray:
    """The brightness of a frame, about 160 pixels wide, (h, w) uint8: the mean of its green values, as is quick."""
    step = max(min(frame.shape[1] // _WIDTH, frame.shape[0]), 1)
    height, width = frame.shape[0] // step, frame.shape[1] // step
    total = np.zeros((height, width), np.uint32)
    for y in range(step):
        for x in range(step):
            total += frame[y::step, x::step, 1][:height, :width]
    return (total // step**2).astype(np.uint8)


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two small pictures are of different shots.

    Somebody who moves changes some cells; a cut changes most of them, each in its own way.
    """
    if before.shape != after.shape:
        return True
    one, other = _cells(before), _cells(after)
    contrast = max(float(np.concatenate([one, other]).std()), _LEAST_CONTRAST)
    return float(np.median(np.abs(one - other))) >= MIN_CHANGE * contrast


def _cells(small: np.ndarray) -> np.ndarray:
    rows, columns = (min(count, side) for count, side in zip(_CELLS, small.shape, strict=True))
    height, width = small.shape[0] // rows * rows, small.shape[1] // columns * columns
    return np.asarray(small[:height, :width].reshape(rows, height // rows, columns, width // columns).mean((1, 3)))


def _smooth(change: np.ndarray) -> np.ndarray:
    """Mean over three by three pixels: noise of the sensor and codec goes, what moves stays."""
    padded = np.pad(change, 1, mode="edge")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((across[:-2] + across[1:-1] + across[2:]) / 9.0)


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
        identity: (128,) float32, who it is, a unit vector of `people.PersonEmbedder`; None where nobody asked for it.
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
    for index, frame_boxes in enumerate(boxes):
        open_tracks = [
            t
            for t in tracks
            if times[index] - times[t.frames[-1]] <= MAX_GAP + 1e-9
            and (shots is None or shots[index] == shots[t.frames[-1]])
        ]
        last = np.array([boxes[t.frames[-1]][t.picks[-1]] for t in open_tracks]).reshape(-1, 4)
        taken = _match(affinity(last, frame_boxes))
        for pick, box in enumerate(frame_boxes):
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
