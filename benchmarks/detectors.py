"""What it costs to find faces: CPU a frame of each detector, beside MTCNN on full-size frames.

    python -m benchmarks.detectors CLIP ...

Full size is facenet-pytorch's own way: `MTCNN(keep_all=True).detect` on each frame as it is, by one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mse_pipeline.extractors.visual.faces import FaceConfig
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import Frame

WAYS = ("mtcnn, full size", "mtcnn", "mtcnn, every frame", "yunet")


def faces_in(frames: list[Frame], way: str) -> tuple[float, float]:
    """Milliseconds of CPU a frame, reducing it included, and faces found a frame."""
    if way == "mtcnn, full size":
        from facenet_pytorch import MTCNN

        detector = MTCNN(keep_all=True, device="cpu")
        pictures = [np.ascontiguousarray(frame.pixels) for frame in frames]
        detector.detect(pictures[0])
        begun = time.process_time()
        found = [detector.detect(picture) for picture in pictures]
        took = time.process_time() - begun
        count = sum(int((np.asarray(p, float) >= 0.9).sum()) for b, p in found if b is not None)
    else:
        every = 1 if way.endswith("every frame") else 5
        config = FaceConfig(detector="yunet" if way == "yunet" else "mtcnn", detect_every=every).settled()
        config.make_detector()(np.stack([frames[0].reduced(config.width)]))
        begun = time.process_time()
        detections = config.make_detector()(np.stack([frame.reduced(config.width) for frame in frames]))
        took = time.process_time() - begun
        count = sum(len(one) for one in detections)
    return 1e3 * took / len(frames), count / len(frames)


def main() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors", description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+")
    arguments = parser.parse_args()
    table = Table()
    for name in ("clip", "size", "detector", "ms of CPU a frame", "faces a frame"):
        table.add_column(name)
    for clip in arguments.clips:
        frames: list[Frame] = []
        decode(clip, audio=False, frames=[FrameRequest(5.0, lambda batch, kept=frames: kept.extend(batch.frames))])
        for way in WAYS:
            cost, count = faces_in(frames, way)
            size = f"{frames[0].width} x {frames[0].height}"
            table.add_row(clip.stem, size, way, f"{cost:.1f}", f"{count:.2f}", end_section=way == WAYS[-1])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
