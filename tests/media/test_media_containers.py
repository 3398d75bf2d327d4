"""Forty clips in 25 containers and codecs: their rows show the frame on screen, and their sound is FFmpeg's own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from tests.media.media_files import bits, number_of, write_media

CLIPS, EACH = 40, 8
"""A kind is tried with each eighth clip, another eighth than the next kind; all 1000 together take half a minute."""

FRAMES, SECONDS, RATE = 8, 0.32, 25.0
LOSSLESS_X264 = {"video_options": {"qp": "0", "preset": "ultrafast"}}
KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": LOSSLESS_X264,
    "h264_b_frames.mp4": {"video_options": {"preset": "ultrafast", "bf": "2", "g": "5"}},
    "h264.mkv": {**LOSSLESS_X264, "audio_codec": "flac"},
    "h264.ts": LOSSLESS_X264,
    "h264.flv": {**LOSSLESS_X264, "sound_rate": 44100},
    "h264.3gp": LOSSLESS_X264,
    "hevc.mkv": {
        "video_codec": "libx265",
        "video_options": {"x265-params": "log-level=none", "preset": "ultrafast"},
        "audio_codec": "libopus",
    },
    "vp8.webm": {"video_codec": "libvpx", "video_options": {"deadline": "realtime"}, "audio_codec": "libopus"},
    "ffv1.mkv": {"video_codec": "ffv1", "audio_codec": "pcm_f32le"},
    "mjpeg.mov": {"video_codec": "mjpeg", "video_format": "yuvj420p", "audio_codec": "pcm_s16le"},
    "prores.mov": {"video_codec": "prores", "video_format": "yuv422p10le", "audio_codec": "pcm_s24le"},
    "mpeg4.mp4": {"video_codec": "mpeg4", "audio_codec": "alac"},
    "mpeg4.avi": {"video_codec": "mpeg4", "audio_codec": "libmp3lame"},
    "utvideo.avi": {"video_codec": "utvideo", "audio_codec": "adpcm_ms", "sound_rate": 22050},
    "mpeg1.mpg": {"video_codec": "mpeg1video", "audio_codec": "mp2", "sound_rate": 44100},
    "mpeg2.vob": {"video_codec": "mpeg2video", "audio_codec": "ac3"},
    "mpeg2.ts": {"video_codec": "mpeg2video", "audio_codec": "mp2"},
    "mpeg2.mxf": {"video_codec": "mpeg2video", "audio_codec": "pcm_s16le"},
    "flv1.flv": {"video_codec": "flv", "audio_codec": "libmp3lame", "sound_rate": 44100},
    "mpeg4.nut": {"video_codec": "mpeg4", "audio_codec": "pcm_s16be"},
    "wmv2.asf": {"video_codec": "wmv2", "audio_codec": "adpcm_ms"},
    "frames.y4m": {"video_codec": "wrapped_avframe", "container": "yuv4mpegpipe", "audio_codec": None},
    "frames.apng": {"video_codec": "apng", "video_format": "rgb24", "audio_codec": None},
    "sound.wav": {"video_codec": None, "audio_codec": "pcm_u8", "sound_rate": 11025},
    "sound.ogg": {"video_codec": None, "audio_codec": "libopus"},
}


def chirp(seconds: float, rate: int, first: float) -> np.ndarray:
    """Two channels of rising tones, (2, N)."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * (first + 900 * time) * time), 0.2 * np.sin(2 * np.pi * 700 * time)])


def written(path: Path, clip: int, kind: dict[str, Any]) -> Path:
    options = dict(kind)
    frames = [bits(40 * clip + k) for k in range(FRAMES)]
    if options.get("video_codec", "libx264") is None:
        frames = []
        del options["video_codec"]
    sound = None
    if options.get("audio_codec", "aac") is None:
        del options["audio_codec"]
    else:
        sound = chirp(SECONDS, options.get("sound_rate", 48000), 200.0 + 10 * clip)
    return write_media(path, frames=frames, sound=sound, layout="stereo", **options)


def played(path: Path) -> tuple[list[int], np.ndarray | None]:
    """What FFmpeg's libraries alone make of a file: the number at the middle of each 1/25 s, and the sound."""
    frames: list[tuple[Fraction, int]] = []
    pieces: list[np.ndarray] = []
    begin, rate = None, 0
    with av.open(str(path)) as container:
        zero = Fraction(container.start_time or 0, av.time_base)
        end = Fraction(0)
        resampler = av.AudioResampler(format="fltp")
        for frame in container.decode(*container.streams.video[:1], *container.streams.audio[:1]):
            time = frame.pts * frame.time_base - zero
            if isinstance(frame, av.VideoFrame):
                frames.append((time, number_of(frame.to_ndarray(format="rgb24"))))
                end = time + (frame.duration * frame.time_base if frame.duration else Fraction(1, 25))
            else:
                begin, rate = (time if begin is None else begin), frame.sample_rate
                pieces += [piece.to_ndarray().mean(0) for piece in resampler.resample(frame)]
    rows = [max(sum(time <= Fraction(2 * k + 1, 50) for time, _ in frames), 1) - 1 for k in range(int(end * 25))]
    if begin is None:
        return [frames[row][1] for row in rows], None
    silence = np.zeros(max(0, round(begin * rate)), np.float32)
    mono = av.AudioFrame.from_ndarray(np.concatenate([silence, *pieces])[None], format="fltp", layout="mono")
    mono.sample_rate = rate
    to_16k = av.AudioResampler(format="flt", layout="mono", rate=16000)
    sound = [piece.to_ndarray()[0] for piece in (*to_16k.resample(mono), *to_16k.resample(None))]
    return [frames[row][1] for row in rows], np.concatenate(sound)


@pytest.mark.parametrize("name", KINDS)
def test_frames_and_sound_are_those_of_ffmpeg(tmp_path: Path, name: str) -> None:
    for clip in range(list(KINDS).index(name) % EACH, CLIPS, EACH):
        path = written(tmp_path / name, clip, KINDS[name])
        numbers, sound = played(path)
        batches: list[FrameBatch] = []
        decoded = decode(path, frames=[FrameRequest(RATE, batches.append)])
        shown = [number_of(pixels) for batch in batches for pixels in batch.pixels]
        assert shown[: len(numbers)] == numbers
        assert len(shown) - len(numbers) in (0, 1)  # the last row is shorter where the video begins after the sound
        if numbers:
            assert set(range(40 * clip, 40 * clip + FRAMES)) == set(shown)
        if sound is not None:
            assert decoded.audio is not None
            assert abs(len(decoded.audio.samples) - len(sound)) <= 1
            np.testing.assert_allclose(
                decoded.audio.samples[: len(sound)], sound[: len(decoded.audio.samples)], atol=1e-3
            )
        assert decoded.damage == ()
