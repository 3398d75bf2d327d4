"""People: the detections of a clip become tracks of one person each; tracks of one person are joined.

False faces are removed. The identity of a face is a vector of SFace (Zhong et al. 2021, "SFace: Sigmoid-Constrained
Hypersphere Loss for Robust Face Recognition"): near for the same person and far for another.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mse_pipeline.extractors.visual.onnx import Session, in_parts, open_session
from mse_pipeline.extractors.visual.tracking import Shots, Track, affinity, link
from mse_pipeline.extractors.visual.zoo import sface

if TYPE_CHECKING:
    from mse_pipeline.extractors.visual.faces import FrameFaces


SIDE = 112
"""Side in pixels of an aligned face."""

SAME_PERSON = 0.36
"""Cosine from which two faces count as the same person: the bound that SFace's authors chose for single
pictures, rounded down. On films the median is about 0.6 for the same person and 0.15 for another."""

_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""Where SFace expects eyes, nose and corners of the mouth, in pixels of the aligned face."""


class PersonEmbedder:
    """Aligned faces in, unit vectors out.

    Args:
        network: SFace.
    """

    def __init__(self, network: Session) -> None:
        self._network = network

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Embed.

        Args:
            faces: (N, 112, 112, 3) uint8 RGB, aligned as `aligned` does.

        Returns:
            (N, 128) float32; rows have length 1.
        """
        if not len(faces):
            return np.zeros((0, 128), np.float32)
        vectors = np.concatenate([self._network(part)[0] for part in in_parts(faces, _BATCH)])
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)


_BATCH = 8
"""The most faces in one batch."""


@functools.cache
def load_embedder() -> PersonEmbedder:
    """SFace; one for each process. Its weights are downloaded if they are missing.

    Raises:
        MseError: The weights are missing and cannot be downloaded, or damaged.
    """
    return PersonEmbedder(open_session(sface()))


def aligned(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face turned and scaled so that its landmarks are where SFace expects them.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) pixels: eyes, nose, corners of the mouth.

    Returns:
        (112, 112, 3) uint8 RGB; black where it goes beyond the picture.
    """
    import cv2

    turn = similarity(landmarks, _TEMPLATE)
    return np.asarray(cv2.warpAffine(np.ascontiguousarray(pixels), turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR))


