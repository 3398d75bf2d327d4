"""A media file decoded to its end: what is lost on the way, and whether it is as long as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from mse_pipeline.errors import ClipError
from mse_pipeline.media.container import container_start, find_stream, open_container, prepare, reason
from mse_pipeline.media.soundtrack import SoundTrack, TimestampError
from mse_pipeline.media.timeline import Timeline

_KINDS = {"audio": "sound", "video": "video"}
_ESTIMATED = {"mp3", "aac", "ac3", "eac3", "amr", "h264", "hevc", "m4v", "mpegvideo", "obu"}
"""Containers without a length in their headers: FFmpeg reckons one from the bit rate."""


def losses(path: Path) -> list[str]:
    """What of a file cannot be decoded, or is not there, as sentences.

    Raises:
        ClipError: The file cannot be opened.
    """
    return [sentence for code, sentence in _found(path) if code == "undecodable"]


def examine_whole(path: Path) -> tuple[tuple[str, str], ...]:
    """What of a file cannot be decoded, is not there, or is strange: (defect code, sentence).

    It is read in full, a frame in memory at a time.
    """
    try:
        return tuple(_found(path))
    except ClipError as error:
        return ((error.code, str(error)),)


def _found(path: Path) -> Iterator[tuple[str, str]]:
    with open_container(path) as container:
        streams = [stream for kind in _KINDS if (stream := find_stream(container, kind)) is not None]
        for stream in streams:
            prepare(stream, path)
        start = container_start(container)
        track = SoundTrack(float(start), 0.0, None, measure_only=True)
        errors, end = _decode(container, streams, track)
        for kind, (number, why) in errors.items():
            yield "undecodable", f"{number:,} packets of the {_KINDS[kind]} of {path} cannot be decoded: {why}."
        missing = _missing(container, end - float(start))
        if missing:
            announced = container.duration / av.time_base
            yield (
                "undecodable",
                f"{path} announces {announced:.2f} s, but its last {missing:.2f} s are not there: the file is cut off. "
                "Fetch it again.",
            )
        if any(stream.type == "audio" for stream in streams) and "audio" not in errors:
            levels = track.levels
            yield from ((remark.code, str(remark)) for remark in levels.remarks(path, levels.cancelled()))


def _decode(container: Any, streams: list[Any], track: SoundTrack) -> tuple[dict[str, tuple[int, str]], float]:
    """For each kind of stream with errors their number and the first one, and where the last frame ends in seconds."""
    errors: dict[str, tuple[int, str]] = {}
    end = 0.0
    timeline = Timeline(container)

    def note(kind: str, error: BaseException) -> None:
        number, why = errors.get(kind, (0, reason(error)))
        errors[kind] = (number + 1, why)

    try:
        for packet in container.demux(*streams):
            timeline.place(packet)
            try:
                for frame in packet.decode():
                    end = max(end, _end(frame))
                    if packet.stream.type == "audio":
                        track.add(frame)
            except av.error.EOFError:
                continue
            except (av.FFmpegError, TimestampError) as error:
                note(packet.stream.type, error)
        track.finish()
    except av.FFmpegError as error:
        for stream in streams:
            note(stream.type, error)
    return errors, end


def _end(frame: Any) -> float:
    """Where a frame ends on its stream's clock, in seconds; 0 where it does not tell."""
    if frame.pts is None or frame.time_base is None:
        return 0.0
    samples = getattr(frame, "samples", 0)
    length = samples / frame.sample_rate if samples else float((frame.duration or 0) * frame.time_base)
    return float(frame.pts * frame.time_base) + length


def _missing(container: Any, end: float) -> float:
    """Seconds by which a file ends too early; 0 where it does not, or where nobody can say."""
    others = any(stream.type not in _KINDS for stream in container.streams)
    if not container.duration or others or _ESTIMATED & set(container.format.name.split(",")):
        return 0.0
    announced = container.duration / av.time_base
    return announced - end if announced - end > max(0.5, 0.02 * announced) else 0.0
