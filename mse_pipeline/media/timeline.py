"""Timeline: the time of each packet and frame in exact seconds, and which frames of a video need not be decoded.

`Timeline` gives the times, also if a file's timestamps begin again, and `FrameSampler` chooses the decoded frame for
each row of a requested rate. `open_at` opens a long file just before a span, and `Skipper` leaves out frames that no
row shows: at 5 rows a second, most frames of a video. A frame is still decoded if others are predicted from it; the
decoder skips the others, up to half of the frames of an H.264 file. The rows stay the same to the bit.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mse_pipeline.media.container import container_start, find_stream, is_bare, open_container
from mse_pipeline.media.effort import FULL, Decoding
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
        decoding: How much of the video is decoded for it.

    Raises:
        ValueError: The rate or the batch size is not above 0.
    """

    rate: float
    on_batch: Callable[[FrameBatch], None]
    batch_size: int = 16
    decoding: Decoding = FULL

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


CODECS = frozenset({"h264", "hevc"})
"""Codecs with frames that cost enough time to make skipping useful."""

CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers, by FFmpeg's names, with the time of each packet's frame; in others only the decoder knows it."""

_REORDERED = 20
"""The next frame in time is within so many packets: both codecs reorder at most 16 frames."""

_MOST = 2000
"""The most packets that wait, for rates far below one row a second."""


class Skipper:
    """Decides for each packet of a video whether its frame is shown in a row.

    A packet waits until the next frame in time is known. All frames of the file's last row and all packets without a
    time are decoded.

    Args:
        codec: PyAV's codec context, of one thread.
        rates: Rows a second of all requests.
        clock: When a packet's frame is shown after the clip's start. In doubt, up to a microsecond, a frame is
            decoded.
        length: The clip's length in seconds; None for the end of the file.
    """

    def __init__(self, codec: Any, rates: Sequence[float], clock: FrameClock, length: float | None) -> None:
        self._codec, self._rates, self._clock, self._length = codec, tuple(rates), clock, length
        self._waiting: deque[tuple[float | None, Any]] = deque()
        self._times: list[float] = []  # of packets that wait and of some before them, sorted
        self._passed: deque[float] = deque()
        self._first = True
        self._last_row = math.inf  # where the last row may begin; its middle is known at the end of the video

    def ready(self, packet: Any) -> Iterator[Any]:
        """Take the next packet; yield the packets that can be decoded now, in order, with the decoder set for each.

        The empty packet at the end of the file releases all packets.
        """
        shown = self._clock(packet)
        time = None if shown is None else float(shown)
        self._waiting.append((time, packet))
        if time is not None:
            bisect.insort(self._times, time)
        if packet.size == 0 and self._times:
            self._last_row = self._times[-1] - 1.0 / min(self._rates)
        while self._waiting and (packet.size == 0 or len(self._waiting) > _REORDERED):
            if packet.size and not self._far() and len(self._waiting) <= _MOST:
                return
            yield self._release()

    def _far(self) -> bool:
        """Whether the file goes on for a whole row after the packet that waits longest."""
        first = self._waiting[0][0]
        return first is None or self._times[-1] - first > 1.0 / min(self._rates)

    def _release(self) -> Any:
        needed = self._first or len(self._waiting) > _MOST
        time, packet = self._waiting.popleft()
        self._codec.skip_frame = "DEFAULT" if needed or self._shown(time) else "NONREF"
        self._first = False
        if time is not None:
            self._passed.append(time)
            if len(self._passed) > _REORDERED:
                del self._times[bisect.bisect_left(self._times, self._passed.popleft())]
        return packet

    def _shown(self, time: float | None) -> bool:
        """Whether a row's middle falls into the time until the next frame."""
        if time is None or (self._length is not None and time >= self._length):
            return True
        following = bisect.bisect_right(self._times, time)
        if following == len(self._times):
            return True
        until = self._times[following]
        if until > self._last_row:
            return True
        return any(_holds_middle(time, until, rate, self._length) for rate in self._rates)


