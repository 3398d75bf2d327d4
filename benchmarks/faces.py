"""Finding faces: batches on reduced frames, beside MTCNN on each full frame as its documentation shows it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from benchmarks.timing import Ratio, in_turn
from mse_pipeline.extractors.visual.faces import FaceConfig, FaceSession
from mse_pipeline.media.decode import FrameRequest, decode

RATE = 5.0


def ours(clips: list[Path]) -> list[np.ndarray]:
    """Boxes of the followed face relative to the frame, NaN where there is none."""
    found = []
    for clip in clips:
        session = FaceSession(FaceConfig(rate=RATE), "cpu")
        decode(clip, audio=False, frames=[FrameRequest(RATE, session.add)])
        faces = session.finish()
        found.append(np.where(faces.valid[:, None], faces.boxes, np.nan))
    return found


def straightforward(clips: list[Path]) -> list[np.ndarray]:
    """The largest box of each frame, frames decoded to PIL one by one and searched at full size."""
    detector = MTCNN(keep_all=True, device="cpu")
    found = []
    for clip in clips:
        rows, due = [], 0.5 / RATE
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                if frame.time is None or frame.time + 1 / 50 < due:
                    continue
                due += 1 / RATE
                picture: Image.Image = frame.to_image()
                boxes, _ = detector.detect(picture)
                size = np.array([picture.width, picture.height] * 2)
                rows.append(np.full(4, np.nan) if boxes is None else np.clip(largest(boxes) / size, 0, 1))
        found.append(np.array(rows))
    return found


def largest(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=float)
    return boxes[np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).argmax()]


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, row by row."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def run(clips: list[Path]) -> list[Ratio]:
    torch.set_num_threads(1)
    slow, fast, theirs, mine = in_turn(lambda: straightforward(clips), lambda: ours(clips))
    pairs = [overlap(a[: len(b)], b[: len(a)]) for a, b in zip(theirs, mine, strict=True)]
    shares = np.concatenate(pairs)
    agreement = f"median IoU {np.nanmedian(shares):.2f} over {np.isfinite(shares).sum()} frames"
    return [Ratio("faces at 5 frames a second", slow, fast, agreement)]
