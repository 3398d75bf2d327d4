"""Skipping: frames that no row shows and no other frame is predicted from need not be decoded.

At 5 rows a second most frames of a video are looked at by nobody. Those that others are predicted from are decoded all
the same; the rest, up to half of an H.264 file's frames, the decoder passes over. What is shown stays the same to the
bit.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from mse_pipeline.media.timeline import FrameClock

CODECS = frozenset({"h264", "hevc"})
"""Codecs whose frames cost enough."""

CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers, by FFmpeg's names, that tell when each packet's frame is shown; in others the decoder alone knows."""

_REORDERED = 20
"""Packets ahead among which the next frame in time is found; both codecs reorder at most 16 frames."""

_MOST = 2000
"""Packets that wait at most, for rates far below one row a second."""


class Skipper:
    """Decides of each packet of a video whether its frame is shown in any row.

    Packets are held back until the frame after theirs in time is known. Of the file's last row and of packets without
    a time all is decoded.

    Args:
        codec: PyAV's codec context, of one thread.
        rates: Rows a second of all that is wanted.
        clock: When a packet's frame is shown after the clip's start. A microsecond is no matter here: where in doubt a
            frame is decoded.
        length: The clip's length in seconds; None for the end of the file.
    """

    def __init__(self, codec: Any, rates: Sequence[float], clock: FrameClock, length: float | None) -> None:
        self._codec, self._rates, self._clock, self._length = codec, tuple(rates), clock, length
        self._waiting: deque[tuple[float | None, Any]] = deque()
        self._times: list[float] = []  # of packets that wait and of some before them, sorted
        self._passed: deque[float] = deque()
        self._first = True
        self._last_row = math.inf  # where the last row may begin, whose middle is known at the end of the video

    def ready(self, packet: Any) -> Iterator[Any]:
        """Take the next packet; yields those that are to be decoded now, in their order, the decoder told how.

        The empty packet at the end of the file lets all go.
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
            yield self._let_go()

    def _far(self) -> bool:
        """Whether the file goes on for a whole row after the packet that waits longest."""
        first = self._waiting[0][0]
        return first is None or self._times[-1] - first > 1.0 / min(self._rates)

    def _let_go(self) -> Any:
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
        place = bisect.bisect_right(self._times, time)
        if place == len(self._times):
            return True
        until = self._times[place]
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
