"""Reading features for a shuffled epoch: the HDF5 pack, beside one pickle-like .npz file a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.timing import Ratio, in_turn
from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Regression

CLIPS, DIM = 2_000, 74


def run(folder: Path) -> list[Ratio]:
    rng = np.random.default_rng(0)
    clips = [Clip(id=f"train/{n}", split=Split.TRAIN, label=0.0) for n in range(CLIPS)]
    made = {}
    (folder / "npz").mkdir()
    for n, clip in enumerate(clips):
        rows = int(rng.integers(50, 400))
        edges = np.arange(rows + 1) * 0.01
        values = rng.normal(size=(rows, DIM)).astype(np.float32)
        intervals = np.stack([edges[:-1], edges[1:]], 1)
        made[clip.id] = store.Features(values, intervals, np.ones(rows), [f"d{i}" for i in range(DIM)])
        np.savez(folder / "npz" / f"{n}.npz", values=values, intervals=intervals, valid=np.ones(rows, bool))
    dataset = store.open(folder / "cache").create("made", clips, task=Regression(-3.0, 3.0))
    dataset.put("acoustic.made", made)
    order = rng.permutation(CLIPS)

    def packed() -> float:
        stream = store.open(folder / "cache")["made"]["acoustic.made"]
        return float(sum(stream[f"train/{n}"].values.sum(dtype=np.float64) for n in order))

    def files() -> float:
        total = 0.0
        for n in order:
            with np.load(folder / "npz" / f"{n}.npz") as one:
                arrays = {name: one[name] for name in ("values", "intervals", "valid")}
                total += float(arrays["values"].sum(dtype=np.float64))
        return total

    slow, fast, theirs, mine = in_turn(files, packed)
    return [Ratio(f"a shuffled epoch over {CLIPS} clips", slow, fast, f"sums differ by {abs(theirs - mine):.1e}")]
