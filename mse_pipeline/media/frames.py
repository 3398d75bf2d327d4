"""FrameBatch: some frames of a clip with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Frames of one size, in the order of time.

    Attributes:
        pixels: (N, H, W, 3) uint8, RGB, upright.
        intervals: (N, 2) float64, the time that each frame stands for, in seconds from the clip's start.
    """

    pixels: np.ndarray
    intervals: np.ndarray
