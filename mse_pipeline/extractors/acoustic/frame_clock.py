"""Frame clocks: which samples a speech encoder's rows are made of, and which time they stand for."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class FrameClock(ABC):
    """The rows of an encoder on its samples.

    Attributes:
        stride: Samples from one row to the next.
        centre: Sample in the middle of what row 0 is made of.
    """

    stride: int
    centre: float

    @abstractmethod
    def rows(self, samples: int) -> int:
        """Number of rows that so many samples give."""

    @abstractmethod
    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples that rows `start` to `stop` (exclusive) are made of.

        Args:
            start: First row.
            stop: Row behind the last.
            samples: Length of the sound.
        """

    def intervals(self, samples: int, rate: int) -> np.ndarray:
        """The time that each row stands for: up to the middle between its centre and its neighbours'.

        Args:
            samples: Length of the sound.
            rate: Samples a second.

        Returns:
            (T, 2) float64 seconds, from 0 to the sound's end without a hole.
        """
        borders = self.centre + (np.arange(self.rows(samples) + 1) - 0.5) * self.stride
        borders[0], borders[-1] = 0.0, samples
        return np.stack([borders[:-1], borders[1:]], 1) / rate


class ConvolutionClock(FrameClock):
    """Of encoders that begin with unpadded convolutions over samples, as wav2vec 2.0 does.

    Args:
        kernels: Sizes of the convolutions.
        strides: Their strides.

    Examples:
        >>> clock = ConvolutionClock((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        >>> clock.stride, clock.field, clock.centre, clock.rows(16_000)
        (320, 400, 200.0, 49)
        >>> clock.span(1, 3, 16_000)
        slice(320, 1040, None)
    """

    def __init__(self, kernels: Sequence[int], strides: Sequence[int]) -> None:
        self._layers = tuple(zip(kernels, strides, strict=True))
        steps = [1, *itertools.accumulate(strides, int.__mul__)]
        self.stride = steps[-1]
        self.field = 1 + sum((kernel - 1) * step for kernel, step in zip(kernels, steps[:-1], strict=True))
        """Samples that one row is made of."""
        self.centre = self.field / 2

    def rows(self, samples: int) -> int:
        """Number of rows; 0 for less sound than one row is made of."""
        for kernel, stride in self._layers:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples of some rows: as many as give just these rows."""
        return slice(start * self.stride, (stop - 1) * self.stride + self.field)


class SpectrogramClock(FrameClock):
    """Of encoders over a centred spectrogram, padded at both ends, as Whisper's: row k lies around sample k * stride.

    Args:
        stride: Samples from one row to the next.

    Examples:
        >>> SpectrogramClock(320).rows(16_000), SpectrogramClock(320).span(40, 60, 16_000)
        (50, slice(12800, 16000, None))
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.centre = 0.0

    def rows(self, samples: int) -> int:
        """Number of rows whose centre lies in the sound."""
        return math.ceil(samples / self.stride)

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples around some rows, as far as there are any."""
        return slice(start * self.stride, min(stop * self.stride, samples))
