"""Hosts: what one costs before its first clip, and sound alone beside openSMILE's own `process_files`.

Run with `python -m benchmarks.hosts --clips DIR --sound DIR` on folders of your own, or without for sample clips.
Processes are measured whole, with all that they start, by the processor's time; the two ways of a pair run in turn.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.clips import drawn
from benchmarks.timing import Ratio, in_turn
from benchmarks.visual import random_weights
from mse_pipeline.clip import Clip
from mse_pipeline.extraction.plan import Task, Todo
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.recipe import Recipe

# What a host does (`extraction.hosts`), and then the peak of its memory.
HOST = """
import pickle, sys
task, todo = pickle.load(open(sys.argv[1], "rb"))
from mse_pipeline.child_process import serve
from mse_pipeline.extraction.hosts import _load
made = _load(task)((task, todo), lambda step: None)
assert all(row.status == "done" for row, features in made), made
from mse_pipeline.posix import peak_memory
print(peak_memory() >> 20, "torch" in sys.modules)
"""
PROCESS_FILES = """
import sys
from pathlib import Path
import opensmile
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
files = sorted(map(str, Path(sys.argv[1]).iterdir()))
assert len(smile.process_files(files))
"""
STREAMS: dict[str, tuple[str, ...]] = {
    "default streams": ("acoustic.egemaps", "visual.mtcnn"),
    "default streams and FaceNet": ("acoustic.egemaps", "visual.mtcnn", "visual.facenet"),
    "sound": ("acoustic.egemaps",),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosts")
    parser.add_argument("--clips", type=Path, help="folder of videos; by default sample clips are drawn")
    parser.add_argument("--sound", type=Path, help="folder of sound files; by default the sound of sample clips")
    parser.add_argument("--counts", type=int, nargs="*", default=[100], help="files of sound that are extracted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    # As a worker has it; who is compared with gets the same.
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="mse-hosts-") as scratch:
        folder = Path(scratch)
        videos = sorted(arguments.clips.rglob("*.mp*")) if arguments.clips else drawn(folder / "videos", (320, 240))
        report: dict[str, Any] = {}
        for name, streams in STREAMS.items():
            report[name] = host(streams, videos[0], folder, arguments.rounds)
        Console().print_json(json.dumps(report))
        given = sources(arguments, videos, folder)
        pairs = [sound(files, folder / str(len(files)), arguments.rounds) for files in given]
    report["sound"] = [pair.to_dict() for pair in pairs]
    Console().print_json(json.dumps(report["sound"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def spent() -> float:
    """Seconds of the processor that ended processes which this one started have used, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def host(streams: Sequence[str], clip: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of the processor to the first clip, and the peak of memory."""
    options = {stream: {"weights": str(weights(folder))} if stream == "visual.facenet" else {} for stream in streams}
    recipe = Recipe.model_validate({"version": 1, "name": "x", "corpus": {"name": "table"}, "streams": options})
    task = Task("run", clip.parent, clip.parent, stream_specs(recipe), 30.0, "cpu")
    item = folder / "item"
    item.write_bytes(pickle.dumps((task, Todo(Clip(id="a", split="train", media=clip.name), tuple(streams)))))
    run([sys.executable, "-c", HOST, str(item)])  # exports networks, where that was never done
    seconds, told = [], ""
    for _ in range(rounds):
        before = spent()
        told = run([sys.executable, "-c", HOST, str(item)])
        seconds.append(round(spent() - before, 2))
    megabytes, torch = told.split()
    return {"seconds": statistics.median(seconds), "of": seconds, "megabytes": int(megabytes), "torch": torch == "True"}


def weights(folder: Path) -> Path:
    path = folder / "random.pt"
    return path if path.exists() else random_weights(path)


def sources(arguments: argparse.Namespace, videos: Sequence[Path], folder: Path) -> list[list[Path]]:
    """Files of sound, for each count."""
    if arguments.sound is None:
        from benchmarks.acoustic import write_wav

        files = [folder / "drawn" / f"{video.stem}.wav" for video in videos]
        (folder / "drawn").mkdir()
        for video, file in zip(videos, files, strict=True):
            write_wav(video, file)
    else:
        files = sorted(path for path in arguments.sound.rglob("*") if path.suffix in {".flac", ".ogg", ".opus", ".wav"})
        if not files:
            raise SystemExit(f"{arguments.sound} holds no .flac, .ogg, .opus or .wav.")
    return [[files[k % len(files)] for k in range(count)] for count in arguments.counts]


def sound(files: Sequence[Path], folder: Path, rounds: int) -> Ratio:
    """`mse extract` of eGeMAPS beside a script that calls `process_files`."""
    (folder / "media").mkdir(parents=True)
    rows = [("id", "media", "split", "text", "label")]
    for number, file in enumerate(files):
        copy = folder / "media" / f"{number}{file.suffix}"
        copy.write_bytes(file.read_bytes())
        rows.append((str(number), f"media/{copy.name}", "train", "", str(number % 2)))
    with (folder / "clips.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    numbers = iter(range(rounds))

    def ours() -> None:
        cache = folder.with_name(f"{folder.name}-cache{next(numbers)}")
        command = [sys.executable, "-m", "mse_pipeline.cli", "extract", "table", "--root", str(folder), "--quiet"]
        run([*command, "--cache", str(cache), "--streams", "acoustic.egemaps", "--workers", "1"])

    def theirs() -> None:
        run([sys.executable, "-c", PROCESS_FILES, str(folder / "media")])

    one, other, *_ = in_turn(theirs, ours, rounds=rounds, clock=spent, warm=False)
    words = f"{other / one:.2f} times the CPU of process_files"
    return Ratio(f"eGeMAPS of {len(files)} files, whole processes", one, other, words, {"times": other / one})


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


if __name__ == "__main__":
    main()
