"""Values as strangers stored them -> rows of finite float32, with a count of what had to be repaired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS_CLOCK = {"clock": "rows"}
"""Note of features whose file tells no times: row i has the interval (i, i + 1), which is no time in seconds."""


def row_clock(rows: int) -> np.ndarray:
    """Intervals (T, 2) that number the rows, for formats that keep no times.

    Examples:
        >>> row_clock(2).tolist()
        [[0.0, 1.0], [1.0, 2.0]]
    """
    begins = np.arange(rows, dtype=np.float64)
    return np.stack([begins, begins + 1.0], axis=1)


@dataclass
class Repairs:
    """Counts the values of one stream that are no finite numbers, and puts 0 in their place.

    Attributes:
        stream: As in ``acoustic.covarep``.
        nans: NaN values so far.
        infinities: Values so far that are infinite, or too large for float32.
        clips: Clips so far that had such values.

    Examples:
        >>> repairs = Repairs("acoustic.covarep")
        >>> repairs.finite(np.array([[1.0, -np.inf], [np.nan, 2.0]])).tolist()
        [[1.0, 0.0], [0.0, 2.0]]
        >>> repairs.notes()
        ['acoustic.covarep: 1 infinite and 1 NaN values in 1 clips are 0 now.']
    """

    stream: str
    nans: int = 0
    infinities: int = 0
    clips: int = 0

    def finite(self, values: np.ndarray) -> np.ndarray:
        """The values as float32 without NaN and infinity; rows stay, since what else they hold was measured."""
        with np.errstate(over="ignore"):
            clean = np.array(values, dtype=np.float32)
        bad = ~np.isfinite(clean)
        count = int(bad.sum())
        if count:
            nans = int(np.isnan(clean).sum())
            self.nans += nans
            self.infinities += count - nans
            self.clips += 1
            clean[bad] = 0.0
        return clean

    def notes(self) -> list[str]:
        """What was repaired, as a sentence; nothing if nothing was."""
        if not self.clips:
            return []
        return [
            f"{self.stream}: {self.infinities:,} infinite and {self.nans:,} NaN values in {self.clips:,} clips "
            "are 0 now."
        ]
