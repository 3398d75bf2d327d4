"""Seeking and skipping: decode only those parts of a video that a clip needs.

Seeking opens a long file just before a span. Skipping leaves out frames that no row shows. At 5 rows a second, most
frames of a video are not used. A frame is still decoded if other frames are predicted from it; the decoder skips the
others, up to half of the frames of an H.264 file. The rows stay the same to the bit.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mse_pipeline.media.container import container_start, find_stream, is_bare, open_container
from mse_pipeline.media.timeline import DISCONTINUOUS, FrameClock, Timeline

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
