"""The features that `acoustic.librosa` can put together: each one's parameters, names, units and computation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass as plain_dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.media.audio import SAMPLE_RATE

_NOTES = ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")
_STRICT = ConfigDict(extra="forbid")

Frequency = Annotated[float, Field(ge=0.0, le=SAMPLE_RATE / 2)]
Bands = Annotated[int, Field(ge=1, le=512)]


@plain_dataclass(frozen=True, eq=False)
class Sound:
    """A clip's sound with what its features share, so that none of it is computed twice.

    Attributes:
        librosa: The library.
        samples: (N,) float32.
        rate: Samples a second.
        hop_length: Samples from one row to the next.
        n_fft: Samples of a window.
    """

    librosa: Any
    samples: np.ndarray
    rate: int
    hop_length: int
    n_fft: int

    @cached_property
    def magnitude(self) -> np.ndarray:
        """(1 + n_fft / 2, T) magnitudes of the short-time Fourier transform."""
        return np.abs(self.librosa.stft(self.samples, n_fft=self.n_fft, hop_length=self.hop_length))

    @cached_property
    def chroma_cqt(self) -> np.ndarray:
        """(12, T) pitch classes of the constant-Q transform."""
        found: np.ndarray = self.librosa.feature.chroma_cqt(
            y=self.samples, sr=self.rate, n_chroma=len(_NOTES), hop_length=self.hop_length
        )
        return found

    def mel(self, n_mels: int, fmin: float, fmax: float | None) -> np.ndarray:
        """(n_mels, T) power in mel bands."""
        bands: np.ndarray = self.librosa.feature.melspectrogram(
            S=self.magnitude**2, sr=self.rate, n_fft=self.n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
        )
        return bands


@dataclass(frozen=True, config=_STRICT)
class Feature(ABC):
    """One feature with its parameters.

    Attributes:
        hop_multiple: What the hop must be a multiple of.
    """

    hop_multiple: ClassVar[int] = 1

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of its D values."""

    def units(self) -> tuple[str, ...]:
        """Units of its D values; empty where a value has none."""
        return ("",) * len(self.names())

    @abstractmethod
    def compute(self, sound: Sound) -> np.ndarray:
        """(D, T) values, T = 1 + N // hop_length."""


@dataclass(frozen=True, config=_STRICT)
class ZeroCrossingRate(Feature):
    """Share of a window's samples at which the sign changes."""

    def names(self) -> tuple[str, ...]:
        """One value."""
        return ("zero_crossing_rate",)

    def compute(self, sound: Sound) -> np.ndarray:
        """What is beyond the ends is the first and the last sample."""
        return sound.librosa.feature.zero_crossing_rate(
            sound.samples, frame_length=sound.n_fft, hop_length=sound.hop_length
        )


