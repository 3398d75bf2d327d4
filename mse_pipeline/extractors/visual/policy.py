"""Policy: which of several faces is followed, as a score for each; and who speaks, without any further model.

A talking mouth opens when the voice becomes louder and closes when it becomes softer. For each frame the darkness of
the mouth's inside is measured, also in frames between those that are searched for faces, and the loudness of the sound.
The changes of both from frame to frame are correlated. Changes are used, not values: two people who talk at the same
time are loud at the same time, but their syllables differ.

In films with music, short shots and turning heads, this correlation is often small. There it counts how long and how
much a mouth moves while there is a voice: the mouth of a speaker moves more than that of a listener.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np

from mse_pipeline.extractors.visual.tracking import Track
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.frames import FrameBatch

RATE = 25.0
"""Frames a second at which mouths are measured; half as many would miss syllables."""

MIN_SECONDS = 0.6
"""Seconds that a face must be seen in total; less is too little for a decision."""

_SIZE = (32, 24)  # pixels, width and height, that the mouth's region is reduced to
_DARKEST = 0.1  # share of the region's pixels that count as the mouth's inside
_BAND = (200.0, 3500.0)  # hertz of the voice
_STILL = 0.002  # change of opening a frame that is but the noise of camera and codec
_LEAST_CONTRAST = 4.0  # of 255: a change within an even region is noise
_VOICED = 0.35  # of the clip's loudest parts (its 95th percentile), from which there is a voice
_NOISE = 0.05  # motion of a mouth that rests
_LAG = 1  # frames that sound and picture may be apart


def opening(grey: np.ndarray, landmarks: np.ndarray) -> float:
    """How far a mouth is open: how much darker its darkest tenth is than the region around it.

    Args:
        grey: (H, W) uint8, the frame's brightness.
        landmarks: (5, 2) pixels of the frame: eyes, nose, corners of the mouth.

    Returns:
        From 0, nothing dark there, to 1, a black hole; 0 where the mouth lies outside of the frame.

    Examples:
        >>> face = np.full((100, 100), 200, np.uint8)
        >>> marks = np.array([[35, 30], [65, 30], [50, 50], [40, 70], [60, 70]], float)
        >>> closed = opening(face, marks)
        >>> face[66:78, 42:58] = 20
        >>> opening(face, marks) > closed
        True
    """
    return openness(mouth(grey, landmarks))


def openness(region: np.ndarray | None) -> float:
    """The same for a region that `mouth` returned."""
    if region is None:
        return 0.0
    values = region.ravel()
    count = int(_DARKEST * values.size)
    return float(1.0 - np.partition(values, count)[:count].mean() / max(values.mean(), 1.0))


def mouth(grey: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
    """A mouth and its surroundings, (24, 32) float64, at one size for all faces; None outside of the frame.

    Args:
        grey: (H, W) uint8, the frame's brightness.
        landmarks: (5, 2) pixels of the frame: eyes, nose, corners of the mouth.
    """
    from PIL import Image

    height, width = grey.shape
    middle = landmarks[3:].mean(0)
    scale = float(np.linalg.norm(middle - landmarks[:2].mean(0)))
    x, y = middle[0], middle[1] + 0.1 * scale
    box = (max(x - 0.55 * scale, 0.0), max(y - 0.45 * scale, 0.0), x + 0.55 * scale, y + 0.45 * scale)
    box = (box[0], box[1], min(box[2], width), min(box[3], height))
    if box[2] - box[0] < 2.0 or box[3] - box[1] < 2.0:
        return None
    return np.asarray(Image.fromarray(grey).resize(_SIZE, Image.Resampling.BILINEAR, box=box), np.float64)


def motion(before: np.ndarray | None, after: np.ndarray | None) -> float:
    """How much a mouth changes from one frame to the next, beside the way that the head goes.

    Args:
        before: What `mouth` gave for a frame.
        after: What it gave for the next, by the same landmarks.

    Returns:
        Mean change of brightness as a share of its contrast, at the shift of up to a pixel where it is least; NaN
        where there is no mouth.

    Examples:
        >>> still = np.random.default_rng(0).normal(100, 20, (24, 32))
        >>> motion(still, still), motion(still, np.roll(still, 1, axis=1))
        (0.0, 0.0)
    """
    if before is None or after is None:
        return float("nan")
    height, width = after.shape
    inner = after[1:-1, 1:-1]
    least = min(
        float(np.abs(part - part.mean() - (inner - inner.mean())).mean())
        for y in range(3)
        for x in range(3)
        for part in [before[y : height - 2 + y, x : width - 2 + x]]
    )
    return least / max(float(inner.std()), _LEAST_CONTRAST)


def voiced(voice: np.ndarray) -> np.ndarray:
    """The frames with a voice, (T,) bool: those not much softer than the loudest ones of the clip.

    Args:
        voice: (T,) what `loudness` gave.
    """
    return np.asarray(voice > max(_VOICED * float(np.percentile(voice, 95)), 1e-6)) if len(voice) else voice > 0


def activity(motions: np.ndarray, voice: np.ndarray) -> float:
    """How long and how much a mouth moves while there is a voice.

    Args:
        motions: (T,) what `motion` gave at each frame; NaN where the face was not seen.
        voice: (T,) what `loudness` gave.

    Returns:
        Seconds of voice with a moving mouth, weighted by how much it moves: 1 a second is a mouth that changes by a
        tenth of its contrast from frame to frame. 0 for a face that is seen for less than `MIN_SECONDS`, or whose mouth
        moves no more than noise does.

    Examples:
        >>> voice = np.ones(50)
        >>> moved = (50, 0.2), (50, 0.02), (5, 0.2)
        >>> [round(activity(np.full(count, much), voice[:count]), 6) for count, much in moved]
        [4.0, 0.0, 0.0]
    """
    heard = motions[np.isfinite(motions) & voiced(voice)]
    count = np.isfinite(motions).sum()
    if count < MIN_SECONDS * RATE or not len(heard) or float(np.median(heard)) < _NOISE:
        return 0.0
    return float(heard.sum() / RATE / 0.1)


def loudness(audio: Audio, count: int) -> np.ndarray:
    """Loudness of the voice in each of the frames that `RATE` makes of a clip.

    Args:
        audio: The clip's sound.
        count: Number of frames T.

    Returns:
        (T,) float64, square root of the amplitude in the voice's band; 0 after the sound's end.
    """
    from scipy.signal import butter, sosfiltfilt

    out = np.zeros(count)
    if len(audio.samples) < 64:
        return out
    band = butter(4, _BAND, "bandpass", fs=audio.rate, output="sos")
    power = sosfiltfilt(band, audio.samples.astype(np.float64)) ** 2
    edges = np.minimum(np.round(np.arange(count + 1) * audio.rate / RATE).astype(int), len(power))
    total = np.concatenate([[0.0], np.cumsum(power)])
    widths = np.diff(edges)
    heard = widths > 0
    out[heard] = ((total[edges[1:]] - total[edges[:-1]])[heard] / widths[heard]).clip(0.0) ** 0.25
    return out


def agreement(openings: np.ndarray, voice: np.ndarray) -> float | None:
    """Correlation of a mouth's movement with the sound's.

    Args:
        openings: (T,) what `opening` gave at each frame; NaN where the face was not seen.
        voice: (T,) what `loudness` gave.

    Returns:
        At most 1: the best correlation within a frame's shift, less where the mouth hardly moves, less the two standard
        deviations that chance alone makes of so many frames; above 0 it is no chance. None where there is too little
        to say: the face is seen for less than `MIN_SECONDS`, or nothing moves or sounds.

    Examples:
        >>> wave = np.abs(np.sin(np.arange(50) / 2))
        >>> round(agreement(wave, wave), 1), agreement(np.ones(50), wave)
        (0.7, None)
    """
    moved, changed = np.gradient(openings), np.gradient(voice)
    correlations = [
        value
        for lag in range(-_LAG, _LAG + 1)
        if (value := _correlation(moved[max(lag, 0) : len(moved) + min(lag, 0)], changed[max(-lag, 0) :])) is not None
    ]
    if not correlations:
        return None
    movement = float(np.nanstd(moved))
    chance = 2.0 / np.sqrt(np.isfinite(moved).sum())
    return float(max(correlations) * movement / (movement + _STILL) - chance)


def _correlation(mouth: np.ndarray, sound: np.ndarray) -> float | None:
    sound = sound[: len(mouth)]
    open_frames = np.isfinite(mouth)
    if open_frames.sum() < MIN_SECONDS * RATE:
        return None
    a, b = mouth[open_frames] - mouth[open_frames].mean(), sound[open_frames] - sound[open_frames].mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else None


class Mouths:
    """Collects the openings of all faces of a clip.

    A face stays where it was found for the time that its row stands for. Frames wait, reduced and without colour,
    until it is known where their faces are, and are dropped then.

    Args:
        width: Width in pixels that frames are reduced to; narrower frames stay as they are.

    Attributes:
        rate: Frames a second that `add` is to be given.
    """

    rate = RATE

    def __init__(self, width: int) -> None:
        self._width = width
        self._waiting: deque[tuple[int, np.ndarray]] = deque()
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []
        self._openings: list[dict[int, np.ndarray]] = []  # of each row, by frame: opening and motion, (N, 2)
        self._mouths: list[np.ndarray | None] = []
        self._done = 0
        self._count = 0

    def add(self, batch: FrameBatch) -> None:
        """Take the next frames, `rate` a second, in the order of time."""
        from PIL import Image

        for pixels in batch.reduced(self._width):
            self._waiting.append((self._count, np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))))
            self._count += 1
        self._look(finished=False)

    def seen(self, interval: np.ndarray, landmarks: np.ndarray) -> None:
        """Take the faces of the next row.

        Args:
            interval: (2,) seconds that it stands for.
            landmarks: (N, 5, 2) relative to the frame.
        """
        self._rows.append((interval, landmarks))
        self._openings.append({})
        self._look(finished=False)

    def _look(self, finished: bool) -> None:
        """Look at the frames that wait for rows that are known by now."""
        while self._waiting and self._done < len(self._rows):
            index, grey = self._waiting[0]
            (_, end), landmarks = self._rows[self._done]
            if (index + 0.5) / RATE >= end and (self._done + 1 < len(self._rows) or not finished):
                self._done += 1
                continue
            size = np.array([grey.shape[1], grey.shape[0]], np.float64)
            mouths = [mouth(grey, marks * size) for marks in landmarks]
            before = self._mouths if len(self._openings[self._done]) else [None] * len(mouths)
            values = [(openness(now), motion(last, now)) for last, now in zip(before, mouths, strict=True)]
            self._openings[self._done][index] = np.array(values).reshape(-1, 2)
            self._mouths = mouths
            self._waiting.popleft()

    def agreements(self, tracks: Sequence[Track], audio: Audio | None) -> tuple[list[float | None], list[float]]:
        """Of each track the agreement of its mouth with the sound, and its activity while there is a voice.

        Args:
            tracks: The clip's tracks; those of one person are taken together.
            audio: Its sound; None where there is none.

        Returns:
            The agreement of each track, None where there is too little to say, and the activity of each.
        """
        self._look(finished=True)
        if audio is None:
            return [None] * len(tracks), [0.0] * len(tracks)
        voice = loudness(audio, self._count)
        agreements: dict[int, float | None] = {}
        activities: dict[int, float] = {}
        for person in {track.person for track in tracks}:
            seen = np.full((self._count, 2), np.nan)
            for track in tracks:
                for row, pick in track.rows if track.person == person else ():
                    for index, values in self._openings[row].items():
                        seen[index] = values[pick]
            agreements[person] = agreement(seen[:, 0], voice)
            activities[person] = activity(seen[:, 1], voice)
        return [agreements[track.person] for track in tracks], [activities[track.person] for track in tracks]


Policy = Literal["largest", "longest", "central", "speaking", "speaker"]
"""Which face is followed; see `FaceConfig`."""

MIN_AGREEMENT = 0.0
"""Agreement of a mouth with the sound; above it the person counts as the speaker, below it is chance."""


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
    return [-1.0 if agreement is None else agreement for agreement in agreements]


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
