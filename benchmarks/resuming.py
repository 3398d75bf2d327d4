"""An extraction that finds all done, beside the limits of 15 s and 1 GB for 22,856 clips of three streams; the same
after one clip in a hundred has changed, whose packs are written anew; and `mse cache show`.

Run with `python -m benchmarks.resuming`, on a corpus of another size with --clips N; --folder keeps what is made.
Run it on two sizes to see what grows faster than the corpus.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import wave
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.timing import spent

CLIPS = 22_856
_PER_COMMIT = 16  # clips, as a worker's task has
_CHANGED = 100  # one clip in so many
_AGAIN = """
import json, sys
from pathlib import Path
from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
recipe = Recipe.model_validate(json.loads(sys.argv[3]))
summary = extract(recipe, Path(sys.argv[1]), store.open(sys.argv[2]), ExtractionOptions(workers=1))
done = {stream: count.done for stream, count in summary.streams.items()}
print(json.dumps({"processed": summary.processed, "done": done}))
"""


def corpus(root: Path, count: int) -> None:
    """A clip table and as many short WAV files."""
    (root / "media").mkdir(parents=True)
    lines = ["id,media,split,text,label"]
    for index in range(count):
        with wave.open(str(root / "media" / f"{index}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.int16([index % 30_000]).tobytes() * 800)
        lines.append(f"c{index},media/{index}.wav,{('train', 'valid', 'test')[index % 3]},so it is,{index % 3}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")


def recipe(streams: dict[str, dict]) -> dict:
    return {"version": 1, "name": "many", "corpus": {"name": "table"}, "streams": streams}


def fill(root: Path, cache: Path, plain: dict, per_commit: int) -> None:
    """Commit features as an extraction would have: the values are made, the keys are right."""
    from mse_pipeline import corpora, store
    from mse_pipeline.extraction.run import _register, pack, stream_specs
    from mse_pipeline.recipe import Recipe

    os.fsync = lambda handle: None  # what a power cut would lose is made again
    asked = Recipe.model_validate(plain)
    read = corpora.read("table", root, asked.corpus.options, asked.task)
    specs = stream_specs(asked)
    dataset = _register(store.open(cache), asked, read, specs, {})
    for begin in range(0, len(read.clips), per_commit):
        commit(dataset, specs, root, read.clips[begin : begin + per_commit], asked.media.max_seconds)
    pack(dataset)


def commit(dataset, specs, root: Path, clips, max_seconds: float | None, value: float = 1.0) -> None:  # type: ignore[no-untyped-def]
    """One commit of made features; files of another value count as of another content."""
    from mse_pipeline import store
    from mse_pipeline.media.fetching import media_digest
    from mse_pipeline.store.commit import Commit
    from mse_pipeline.store.journal import JournalRow

    times = np.stack([np.arange(4), np.arange(1, 5)], 1) * 0.01
    values = np.full((4, 8), value, np.float32)
    entered = Commit(dataset, "made")
    for clip in clips:
        status = (root / str(clip.media)).stat()
        digest = media_digest(root / str(clip.media)) if value == 1.0 else f"{int(value):032x}"
        for spec in specs:
            key = spec.key(clip, digest, max_seconds)
            row = JournalRow(
                clip=clip.id, stream=spec.stream, version=spec.version, status="done", key=key, digest=digest,
                size=status.st_size, mtime_ns=status.st_mtime_ns,
            )  # fmt: skip
            entered.add(row, store.Features(values, times, np.ones(4, bool), [f"d{n}" for n in range(8)]))
    entered.write()


def change(root: Path, cache: Path, plain: dict) -> None:
    """Commit other features of some clips, which the packs do not hold yet."""
    from mse_pipeline import store
    from mse_pipeline.extraction.run import stream_specs
    from mse_pipeline.recipe import Recipe

    asked, dataset = Recipe.model_validate(plain), store.open(cache)["many"]
    value = 2.0 + len(dataset.journal.parts())
    chosen = dataset.clips[::_CHANGED]
    for begin in range(0, len(chosen), _PER_COMMIT):
        clips = chosen[begin : begin + _PER_COMMIT]
        commit(dataset, stream_specs(asked), root, clips, asked.media.max_seconds, value)


def measured(*command: str) -> dict:
    """What an extraction prints last, with the seconds, CPU seconds and memory of its process."""
    used = spent(command)
    told = json.loads(used.printed.splitlines()[-1]) if "-c" in command else {}
    return {**told, "seconds": used.seconds, "cpu_seconds": used.cpu, "peak_bytes": used.peak}


def measure(folder: Path, count: int, streams: dict[str, dict], compact: bool, per_commit: int = _PER_COMMIT) -> dict:
    root, cache, plain = folder / "corpus", folder / "cache", recipe(streams)
    if not root.is_dir():
        _apart(corpus, root, count)
        _apart(fill, root, cache, plain, per_commit)
    if compact:
        _apart(_compacted, cache)
    again = sys.executable, "-c", _AGAIN, str(root), str(cache), json.dumps(plain)
    show = sys.executable, "-m", "mse_pipeline.cli", "cache", "show", "many", "--cache", str(cache)
    report = {"clips": count, "all done": measured(*again), "cache show": measured(*show)}
    _apart(change, root, cache, plain)
    return {**report, "one in a hundred packed": measured(*again)}


def _compacted(cache: Path) -> None:
    from mse_pipeline import store
    from mse_pipeline.store.pruning import compact

    compact(store.open(cache)["many"])


def _apart(work: Callable[..., None], *arguments: object) -> None:
    """Do something in a process of its own: what is measured later would count this one's memory as its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(work, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resuming")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--folder", type=Path, help="where corpus and cache are made, and kept")
    parser.add_argument("--streams", nargs="+", default=["acoustic.egemaps", "acoustic.librosa", "visual.mtcnn"])
    parser.add_argument("--per-commit", type=int, default=_PER_COMMIT, help="clips a commit; more are made sooner")
    parser.add_argument("--compact", action="store_true", help="after `mse cache compact`")
    arguments = parser.parse_args()
    streams: dict[str, dict] = {stream: {} for stream in arguments.streams}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        report = measure(folder, arguments.clips, streams, arguments.compact, arguments.per_commit)
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
