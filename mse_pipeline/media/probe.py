"""Probe: what a media file holds, without decoding it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from mse_pipeline.errors import ClipError
from mse_pipeline.media.container import find_stream, open_container, prepare, why_refused
from mse_pipeline.media.frames import Orientation, PixelAspect, square_width


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What a media file's headers say.

    Attributes:
        path: The file.
        container: FFmpeg's name of the container, as in ``mov,mp4,m4a,3gp,3g2,mj2``.
        size: Bytes.
        duration: Seconds by the headers; None if they do not say.
        has_audio: Whether there is a sound stream.
        has_video: Whether there is a moving picture; cover art does not count.
        audio_codec: FFmpeg's name of the sound codec, or None.
        sample_rate: Samples a second of the sound as stored.
        channels: Number of sound channels.
        video_codec: FFmpeg's name of the video codec, or None.
        width: Of a frame as a player shows it, in square pixels.
        height: Of a frame as a player shows it.
        fps: Mean frames a second by the headers.
        rotation: Degrees counterclockwise by which a player turns the stored frames: 0, 90, 180 or 270.
        mirrored: Whether a player mirrors the stored frames, left to right, before it turns them.
    """

    path: Path
    container: str
    size: int
    duration: float | None
    has_audio: bool
    has_video: bool
    audio_codec: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    video_codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    rotation: int = 0
    mirrored: bool = False

    def turned(self, orientation: Orientation) -> MediaInfo:
        """The same with the orientation of a frame, which headers do not have."""
        if self.width is None or self.height is None:
            return self
        width, height = orientation.size(self.width, self.height)
        turn, mirrored = orientation.rotation, orientation.mirrored
        return replace(self, width=width, height=height, rotation=turn, mirrored=mirrored)


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """Read what a media file holds from its headers (and its first frame, for the rotation).

    Raises:
        ClipError: `missing_media`, or `undecodable`, also if only the video cannot be decoded.
    """
    with open_container(path) as container:
        info = describe(container, Path(path))
        video = find_stream(container, "video")
        if video is None:
            return info
        return info.turned(_first_orientation(container, video, Path(path)))


def describe(container: Any, path: Path) -> MediaInfo:
    """What the headers of an open container say; the orientation, which frames carry, is left out."""
    audio, video = find_stream(container, "audio"), find_stream(container, "video")
    duration = container.duration
    sound = audio.codec_context if audio is not None else None
    picture = video.codec_context if video is not None else None
    width = square_width(picture.width, picture.height, PixelAspect(container, video)()) if picture else None
    rate = video.average_rate or video.guessed_rate if video is not None else None
    return MediaInfo(
        path=path,
        container=container.format.name,
        size=path.stat().st_size,
        duration=None if duration is None else duration / av.time_base,
        has_audio=audio is not None,
        has_video=video is not None,
        audio_codec=sound.name if sound else None,
        sample_rate=sound.sample_rate if sound else None,
        channels=sound.channels if sound else None,
        video_codec=picture.name if picture else None,
        width=width,
        height=picture.height if picture else None,
        fps=float(rate) if rate else None,
    )


def _first_orientation(container: Any, video: Any, path: Path) -> Orientation:
    prepare(video, path)
    try:
        for frame in container.decode(video):
            return Orientation.of_frame(frame)
    except av.FFmpegError as error:
        raise ClipError("undecodable", f"The video of {path} cannot be decoded: {why_refused(error)}.") from error
    return Orientation()
