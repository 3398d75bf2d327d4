"""acoustic.egemaps: the low-level descriptors of eGeMAPSv02, under a name of their own."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mse_pipeline.extractors.acoustic.opensmile import SmileExtractor

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
"""openSMILE's names of the 25 descriptors; written out, so that they are known without loading it."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EgemapsConfig:
    """Options of `Egemaps`.

    Attributes:
        version: Version of the feature set (Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set").
    """

    version: Literal["v02"] = "v02"


class Egemaps(SmileExtractor[EgemapsConfig]):
    """Stream ``acoustic.egemaps``, (T, 25), one row every 10 ms: what ``acoustic.opensmile`` makes by default.

    Other sets and levels: `Opensmile`.
    """

    name = "egemaps"
    revision = 1
    Config = EgemapsConfig

    @property
    def feature_set(self) -> str:
        """The set eGeMAPS in its version."""
        return f"eGeMAPS{self.config.version}"

    @property
    def level(self) -> str:
        """Low-level descriptors."""
        return "lld"

    @property
    def names(self) -> tuple[str, ...]:
        """The descriptors, as openSMILE names them."""
        return NAMES