def around(landmarks: np.ndarray) -> np.ndarray:
    """The part of the picture that `aligned` looks at.

    Args:
        landmarks: (5, 2) pixels.

    Returns:
        (4,) x1, y1, x2, y2 in pixels; it may go beyond the picture.
    """
    back = similarity(_TEMPLATE, landmarks)
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float64) @ back[:, :2].T + back[:, 2]
    return np.concatenate([corners.min(0), corners.max(0)])


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that bring points nearest to others (Umeyama 1991, without reflection).

    Args:
        points: (N, 2).
        onto: (N, 2).

    Returns:
        (2, 3) float64 matrix.

    Examples:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> similarity(square, square * 2 + 3).round(6).tolist()
        [[2.0, -0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    one, other = points - points.mean(0), onto - onto.mean(0)
    # In the plane, turn and scale are one complex number.
    size = max(float((one**2).sum()), 1e-12)
    along = float((one * other).sum()) / size
    across = float((one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()) / size
    turn = np.array([[along, -across], [across, along]])
    return np.concatenate([turn, (onto.mean(0) - turn @ points.mean(0))[:, None]], axis=1)


def to_text(identity: np.ndarray) -> str:
    """A vector as text for notes: base64 of its float16 values, little-endian.

    Examples:
        >>> from_text(to_text(np.array([1.0, -0.5]))).tolist()
        [1.0, -0.5]
    """
    return base64.b64encode(np.asarray(identity, "<f2").tobytes()).decode("ascii")


def from_text(text: str) -> np.ndarray:
    """The vector that `to_text` wrote, float32."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)


_LOOKS = 3
"""Rows of a track from which its identity is computed."""

_RETURNS = 2.0
"""A face that returns to its place within a shot after at most so many seconds counts as the same person."""

_SAME_PLACE = 0.4
"""Intersection over union from which two boxes count as the same place."""

_SURE = 0.3
"""A person needs a face whose probability is at least that share of the way from the least probability to 1."""

_ALONE = 3
"""Rows in which a face must look alike to count as a person, if no track links them."""

_STILL_SECONDS = 2.0
"""A face without any motion for so many seconds counts as a photograph."""

_Group = list[Track]


def people(
    found: Sequence[FrameFaces], intervals: np.ndarray, shots: Shots, min_probability: float, known: bool
) -> list[Track]:
    """The tracks of all people of a clip.

    Args:
        found: The faces of each frame.
        intervals: (T, 2) seconds of the frames.
        shots: The frames' shots.
        min_probability: That of the detector.
        known: Whether faces are recognised by their looks, and not only by their places.

    Returns:
        The tracks, the largest first, each with its person and score, and with its identity where that was needed to
        tell who is who.
    """
    boxes = [frame.boxes for frame in found]
    tracks = [
        track
        for track in link(boxes, intervals[:, 0], shots.numbers)
        if has_face_landmarks(track, found) and not _is_picture(track, boxes, intervals, shots)
    ]
    for track in tracks:
        track.score = float(np.mean([found[f].probabilities[p] for f, p in track.rows]))
    sure = min_probability + _SURE * (1.0 - min_probability)
    groups = [
        group
        for group in join(tracks, boxes, intervals, shots, found if known else None)
        if max(found[f].probabilities[p] for track in group for f, p in track.rows) >= sure and _lasts(group, shots)
    ]
    for number, group in enumerate(sorted(groups, key=lambda group: -sum(track.area for track in group))):
        for track in group:
            track.person = number
    return [track for track in tracks if any(track in group for group in groups)]


def has_face_landmarks(track: Track, found: Sequence[FrameFaces]) -> bool:
    """Whether landmarks lie as in a face in most rows: eyes over the mouth, the nose between, all near the box."""
    marks = np.array([found[f].landmarks[p] for f, p in track.rows])
    eyes, nose, mouth = marks[:, :2].mean(1), marks[:, 2], marks[:, 3:].mean(1)
    down = mouth - eyes
    length = np.linalg.norm(down, axis=1)
    along = ((nose - eyes) * down).sum(1) / np.maximum(length, 1e-9) ** 2
    upright = (down[:, 1] > -0.1) & (length > 0.15) & (length < 0.8)
    near = ((marks > -0.4) & (marks < 1.4)).all((1, 2))
    return bool(np.mean(upright & near & (along > -0.3) & (along < 1.3)) >= 0.5)


def _is_picture(track: Track, boxes: Sequence[np.ndarray], intervals: np.ndarray, shots: Shots) -> bool:
    lasted = intervals[track.frames[-1], 1] - intervals[track.frames[0], 0]
    own = np.array([boxes[f][p] for f, p in track.rows])
    return bool(lasted >= _STILL_SECONDS - 1e-9) and shots.is_still(track.frames, own)


def _lasts(group: _Group, shots: Shots) -> bool:
    """Whether a person is seen in two rows that follow each other, in three alone, or in a shot of one row."""
    runs = len(group) >= _ALONE or any(len(track) > 1 for track in group)
    return runs or shots.length(group[0].frames[0]) == 1


def look(track: Track, found: Sequence[FrameFaces]) -> np.ndarray:
    """The identity of a track: the mean of SFace's vectors of its best rows, one from each third of the track.

    It costs as much as finding the track's faces, and so is computed once, and only of tracks that are asked for.
    """
    if track.identity is not None:
        return track.identity
    parts = [part for part in np.array_split(np.arange(len(track)), _LOOKS) if len(part)]
    best = [max((track.rows[k] for k in part), key=lambda row: quality(found[row[0]], row[1])) for part in parts]
    mean = load_embedder()(np.stack([found[f].aligned[p] for f, p in best])).mean(0)
    track.identity = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
    return track.identity


def quality(frame: FrameFaces, pick: int) -> float:
    """How well a face can be recognised: it should be certain, large and seen from the front."""
    left, right, nose = frame.landmarks[pick][:3]
    turned = abs(nose[0] - (left[0] + right[0]) / 2) / max(abs(float(right[0] - left[0])), 1e-6)
    height = frame.boxes[pick][3] - frame.boxes[pick][1]
    return float(frame.probabilities[pick] * np.sqrt(height) / (1.0 + turned))


def join(
    tracks: Sequence[Track],
    boxes: Sequence[np.ndarray],
    intervals: np.ndarray,
    shots: Shots,
    found: Sequence[FrameFaces] | None = None,
) -> list[_Group]:
    """Group the tracks by person: first those that continue at the same place, then those that look alike.

    Tracks at the same time are of different people, even if they look alike.

    Args:
        tracks: All of them.
        boxes: For each frame (N, 4), relative to the frame.
        intervals: (T, 2) seconds of the frames.
        shots: The frames' shots.
        found: The faces of each frame; None where they are not recognised by their looks.
    """
    groups: list[_Group] = []
    for track in sorted(tracks, key=lambda track: track.frames[0]):
        before = [group for group in groups if _goes_on(group[-1], track, boxes, intervals, shots)]
        if before:
            max(before, key=lambda group: group[-1].frames[-1]).append(track)
        else:
            groups.append([track])
    while found is not None and len(groups) > 1:
        likest, i, j = max(
            (_likeness(a, b, found), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i])
        )
        if likest < SAME_PERSON:
            break
        groups[j] += groups.pop(i)
    return groups


def _goes_on(track: Track, later: Track, boxes: Sequence[np.ndarray], intervals: np.ndarray, shots: Shots) -> bool:
    last, first = track.frames[-1], later.frames[0]
    if last >= first or shots.numbers[last] != shots.numbers[first]:
        return False
    before, after = boxes[last][track.picks[-1]], boxes[first][later.picks[0]]
    gap = intervals[first, 0] - intervals[last, 1]
    return bool(gap <= _RETURNS + 1e-9 and affinity(before[None], after[None])[0, 0] >= _SAME_PLACE)


def _likeness(group: _Group, other: _Group, found: Sequence[FrameFaces]) -> float:
    """Mean cosine between two groups, weighted by their tracks' rows; -1 where they cannot be one person."""
    if {f for track in group for f in track.frames} & {f for track in other for f in track.frames}:
        return -1.0
    return float(_identity(group, found) @ _identity(other, found))


def _identity(group: _Group, found: Sequence[FrameFaces]) -> np.ndarray:
    identities = [(look(track, found), len(track)) for track in group]
    total = sum(identity * min(rows, _LOOKS) for identity, rows in identities)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9))
