"""Reading features for training, from a made cache of CMU-MOSEI's size.

What a training waits for before its first batch, and how fast an epoch's features come beside the same file read from
end to end by h5py alone. Run alone with ``python -m benchmarks.reading``; ``--clips N`` makes less, ``--folder`` keeps
what is made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from benchmarks.made_cache import CLIPS, STREAMS, build
from benchmarks.timing import Ratio, in_turn

_FIRST_BATCH = """
import json, resource, sys, time
import torch
from mse_pipeline import backbones, store
from mse_pipeline.clip import Split
from mse_pipeline.recipe import Recipe
from mse_pipeline.training.job import prepare
from mse_pipeline.training.streams import choose_streams
torch.set_num_threads(1)
backbone = backbones.load("tiny")
recipe = Recipe.model_validate({"version": 1, "name": "made", "corpus": {"name": "table"}})
begun, before = time.perf_counter(), time.process_time()
dataset = store.open(sys.argv[1])["made"]
choice = choose_streams(dataset, asked={})
job = prepare(dataset, backbone, recipe.training_for("tiny"), choice, recipe.prompt)
batch = job.batcher.batch(job.examples[Split.TRAIN][:32])
print(json.dumps({
    "seconds": time.perf_counter() - begun,
    "cpu_seconds": time.process_time() - before,
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""
_BLOCK = 1 << 16  # rows that h5py reads at once


def first_batch(cache: Path) -> dict[str, float]:
    """From the opening of the cache to the first batch, in a process that has torch and the tiny backbone."""
    done = subprocess.run([sys.executable, "-c", _FIRST_BATCH, str(cache)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def passes(cache: Path, stream: str, shuffled: bool = False) -> tuple[Ratio, float]:
    """All values of a stream: h5py from end to end, beside clip by clip, in order or not; and their gigabytes."""
    from mse_pipeline import store

    dataset = store.open(cache)["made"]
    path, pack = dataset.pack_path(stream), dataset[stream]
    clips = list(pack)
    order = np.random.default_rng(0).permutation(len(clips)).tolist() if shuffled else range(len(clips))
    buffer = np.empty((_BLOCK, STREAMS[stream][0]), np.float32)

    def bare() -> int:
        rows = 0
        with h5py.File(path) as file:
            values = file["values"]
            for begin in range(0, len(values), _BLOCK):
                count = min(_BLOCK, len(values) - begin)
                values.read_direct(buffer, np.s_[begin : begin + count], np.s_[:count])
                rows += count
        return rows

    def ours() -> int:
        rows = 0
        for index in order:
            values = pack[clips[index]].values
            np.copyto(buffer[: len(values)], values)
            rows += len(values)
        return rows

    slow, fast, theirs, mine = in_turn(bare, ours)
    agreement = f"{theirs:,} and {mine:,} rows"
    size = int(pack.offsets[-1]) * STREAMS[stream][0] * 4 / 1e9
    way = "shuffled" if shuffled else "in order"
    return Ratio(f"{size:.1f} GB of {stream}, clips {way}, beside h5py", slow, fast, agreement), size


def run(folder: Path, count: int = 2_000) -> list[Ratio]:
    """For `make bench`: a small cache's passes."""
    build(folder / "cache", count)
    return [passes(folder / "cache", stream, shuffled)[0] for stream in STREAMS for shuffled in (False, True)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--folder", type=Path, help="where the cache is made, and kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.folder or Path(scratch)
        build(cache, arguments.clips)
        figures: dict[str, object] = {"clips": arguments.clips, "first_batch": first_batch(cache)}
        for stream, shuffled in ((one, way) for one in STREAMS for way in (False, True)):
            ratio, size = passes(cache, stream, shuffled)
            speeds = {"bare_gb_per_s": size / ratio.straightforward, "ours_gb_per_s": size / ratio.ours}
            figures[f"{stream}, {'shuffled' if shuffled else 'in order'}"] = {**speeds, "share": ratio.faster}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
