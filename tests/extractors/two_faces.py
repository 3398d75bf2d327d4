"""Videos of two faces side by side, with the sound of one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mse_pipeline.media.decode import FrameRequest, decode
from tests.media.media_files import write_media


def everything(clip: Path, rate: float = 25.0) -> tuple[list[np.ndarray], np.ndarray]:
    """All frames of a clip and its sound."""
    frames: list[np.ndarray] = []
    decoded = decode(clip, frames=[FrameRequest(rate, lambda batch: frames.extend(batch.pixels))])
    return frames, decoded.audio.samples


def side_by_side(
    path: Path, left: list[np.ndarray], right: list[np.ndarray], sound: np.ndarray, rate: int = 16_000
) -> Path:
    frames = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=False)]
    return write_media(path, frames=frames, fps=25, sound=sound[None], sound_rate=rate)
