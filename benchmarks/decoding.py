"""What the efforts of decoding cost, and what they change: `python -m benchmarks.decoding CLIP...`

Of each clip: CPU seconds of decoding and reducing 5 frames a second (key frames: 1), the mean difference of the reduced
frames from those of `full` in grey levels, and how far faces move that YuNet finds in both (intersection over union).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.visual import overlap
from mse_pipeline.extractors.visual.yunet import YunetDetector
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.effort import Decoding

WIDTH, ROUNDS = 480, 3


def shown(clip: Path, rate: float, efforts: Sequence[str]) -> list[tuple[float, np.ndarray]]:
    """Of each effort the fewest CPU seconds of rounds that are taken in turn, and the reduced frames."""
    seconds: dict[str, list[float]] = {effort: [] for effort in efforts}
    frames = {}
    for _ in range(ROUNDS):
        for effort in efforts:
            parts: list[np.ndarray] = []
            way = Decoding.of(effort, WIDTH)  # type: ignore[arg-type]
            begun = time.process_time()
            keep = lambda batch, to=parts: to.append(batch.reduced(WIDTH))  # noqa: E731
            decode(clip, audio=False, frames=[FrameRequest(rate, keep, decoding=way)])
            seconds[effort].append(time.process_time() - begun)
            frames[effort] = np.concatenate(parts)
    return [(min(seconds[effort]), frames[effort]) for effort in efforts]


def main() -> None:
    table = Table("clip", "effort", "rows", "CPU of full", "grey levels", "faces in both", "IoU, median", "IoU, least")
    detector = YunetDetector(16, 0.78)
    for clip in map(Path, sys.argv[1:]):
        for effort, rate in (("fast", 5.0), ("key_frames", 1.0)):
            (whole, full), (part, other) = shown(clip, rate, ("full", effort))
            one, two = detector(full), detector(other)
            pairs = [(a.boxes[:1], b.boxes) for a, b in zip(one, two, strict=True) if len(a.boxes) and len(b.boxes)]
            shares = np.array([overlap(np.repeat(a, len(b), 0), b).max() for a, b in pairs] or [np.nan])
            seen = sum(bool(len(a.boxes)) for a in one)
            grey = f"{np.abs(full.astype(int) - other).mean():.2f}" if full.shape == other.shape else "other size"
            cells = [
                f"{part / whole:.2f}",
                grey,
                f"{len(pairs)} of {seen}",
                f"{np.median(shares):.3f}",
                f"{shares.min():.3f}",
            ]
            table.add_row(clip.name, effort, str(len(full)), *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
