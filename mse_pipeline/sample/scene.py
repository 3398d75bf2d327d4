"""One clip: a speaker says a sentence in an emotion, before a camera.

A clip is written as H.264 and AAC in an MP4 file; the bytes of the file depend only on pictures and sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.sample.speaker import Speaker, speaker

if TYPE_CHECKING:
    from mse_pipeline.sample.expression import Pose


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


EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
"""MELD's seven emotions, in the order of its README."""

_DRAWN_RATE = 12.5  # every picture stands for two frames: half the work, and lips still move smoothly enough
_SMALLEST = 64


@dataclass(frozen=True, eq=False)
class Scene:
    """Pictures and sound of one clip, before encoding.

    Attributes:
        pictures: (P, H, W, 3) uint8 RGB, 12.5 a second.
        samples: (N,) float32 in -1..1 at 48 kHz.
    """

    pictures: np.ndarray
    samples: np.ndarray

    @property
    def duration(self) -> float:
        """Length in seconds, a multiple of 80 ms."""
        return len(self.pictures) / _DRAWN_RATE


def build_clip(
    path: Path,
    emotion: str = "neutral",
    speaker_seed: int = 0,
    *,
    sentence: int = 0,
    take: int = 0,
    duration: float | None = None,
    size: tuple[int, int] | None = None,
    quality: int = 23,
) -> float:
    """Write one clip of a synthetic person who says a sentence in an emotion.

    Args:
        path: The MP4 file to write; its folder is made if need be.
        emotion: One of `EMOTIONS`.
        speaker_seed: Who speaks: the same number is the same person. Even numbers are women, odd ones men.
        sentence: Which of `mse_pipeline.sample.voice.SENTENCES`, counted round.
        take: The same person says the same sentence differently in each take.
        duration: Length in seconds, for tests that want a short clip: words beyond it are cut off.
            None takes as long as the sentence does, 1.2 to 2.2 seconds.
        size: Width and height in pixels, both even and at least 64; the face is half as high as the picture. None
            takes the corpus's, 320 x 240; MELD's own clips have 1280 x 720.
        quality: H.264's constant rate factor, 0 to 51: less is finer, and larger files.

    Returns:
        The clip's length in seconds.

    Raises:
        UsageError: The emotion is unknown, the length is not above 0, or the size is odd or too small.
        MseError: PyAV's FFmpeg cannot encode H.264 or AAC.
    """
    person, seed = speaker(0, speaker_seed), (speaker_seed, take)
    scene = play(person, emotion, sentence=sentence, seed=seed, duration=duration, size=size)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_scene(path, scene, quality)
    return scene.duration


def play(
    person: Speaker,
    emotion: str,
    *,
    sentence: int = 0,
    seed: tuple[int, ...] = (0,),
    duration: float | None = None,
    size: tuple[int, int] | None = None,
) -> Scene:
    """Perform a clip; arguments as for `build_clip`, `seed` being the source of every chance.

    Raises:
        UsageError: The emotion is unknown, the length is not above 0, or the size is odd or too small.
    """
    from mse_pipeline.sample.expression import perform
    from mse_pipeline.sample.voice import SENTENCES, manner, mouth, speak, synthesise

    if emotion not in EMOTIONS:
        raise UsageError(f"There is no emotion {emotion!r} in the sample; it has {', '.join(EMOTIONS)}.")
    if duration is not None and not duration > 0:
        raise UsageError(f"A clip's length must be above 0 seconds, got {duration}.")
    if size is not None and (min(size) < _SMALLEST or size[0] % 2 or size[1] % 2):
        raise UsageError(f"A clip's width and height must be even and at least {_SMALLEST} pixels, got {size}.")
    rng = np.random.default_rng([*seed, sentence, EMOTIONS.index(emotion)])
    # Face and voice are strong or weak on their own account, so that looking as well as listening pays.
    loud, visible = rng.uniform(0.45, 1.05), rng.uniform(0.6, 1.1)
    prosody = manner(emotion, loud, rng)
    phones = SENTENCES[sentence % len(SENTENCES)][1]
    spoken = speak(phones, person.tempo * prosody.tempo, float(rng.uniform(0.05, 0.12)), rng)
    length = duration if duration is not None else min(max(spoken[-1].end + float(rng.uniform(0.01, 0.05)), 1.2), 2.2)
    steps = max(round(length * _DRAWN_RATE), 1)
    times = np.arange(steps) / _DRAWN_RATE
    opening, rounding = mouth(spoken, times)
    poses = perform(emotion, visible, times, opening=opening, rounding=rounding, rng=rng)
    samples = synthesise(spoken, prosody, person, steps / _DRAWN_RATE, rng)
    return Scene(np.stack(list(_film(person, poses, rng, size))), samples)


def save_scene(path: Path, scene: Scene, quality: int = 23) -> None:
    """Encode a scene; raises what `mse_pipeline.sample.scene.write_movie` raises."""
    from mse_pipeline.sample.voice import RATE

    write_movie(path, (picture for picture in scene.pictures for _ in range(2)), scene.samples, RATE, quality)


def _film(
    person: Speaker, poses: Sequence[Pose], rng: np.random.Generator, size: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    """Pictures as a camera sees them: with the grain of its sensor."""
    from mse_pipeline.sample.face import backdrop, draw

    room = backdrop(person) if size is None else backdrop(person, size)
    grain = rng.standard_normal((*room.shape[:2], 1), np.float32) * np.float32(1.5)
    for pose in poses:
        shift = tuple(int(step) for step in rng.integers(0, 200, 2))
        yield np.clip(draw(room, person, pose) + np.roll(grain, shift, (0, 1)) + 0.5, 0, 255).astype(np.uint8)