@dataclass(frozen=True, config=_STRICT)
class Rms(Feature):
    """Root of the mean square of a window's samples; full scale is 1."""

    def names(self) -> tuple[str, ...]:
        """One value."""
        return ("rms",)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the samples, which is more exact than from the windowed spectrum."""
        return sound.librosa.feature.rms(y=sound.samples, frame_length=sound.n_fft, hop_length=sound.hop_length)


@dataclass(frozen=True, config=_STRICT)
class Mel(Feature):
    """Power in mel bands.

    Attributes:
        n_mels: Number of bands.
        fmin: Lowest frequency in Hz.
        fmax: Highest frequency in Hz; None for half the sampling rate.
        scale: Decibels (10 log10, at most 80 below the clip's loudest), or power.
    """

    n_mels: Bands = 64
    fmin: Frequency = 0.0
    fmax: Frequency | None = None
    scale: Literal["dB", "power"] = "dB"

    @model_validator(mode="after")
    def _rising(self) -> Mel:
        return _rising(self)

    def names(self) -> tuple[str, ...]:
        """From the lowest band up."""
        return tuple(f"mel_{k:02d}" for k in range(self.n_mels))

    def units(self) -> tuple[str, ...]:
        """Of the scale."""
        return ("dB" if self.scale == "dB" else "",) * self.n_mels

    def compute(self, sound: Sound) -> np.ndarray:
        """The bands on their scale."""
        power = sound.mel(self.n_mels, self.fmin, self.fmax)
        return sound.librosa.power_to_db(power) if self.scale == "dB" else power


@dataclass(frozen=True, config=_STRICT)
class Mfcc(Feature):
    """Mel-frequency cepstral coefficients: the discrete cosine transform of mel bands in decibels.

    Attributes:
        n_mfcc: Number of coefficients.
        n_mels: Number of mel bands.
        fmin: Lowest frequency in Hz.
        fmax: Highest frequency in Hz; None for half the sampling rate.
        lifter: Weight of the higher coefficients; 0 for none.
        deltas: 1 adds the coefficients' changes, 2 also the changes of these (a slope over nine rows).
    """

    n_mfcc: Annotated[int, Field(ge=1, le=128)] = 20
    n_mels: Bands = 128
    fmin: Frequency = 0.0
    fmax: Frequency | None = None
    lifter: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    deltas: Literal[0, 1, 2] = 0

    @model_validator(mode="after")
    def _enough_bands(self) -> Mfcc:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc ({self.n_mfcc}) must not be more than n_mels ({self.n_mels})")
        return _rising(self)

    def names(self) -> tuple[str, ...]:
        """The coefficients, then their changes."""
        prefixes = ("mfcc", "mfcc_delta", "mfcc_delta2")[: 1 + self.deltas]
        return tuple(f"{prefix}_{k:02d}" for prefix in prefixes for k in range(self.n_mfcc))

    def compute(self, sound: Sound) -> np.ndarray:
        """Changes at the ends are those of a sound that stays as it is there."""
        librosa = sound.librosa
        bands = librosa.power_to_db(sound.mel(self.n_mels, self.fmin, self.fmax))
        values = [librosa.feature.mfcc(S=bands, n_mfcc=self.n_mfcc, lifter=self.lifter)]
        values += [librosa.feature.delta(values[0], order=k, mode="nearest") for k in range(1, 1 + self.deltas)]
        return np.concatenate(values)


@dataclass(frozen=True, config=_STRICT)
class ChromaCqt(Feature):
    """Energy of the twelve pitch classes by a constant-Q transform of seven octaves from C1; the largest is 1."""

    hop_multiple: ClassVar[int] = 64

    def names(self) -> tuple[str, ...]:
        """From C to B."""
        return tuple(f"chroma_{note}" for note in _NOTES)

    def compute(self, sound: Sound) -> np.ndarray:
        """Shared with the tonal centroids."""
        return sound.chroma_cqt


@dataclass(frozen=True, config=_STRICT)
class ChromaStft(Feature):
    """Energy of the twelve pitch classes by the short-time Fourier transform; the largest is 1."""

    def names(self) -> tuple[str, ...]:
        """From C to B."""
        return tuple(f"chroma_stft_{note}" for note in _NOTES)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the power spectrum."""
        return sound.librosa.feature.chroma_stft(S=sound.magnitude**2, sr=sound.rate, n_chroma=len(_NOTES))


@dataclass(frozen=True, config=_STRICT)
class Tonnetz(Feature):
    """Tonal centroids: where the pitch classes lie on the circles of fifths, minor and major thirds."""

    hop_multiple: ClassVar[int] = 64

    def names(self) -> tuple[str, ...]:
        """Three circles, two coordinates each."""
        return tuple(f"tonnetz_{circle}_{axis}" for circle in ("fifth", "minor", "major") for axis in "xy")

    def compute(self, sound: Sound) -> np.ndarray:
        """From the constant-Q pitch classes."""
        return sound.librosa.feature.tonnetz(chroma=sound.chroma_cqt, sr=sound.rate)


@dataclass(frozen=True, config=_STRICT)
class SpectralCentroid(Feature):
    """Mean frequency, weighted by magnitude."""

    def names(self) -> tuple[str, ...]:
        """One value."""
        return ("spectral_centroid",)

    def units(self) -> tuple[str, ...]:
        """A frequency."""
        return ("Hz",)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the magnitudes."""
        return sound.librosa.feature.spectral_centroid(S=sound.magnitude, sr=sound.rate)


@dataclass(frozen=True, config=_STRICT)
class SpectralBandwidth(Feature):
    """Spread of the frequencies around their centroid, weighted by magnitude (the root of the second moment)."""

    def names(self) -> tuple[str, ...]:
        """One value."""
        return ("spectral_bandwidth",)

    def units(self) -> tuple[str, ...]:
        """A frequency."""
        return ("Hz",)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the magnitudes."""
        return sound.librosa.feature.spectral_bandwidth(S=sound.magnitude, sr=sound.rate)


@dataclass(frozen=True, config=_STRICT)
class SpectralRolloff(Feature):
    """Frequency below which a share of the magnitudes lies.

    Attributes:
        roll_percent: The share, from 0 to 1.
    """

    roll_percent: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85

    def names(self) -> tuple[str, ...]:
        """One value."""
        return ("spectral_rolloff",)

    def units(self) -> tuple[str, ...]:
        """A frequency."""
        return ("Hz",)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the magnitudes."""
        return sound.librosa.feature.spectral_rolloff(S=sound.magnitude, sr=sound.rate, roll_percent=self.roll_percent)


@dataclass(frozen=True, config=_STRICT)
class SpectralFlatness(Feature):
    """Geometric by arithmetic mean of the power: 1 for noise, near 0 for a tone."""

    def names(self) -> tuple[str, ...]:
        """One value."""
        return ("spectral_flatness",)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the magnitudes."""
        return sound.librosa.feature.spectral_flatness(S=sound.magnitude)


@dataclass(frozen=True, config=_STRICT)
class SpectralContrast(Feature):
    """Level of the peaks above the valleys, in octave bands.

    Attributes:
        n_bands: Octaves from fmin up; below fmin there is one band more.
        fmin: Lower border of the first octave in Hz.
    """

    n_bands: Annotated[int, Field(ge=1, le=12)] = 6
    fmin: Annotated[float, Field(gt=0.0, lt=SAMPLE_RATE / 2)] = 200.0

    @model_validator(mode="after")
    def _below_nyquist(self) -> SpectralContrast:
        last = self.fmin * 2.0 ** (self.n_bands - 1)
        if last >= SAMPLE_RATE / 2:
            raise ValueError(
                f"the last of {self.n_bands} octaves from {self.fmin:g} Hz begins at {last:g} Hz, but the "
                f"sound ends at {SAMPLE_RATE // 2} Hz; lower n_bands or fmin"
            )
        return self

    def names(self) -> tuple[str, ...]:
        """From the lowest band up."""
        return tuple(f"spectral_contrast_{k}" for k in range(self.n_bands + 1))

    def units(self) -> tuple[str, ...]:
        """A difference of levels."""
        return ("dB",) * (self.n_bands + 1)

    def compute(self, sound: Sound) -> np.ndarray:
        """From the magnitudes."""
        return sound.librosa.feature.spectral_contrast(
            S=sound.magnitude, sr=sound.rate, n_bands=self.n_bands, fmin=self.fmin
        )


@dataclass(frozen=True, config=_STRICT)
class F0(Feature):
    """Fundamental frequency.

    By pYIN (Mauch and Dixon 2014): NaN where there is no voice, which `f0_voiced` tells as 0 or 1, with the voice's
    probability beside it. By YIN (de Cheveigné and Kawahara 2002), some thirty times faster: a frequency in every
    row, also where there is no voice, and no telling which.

    Attributes:
        method: pyin or yin.
        fmin: Lowest frequency in Hz, above 0; the window must hold two periods of it.
        fmax: Highest frequency in Hz.
    """

    method: Literal["pyin", "yin"] = "pyin"
    fmin: Annotated[float, Field(gt=0.0, lt=SAMPLE_RATE / 2)] = 55.0
    fmax: Annotated[float, Field(gt=0.0, lt=SAMPLE_RATE / 2)] = 1000.0

    @model_validator(mode="after")
    def _ordered(self) -> F0:
        return _rising(self)

    def names(self) -> tuple[str, ...]:
        """One value by yin, three by pyin."""
        return ("f0", "f0_voiced", "f0_voiced_probability") if self.method == "pyin" else ("f0",)

    def units(self) -> tuple[str, ...]:
        """A frequency, a flag and a probability."""
        return ("Hz", "", "")[: len(self.names())]

    def compute(self, sound: Sound) -> np.ndarray:
        """By pyin with NaN where there is no voice."""
        options = {
            "fmin": self.fmin,
            "fmax": self.fmax,
            "sr": sound.rate,
            "frame_length": sound.n_fft,
            "hop_length": sound.hop_length,
        }
        if self.method == "yin":
            return sound.librosa.yin(sound.samples, **options)[None]
        return np.stack([np.asarray(part, np.float64) for part in sound.librosa.pyin(sound.samples, **options)])


FEATURES: dict[str, type[Feature]] = {
    "zero_crossing_rate": ZeroCrossingRate,
    "rms": Rms,
    "mel": Mel,
    "mfcc": Mfcc,
    "chroma_cqt": ChromaCqt,
    "chroma_stft": ChromaStft,
    "tonnetz": Tonnetz,
    "spectral_centroid": SpectralCentroid,
    "spectral_bandwidth": SpectralBandwidth,
    "spectral_rolloff": SpectralRolloff,
    "spectral_flatness": SpectralFlatness,
    "spectral_contrast": SpectralContrast,
    "f0": F0,
}
"""By the name that the option `features` takes."""


def _rising(feature: Any) -> Any:
    if feature.fmax is not None and feature.fmax <= feature.fmin:
        raise ValueError(f"fmax ({feature.fmax:g} Hz) must be above fmin ({feature.fmin:g} Hz)")
    return feature
