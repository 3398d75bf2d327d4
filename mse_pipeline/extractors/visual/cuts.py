"""Cuts: where one shot ends and the next begins, seen in consecutive sampled frames."""

from __future__ import annotations

import numpy as np

_GRID = (9, 16)
"""Rows and columns of the cells whose mean colours are compared."""

MIN_CHANGE = 0.4
"""Median change of a cell's colour from one frame to the next, as a share of the frames' own contrast, from which it is
another shot. In films it is about 1 behind a cut, and below 0.15 within a shot."""

_LEAST_CONTRAST = 8.0  # of 255: a change within a dark or even frame is noise


class Cuts:
    """Collects the shots of a clip: `add` its frames in the order of time."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self.shots: list[int] = []

    def add(self, frames: np.ndarray) -> None:
        """Take some more frames, (N, H, W, 3) uint8."""
        for frame in frames:
            cells = means(frame)
            new = self._last is not None and is_cut(self._last, cells)
            self.shots.append((self.shots[-1] if self.shots else 0) + int(new))
            self._last = cells


def means(frame: np.ndarray) -> np.ndarray:
    """Mean colours of a frame's cells, (9, 16, 3) float64."""
    rows, columns = _GRID
    height, width = frame.shape[0] // rows * rows, frame.shape[1] // columns * columns
    if not height or not width:
        return np.asarray(frame[:1, :1], np.float64)
    cells = frame[:height, :width].reshape(rows, height // rows, columns, width // columns, 3)
    return np.asarray(cells.mean((1, 3)))


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two frames are of different shots.

    Somebody who moves changes some cells; a cut changes most of them, each in its own way.
    """
    if before.shape != after.shape:
        return True
    contrast = max(float(np.concatenate([before, after]).std((0, 1)).max()), _LEAST_CONTRAST)
    return float(np.median(np.abs(after - before).max(-1))) >= MIN_CHANGE * contrast
