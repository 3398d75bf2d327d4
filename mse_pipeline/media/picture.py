"""Picture: decoded video frames get their place on the clip's clock and go to the samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mse_pipeline.media.sampling import FrameRequest, FrameSampler
from mse_pipeline.media.soundtrack import TimestampError

MAX_STILL = 3600.0
"""Seconds that one frame may be shown; a file that announces more has broken timestamps."""


class Picture:
    """Follows a clip's video and knows when each frame is shown and when the video ends.

    Args:
        requests: What is wanted of the frames.
        zero: The clip's start on the stream's clock, in seconds.
        length: The clip's length in seconds; None for the end of the file.
        fps: Mean frames a second, for frames without a time or a duration.
    """

    def __init__(self, requests: Sequence[FrameRequest], zero: float, length: float | None, fps: float) -> None:
        self._samplers = [FrameSampler(request) for request in requests]
        self._zero, self._length = zero, length
        self._step = 1.0 / fps
        self._last: float | None = None
        self._end = 0.0
        self.overrun = False
        self.done = False

    def add(self, frame: Any) -> None:
        """Take the next decoded frame.

        Raises:
            TimestampError: A frame would be shown for longer than `MAX_STILL`.
        """
        if frame.pts is not None and frame.time_base is not None:
            time = float(frame.pts * frame.time_base) - self._zero
        else:
            time = self._end if self._last is not None else 0.0
        previous = 0.0 if self._last is None else self._last
        if self._last is not None and time <= previous:
            return  # time runs forward; what goes back is a copy or a splice
        if time - max(previous, 0.0) > MAX_STILL:
            raise TimestampError(
                f"one frame would be shown for {time - previous:.0f} s, and over {MAX_STILL:.0f} s are not believed"
            )
        if self._length is not None and time >= self._length:
            self._end = time
            self.done = self.overrun = True
            return
        shown = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
        self._end = time + (shown if 0.0 < shown <= MAX_STILL else self._step)
        self._last = time
        for sampler in self._samplers:
            sampler.add(time, frame)

    def finish(self) -> float:
        """Hand over the last rows; returns the video's end in seconds from the clip's start, 0 if there is none."""
        if self._last is None:
            return 0.0
        end = self._end if self._length is None else min(self._end, self._length)
        for sampler in self._samplers:
            sampler.finish(end)
        return max(end, 0.0)