def _holds_middle(begin: float, end: float, rate: float, length: float | None) -> bool:
    """Whether [begin, end) holds the middle of a row, with a microsecond to spare on both sides.

    Examples:
        >>> _holds_middle(0.08, 0.12, 5.0, None), _holds_middle(0.12, 0.16, 5.0, None)
        (True, False)
        >>> _holds_middle(1.02, 1.06, 5.0, 1.1), _holds_middle(1.07, 1.09, 5.0, 1.1)  # the last row is cut there
        (True, False)
    """
    row = math.ceil((begin - 1e-6) * rate - 0.5)
    if (row + 0.5) / rate < end + 1e-6:
        return True
    if length is None:
        return False
    last = math.floor(length * rate)
    return any(begin - 1e-6 <= (k / rate + length) / 2 < end + 1e-6 for k in (last - 1, last))


_SEEK_MARGINS = (1, 5, 20)
"""Seconds before a span at which a seek is tried; where none lands before the span, the file is read from its start."""

_OFTEN_CUT = DISCONTINUOUS | {"flac", "matroska,webm"}
"""Containers, by FFmpeg's names, that may be several files joined byte by byte."""

_LANDING_PACKETS = 2000
"""Packets that are checked to see where a seek landed."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A file that is open at or before a clip's start.

    Attributes:
        container: PyAV's input container, to be closed by the caller.
        timeline: Gives each of its packets a time.
        sought: Whether it is open at another point than its beginning.
    """

    container: Any
    timeline: Timeline
    sought: bool = False


def open_at(path: Path, begin: Fraction, audio: bool, video: bool) -> Opened:
    """Open a file where decoding can begin at or before the clip's start.

    Args:
        path: The media file.
        begin: The clip's start, in seconds after the file's.
        audio: Whether the sound is wanted from there.
        video: Whether the video is wanted from there.

    Returns:
        The open file.

    Raises:
        ClipError: `missing_media` or `undecodable`.
    """
    container = open_container(path)
    cut = container.format.name in _OFTEN_CUT
    if begin == 0 or is_bare(container) or (cut and not _runs_on(path, *_version(path))):
        return Opened(container, Timeline(container))
    if _seek(container, begin, audio, video):
        # After a seek, FFmpeg may guess the times of the first packets; the next packets then go back in time.
        return Opened(container, Timeline(container, whole=cut), sought=True)
    container.close()
    container = open_container(path)
    return Opened(container, Timeline(container))


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _runs_on(path: Path, size: int, mtime_ns: int) -> bool:
    """Whether a file's timestamps rise from the first to the last packet, so that a seek by time works.

    All packets are read once for all spans of the file; nothing is decoded.
    """
    with open_container(path) as container:
        timeline = Timeline(container)
        try:
            for packet in container.demux(*[s for s in container.streams if s.type in ("audio", "video")]):
                timeline.place(packet)
                if timeline.begins_anew:
                    return False
        except av.FFmpegError:
            return True  # the part that can be read does
    return True


def _seek(container: Any, begin: Fraction, audio: bool, video: bool) -> bool:
    """Seek to a point before the clip. False if that fails and the file must be read from its start."""
    zero = container_start(container)
    streams = [find_stream(container, kind) for kind, wanted in (("audio", audio), ("video", video)) if wanted]
    wanted = [stream for stream in streams if stream is not None and stream.codec_context is not None]
    for margin in _SEEK_MARGINS:
        target = begin - margin
        if target <= 0 or not wanted:
            return False
        offset = math.floor((zero + target) * av.time_base)
        try:
            container.seek(offset)
            if _landed(container, wanted, zero + begin - Fraction(margin, 2)):
                container.seek(offset)
                return True
        except av.FFmpegError:
            return False  # a container without an index; reading it all gives the same samples
    return False


def _landed(container: Any, streams: list[Any], latest: Fraction) -> bool:
    """Whether every stream can be decoded from `latest` (seconds on the streams' clock) or before."""
    waiting = {stream.index for stream in streams}
    for count, packet in enumerate(container.demux(*streams)):
        # In transport streams a seek goes by time only: all before the next key frame is lost.
        useful = packet.pts is not None and (packet.is_keyframe or packet.stream.type == "audio")
        if packet.stream.index in waiting and useful:
            if packet.pts * packet.time_base > latest:
                return False
            waiting.discard(packet.stream.index)
        if not waiting:
            return True
        if count >= _LANDING_PACKETS:
            return False
    return False
