"""Sound features: a clip's sound decoded once for all, beside a WAV file that each library opens for itself.

The straightforward way: the sound is written to a WAV file by a tool first, as tutorials do it; then openSMILE reads
the file with a new `Smile` object a clip, and librosa loads it again, resamples it and makes its features.
"""

from __future__ import annotations

import time
import warnings
import wave
from pathlib import Path

import av
import numpy as np

from benchmarks.clips import Clips
from benchmarks.timing import Ratio, in_turn
from mse_pipeline.extractors.registry import create
from mse_pipeline.media.decode import decode

HOP = 512


def run(kinds: Clips, scratch: Path) -> list[Ratio]:
    clips = [clip for kind in kinds.values() for clip in kind]
    extractors = [create("acoustic.egemaps"), create("acoustic.librosa", {"hop_length": HOP})]

    def ours() -> list[list[np.ndarray]]:
        made = []
        for clip in clips:
            audio = decode(clip).audio
            made.append([] if audio is None else [extractor(audio).values for extractor in extractors])
        return made

    def straightforward() -> list[list[np.ndarray]]:
        return [one_by_one(clip, scratch / "sound.wav") for clip in clips]

    slow, fast, theirs, mine = in_turn(straightforward, ours, clock=time.process_time)
    return [Ratio("eGeMAPS, MFCC, chroma and zero crossings", slow, fast, agreement(theirs, mine))]


def one_by_one(clip: Path, wav: Path) -> list[np.ndarray]:
    import librosa
    import opensmile

    write_wav(clip, wav)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    descriptors = smile.process_file(str(wav)).to_numpy()
    samples, rate = librosa.load(str(wav), sr=16_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [
            librosa.feature.zero_crossing_rate(samples, hop_length=HOP),
            librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=20, hop_length=HOP),
            librosa.feature.chroma_cqt(y=samples, sr=rate, hop_length=HOP),
        ]
    return [descriptors, np.concatenate(parts).T]


def write_wav(clip: Path, wav: Path) -> None:
    """The clip's sound, mono, at its own rate, as `ffmpeg -i clip -ac 1 sound.wav` writes it."""
    with av.open(str(clip)) as container, wave.open(str(wav), "wb") as file:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("s16", "mono", stream.rate)
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(stream.rate)
        for frame in container.decode(stream):
            for part in resampler.resample(frame):
                file.writeframes(part.to_ndarray().tobytes())


def agreement(theirs: list[list[np.ndarray]], mine: list[list[np.ndarray]]) -> str:
    """How alike the first values of each set are: loudness, and the zero crossings."""
    found = []
    for column in range(2):
        pairs = [(a[column][:, 0], b[column][:, 0]) for a, b in zip(theirs, mine, strict=True) if a and b]
        both = [(a[: len(b)], b[: len(a)]) for a, b in pairs]
        one, other = (np.concatenate([pair[k] for pair in both]) for k in range(2))
        found.append(float(np.corrcoef(one, other)[0, 1]))
    return f"correlation of loudness {found[0]:.3f}, of zero crossings {found[1]:.3f}"
