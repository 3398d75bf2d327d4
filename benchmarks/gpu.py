"""The same work on a GPU and on the CPU: finding faces, embedding them, and all features end to end.

Run with `python -m benchmarks.gpu`, where a GPU is; elsewhere it says so and ends well. Clips are decoded on the CPU
either way. Seconds are wall time, since a process waits for a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import clips as benchmark_clips
from benchmarks.end_to_end import Extraction
from benchmarks.timing import Ratio, in_turn
from benchmarks.visual import RATE, overlap, random_weights
from mse_pipeline.extractors.visual.detector import Detections
from mse_pipeline.extractors.visual.facenet import load_embedder
from mse_pipeline.extractors.visual.faces import FaceConfig
from mse_pipeline.extractors.visual.weights import file_sha256
from mse_pipeline.media.decode import FrameRequest, decode

FACES = 256


def reduced_frames(clips: Sequence[Path], width: int) -> list[np.ndarray]:
    """Sampled frames of clips at the detector's size, (N, h, w, 3) each, in memory before anything is timed."""
    found: list[np.ndarray] = []
    for clip in clips:
        decode(clip, audio=False, frames=[FrameRequest(RATE, lambda batch: found.append(batch.reduced(width)))])
    return found


def waited(call: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The call, ended when the device has done all that it was given."""
    import torch

    def run() -> Any:
        result = call()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return result

    return run


def compare(what: str, call: Callable[[str], Any], device: str, agree: Callable[[Any, Any], str]) -> Ratio:
    slow, fast, theirs, mine = in_turn(
        waited(lambda: call("cpu"), "cpu"), waited(lambda: call(device), device), clock=time.perf_counter
    )
    return Ratio(what, slow, fast, agree(theirs, mine))


def detection(batches: Sequence[np.ndarray], every: int, device: str) -> Ratio:
    config = FaceConfig(detector="mtcnn", detect_every=every).settled()

    def call(where: str) -> list[Detections]:
        found = []
        for frames in batches:
            found += config.make_detector(where)(frames)
        return found

    def agree(one: list[Detections], other: list[Detections]) -> str:
        alike = [(a, b) for a, b in zip(one, other, strict=True) if len(a) == len(b)]
        shares = np.concatenate([overlap(a.boxes, b.boxes) for a, b in alike] or [np.zeros(0)])
        median = float(np.median(shares)) if len(shares) else float("nan")
        return f"as many faces in {len(alike)} of {len(one)} frames, median IoU {median:.3f}"

    count = sum(len(frames) for frames in batches)
    return compare(f"detection of {count} frames, every {every}", call, device, agree)


def embedding(weights: Path, precision: str, device: str) -> Ratio:
    crops = np.random.default_rng(0).integers(0, 255, (FACES, 160, 160, 3), dtype=np.uint8)

    def call(where: str) -> np.ndarray:
        embedder = load_embedder(weights, file_sha256(weights), precision, where)
        return embedder(crops)

    return compare(
        f"embedding of {FACES} faces, {precision}",
        call,
        device,
        lambda one, other: f"smallest cosine {(one * other).sum(1).min():.5f}",
    )


def end_to_end(clips: Sequence[Path], weights: Path, device: str) -> Ratio:
    runs = {where: Extraction(weights, where, time.perf_counter) for where in ("cpu", device)}

    def call(where: str) -> dict[str, float]:
        runs[where].spent.clear()
        for clip in clips:
            runs[where](clip)
        return dict(runs[where].spent)

    def agree(one: dict[str, float], other: dict[str, float]) -> str:
        return "; ".join(f"{stage} {one[stage]:.2f} s -> {other[stage]:.2f} s" for stage in one)

    return compare(f"end to end, {len(clips)} clips", call, device, agree)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--clips", type=Path, nargs="+", default=[], help="folders of videos; by default drawn clips")
    parser.add_argument("--device", default="cuda", help="torch device that is compared with the CPU")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads on the CPU")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU that torch can use here, so there is nothing to compare; nothing was measured.")
        return
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        kinds = benchmark_clips.all_clips(Path(scratch), arguments.clips, drawn_720p=False)
        clips = [path for paths in kinds.values() for path in paths]
        weights = random_weights(Path(scratch) / "random.pt")
        batches = reduced_frames(clips, FaceConfig().width)
        ratios = [
            *(detection(batches, every, arguments.device) for every in (1, FaceConfig().detect_every)),
            *(embedding(weights, precision, arguments.device) for precision in ("float32", "bfloat16")),
            end_to_end(clips, weights, arguments.device),
        ]
    name = torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else arguments.device
    table = Table("what", f"CPU, {arguments.threads} threads", name, "times faster", "agreement")
    for ratio in ratios:
        table.add_row(*ratio.cells())
    Console().print(table)
    if arguments.json:
        told = {"device": name, "threads": arguments.threads, "ratios": [ratio.to_dict() for ratio in ratios]}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
