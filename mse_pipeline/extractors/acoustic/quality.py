"""acoustic.quality: how loud, clipped and noisy a clip's sound is, one row a clip."""

from __future__ import annotations

import math

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

VALUES: tuple[tuple[str, str, str], ...] = (
    ("loudness", "LUFS", "integrated, by ITU-R BS.1770-4: what is 10 LU below the rest is left out"),
    ("level", "dBFS", "root mean square of all samples: 0 for a square wave of full scale"),
    ("peak", "dBFS", "the greatest sample"),
    ("clipped_share", "", "share of samples within 0.17 dB of full scale, or beyond it"),
    ("snr", "dB", "signal to noise, by the 95th and 15th percentiles of the power of 20 ms"),
)
"""Name, unit and definition of each value."""

_FULL = 0.98
_WINDOW, _HOP = 0.02, 0.01
_LOUD, _QUIET = 95.0, 15.0
_SHORTEST = 0.4
"""Seconds of BS.1770's block."""
_FLOOR = 1e-10
"""Power below which noise is that of no recording, -100 dBFS: digital silence between words."""
_CHUNK = 1 << 16


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class QualityConfig:
    """`AcousticQuality` has no options."""


class AcousticQuality(AudioExtractor[QualityConfig]):
    """Stream ``acoustic.quality``, (1, 5): loudness, level, peak, clipping and signal-to-noise ratio of a clip.

    Of the sound as it is decoded: mono, 16 kHz. The ratio needs no voice activity detection: noise is the power that
    15 % of the windows of 20 ms stay below, speech that of the loudest 5 %, less the noise; the percentiles are those
    of the quick estimate of NIST's speech quality assurance package (`stnr`). It is too low where nobody pauses, and
    music counts as speech. Loudness is NaN below 0.4 s and where all is below -70 LUFS, all but `clipped_share` where
    every sample is 0.
    """

    name = "quality"
    revision = 1
    Config = QualityConfig

    @property
    def names(self) -> tuple[str, ...]:
        """loudness, level, peak, clipped_share, snr."""
        return tuple(name for name, _, _ in VALUES)

    @property
    def units(self) -> tuple[str, ...]:
        """LUFS, dBFS and dB."""
        return tuple(unit for _, unit, _ in VALUES)

    @property
    def definitions(self) -> tuple[str, ...]:
        """What is measured."""
        return tuple(definition for _, _, definition in VALUES)

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (1, 5) features, the row from 0 to the sound's end.

        Raises:
            ClipError: `too_short` for less than 20 ms.
        """
        window = round(_WINDOW * audio.rate)
        if len(audio.samples) < window:
            raise ClipError("too_short", f"{1000 * audio.duration:.0f} ms of sound; a measure of it needs 20 ms.")
        samples = audio.samples
        power = _mean_power(samples)
        values = [
            loudness(samples, audio.rate),
            _decibel(power),
            _decibel(float(max(samples.max(), -samples.min())) ** 2),
            float(np.count_nonzero(np.abs(samples) >= _FULL)) / len(samples),
            signal_to_noise(samples, audio.rate),
        ]
        span = np.array([[0.0, audio.duration]])
        return Features(np.array([values]), span, np.array([True]), self.names)


def loudness(samples: np.ndarray, rate: int) -> float:
    """Integrated loudness in LUFS; NaN for less than a block, or where every block is below -70 LUFS."""
    from pyloudnorm import Meter

    if len(samples) < _SHORTEST * rate:
        return math.nan
    with np.errstate(all="ignore"):  # a mean of no block is told as minus infinity
        measured = float(Meter(rate).integrated_loudness(samples.astype(np.float64)))
    return measured if math.isfinite(measured) else math.nan


def signal_to_noise(samples: np.ndarray, rate: int) -> float:
    """Signal-to-noise ratio in dB, from -20 to 100; NaN where nothing is louder than the rest.

    Args:
        samples: (N,) in [-1, 1].
        rate: Samples a second.

    Examples:
        >>> noise = np.random.default_rng(0).normal(0, 0.01, 32000)
        >>> tone = np.where(np.arange(32000) % 8000 < 4000, np.sin(np.arange(32000) / 5), 0.0)
        >>> round(signal_to_noise(tone + noise, 16000))
        37
    """
    powers = _powers(samples, round(_WINDOW * rate), round(_HOP * rate))
    noise, loud = (max(float(np.percentile(powers, share)), _FLOOR) for share in (_QUIET, _LOUD))
    return max(_decibel((loud - noise) / noise), -20.0) if loud > noise else math.nan


def _powers(samples: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Mean power of overlapping windows, (N,); in pieces, so that nothing as long as the sound is made."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    parts = [
        np.einsum("nw,nw->n", part, part, dtype=np.float64) / window
        for part in (windows[k : k + _CHUNK // window + 1] for k in range(0, len(windows), _CHUNK // window + 1))
    ]
    return np.concatenate(parts)


def _mean_power(samples: np.ndarray) -> float:
    return float(np.einsum("n,n->", samples, samples, dtype=np.float64)) / len(samples)


def _decibel(power: float) -> float:
    return 10.0 * math.log10(power) if power > 0.0 else math.nan
