"""Picture: decoded video frames get their place on the clip's clock and go to the samplers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mse_pipeline.media.frames import Frame, PixelAspect
from mse_pipeline.media.sampling import FrameRequest, FrameSampler
from mse_pipeline.media.soundtrack import TimestampError
from mse_pipeline.media.timeline import FrameClock

MAX_STILL = 3600
"""Seconds that one frame may be shown; a file that announces more has broken timestamps."""


class Picture:
    """Follows a clip's video and knows when each frame is shown and when the video ends.

    Args:
        requests: What is wanted of the frames.
        clock: When a frame is shown after the clip's start.
        aspect: The shape of the stream's pixels.
        begin: The clip's start in the file, in seconds; a first frame without a time is the file's first.
        length: The clip's length in seconds; None for the end of the file.
        fps: Mean frames a second, for frames without a time or a duration.
    """

    def __init__(
        self,
        requests: Sequence[FrameRequest],
        clock: FrameClock,
        aspect: PixelAspect,
        *,
        begin: Fraction,
        length: Fraction | None,
        fps: Fraction,
    ) -> None:
        self._samplers = [FrameSampler(request) for request in requests]
        self._clock, self._aspect, self._length = clock, aspect, length
        self._step = 1 / fps
        self._last: Fraction | None = None
        self._end = -begin
        self.first: Frame | None = None
        self.overrun = False
        self.done = False

    def add(self, frame: Any) -> None:
        """Take the next decoded frame.

        Raises:
            TimestampError: A frame would be shown for longer than `MAX_STILL`.
        """
        time = self._clock(frame)
        if time is None:
            time = self._end
        previous = Fraction(0) if self._last is None else self._last
        if self._last is not None and time <= previous:
            return  # time runs forward; what goes back is a copy or a splice
        if time - max(previous, Fraction(0)) > MAX_STILL:
            raise TimestampError(
                f"one frame would be shown for {float(time - previous):.0f} s, and over {MAX_STILL} s are not believed"
            )
        if self._length is not None and time >= self._length:
            self._end = time
            self.done = self.overrun = True
            return
        lasts = Fraction(frame.duration * frame.time_base) if frame.duration and frame.time_base else Fraction(0)
        self._end = time + (lasts if 0 < lasts <= MAX_STILL else self._step)
        self._last = time
        shown = Frame(frame, self._aspect())
        self.first = self.first or shown
        for sampler in self._samplers:
            sampler.add(time, shown)

    def finish(self) -> float:
        """Hand over the last rows; returns the video's end in seconds from the clip's start, 0 if there is none."""
        if self._last is None:
            return 0.0
        end = self._end if self._length is None else min(self._end, self._length)
        for sampler in self._samplers:
            sampler.finish(end)
        return max(float(end), 0.0)
