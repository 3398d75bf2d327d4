"""Frame and FrameBatch: decoded frames of a clip with their times, converted to RGB only as far as is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_PLANAR = frozenset({"yuv420p", "yuvj420p"})
"""Pixel formats whose regions are cut before they are converted: nearly all video there is."""


class Frame:
    """One decoded frame, upright as a player shows it.

    It holds what the decoder gave; `reduced` and `region` convert no more of it than they return.

    Args:
        decoded: PyAV's video frame.
    """

    def __init__(self, decoded: Any) -> None:
        self._decoded = decoded
        self._turns = right_angle(decoded.rotation) // 90
        size = decoded.height, decoded.width
        self.height, self.width = size[::-1] if self._turns % 2 else size

    @cached_property
    def pixels(self) -> np.ndarray:
        """The full-size frame, (H, W, 3) uint8 RGB."""
        return self._upright(_rgb(self._decoded, self._decoded.width, self._decoded.height))

    def reduced(self, width: int) -> np.ndarray:
        """The frame at most `width` pixels wide, each pixel the mean of the area that it covers; never enlarged.

        Args:
            width: Pixels.

        Returns:
            (h, w, 3) uint8 RGB.
        """
        if self.width <= width:
            return self.pixels
        size = width, max(1, round(self.height * width / self.width))
        return self._upright(_rgb(self._decoded, *(size[::-1] if self._turns % 2 else size)))

    def region(self, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
        """A rectangle of the full-size frame.

        Args:
            x1: Left border in pixels, in the frame.
            y1: Upper border.
            x2: Right border, not included, above `x1`.
            y2: Lower border, not included, above `y1`.

        Returns:
            (y2 - y1, x2 - x1, 3) uint8 RGB, the same as of `pixels`.
        """
        frame = self._decoded
        # Two by two pixels share their colour, and frames of an odd height are converted by another rule.
        if "pixels" in self.__dict__ or self._turns or frame.format.name not in _PLANAR or frame.height % 2:
            return self.pixels[y1:y2, x1:x2]
        left, top = x1 // 2 * 2, y1 // 2 * 2
        right, bottom = -(-x2 // 2) * 2, -(-y2 // 2) * 2
        if right > frame.width:
            return self.pixels[y1:y2, x1:x2]
        part = _planar_part(frame, left, top, right, bottom)
        return _rgb(part, part.width, part.height)[y1 - top : y2 - top, x1 - left : x2 - left]

    def _upright(self, pixels: np.ndarray) -> np.ndarray:
        return np.rot90(pixels, self._turns) if self._turns else pixels


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Frames of one size, in the order of time.

    Attributes:
        frames: N frames.
        intervals: (N, 2) float64, the time that each frame stands for, in seconds from the clip's start.
    """

    frames: Sequence[Frame]
    intervals: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray, intervals: np.ndarray) -> FrameBatch:
        """Frames of given pixels, (N, H, W, 3) uint8 RGB.

        Examples:
            >>> FrameBatch.of(np.zeros((2, 48, 64, 3), np.uint8), np.array([[0.0, 0.2], [0.2, 0.4]])).pixels.shape
            (2, 48, 64, 3)
        """
        import av

        frames = [Frame(av.VideoFrame.from_ndarray(np.ascontiguousarray(p), format="rgb24")) for p in pixels]
        return cls(frames, intervals)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def pixels(self) -> np.ndarray:
        """The full-size frames, (N, H, W, 3) uint8 RGB."""
        return np.stack([frame.pixels for frame in self.frames])

    def reduced(self, width: int) -> np.ndarray:
        """The frames at most `width` pixels wide, (N, h, w, 3) uint8 RGB; see `Frame.reduced`."""
        return np.stack([frame.reduced(width) for frame in self.frames])


def _rgb(frame: Any, width: int, height: int) -> np.ndarray:
    """A frame at a size, (H, W, 3) uint8. By one thread: clips are decoded side by side."""
    converted = frame.reformat(width, height, format="rgb24", interpolation="AREA", threads=1)
    return np.asarray(converted.to_ndarray())


def _planar_part(frame: Any, x1: int, y1: int, x2: int, y2: int) -> Any:
    """A rectangle of a yuv420p frame as a frame of its own; all borders even."""
    import av

    height, width = y2 - y1, x2 - x1
    part = np.empty(height * width * 3 // 2, np.uint8)
    begin = 0
    for plane, step in zip(frame.planes, (1, 2, 2), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        cut = rows[y1 // step : y2 // step, x1 // step : x2 // step]
        part[begin : begin + cut.size] = cut.ravel()
        begin += cut.size
    made = av.VideoFrame.from_ndarray(part.reshape(-1, width), format=frame.format.name)
    made.colorspace, made.color_range = frame.colorspace, frame.color_range
    return made


def right_angle(degrees: float) -> int:
    """The nearest of 0, 90, 180 and 270 degrees.

    Examples:
        >>> right_angle(-90), right_angle(180), right_angle(1)
        (270, 180, 0)
    """
    return round(degrees / 90) % 4 * 90
