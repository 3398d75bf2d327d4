"""Workers: how much faster two are than one, how little they grow, and how soon the first clips are in the cache.

Run with `python -m benchmarks.workers --clips DIR` on clips of your own, or without for sample clips. Each figure is
taken several times in turn, as other work on the machine hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

STREAMS = ("acoustic.egemaps", "visual.mtcnn")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers")
    parser.add_argument("--clips", type=Path, help="folder of videos; by default sample clips are built")
    parser.add_argument("--count", type=int, default=60, help="clips of the runs with one and two workers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[200, 2000], help="clips of the runs for memory")
    parser.add_argument("--streams", nargs="*", default=STREAMS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mse-workers-") as scratch:
        folder = Path(scratch)
        clips = sources(arguments.clips, folder)
        report: dict[str, Any] = {"clips": arguments.count, "rounds": arguments.rounds}
        if arguments.rounds:
            report |= scaling(corpus(clips, folder / "speed", arguments.count), folder, arguments)
        if arguments.memory:
            report["memory"] = [memory(clips, folder, count, arguments.streams) for count in arguments.memory]
            first, *_, last = report["memory"]
            report["growth"] = {name: round(last[name] / first[name] - 1, 3) for name in ("host_mb", "command_mb")}
    print(json.dumps(report, indent=2))


def sources(given: Path | None, folder: Path) -> list[Path]:
    if given is None:
        from mse_pipeline import sample

        sample.build(folder / "sample", clips_per_emotion=(2, 1, 1))
        given = folder / "sample"
    return sorted(path for path in given.rglob("*") if path.suffix.lower() in {".mp4", ".mpg", ".mkv"})


def corpus(clips: list[Path], root: Path, count: int) -> Path:
    """A clip table of so many clips, the same few files under many names."""
    (root / "media").mkdir(parents=True)
    originals = [Path(shutil.copy(clip, root / f"original-{number}{clip.suffix}")) for number, clip in enumerate(clips)]
    lines = ["id,media,split,text,label"]
    for number in range(count):
        source = originals[number % len(originals)]
        name = f"media/{number:05d}{source.suffix}"
        os.link(source, root / name)
        split = ("train", "valid", "test")[number % 3]
        lines.append(f"c{number:05d},{name},{split},hello,{('joy', 'anger')[number % 2]}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


def command(root: Path, cache: Path, workers: int, streams: list[str]) -> list[str]:
    words = [str(root / "clips.csv"), "--cache", str(cache), "--workers", str(workers), "--json", "--quiet"]
    chosen = [word for stream in streams for word in ("--streams", stream)]
    return [sys.executable, "cli.py", "extract", *words, *chosen, "--max-failures", "100%"]


def scaling(root: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall and CPU seconds with one and with two workers, a core each, in turn; and what two cores are worth here.

    Two commands at once, each with a worker and a core of its own, share nothing but the machine: on a virtual one, two
    cores may have less than twice the time of one.
    """
    ways = {"one worker": [(1, "0")], "two workers": [(2, "0,1")], "two commands": [(1, "0"), (1, "1")]}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    firsts: list[float] = []
    for turn in range(arguments.rounds):
        for name, runs in ways.items():
            caches = [folder / f"{name}-{turn}-{number}" for number in range(len(runs))]
            begun, before = time.monotonic(), os.times()
            processes = [
                # One worker has one core, as each of two has: the machine's cores are not shared out otherwise.
                subprocess.Popen(
                    ["taskset", "-c", cores, *command(root, cache, workers, arguments.streams)],
                    stdout=subprocess.DEVNULL,
                )
                for (workers, cores), cache in zip(runs, caches, strict=True)
            ]
            first = None
            while any(process.poll() is None for process in processes):
                if first is None and any(caches[0].glob("*/journal/*.jsonl")):
                    first = time.monotonic() - begun
                time.sleep(0.05)
            if any(process.returncode for process in processes):
                raise SystemExit(f"The extraction ended with {[process.returncode for process in processes]}.")
            seconds, after = time.monotonic() - begun, os.times()
            cpu = after.children_user - before.children_user + after.children_system - before.children_system
            taken[name].append((seconds, cpu))
            firsts.append(first or seconds)
    wall, cpu = ({name: [one[k] for one in each] for name, each in taken.items()} for k in (0, 1))
    return {
        "wall_seconds": {name: [round(value, 1) for value in each] for name, each in wall.items()},
        "cpu_seconds": {name: [round(value, 1) for value in each] for name, each in cpu.items()},
        "seconds_to_the_first_commit": [round(value, 1) for value in firsts],
        "two_workers_are_faster_by": _ratio(wall, "one worker", "two workers"),
        "two_cores_of_this_machine_by": round(2 * _ratio(wall, "one worker", "two commands"), 2),
        "cpu_of_two_workers_by_that_of_one": _ratio(cpu, "two workers", "one worker"),
    }


def _ratio(taken: dict[str, list[float]], of: str, by: str) -> float:
    """Median of the rounds' ratios."""
    return round(statistics.median(one / two for one, two in zip(taken[of], taken[by], strict=True)), 3)


def memory(clips: list[Path], folder: Path, count: int, streams: list[str]) -> dict[str, Any]:
    """Peak memory (resident set, MB) of the command and of its hosts over a run of so many clips with two workers."""
    root = corpus(clips, folder / f"memory-{count}", count)
    process = subprocess.Popen(command(root, folder / f"cache-{count}", 2, streams), stdout=subprocess.DEVNULL)
    peaks: dict[str, dict[int, float]] = {"host_mb": {}, "command_mb": {}}
    while process.poll() is None:
        for pid in (process.pid, *(child.pid for child in psutil.Process(process.pid).children())):
            try:
                # The kernel keeps the peak, so that none is missed between two looks.
                peaks["command_mb" if pid == process.pid else "host_mb"][pid] = high_water(pid)
            except (psutil.Error, OSError):
                continue
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"The extraction ended with {process.returncode}.")
    return {"clips": count, **{kind: round(max(values.values()), 1) for kind, values in peaks.items()}}


def high_water(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
