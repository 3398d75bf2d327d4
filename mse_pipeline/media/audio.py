"""Audio: what decoding gives of a clip's sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000
"""Every clip's sound is decoded to mono at this rate, in samples a second."""


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound from the clip's start on.

    Attributes:
        samples: (N,) float32 in [-1, 1].
        rate: Samples a second.
    """

    samples: np.ndarray
    rate: int = SAMPLE_RATE

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate
