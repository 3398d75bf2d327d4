"""Real datasets of the folder ../shared, built through the package's own commands, for `benchmarks.real`.

    python -m benchmarks.real_data WORK ravdess mosi

Each lies in WORK/NAME: `cache`, and what was written for the commands to read. One that is there is taken as it is.
The official splits hold where there are any; of RAVDESS no actor is in two splits.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline import store

SHARED = Path(__file__).resolve().parents[2] / "shared"
RAVDESS_SPLITS = {**dict.fromkeys(range(1, 13), "train"), 13: "valid", 14: "valid", 15: "test", 16: "test"}
"""Actor -> split."""

WHISPER_LAST = 4
"""How many last hidden states of Whisper's encoder are averaged."""


def mse(*arguments: object) -> dict[str, Any]:
    """Run a command of the package.

    Args:
        arguments: As on the command line; `--json` is added.

    Returns:
        Its JSON.

    Raises:
        RuntimeError: It failed; the message is its own.
    """
    line = [sys.executable, "-m", "mse_pipeline.cli", *map(str, arguments), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"mse {' '.join(map(str, arguments))}\n{done.stderr.strip()[-2000:]}")
    last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return last


def ravdess(shared: Path, folder: Path) -> store.Dataset:
    """Acted speech of 16 actors: `acoustic.egemaps` on a grid of 0.1 s, `visual.au` in one row a clip."""
    cache = folder / "cache"
    if not _is_there(cache, "ravdess", 2):
        table = _ravdess_table(shared, folder)
        settings = ("name=ravdess", "streams={acoustic.egemaps: {}}")
        _extract(table, shared, cache, settings)
        units = np.load(shared / "data/ravdess/face_au.npz")
        names = [f"au_{index:02d}" for index in range(units["au"].shape[1])]
        _write_rows(folder / "units", "visual.au", zip(units["clip"], units["au"], strict=True))
        _write_about(folder / "units", {"classes": _classes(table)}, {"visual.au": names}, "table")
        (folder / "units/clips.csv").write_bytes(table.read_bytes())
        mse("import", "npy", folder / "units", "--name", "ravdess", "--cache", cache)
    return store.open(cache)["ravdess"]


def ravdess_whisper(shared: Path, folder: Path, whisper: Path) -> store.Dataset:
    """The same clips heard by Whisper's encoder: the mean of its last hidden states, as `acoustic.transformers`."""
    cache = folder / "cache"
    options = f"{{model: {whisper}, last: {WHISPER_LAST}}}"
    settings = ("name=ravdess", f"streams={{acoustic.transformers: {options}}}")
    # It takes long: one that was stopped midway goes on, and where nothing is missing nothing is done.
    _extract(_ravdess_table(shared, folder), shared, cache, settings)
    return store.open(cache)["ravdess"]


def mosi(shared: Path, folder: Path) -> store.Dataset:
    """CMU-MOSI's official train and valid clips: texts, and 73 numbers a clip as `acoustic.utterance`."""
    cache = folder / "cache"
    if not _is_there(cache, "mosi", 1):
        told = np.load(shared / "data/mosi/acoustic73.npz")
        names = [f"acoustic_{index:02d}" for index in range(told["x"].shape[1])]
        _write_rows(folder / "rows", "acoustic.utterance", zip(told["id"], told["x"], strict=True))
        _write_about(folder / "rows", {"low": -3.0, "high": 3.0}, {"acoustic.utterance": names}, "mosi")
        with (shared / "data/mosi/clips.csv").open(newline="") as file:
            rows = [[row[name] for name in ("id", "split", "text", "label")] for row in csv.DictReader(file)]
        # Without times: nothing is cut here, and the times of one row are wrong.
        _write_table(folder / "rows/clips.csv", ["id", "split", "text", "label"], rows)
        mse("import", "npy", folder / "rows", "--name", "mosi", "--cache", cache)
    return store.open(cache)["mosi"]


def meld(shared: Path, folder: Path) -> store.Dataset:
    """MELD's texts, speakers and dialogues from its current label files, without media."""
    return _texts("meld", shared / "data/meld/current", folder / "cache")


def simsv2(shared: Path, folder: Path) -> store.Dataset:
    """CH-SIMS v2's texts from its label file, without media."""
    return _texts("simsv2", shared / "data/simsv2", folder / "cache")


DATASETS: dict[str, Callable[[Path, Path], store.Dataset]] = {
    "ravdess": ravdess,
    "mosi": mosi,
    "meld": meld,
    "simsv2": simsv2,
}
"""What needs no model to be built."""


def _texts(name: str, root: Path, cache: Path) -> store.Dataset:
    if not _is_there(cache, name, 0):
        mse("extract", name, "--root", root, "--set", "streams={}", "--cache", cache)
    return store.open(cache)[name]


def _is_there(cache: Path, name: str, streams: int) -> bool:
    return cache.is_dir() and name in store.open(cache) and len(store.open(cache)[name]) == streams


def _extract(table: Path, shared: Path, cache: Path, settings: Sequence[str]) -> None:
    given = [word for one in settings for word in ("--set", one)]
    where = ("--media-root", shared / "data/ravdess/wav", "--cache", cache, "--workers", 1)
    mse("extract", table, *where, "--set", "alignment={kind: grid, step: 0.1}", *given)


def _ravdess_table(shared: Path, folder: Path) -> Path:
    """The labels as a table of clips."""
    with (shared / "data/ravdess/labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "clips.csv"
    clips = []
    for row in rows:
        split = RAVDESS_SPLITS[int(row["actor"])]
        media, speaker = f"{row['clip']}.flac", f"actor {row['actor']}"
        clips.append([row["clip"], media, split, row["transcript"], row["emotion"], speaker])
    _write_table(table, ["id", "media", "split", "text", "label", "speaker"], clips)
    return table


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _classes(table: Path) -> list[str]:
    with table.open(newline="") as file:
        return sorted({row["label"] for row in csv.DictReader(file)})


def _write_rows(folder: Path, stream: str, rows: Iterable[tuple[str, np.ndarray]]) -> None:
    """One row a clip as `mse import npy` reads it: a .npy file a clip."""
    (folder / stream).mkdir(parents=True, exist_ok=True)
    for clip, row in rows:
        np.save(folder / stream / f"{clip}.npy", row[None])


def _write_about(folder: Path, task: dict[str, Any], names: dict[str, list[str]], corpus: str) -> None:
    about = {"format": 1, "dataset": folder.name, "corpus": corpus, "task": task, "streams": names}
    (folder / "about.json").write_text(json.dumps(about))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_data", description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder that gets a folder a dataset")
    parser.add_argument("names", nargs="*", choices=[*DATASETS], help="which; all by default")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of the real data")
    arguments = parser.parse_args()
    for name in arguments.names or DATASETS:
        dataset = DATASETS[name](arguments.shared, arguments.work / name)
        print(f"{dataset.path}: {len(dataset.clips):,} clips, {', '.join(dataset) or 'texts alone'}")


if __name__ == "__main__":
    main()
