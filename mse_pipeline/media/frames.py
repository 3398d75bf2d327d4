"""Frames: decoded frames of a clip with their times. Only the part that is asked for is converted to RGB."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

MAX_PIXELS = 1 << 26
"""Frames of more pixels (8192 x 8192) are refused: a few hostile bytes may announce gigabytes."""

_PLANAR = frozenset({"yuv420p", "yuvj420p"})
"""Pixel formats in which a region is cut out before it is converted. Nearly all video has one of them."""

_FOLLOWED = frozenset({"mpeg", "mpegts", "mpegvideo", "h264", "hevc", "vvc", "obu", "m4v", "h263", "dv", "avi", "flv"})
"""Containers, by FFmpeg's names, that do not store the pixels' shape: it may change with each frame."""

_MOST_OBLONG = 16
"""A pixel that is so many times wider than high, or higher than wide, is a wrong header."""


@dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes upright: the eight ways in which a camera can be held, mirrored or not.

    Attributes:
        transposed: Whether rows first become columns.
        flipped_x: Whether left and right are then exchanged.
        flipped_y: Whether top and bottom are then exchanged.
    """

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """From FFmpeg's display matrix: nine numbers; the first, second, fourth and fifth give the turn.

        Players turn only by right angles, so a slanted matrix counts as the nearest of the eight. A matrix that leaves
        no picture is ignored.

        Examples:
            >>> Orientation.of_matrix([-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30])  # a front camera's
            Orientation(transposed=False, flipped_x=True, flipped_y=False)
        """
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        if a * d - b * c == 0:
            return cls()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    @classmethod
    def of_frame(cls, decoded: Any) -> Orientation:
        """From PyAV's video frame, which has the matrix of its container or of its codec."""
        matrix = decoded.side_data.get("DISPLAYMATRIX")
        return cls() if matrix is None else cls.of_matrix(struct.unpack("=9i", bytes(matrix)[:36]))

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged, before anything is turned."""
        return self.transposed ^ self.flipped_x ^ self.flipped_y

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise by which the frame, mirrored or not, is turned: 0, 90, 180 or 270."""
        if not self.transposed:
            return 180 if self.flipped_y else 0
        return 90 if self.flipped_y ^ self.mirrored else 270

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an upright frame from those of the stored frame, or the reverse."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """A stored frame, (H, W, 3), upright."""
        turned = pixels.swapaxes(0, 1) if self.transposed else pixels
        return turned[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]


class PixelAspect:
    """Width of a stream's pixels by their height: as the container says, or else as each frame says.

    Args:
        container: PyAV's input container.
        stream: Its video stream.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        codec = stream.codec_context
        ratio = stream.sample_aspect_ratio
        varies = container.format.name in _FOLLOWED and codec is not None and ratio in (None, codec.sample_aspect_ratio)
        self._codec = codec if ratio is None or varies else None
        self._fixed = _plausible(ratio)

    def __call__(self) -> Fraction:
        """Of the last decoded frame; 1 if it is not given or not plausible."""
        return self._fixed if self._codec is None else _plausible(self._codec.sample_aspect_ratio)


def _plausible(aspect: Fraction | None) -> Fraction:
    return aspect if aspect and 1 / _MOST_OBLONG <= aspect <= _MOST_OBLONG else Fraction(1)


def square_width(width: int, height: int, aspect: Fraction) -> int:
    """Width of a stored frame in square pixels; its height stays."""
    square = max(1, round(width * aspect))
    return square if square * height <= MAX_PIXELS else width


class Frame:
    """One decoded frame as a player shows it: upright, and its pixels square. Interlaced frames stay interlaced.

    It holds the decoder's frame; `reduced` and `region` convert only the pixels that they return.

    Args:
        decoded: PyAV's video frame.
        aspect: Width of its pixels by their height.
    """

    def __init__(self, decoded: Any, aspect: Fraction = Fraction(1)) -> None:
        self._decoded, self._aspect = decoded, aspect

    @cached_property
    def orientation(self) -> Orientation:
        """How the stored frame became upright."""
        return Orientation.of_frame(self._decoded)

    @cached_property
    def _stored(self) -> tuple[int, int]:
        """Width and height before it is made upright, in square pixels."""
        return square_width(self._decoded.width, self._decoded.height, self._aspect), self._decoded.height

    @property
    def width(self) -> int:
        """Pixels."""
        return self.orientation.size(*self._stored)[0]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.orientation.size(*self._stored)[1]

    @cached_property
    def pixels(self) -> np.ndarray:
        """The full-size frame, (H, W, 3) uint8 RGB."""
        return self.orientation.upright(_rgb(self._decoded, *self._stored))

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
        return self.orientation.upright(_rgb(self._decoded, *self.orientation.size(*size)))

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
        # Blocks of 2 x 2 pixels share their colour. Frames of an odd height are converted by another rule.
        plain = self.orientation == Orientation() and self._stored == (frame.width, frame.height)
        if "pixels" in self.__dict__ or not plain or frame.format.name not in _PLANAR or frame.height % 2:
            return self.pixels[y1:y2, x1:x2]
        left, top = x1 // 2 * 2, y1 // 2 * 2
        right, bottom = -(-x2 // 2) * 2, -(-y2 // 2) * 2
        if right > frame.width:
            return self.pixels[y1:y2, x1:x2]
        part = _planar_part(frame, left, top, right, bottom)
        return _rgb(part, part.width, part.height)[y1 - top : y2 - top, x1 - left : x2 - left]


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
        """Frames from pixels, (N, H, W, 3) uint8 RGB.

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
    """A rectangle of a yuv420p frame as a new frame; all borders are even numbers."""
    import av

    height, width = y2 - y1, x2 - x1
    part = np.empty(height * width * 3 // 2, np.uint8)
    begin = 0
    for plane, step in zip(frame.planes, (1, 2, 2), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        cut = rows[y1 // step : y2 // step, x1 // step : x2 // step]
        part[begin : begin + cut.size] = cut.ravel()
        begin += cut.size
    region = av.VideoFrame.from_ndarray(part.reshape(-1, width), format=frame.format.name)
    region.colorspace, region.color_range = frame.colorspace, frame.color_range
    return region
