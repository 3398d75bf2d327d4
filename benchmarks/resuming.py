"""An extraction that finds all done: 22,856 clips of three streams, beside the limits of 15 s and 1 GB.

Run with `python -m benchmarks.resuming`, on a smaller corpus with --clips N; --folder keeps what is made.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

CLIPS = 22_856
_PER_COMMIT = 16  # clips, as a worker's task has
_AGAIN = """
import json, resource, sys, time
from pathlib import Path
begun = time.perf_counter()
from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
recipe = Recipe.model_validate(json.loads(sys.argv[3]))
summary = extract(recipe, Path(sys.argv[1]), store.open(sys.argv[2]), ExtractionOptions(workers=1))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({
    "processed": summary.processed,
    "done": {stream: count.done for stream, count in summary.streams.items()},
    "seconds": time.perf_counter() - begun,
    "cpu_seconds": time.process_time(),
    "peak_bytes": memory,
}))
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


def fill(root: Path, cache: Path, plain: dict) -> None:
    """Commit features as an extraction would have: the values are made, the keys are right."""
    from mse_pipeline import corpora, store
    from mse_pipeline.extraction.run import _register, pack, stream_specs
    from mse_pipeline.media.fetching import media_digest
    from mse_pipeline.recipe import Recipe
    from mse_pipeline.store.commit import Commit
    from mse_pipeline.store.journal import JournalRow

    asked = Recipe.model_validate(plain)
    read = corpora.read("table", root, asked.corpus.options, asked.task)
    specs = stream_specs(asked)
    dataset = _register(store.open(cache), asked, read, specs)
    values = {spec.stream: np.ones((4, 8), np.float32) for spec in specs}
    times = np.stack([np.arange(4), np.arange(1, 5)], 1) * 0.01
    for begin in range(0, len(read.clips), _PER_COMMIT):
        commit = Commit(dataset, "made")
        for clip in read.clips[begin : begin + _PER_COMMIT]:
            status = (root / str(clip.media)).stat()
            digest = media_digest(root / str(clip.media))
            for spec in specs:
                key = spec.key(clip, digest, asked.media.max_seconds)
                row = JournalRow(
                    clip=clip.id, stream=spec.stream, version=spec.version, status="done", key=key, digest=digest,
                    size=status.st_size, mtime_ns=status.st_mtime_ns,
                )  # fmt: skip
                one = store.Features(values[spec.stream], times, np.ones(4, bool), [f"d{n}" for n in range(8)])
                commit.add(row, one)
        commit.write()
    pack(dataset)


def measure(folder: Path, count: int, streams: dict[str, dict], compact: bool) -> dict:
    from mse_pipeline import store
    from mse_pipeline.store.pruning import compact as merge

    root, cache, plain = folder / "corpus", folder / "cache", recipe(streams)
    if not root.is_dir():
        corpus(root, count)
        fill(root, cache, plain)
    if compact:
        merge(store.open(cache)["many"])
    done = subprocess.run(
        [sys.executable, "-c", _AGAIN, str(root), str(cache), json.dumps(plain)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resuming")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--folder", type=Path, help="where corpus and cache are made, and kept")
    parser.add_argument("--streams", nargs="+", default=["acoustic.egemaps", "acoustic.librosa", "visual.mtcnn"])
    parser.add_argument("--compact", action="store_true", help="after `mse cache compact`")
    arguments = parser.parse_args()
    streams: dict[str, dict] = {stream: {} for stream in arguments.streams}
    with tempfile.TemporaryDirectory() as scratch:
        print(
            json.dumps(
                measure(arguments.folder or Path(scratch), arguments.clips, streams, arguments.compact), indent=2
            )
        )


if __name__ == "__main__":
    main()
