"""Single flipped bits in a cache: each is found by `mse cache verify`, or leaves what is read as it was; and repaired.

A small table of sounds is extracted, another stream is put beside it, and a bit is flipped at a random place of a
random kind of file, again and again. After each repair the cache must hold what it held, bit by bit, and its packs
must be the same files. Run alone with ``python -m benchmarks.bit_flips``; the exit code is 1 if anything is not as it
must be.

The cost of checking is that of reading an epoch with checksums beside the same without, in the processor's time: as
training reads it, in batches, and slices alone, which are only copied.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import wave
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import made_cache
from mse_pipeline import backbones, store
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError
from mse_pipeline.extraction.hosts import kept_hosts
from mse_pipeline.extraction.repair import repair
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.integrity import verify
from mse_pipeline.store.pack import Pack
from mse_pipeline.training.job import prepare
from mse_pipeline.training.streams import choose_streams

KINDS = {
    "shard": "streams/*/*/shard-*.parquet",
    "pack": "streams/*/*/pack-*.h5",
    "journal": "journal/*.jsonl",
    "manifest": "dataset.json",
    "clip table": "clips.parquet",
    "identity": "streams/*/*/stream.json",
    "state": "streams/*/*/pack-*.json",
}
_OPTIONS = ExtractionOptions(workers=1)
_BATCH = 32
_ROUNDS = 7


def build(folder: Path, count: int) -> Path:
    """A corpus, and a cache of it: one stream extracted and put on a grid, one put there from elsewhere."""
    root = folder / "corpus"
    (root / "media").mkdir(parents=True)
    lines = ["id,media,split,text,label"]
    rng = np.random.default_rng(0)
    for index in range(count):
        with wave.open(str(root / "media" / f"{index}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((rng.normal(size=8000) * 8000).astype("<i2").tobytes())
        lines.append(f"c{index},media/{index}.wav,{('train', 'valid', 'test')[index % 3]},so it is,{index % 3}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    plain = {"version": 1, "name": "mine", "corpus": {"name": "table"}, "streams": {"acoustic.egemaps": {}}}
    recipe = Recipe.model_validate({**plain, "alignment": {"kind": "grid", "step": 0.1}})
    extract(recipe, root, store.open(folder / "cache"), _OPTIONS)
    values = made_cache.sequences(count, 8, 0.1)
    store.open(folder / "cache")["mine"].put("visual.made", {f"c{n}": one for n, one in enumerate(values)})
    return root


def content(cache: Path) -> dict[Any, Any]:
    """All that is read of a cache: its clips, what they are for, and every value, as it was extracted and packed."""
    dataset = store.open(cache)["mine"]
    found: dict[Any, Any] = {"clips": dataset.clips, "manifest": dataset.manifest, "count": dataset.clip_count()}
    for stream in dataset:
        for view, name in ((dataset.native(stream), "native"), (dataset[stream], "packed")):
            for clip, one in view.items():
                arrays = (one.values.tobytes(), one.intervals.tobytes(), one.valid.tobytes())
                found[name, stream, clip] = (*arrays, tuple(one.names), json.dumps(dict(one.notes)))
        pack = dataset[stream]
        if isinstance(pack, Pack):
            parts = pack.statistics(list(pack))
            found["statistics", stream] = [
                (one.count.tobytes(), one.mean.tobytes(), one.spread.tobytes()) for one in parts
            ]
        found["rows", stream] = sorted(
            (row.clip, row.status, row.key, row.rows, row.digest) for row in dataset.rows(stream)
        )
        found["versions", stream] = dataset.versions(stream)
    return found


def packs(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(cache.rglob("pack-*.h5"))}


def flip(path: Path, chance: random.Random) -> int:
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    return place


def flips(folder: Path, count: int, clips: int) -> dict[str, Any]:
    root = build(folder, clips)
    whole, cache = folder / "cache", folder / "flipped"
    before, files = content(whole), packs(whole)
    chance = random.Random(0)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    wrong: list[str] = []
    extracted = 0
    for number in range(count):
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(whole, cache)
        kind = list(KINDS)[number % len(KINDS)]
        path = chance.choice(sorted((cache / "mine").glob(KINDS[kind])))
        place = flip(path, chance)
        where = f"bit {place} of {path.relative_to(cache)}"
        dataset = store.open(cache)["mine"]
        if not verify(dataset).damages:
            try:
                harmless = content(cache) == before
            except MseError as error:
                harmless, where = False, f"{where} ({error})"
            found[kind]["harmless" if harmless else "missed"] += 1
            wrong += [] if harmless else [f"{where} was not found"]
            continue
        found[kind]["found"] += 1
        try:
            done = repair(dataset, root, _OPTIONS)
            same = not done.after.damages and content(cache) == before and packs(cache) == files
            told = [*done.notes, *(damage.problem for damage in done.after.damages)]
            extracted += len(done.extracted)
        except MseError as error:
            same, told = False, [str(error)]
        found[kind]["repaired"] += same
        wrong += [] if same else [f"{where} was not repaired: {told}"]
    return {"by_kind": {kind: dict(one) for kind, one in found.items()}, "extracted_again": extracted, "wrong": wrong}


def epoch(cache: Path, way: str, checked: bool) -> Callable[[], int]:
    """An epoch in random order of a cache that is opened anew: ``batches`` as training reads, or ``slices`` alone."""
    dataset = store.open(cache)["made"]
    recipe = Recipe.model_validate({"version": 1, "name": "made", "corpus": {"name": "table"}})
    choice = choose_streams(dataset, asked={})
    job = prepare(dataset, backbones.load("tiny"), recipe.training_for("tiny"), choice, recipe.prompt)
    examples = list(job.examples[Split.TRAIN])
    random.Random(0).shuffle(examples)
    opened = [dataset[stream] for stream in dataset]
    if not checked:
        for pack in opened:
            pack._checksums = None  # type: ignore[attr-defined]
    buffer = np.empty((1 << 16, 256), np.float32)

    def batches() -> int:
        parts = range(0, len(examples), _BATCH)
        return sum(len(job.batcher.batch(examples[begin : begin + _BATCH]).clips) for begin in parts)

    def slices() -> int:
        for pack in opened:
            for example in examples:
                values = pack[example.clip].values
                np.copyto(buffer[: len(values), : values.shape[1]], values)
        return len(examples)

    return batches if way == "batches" else slices


def cost(folder: Path, clips: int) -> dict[str, float]:
    """The processor's time with checksums as a ratio to that without, in a process's first epoch and in the next."""
    made_cache.build(folder, clips)
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for _ in range(_ROUNDS):
        for way in ("batches", "slices"):
            for checked in (True, False):
                read = epoch(folder, way, checked)
                for when in ("first epoch", "next epoch"):
                    begun = time.process_time()
                    read()
                    seconds[f"{way}, {when}", checked].append(time.process_time() - begun)
    names = sorted({name for name, _ in seconds})
    return {name: round(np.median(seconds[name, True]) / np.median(seconds[name, False]), 3) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bit_flips")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--clips", type=int, default=24, help="of the cache whose bits are flipped")
    parser.add_argument("--epoch", type=int, default=2000, help="clips of the cache that is read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mse-flips-") as scratch, kept_hosts():
        report = flips(Path(scratch), arguments.flips, arguments.clips)
        report["cost"] = cost(Path(scratch) / "made", arguments.epoch)
    print(json.dumps(report, indent=2))
    sys.exit(1 if report["wrong"] else 0)


if __name__ == "__main__":
    main()
