"""Whole frames: a clip's sampled frames, reduced to what an encoder of whole pictures needs."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.media.effort import Decoding
from mse_pipeline.media.frames import FrameBatch


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FrameConfig:
    """Which frames are looked at.

    Attributes:
        rate: Sampled frames a second.
        width: Width in pixels that frames are reduced to; narrower frames stay as they are.
        decoding: How much of each frame is decoded: ``full``; ``fast``, for less CPU and slightly other pixels: without
            the codec's loop filter, and frames of half the size where the codec has them and they are still `width`
            wide; ``key_frames``: so and only the key frames, each shown until the next, for a `rate` of a row a second
            or less.
    """

    rate: Annotated[float, Field(gt=0.0, le=120.0)] = 5.0
    width: Annotated[int, Field(ge=32, le=8192)] = 480
    decoding: Literal["full", "fast", "key_frames"] = "full"

    @property
    def decoded(self) -> Decoding:
        """How much of the video is decoded."""
        return Decoding.of(self.decoding, self.width)


@plain_dataclass(frozen=True, eq=False)
class Frames:
    """A clip's sampled frames.

    Attributes:
        intervals: (T, 2) float64, seconds from the clip's start.
        pixels: T pictures, each (H, W, 3) uint8 RGB, at most `FrameConfig.width` wide.
    """

    intervals: np.ndarray
    pixels: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.pixels)


class FrameSession:
    """Collects the frames of one clip: `add` them batch by batch, then `finish`.

    Args:
        config: Which frames.
    """

    def __init__(self, config: FrameConfig) -> None:
        self._config = config
        self._intervals: list[np.ndarray] = []
        self._pixels: list[np.ndarray] = []

    def add(self, batch: FrameBatch) -> None:
        """Take some more frames."""
        self._intervals.append(batch.intervals)
        self._pixels.extend(batch.reduced(self._config.width))

    def finish(self) -> Frames:
        """All frames that were added."""
        return Frames(np.concatenate(self._intervals) if self._intervals else np.zeros((0, 2)), tuple(self._pixels))
