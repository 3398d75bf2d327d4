"""Whole jobs beside the scripts that an experienced user would write: each process from its start to its end.

CPU seconds of the process and of all that it starts. `benchmarks.scripts.features` makes the same streams of the same
clips, `benchmarks.scripts.sound` those of sound alone through audinterface, and `benchmarks.scripts.decode` decodes.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.clips import Clips
from benchmarks.timing import Ratio, Spent, spent
from benchmarks.visual import random_weights

SCRIPTS = Path(__file__).parent / "scripts"
ROUNDS = 3
MOST_OF_WORKERS = 300
"""Clips of the job that is done by one and by two workers: a minute, beside which the start of a worker is nothing."""
Way = Callable[[], Sequence[str]]


def ours(folder: Path, files: Sequence[Path], streams: dict[str, dict[str, Any]], workers: int = 1) -> list[str]:
    """The command of the product, with a clip table of the files; the cache of an earlier round is removed."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    lines = [f"c{n},{path.relative_to(folder)},train,so it is,{n % 2}.5" for n, path in enumerate(files)]
    (folder / "clips.csv").write_text("\n".join(["id,media,split,text,label", *lines]) + "\n")
    recipe = {"version": 1, "name": "job", "corpus": {"name": "table"}, "streams": streams}
    (folder / "job.yaml").write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "mse_pipeline.cli", "extract", str(folder / "job.yaml"), "--quiet"]
    return [*command, "--root", str(folder), "--cache", str(folder / "cache"), "--workers", str(workers)]


def script(name: str, *arguments: object) -> list[str]:
    """The command of a script."""
    return [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]


def streams_of(weights: Path | None) -> dict[str, dict[str, Any]]:
    """What both make: FaceNet's embeddings where there are weights."""
    face = {"detector": "mtcnn", "identity": "none"}
    plain: dict[str, dict[str, Any]] = {"acoustic.egemaps": {}, "visual.mtcnn": face}
    return plain if weights is None else {**plain, "visual.facenet": {**face, "weights": str(weights)}}


def linked(sources: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """So many clips in a folder, the same few files under many names."""
    (folder / "media").mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        paths.append(folder / "media" / f"{source.stem}-{number}{source.suffix}")
        if not paths[-1].exists():
            shutil.copyfile(source, paths[-1])
    return paths


def in_turn(ways: dict[str, Way], environment: dict[str, str], rounds: int = ROUNDS) -> dict[str, Spent]:
    """Median of each way's rounds, taken in turn, so that drift hits all."""
    taken: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, command in ways.items():
            taken[name].append(spent(command(), environment))
    return {
        name: Spent(*(statistics.median(getattr(one, what) for one in rows) for what in ("cpu", "seconds", "peak")))  # type: ignore[arg-type]
        for name, rows in taken.items()
    }


def run(
    kinds: Clips, scratch: Path, counts: Sequence[int] = (1, 10), wavs: Sequence[Path] = (), *, facenet: bool = True
) -> list[Ratio]:
    """Rows for each kind of video, for small jobs of the first kind, for sound alone, and for two workers.

    Args:
        kinds: Files by kind.
        scratch: Where the jobs' folders and caches go.
        counts: Clips of the jobs; all kinds are taken with the last.
        wavs: Sound files.
        facenet: Whether faces are embedded, too.
    """
    folder = scratch / "job"
    weights = random_weights(scratch / "facenet.pt") if facenet else None
    # Modules are compiled once for all, also where the environment forbids to keep what was compiled.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MSE_MODELS": str(scratch / "none")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(scratch / "compiled")
    first = next(iter(kinds))
    ratios: list[Ratio] = []
    jobs = [(f"{count} clips, {first}", linked(kinds[first], count, folder)) for count in counts]
    jobs += [
        (f"{counts[-1]} clips, {kind}", linked(few, counts[-1], folder)) for kind, few in kinds.items() if kind != first
    ]
    for kind, files in jobs:
        ways: dict[str, Way] = {
            "script": lambda files=files: script("features", _out(folder), weights or "-", *files),  # type: ignore[misc]
            "ours": lambda files=files: ours(folder, files, streams_of(weights)),  # type: ignore[misc]
            "decode": lambda files=files: script("decode", *files),  # type: ignore[misc]
        }
        if not ratios:
            in_turn(ways, environment, 1)  # compiles modules
        took = in_turn(ways, environment)
        words = f"{took['ours'].cpu / took['decode'].cpu:.1f} times decoding"
        ratios.append(_ratio(f"{kind}{'' if facenet else ', without FaceNet'}", took, words))
    if wavs:
        for count in counts:
            files = linked(wavs, count, folder)
            took = in_turn(
                {
                    "script": lambda files=files: script("sound", _out(folder), *files),  # type: ignore[misc]
                    "ours": lambda files=files: ours(folder, files, {"acoustic.egemaps": {}}),  # type: ignore[misc]
                },
                environment,
            )
            ratios.append(_ratio(f"{count} files of sound alone, audinterface", took))
    files = linked(kinds[first], min(2 * counts[-1], MOST_OF_WORKERS), folder)
    both = in_turn({str(n): lambda n=n: ours(folder, files, streams_of(weights), n) for n in (1, 2)}, environment)  # type: ignore[misc]
    words = f"CPU of two {both['2'].cpu / both['1'].cpu:.2f} of one's"
    details = {name: _plain(one) for name, one in both.items()}
    ratios.append(
        Ratio(f"two workers for one, {len(files)} clips, wall", both["1"].seconds, both["2"].seconds, words, details)
    )
    return ratios


def _out(folder: Path) -> Path:
    """An empty folder for what a script writes."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    return folder / "out"


def _ratio(what: str, took: dict[str, Spent], words: str = "") -> Ratio:
    share = f"{took['ours'].cpu / took['script'].cpu:.2f} of the script's CPU"
    details = {name: _plain(one) for name, one in took.items()}
    return Ratio(f"whole job: {what}", took["script"].cpu, took["ours"].cpu, f"{share}{words and ', '}{words}", details)


def _plain(one: Spent) -> dict[str, float]:
    return {"cpu_seconds": one.cpu, "seconds": one.seconds, "peak_bytes": one.peak}
