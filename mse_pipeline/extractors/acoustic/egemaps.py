"""acoustic.egemaps: low-level descriptors of eGeMAPSv02, computed by openSMILE."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

HOP = 0.01
"""Seconds from one row to the next."""

WINDOW = 0.06
"""Seconds of the longest analysis window, that of the pitch; openSMILE gives nothing for less sound."""

NAMES = (
    "Loudness_sma3",
    "alphaRatio_sma3",
    "hammarbergIndex_sma3",
    "slope0-500_sma3",
    "slope500-1500_sma3",
    "spectralFlux_sma3",
    "mfcc1_sma3",
    "mfcc2_sma3",
    "mfcc3_sma3",
    "mfcc4_sma3",
    "F0semitoneFrom27.5Hz_sma3nz",
    "jitterLocal_sma3nz",
    "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz",
    "logRelF0-H1-H2_sma3nz",
    "logRelF0-H1-A3_sma3nz",
    "F1frequency_sma3nz",
    "F1bandwidth_sma3nz",
    "F1amplitudeLogRelF0_sma3nz",
    "F2frequency_sma3nz",
    "F2bandwidth_sma3nz",
    "F2amplitudeLogRelF0_sma3nz",
    "F3frequency_sma3nz",
    "F3bandwidth_sma3nz",
    "F3amplitudeLogRelF0_sma3nz",
)
"""openSMILE's names of the 25 descriptors."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EgemapsConfig:
    """Options of `Egemaps`.

    Attributes:
        version: Version of the feature set (Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set").
    """

    version: Literal["v02"] = "v02"


class Egemaps(AudioExtractor[EgemapsConfig]):
    """Stream ``acoustic.egemaps``, (T, 25), one row every 10 ms.

    Row k is measured on sound that begins at 10 k ms and lasts 20 to 60 ms. It stands for the 10 ms from there;
    the last row, after which no full window is left, for all that remains.
    """

    name = "egemaps"
    revision = 1
    Config = EgemapsConfig

    @property
    def names(self) -> tuple[str, ...]:
        """The descriptors, as openSMILE names them."""
        return NAMES

    def load(self, device: str = "cpu") -> None:
        """Read openSMILE's configuration; it runs on the CPU whatever the device."""
        super().load(device)
        _smile()

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, 25) features with intervals from 0 to the sound's end.

        Raises:
            ClipError: `too_short` for less than 60 ms, the longest analysis window.
        """
        if audio.duration < WINDOW:
            raise ClipError(
                "too_short",
                f"The sound lasts {1000 * audio.duration:.1f} ms; eGeMAPS needs {1000 * WINDOW:.0f} ms.",
            )
        values = _smile().process_signal(audio.samples, audio.rate).to_numpy(np.float32)
        starts = np.arange(len(values)) * HOP
        ends = np.append(starts[1:], audio.duration)
        return Features(values, np.stack([starts, ends], 1), np.ones(len(values), bool), NAMES)


@functools.cache
def _smile() -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
