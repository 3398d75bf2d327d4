"""Probing: what a media file announces, and whether its streams begin and end as announced.

On request a file is decoded to its end: what is lost on the way, and whether it is as long as it announces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from mse_pipeline.errors import ClipError
from mse_pipeline.media.container import container_start, find_stream, open_container, prepare, why_refused
from mse_pipeline.media.decode import decode
from mse_pipeline.media.fetching import local_path
from mse_pipeline.media.frames import Orientation
from mse_pipeline.media.probe import MediaInfo, describe
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
        number, why = errors.get(kind, (0, why_refused(error)))
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


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What was found out about a media file.

    Attributes:
        media: The file, below the root.
        info: What its headers say; None if it cannot be read.
        sound_seconds: Length of the sound as announced; None if unknown.
        frames: Number of pictures as announced; None if unknown.
        problems: (defect code, sentence) of all that is wrong with the file itself.
        speech: When somebody speaks, begin and end in seconds; None where that was not looked for.
    """

    media: str
    info: MediaInfo | None = None
    sound_seconds: float | None = None
    frames: int | None = None
    problems: tuple[tuple[str, str], ...] = ()
    speech: tuple[tuple[float, float], ...] | None = None


def examine(root: Path, media: str, *, whole: bool = False, speech: bool = False) -> Probed:
    """Probe a file: its headers, the first sound and picture of it, and for MP4 its last packets.

    A few milliseconds a file, however long it is, unless a stream holds nothing that can be decoded.

    Args:
        root: As `mse_pipeline.corpora.base.Corpus` has it.
        media: The file below the root.
        whole: Also decode the file to its end, which takes as long as an extraction's decoding.
        speech: Also decode its sound and find when somebody speaks.

    Returns:
        What was found; what is wrong is in `problems`, never raised.
    """
    path = root / media
    try:
        path = local_path(root, media)
        probed = _examine(path, media)
        if whole and probed.info is not None and not probed.problems:
            probed = replace(probed, problems=examine_whole(path))
        if speech and probed.info is not None and probed.info.has_audio:
            probed = replace(probed, speech=_speech(path))
    except ClipError as error:
        probed = Probed(media=media, problems=((error.code, str(error)),))
    except Exception as error:  # whatever one file does to the demuxer must not end the check of 20,000 others
        message = f"{path} makes the reading fail: {type(error).__name__}: {error}"
        probed = Probed(media=media, problems=(("undecodable", message),))
    problems = tuple((code, message.replace(str(path), media)) for code, message in probed.problems)
    return replace(probed, problems=problems)


def _speech(path: Path) -> tuple[tuple[float, float], ...] | None:
    """When somebody speaks in a file; None where its sound cannot be decoded, which is told elsewhere."""
    from mse_pipeline.extractors.acoustic.vad import speech_probabilities, speech_segments

    audio = decode(path, audio=True).audio
    return None if audio is None else tuple(speech_segments(speech_probabilities(audio.samples)))


def _examine(path: Path, media: str) -> Probed:
    with open_container(path) as container:
        info = describe(container, path)
        streams = {kind: stream for kind in _KINDS if (stream := find_stream(container, kind)) is not None}
        if not streams:
            return Probed(media=media, problems=(("undecodable", f"{path} holds neither sound nor video."),))
        sound, video = streams.get("audio"), streams.get("video")
        seconds, frames = _seconds(sound), _frames(video, info.fps)
        problems = []
        playable = {}
        for kind, stream in streams.items():
            try:
                prepare(stream, path)
                playable[kind] = stream
            except ClipError as error:
                problems.append((error.code, str(error)))
        orientation, silent = _first_frames(container, playable)
        problems += [("undecodable", f"The {_KINDS[kind]} of {path} {why}") for kind, why in silent.items()]
        if not problems and _is_cut_off(container, info):
            announced = f"announces {info.duration:.2f} s, but its end is not there"
            problems.append(("undecodable", f"{path} {announced}: the file is cut off. Fetch it again."))
    info = info.turned(orientation)
    return Probed(media=media, info=info, sound_seconds=seconds, frames=frames, problems=tuple(problems))


def _seconds(stream: Any | None) -> float | None:
    if stream is None or not stream.duration:
        return None
    return float(stream.duration * stream.time_base)


def _frames(video: Any | None, fps: float | None) -> int | None:
    """Number of pictures: as the container counts them, or from length and rate, where that is more.

    A fragmented MP4 counts the pictures of its first fragment alone.
    """
    if video is None:
        return None
    seconds = _seconds(video)
    reckoned = None if seconds is None or not fps else max(1, round(seconds * fps))
    return max(filter(None, (video.frames, reckoned)), default=None)


def _first_frames(container: Any, streams: dict[str, Any]) -> tuple[Orientation, dict[str, str]]:
    """Decode each stream until it gives something.

    Returns:
        Orientation of the first picture, and for each stream that gave nothing the reason.
    """
    waiting = {stream.index: kind for kind, stream in streams.items()}
    errors: dict[str, str] = {}
    orientation = Orientation()
    for packet, error in _packets(container, list(streams.values())):
        if packet is None:
            errors.update({kind: error for kind in waiting.values() if kind not in errors})
            break
        kind = waiting.get(packet.stream.index)
        if kind is None:
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError as failure:
            # The decoder of a clip goes on after a broken packet, so one alone does not condemn the file.
            errors.setdefault(kind, why_refused(failure))
            continue
        if frames:
            orientation = Orientation.of_frame(frames[0]) if kind == "video" else orientation
            del waiting[packet.stream.index]
            if not waiting:
                break
    messages = {kind: f"cannot be decoded: {errors[kind]}." for kind in waiting.values() if kind in errors}
    return orientation, {kind: messages.get(kind, "holds nothing that can be decoded.") for kind in waiting.values()}


def _packets(container: Any, streams: list[Any]) -> Iterator[tuple[Any | None, str]]:
    """(packet, "") for each packet of the streams, and (None, reason) where reading fails."""
    if not streams:
        return
    try:
        for packet in container.demux(*streams):
            yield packet, ""
    except av.FFmpegError as error:
        yield None, why_refused(error)


def _is_cut_off(container: Any, info: MediaInfo) -> bool:
    """Whether the last part of an MP4 is missing: its index, at the front, tells packets that the file has not.

    Other containers have no such index, or lose it with their end; how much of them is there only decoding tells.
    """
    if "mp4" not in info.container or not container.duration:
        return False
    try:
        container.seek(max(container.duration - av.time_base // 10, 0), any_frame=True)
    except av.FFmpegError:
        # A file that cannot be positioned is read from its beginning by the decoder, too: nothing is told by that.
        return False
    return not any(packet is not None and packet.size for packet, _ in _packets(container, list(container.streams)))
