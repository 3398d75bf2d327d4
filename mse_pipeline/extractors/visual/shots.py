"""Shots: where one shot of a clip ends and the next begins, and what stands still within one."""

from __future__ import annotations

import numpy as np

_WIDTH = 160
"""Pixels across the small pictures that are kept of the frames."""

_CELLS = (9, 16)
"""Rows and columns of the cells whose mean brightness is compared."""

MIN_CHANGE = 0.4
"""Median change of a cell's brightness from one frame to the next, as a share of the frames' own contrast, from which
it is another shot. In films it is about 1 behind a cut, and below 0.2 within a shot."""

_LEAST_CONTRAST = 8.0  # of 255: a change within a dark or even frame is noise

_STILL = 0.02
"""Change of a region from frame to frame, as a share of its contrast, below which nothing lives in it. The face of
someone who rests is above 0.05, a photograph before a camera that stands still below 0.006."""

_MOVES = 0.2
"""The same of the part of the frame that changes most, above which the frame is no still picture itself."""


class Shots:
    """Collects the shots of a clip: `add` its frames in the order of time.

    Attributes:
        numbers: Of each frame the number of its shot.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._small: list[np.ndarray] = []

    def add(self, frames: np.ndarray) -> None:
        """Take some more frames, (N, H, W, 3) uint8."""
        for frame in frames:
            small = reduced(frame)
            new = bool(self._small) and is_cut(self._small[-1], small)
            self.numbers.append((self.numbers[-1] if self.numbers else 0) + int(new))
            self._small.append(small)

    def length(self, frame: int) -> int:
        """Number of frames of the shot that a frame belongs to."""
        return self.numbers.count(self.numbers[frame])

    def is_still(self, frames: list[int], boxes: np.ndarray) -> bool:
        """Whether nothing lives in some boxes, as in a photograph on a wall, while something else moves.

        Args:
            frames: Indices of the frames, of one shot.
            boxes: (N, 4) x1, y1, x2, y2 relative to the frame, one a frame.
        """
        changes, elsewhere = [], []
        for before, after, box in zip(frames, frames[1:], boxes[1:], strict=False):
            one, other = self._small[before].astype(np.float64), self._small[after].astype(np.float64)
            change = np.abs(_smooth(other - one))
            x1, y1, x2, y2 = (box * np.array([*change.shape[::-1]] * 2)).astype(int)
            region = np.s_[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1]
            changes.append(change[region].mean() / max(float(other[region].std()), _LEAST_CONTRAST))
            elsewhere.append(np.percentile(change, 99) / max(float(other.std()), _LEAST_CONTRAST))
        return bool(changes) and float(np.median(changes)) < _STILL and float(np.median(elsewhere)) > _MOVES


def reduced(frame: np.ndarray) -> np.ndarray:
    """The brightness of a frame, about 160 pixels wide, (h, w) uint8: the mean of its green values, as is quick."""
    step = max(frame.shape[1] // _WIDTH, 1)
    height, width = frame.shape[0] // step, frame.shape[1] // step
    total = np.zeros((height, width), np.uint32)
    for y in range(step):
        for x in range(step):
            total += frame[y::step, x::step, 1][:height, :width]
    return (total // step**2).astype(np.uint8)


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two small pictures are of different shots.

    Somebody who moves changes some cells; a cut changes most of them, each in its own way.
    """
    if before.shape != after.shape:
        return True
    one, other = _cells(before), _cells(after)
    contrast = max(float(np.concatenate([one, other]).std()), _LEAST_CONTRAST)
    return float(np.median(np.abs(one - other))) >= MIN_CHANGE * contrast


def _cells(small: np.ndarray) -> np.ndarray:
    rows, columns = (min(count, side) for count, side in zip(_CELLS, small.shape, strict=True))
    height, width = small.shape[0] // rows * rows, small.shape[1] // columns * columns
    return np.asarray(small[:height, :width].reshape(rows, height // rows, columns, width // columns).mean((1, 3)))


def _smooth(change: np.ndarray) -> np.ndarray:
    """Mean over three by three pixels: noise of the sensor and codec goes, what moves stays."""
    padded = np.pad(change, 1, mode="edge")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((across[:-2] + across[1:-1] + across[2:]) / 9.0)
