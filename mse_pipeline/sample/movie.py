"""Writing a clip: H.264 and AAC in an MP4 file whose bytes depend on nothing but pictures and sound."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from mse_pipeline.errors import MseError

FRAME_RATE = 25
"""Pictures a second."""

_AAC_FRAME = 1024


def write_movie(path: Path, frames: Iterable[np.ndarray], samples: np.ndarray, rate: int, quality: int = 23) -> None:
    """Encode pictures and sound.

    Encoders run in one thread and write no date and no version into the container, so that the same input
    gives the same file wherever the same FFmpeg libraries are at work.

    Args:
        path: The file to write; its folder must exist.
        frames: Pictures (H, W, 3) uint8 RGB of one even size, 25 a second.
        samples: (N,) float32 in -1..1, written to both channels of a stereo stream.
        rate: Samples a second.
        quality: H.264's constant rate factor, 0 to 51: less is finer.

    Raises:
        MseError: PyAV's FFmpeg cannot encode H.264 or AAC.
        ValueError: There are no frames.
    """
    import av

    missing = {"libx264", "aac"} - av.codecs_available
    if missing:
        raise MseError(
            f"The installed PyAV {av.__version__} has no encoder {' and '.join(sorted(missing))}, which the sample "
            "clips need. Install its wheel from PyPI: pip install --force-reinstall --only-binary=av av"
        )
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.pix_fmt = "yuv420p"
        video.options = {"preset": "veryfast", "crf": str(quality), "threads": "1", "flags": "+bitexact"}
        video.thread_count = 1
        audio = container.add_stream("aac", rate=rate, layout="stereo")
        audio.bit_rate = 96_000
        audio.options = {"flags": "+bitexact", "aac_coder": "fast"}
        number = -1
        for number, pixels in enumerate(frames):
            if number == 0:
                video.height, video.width = pixels.shape[:2]
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(video.encode(picture))
        if number < 0:
            raise ValueError(f"A movie needs at least one frame, and {path.name} was given none.")
        container.mux(video.encode(None))
        for begin in range(0, len(samples), _AAC_FRAME):
            part = np.ascontiguousarray(np.tile(samples[begin : begin + _AAC_FRAME], (2, 1)), np.float32)
            sound = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            sound.sample_rate, sound.pts, sound.time_base = rate, begin, Fraction(1, rate)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
