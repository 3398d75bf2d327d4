"""A made cache of the size of CMU-MOSEI: 22,856 clips, sequences of true length of 74 and 35 dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.task import Regression

CLIPS = 22_856
STREAMS = {"acoustic.made": (74, 0.01), "visual.made": (35, 1 / 30)}  # dimensions, seconds from row to row
_PER_SHARD = 128


def clips(count: int) -> list[Clip]:
    """In MOSEI's shares of train, valid and test, with texts of its lengths."""
    rng = np.random.default_rng(0)
    splits = rng.choice([*Split], count, p=[0.714, 0.082, 0.204])
    words = rng.integers(4, 40, count)
    labels = rng.uniform(-3, 3, count).round(1)
    made = []
    for index in range(count):
        text = " ".join(f"word{(index * 7 + k) % 997}" for k in range(words[index]))
        made.append(Clip(id=f"clip{index:05d}", split=Split(splits[index]), text=text, label=float(labels[index])))
    return made


def sequences(count: int, dim: int, step: float) -> Iterator[store.Features]:
    """Made by slicing one block of noise: what counts here is size."""
    rng = np.random.default_rng(dim)
    seconds = np.clip(rng.lognormal(1.75, 0.65, count), 0.5, 60)  # 7 s in the mean, as MOSEI's
    noise = rng.normal(size=(8192, dim)).astype(np.float32)
    names = tuple(f"d{n}" for n in range(dim))
    for index in range(count):
        rows = max(1, int(seconds[index] / step))
        edges = np.arange(rows + 1) * step
        begin = (index * 37) % (len(noise) - rows) if rows < len(noise) else 0
        values = noise[begin : begin + rows]
        yield store.Features(values, np.stack([edges[:-1], edges[1:]], 1), np.ones(len(values), bool), names)


def build(folder: Path, count: int = CLIPS) -> store.Dataset:
    """The dataset `made` of the cache in `folder`; one that is there with as many clips is taken as it is."""
    cache = store.open(folder)
    if "made" in cache and len(cache["made"].clips) == count and len(cache["made"]) == len(STREAMS):
        return cache["made"]
    dataset = cache.create("made", clips(count), task=Regression(-3.0, 3.0), source={"corpus": "mosei"})
    for stream, (dim, step) in STREAMS.items():
        entry = StreamEntry(f"{dim:012x}", {"stream": stream})
        commit = Commit(dataset, "made")
        for index, (clip, features) in enumerate(zip(dataset.clips, sequences(count, dim, step), strict=True), 1):
            row = JournalRow(clip=clip.id, stream=stream, version=entry.version, status="done", key=f"{index:032x}")
            commit.add(row, features)
            if index % _PER_SHARD == 0:
                commit.write()
                commit = Commit(dataset, "made")
        commit.write()
        dataset.set_manifest(dataset.manifest.with_stream(stream, entry))
    for stream in STREAMS:
        pack_stream(dataset, stream)
    return dataset
