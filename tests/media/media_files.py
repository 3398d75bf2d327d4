"""Small media files, made by the tests that need them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

MediaMaker = Callable[..., Path]


def tone(seconds: float, rate: int, channels: int = 1, hertz: float = 440.0) -> np.ndarray:
    """A sine of half scale in every channel, (channels, N) float64."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave, (channels, 1))


def numbered(count: int, width: int, height: int) -> list[np.ndarray]:
    """Frames whose brightness tells their number: frame k is 8 + 6 k grey everywhere."""
    return [np.full((height, width, 3), 8 + 6 * k, np.uint8) for k in range(count)]


def write_media(
    path: Path,
    *,
    frames: Sequence[np.ndarray] = (),
    times: Sequence[float] | None = None,
    fps: int | Fraction = 25,
    video_codec: str = "libx264",
    video_format: str = "yuv420p",
    video_options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 48000,
    audio_codec: str = "aac",
    audio_options: dict[str, str] | None = None,
    layout: str = "mono",
    sound_at: float = 0.0,
    sound_gap: tuple[int, float] | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
    set_up: Callable[[Any], None] = lambda video: None,
) -> Path:
    """Write a small file; `times` are the frames' times, `sound_gap` (frame, seconds) delays the sound.

    `set_up` is given the video stream before its first frame, for what its header is to say.
    """
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        video = audio = None
        if len(frames):
            video = out.add_stream(video_codec, rate=fps, options=video_options or {})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = video_format
            video.codec_context.time_base = Fraction(1, 1000) if times is not None else 1 / Fraction(fps)
            video.codec_context.thread_count = 1
            set_up(video)
        if sound is not None:
            audio = out.add_stream(audio_codec, rate=sound_rate, layout=layout, options=audio_options or {})
        for k, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=video_format)
            frame.pts = k if times is None else round(times[k] * 1000)
            frame.time_base = video.codec_context.time_base
            out.mux(video.encode(frame))
        if video is not None:
            out.mux(video.encode())
        if audio is not None:
            fmt = audio.codec_context.format.name
            size = audio.codec_context.frame_size or 1024
            resampler = av.AudioResampler(fmt, layout, sound_rate, frame_size=size)
            source = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound.T.reshape(1, -1).astype(np.float32)), format="flt", layout=layout
            )
            source.sample_rate, source.pts, source.time_base = sound_rate, 0, Fraction(1, sound_rate)
            for number, frame in enumerate(resampler.resample(source) + resampler.resample(None)):
                late = sound_at + (sound_gap[1] if sound_gap and number >= sound_gap[0] else 0.0)
                frame.pts = number * size + round(late * sound_rate)
                frame.time_base = Fraction(1, sound_rate)
                out.mux(audio.encode(frame))
            out.mux(audio.encode())
    return path


def rotate_mp4(path: Path, degrees: int) -> Path:
    """Turn the video of an mp4 by its header alone, as a telephone does (clockwise when played)."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    track = data.index(b"tkhd")
    at = data.index(plain, track)
    path.write_bytes(data[:at] + turned + data[at + len(turned) :])
    return path


def bits(number: int, size: int = 64) -> np.ndarray:
    """A frame that tells its number: 16 squares, from the upper left to the right, white where a bit is set."""
    grid = np.array([(number >> k & 1) * 255 for k in range(16)], np.uint8).reshape(4, 4)
    return np.repeat(np.repeat(np.repeat(grid, size // 4, 0), size // 4, 1)[..., None], 3, 2)


def number_of(pixels: np.ndarray) -> int:
    """The number that a frame of `bits` tells, whatever its size."""
    height, width = pixels.shape[0] // 4, pixels.shape[1] // 4
    middles = pixels[height // 2 :: height, width // 2 :: width].mean(2)[:4, :4]
    return sum(1 << k for k, value in enumerate(middles.ravel()) if value > 128)
