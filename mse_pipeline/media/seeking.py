"""Seeking: into a long file to just before a span, and never behind it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mse_pipeline.media.container import container_start, find_stream, is_bare, open_container
from mse_pipeline.media.timeline import DISCONTINUOUS, Timeline

_SEEK_MARGINS = (1, 5, 20)
"""Seconds before a span at which a seek is tried; where none lands before the span, the file is read from its start."""

_OFTEN_CUT = DISCONTINUOUS | {"flac", "matroska,webm"}
"""Containers, by FFmpeg's names, of which it reads several that were put together by their bytes."""

_LANDING_PACKETS = 2000
"""Packets looked at to see where a seek landed."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A file that is open at or before a clip's start.

    Attributes:
        container: PyAV's input container, to be closed by the caller.
        timeline: What is to place its packets in time.
        sought: Whether it is open elsewhere than at its beginning.
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
        # Behind a seek the first packets of such containers may have guessed times, from which the next go back.
        return Opened(container, Timeline(container, whole=cut), sought=True)
    container.close()
    container = open_container(path)
    return Opened(container, Timeline(container))


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _runs_on(path: Path, size: int, mtime_ns: int) -> bool:
    """Whether a file's timestamps run on from the first to the last, so that a place can be found by them.

    All its packets are read, once for all spans in it; nothing is decoded.
    """
    with open_container(path) as container:
        timeline = Timeline(container)
        try:
            for packet in container.demux(*[s for s in container.streams if s.type in ("audio", "video")]):
                timeline.place(packet)
                if timeline.begins_anew:
                    return False
        except av.FFmpegError:
            return True  # what can be read of it runs on
    return True


def _seek(container: Any, begin: Fraction, audio: bool, video: bool) -> bool:
    """Go to before the clip. False where no seek lands there, so that the file must be read from its start."""
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
        # Transport streams are sought by time alone: what lies before the next key frame is lost.
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
