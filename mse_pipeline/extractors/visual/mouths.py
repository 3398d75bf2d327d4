"""Mouths: how far each face's mouth is open, frame by frame, between the frames in which faces are looked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from mse_pipeline.extractors.visual.speaking import RATE, activity, agreement, loudness, motion, mouth, openness
from mse_pipeline.extractors.visual.tracking import Track
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.frames import FrameBatch


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
        """Take some more frames, `rate` a second, in the order of time."""
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
