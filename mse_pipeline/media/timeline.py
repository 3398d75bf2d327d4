"""Timeline: the time of each packet and frame in exact seconds, also if a file's timestamps begin again.

`FrameSampler` then chooses the decoded frame for each row of a requested rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mse_pipeline.media.frames import Frame, FrameBatch

DISCONTINUOUS = frozenset({"mpeg", "mpegts", "mpegtsraw", "ogg", "live_flv", "ty"})
"""Containers, by FFmpeg's names, with a clock that may jump (AVFMT_TS_DISCONT): recordings are cut and joined."""

_BACK = 0.1
"""Seconds; if a stream's time goes back by more, a new part begins. The program ffmpeg uses the same value."""

_LEAP = 10.0
"""Seconds; if the clock of a `DISCONTINUOUS` container jumps ahead by more, it is another clock, as in ffmpeg."""

_COARSE = Fraction(1, 1000)
"""A tick of the clock of Matroska and FLV; they round times to it."""


def exact(seconds: float) -> Fraction:
    """The fraction that is meant by a number of seconds, or of rows a second.

    Examples:
        >>> exact(1.4), exact(12.5), exact(1 / 3)
        (Fraction(7, 5), Fraction(25, 2), Fraction(1, 3))
    """
    return Fraction(seconds).limit_denominator(1_000_000)


class FrameClock:
    """When frames of a stream are shown, in exact seconds after the clip's start.

    A clock of milliseconds rounds the times of 24, 30 or 60 frames a second. If the stream has one frame rate, a time
    within the rounding error of a multiple of the frame's duration is replaced by that multiple.

    Args:
        stream: PyAV's video stream.
        zero: The clip's start on the stream's clock, in seconds; None if the stream has no meaningful times.
    """

    def __init__(self, stream: Any, zero: Fraction | None) -> None:
        self._zero = zero
        steady = stream.time_base == _COARSE and stream.base_rate and stream.base_rate == stream.average_rate
        self._fps = Fraction(stream.base_rate) if steady else None

    def __call__(self, timed: Any) -> Fraction | None:
        """Time of a packet or a frame of the stream; None if it has no time."""
        if timed.pts is None or timed.time_base is None or self._zero is None:
            return None
        time: Fraction = timed.pts * timed.time_base
        if self._fps is not None:
            multiple = round(time * self._fps) / self._fps
            if -_COARSE / 2 < time - multiple <= _COARSE / 2:
                time = multiple
        return time - self._zero


class Timeline:
    """Makes the timestamps of a file's packets rise from begin to end, also if they begin again.

    In joined files (`cat a.ts b.ts`, chained Ogg, the parts of a DVD) the times of the second part start from its own
    zero; after a disturbance a recording may go on with another clock. The second part is placed after the first, by
    one shift for all streams, so that sound and picture stay in step. The program ffmpeg does the same. A shift is
    rounded to the ticks of each stream's clock: for so many packets, fractions would cost more time than decoding.

    Args:
        container: PyAV's input container.
        whole: The file is known to have one part only.
    """

    def __init__(self, container: Any, whole: bool = False) -> None:
        self._whole = whole
        self._leaps = container.format.name in DISCONTINUOUS
        self._bases: dict[int, float] = {}  # stream -> seconds of a tick of its clock
        self._shifts = [0.0]  # seconds that are added, one value a part of the file
        self._parts: dict[int, int] = {}  # stream -> its current part
        self._last: dict[int, tuple[float, float, float]] = {}  # stream -> last dts; next dts, pts expected
        self._left: dict[
            int, tuple[int, float]
        ] = {}  # stream -> part that it has just left, and the time expected there
        self._heard: dict[int, float] = {}  # stream of sound -> where the last frame ended

    @property
    def begins_anew(self) -> bool:
        """Whether a second part has begun."""
        return len(self._shifts) > 1

    def place(self, packet: Any) -> None:
        """Change a packet's timestamps to those of the whole file. Packets must come in the file's order."""
        stream = packet.stream.index
        if self._whole or packet.time_base is None:
            return
        base = self._bases.get(stream)
        if base is None:
            base = self._bases[stream] = float(packet.time_base)
        if packet.dts is not None:
            at = packet.dts * base
            shown = at if packet.pts is None else packet.pts * base
            shift = self._shift(stream, at, shown)
            length = (packet.duration or 0) * base
            length = length if length < _LEAP else 0.0
            end = shown + shift + length
            before = self._last.get(stream)
            self._last[stream] = at + shift, at + shift + length, end if before is None else max(before[2], end)
        else:
            shift = self._shifts[self._parts.get(stream, -1)]
        if shift:
            ticks = round(shift / base)
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks

    def heard(self, stream: int, frame: Any) -> None:
        """Note the end of a decoded frame of sound: the last packets of a part may have padding or no time."""
        base = self._bases.get(stream)
        begin = self._heard.get(stream) if base is None or frame.pts is None else frame.pts * base
        if begin is None or stream not in self._last:
            return
        self._heard[stream] = end = begin + frame.samples / frame.sample_rate
        last, expected, shown = self._last[stream]
        if expected < end < expected + 1:
            self._last[stream] = last, end, max(shown, end)

    def _shift(self, stream: int, at: float, shown: float) -> float:
        """Seconds to add to the times of a packet that is decoded at `at` and shown at `shown`."""
        part = self._parts.setdefault(stream, len(self._shifts) - 1)
        if stream in self._last:
            last, expected, end = self._last[stream]
            before, resumed = self._left.pop(stream, (part, expected))
            if abs(at + self._shifts[before] - resumed) < 1.0 < abs(at + self._shifts[part] - expected):
                self._parts[stream] = before  # it was one stray timestamp
                self._last[stream] = resumed, resumed, resumed
                if part == len(self._shifts) - 1 and part not in self._parts.values():
                    self._shifts.pop()
                return self._shifts[before]
            if self._is_other_clock(at + self._shifts[part], last, expected):
                self._left[stream] = part, expected
                part += 1
                # Some containers have no decoding times, and some parts do not begin with their first picture.
                behind = max(expected - at, end - shown)
                # Another stream may already be in this part; if not, or if time would go back, the part begins here.
                if part == len(self._shifts):
                    self._shifts.append(behind)
                elif abs(self._shifts[part] - behind) > _LEAP or at + self._shifts[part] + _BACK < last:
                    self._shifts[part] = behind
                self._parts[stream] = part
        return self._shifts[part]

    def _is_other_clock(self, time: float, last: float, expected: float) -> bool:
        return time + _BACK < last or (self._leaps and time - expected > _LEAP)


_SLIVER = Fraction(1, 1_000_000)
"""Seconds; a shorter piece of time comes from rounding and gets no row."""


@dataclass(frozen=True)
class FrameRequest:
    """Frames of a clip at a fixed rate, passed on in batches while they are decoded.

    Row k stands for [k/rate, (k+1)/rate) seconds of the clip, cut at the video's end. It shows the frame that a player
    would show in the middle of that time, for any frame rate of the video. Times are exact fractions: at 10, 30 or 50
    frames a second, the middle of a row of 1/5 s is exactly the time at which a frame appears.

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
        # A row waits until the video is known to reach its end: its middle is not known before.
        while self._recent and time >= self._end:
            self._emit(self._end)
        self._recent.append((time, frame))
        while len(self._recent) > 1 and self._recent[1][0] <= self._begin:
            self._recent.popleft()

    def finish(self, end: Fraction) -> None:
        """Pass on the remaining rows; `end` is the video's end in seconds from the clip's start."""
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
