"""Seeking: into a long file to just before a span, and never behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from mse_pipeline.media.container import container_start, find_stream, open_container

_SEEK_MARGINS = (1.0, 5.0, 20.0)
"""Seconds before a span at which a seek is tried; where none lands before the span, the file is read from its start."""

_LANDING_PACKETS = 2000
"""Packets looked at to see where a seek landed."""


def open_at(path: Path, begin: float, audio: bool, video: bool) -> Any:
    """Open a file where decoding can begin at or before the clip's start.

    Args:
        path: The media file.
        begin: The clip's start, in seconds after the file's.
        audio: Whether the sound is wanted from there.
        video: Whether the video is wanted from there.

    Returns:
        PyAV's input container, to be closed by the caller.

    Raises:
        ClipError: `missing_media` or `undecodable`.
    """
    container = open_container(path)
    if begin == 0.0 or _seek(container, begin, audio, video):
        return container
    container.close()
    return open_container(path)


def _seek(container: Any, begin: float, audio: bool, video: bool) -> bool:
    """Go to before the clip. False where no seek lands there, so that the file must be read from its start."""
    zero = container_start(container)
    streams = [find_stream(container, kind) for kind, wanted in (("audio", audio), ("video", video)) if wanted]
    wanted = [stream for stream in streams if stream is not None and stream.codec_context is not None]
    for margin in _SEEK_MARGINS:
        target = begin - margin
        if target <= 0.0 or not wanted:
            return False
        offset = int((zero + target) * av.time_base)
        try:
            container.seek(offset)
            if _landed(container, wanted, zero + begin - margin / 2):
                container.seek(offset)
                return True
        except av.FFmpegError:
            return False  # a container without an index; reading it all gives the same samples
    return False


def _landed(container: Any, streams: list[Any], latest: float) -> bool:
    """Whether every stream can be decoded from `latest` (seconds on the streams' clock) or before."""
    waiting = {stream.index for stream in streams}
    for count, packet in enumerate(container.demux(*streams)):
        # Transport streams are sought by time alone: what lies before the next key frame is lost.
        useful = packet.pts is not None and (packet.is_keyframe or packet.stream.type == "audio")
        if packet.stream.index in waiting and useful:
            if float(packet.pts * packet.time_base) > latest:
                return False
            waiting.discard(packet.stream.index)
        if not waiting:
            return True
        if count >= _LANDING_PACKETS:
            return False
    return False
