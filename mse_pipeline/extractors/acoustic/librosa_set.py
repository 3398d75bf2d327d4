"""acoustic.librosa: zero crossing rate, MFCC and chroma, computed by librosa."""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

CHROMA = 12
"""Number of pitch classes."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LibrosaConfig:
    """Options of `LibrosaSet`.

    Attributes:
        hop_length: Samples (of 16,000 a second) from one row to the next; a multiple of 64, which the seven
            octaves of the constant-Q transform need.
        n_fft: Samples of the window of zero crossing rate and MFCC.
        n_mfcc: Number of mel-frequency cepstral coefficients.
    """

    hop_length: Annotated[int, Field(ge=64, le=16_384, multiple_of=64)] = 512
    n_fft: Annotated[int, Field(ge=64, le=65_536)] = 2048
    n_mfcc: Annotated[int, Field(ge=1, le=128)] = 20


class LibrosaSet(AudioExtractor[LibrosaConfig]):
    """Stream ``acoustic.librosa``, (T, 33) by default, one row every `hop_length` samples.

    Windows are centred: row k lies around sample k * hop_length, and stands for the time up to the middle
    between it and its neighbours. What a window sees beyond the sound's ends is silence (for the zero crossing
    rate: the first and last sample). Of sound shorter than the lowest notes' filters, about half a second, the
    chroma is therefore only as sharp as so little sound allows.
    """

    name = "librosa"
    revision = 1
    Config = LibrosaConfig

    @property
    def names(self) -> tuple[str, ...]:
        """zero_crossing_rate, mfcc_00, ..., chroma_c, ..., chroma_b."""
        notes = ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")
        mfcc = (f"mfcc_{k:02d}" for k in range(self.config.n_mfcc))
        return ("zero_crossing_rate", *mfcc, *(f"chroma_{note}" for note in notes))

    def load(self, device: str = "cpu") -> None:
        """Import librosa; it runs on the CPU whatever the device."""
        super().load(device)
        import librosa  # noqa: F401 - so that the first clip does not wait for it

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, 1 + n_mfcc + 12) features with T = 1 + N // hop_length.

        Raises:
            ClipError: `too_short` for less than one hop.
        """
        import librosa

        config, y, rate = self.config, audio.samples, audio.rate
        if len(y) < config.hop_length:
            raise ClipError("too_short", f"The sound has {len(y)} samples; one row needs {config.hop_length}.")
        with warnings.catch_warnings():
            # librosa warns where a window is longer than the sound, and where silence has no tuning.
            warnings.filterwarnings("ignore", message="n_fft=")
            warnings.filterwarnings("ignore", message="Trying to estimate tuning")
            parts = [
                librosa.feature.zero_crossing_rate(y, frame_length=config.n_fft, hop_length=config.hop_length),
                librosa.feature.mfcc(
                    y=y, sr=rate, n_mfcc=config.n_mfcc, n_fft=config.n_fft, hop_length=config.hop_length
                ),
                librosa.feature.chroma_cqt(y=y, sr=rate, n_chroma=CHROMA, hop_length=config.hop_length),
            ]
        values = np.concatenate(parts).T
        return Features(values, self._intervals(len(values), audio), np.ones(len(values), bool), self.names)

    def _intervals(self, rows: int, audio: Audio) -> np.ndarray:
        borders = (np.arange(rows + 1) - 0.5) * self.config.hop_length / audio.rate
        borders[0], borders[-1] = 0.0, audio.duration
        return np.stack([borders[:-1], borders[1:]], 1)
