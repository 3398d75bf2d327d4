"""Sampling: which decoded frame stands for which piece of time, at a requested rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mse_pipeline.media.frames import Frame, FrameBatch
from mse_pipeline.media.timeline import exact

_SLIVER = Fraction(1, 1_000_000)
"""Seconds: shorter pieces of time come from rounding and get no row."""


@dataclass(frozen=True)
class FrameRequest:
    """Frames of a clip at a fixed rate, handed over in batches as they are decoded.

    Row k stands for [k/rate, (k+1)/rate) seconds of the clip, cut at the video's end, and shows the frame that
    a player would show in the middle of that time, whatever the video's own frame rate is. Times are exact fractions:
    at 10, 30 or 50 frames a second the middle of a row of 1/5 s is the very moment at which a frame appears.

    Attributes:
        rate: Rows a second.
        on_batch: Called with each batch in the order of time. All frames of a batch have one size.
        batch_size: The most frames in a batch.

    Raises:
        ValueError: The rate or the batch size is not above 0.
    """

    rate: float
    on_batch: Callable[[FrameBatch], None]
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1000:
            raise ValueError(f"A frame rate must lie above 0 and up to 1000 a second, got {self.rate}.")
        if self.batch_size < 1:
            raise ValueError(f"A batch must hold at least 1 frame, got batch_size={self.batch_size}.")


class FrameSampler:
    """Serves one `FrameRequest` from a stream of decoded frames."""

    def __init__(self, request: FrameRequest) -> None:
        self._request = request
        self._rate = exact(request.rate)
        self._row = 0
        self._begin, self._end = Fraction(0), 1 / self._rate  # of the row
        self._recent: deque[tuple[Fraction, Frame]] = deque()
        self._chosen: list[Frame] = []
        self._intervals: list[tuple[float, float]] = []

    def add(self, time: Fraction, frame: Frame) -> None:
        """Take the next frame, shown from `time` on (seconds from the clip's start, may be negative)."""
        # A row is decided once the video is known to last to its end: only then its middle is known.
        while self._recent and time >= self._end:
            self._emit(self._end)
        self._recent.append((time, frame))
        while len(self._recent) > 1 and self._recent[1][0] <= self._begin:
            self._recent.popleft()

    def finish(self, end: Fraction) -> None:
        """Hand over what is left; `end` is where the video ends, in seconds from the clip's start."""
        while self._recent and end - self._begin > _SLIVER:
            self._emit(min(self._end, end))
        self._recent.clear()
        self._flush()

    def _emit(self, end: Fraction) -> None:
        middle = (self._begin + end) / 2
        chosen = self._recent[0][1]
        for time, candidate in self._recent:
            if time > middle:
                break
            chosen = candidate
        if self._chosen and (self._chosen[0].width, self._chosen[0].height) != (chosen.width, chosen.height):
            self._flush()
        self._chosen.append(chosen)
        self._intervals.append((float(self._begin), float(end)))
        self._row += 1
        self._begin, self._end = self._row / self._rate, (self._row + 1) / self._rate
        if len(self._chosen) == self._request.batch_size:
            self._flush()

    def _flush(self) -> None:
        if self._chosen:
            batch = FrameBatch(self._chosen, np.array(self._intervals, np.float64))
            self._chosen, self._intervals = [], []
            self._request.on_batch(batch)
