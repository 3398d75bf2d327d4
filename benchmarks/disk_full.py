"""Twenty full disks: extract, pack, train and export meet the end of a small disk at random points.

Each time the command must end with one sentence and exit code 1, the same command must complete once there is room,
and what it leaves must equal what an undisturbed one leaves. Run as root on Linux, which can make disks of memory,
with `python -m benchmarks.disk_full` from the root of the checkout; it takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mse_pipeline import sample, store

MSE = str(Path(sys.executable).with_name("mse"))
ROOM = "1g"


@dataclass(frozen=True)
class Stage:
    """A command that writes to the small disk.

    Attributes:
        name: What it is called in the report.
        arguments: Of `mse`.
        left: What it leaves there that must equal, by name.
    """

    name: str
    arguments: tuple[str, ...]
    left: Callable[[Path], dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disk_full")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="mse-full-") as scratch:
        home = Path(scratch)
        data = home / "data"
        sample.build(data, clips_per_emotion=(2, 1, 1))
        disk = home / "disk"
        disk.mkdir()
        told, wrong = [], []
        for number in range(arguments.times):
            stage = stages(data)[number % 4]
            result = trial(stage, disk, home, chance)
            told.append(f"{stage.name}: {result['at']} kB of {result['needs']} kB: {result['said']}")
            print(told[-1], flush=True)
            wrong += [f"{told[-1]}: {problem}" for problem in result["wrong"]]
    print(json.dumps({"times": arguments.times, "wrong": wrong}, indent=2, ensure_ascii=False))
    sys.exit(1 if wrong else 0)


def stages(data: Path) -> tuple[Stage, ...]:
    """The four commands, each working on what those before it have left."""
    extract = ("extract", "meld", "--root", str(data), "--workers", "1", "--streams", "acoustic.egemaps", "--quiet")
    train = ("train", "meld", "--backbone", "tiny", "--seed", "1", "--epochs", "2", "--without", "visual", "--quiet")
    return (
        Stage("extract", (*extract, "--cache", "cache"), features),
        Stage("pack", (*extract, "--cache", "cache"), features),
        Stage("train", (*train, "--cache", "cache", "--runs", "runs"), trained),
        Stage("export", ("export", "meld", "npy", "out", "--cache", "cache", "--quiet"), exported),
    )


def trial(stage: Stage, disk: Path, home: Path, chance: random.Random) -> dict[str, object]:
    """Run one stage undisturbed, then on a disk that ends at a random point, then once more with room."""
    before = prepared(stage, disk, home)
    with mounted(disk, ROOM):
        shutil.copytree(before, disk, dirs_exist_ok=True)
        begin = used(disk)
        run(stage, disk, must=0)
        end, wanted = used(disk), stage.left(disk)
    at = chance.randint(begin + 4, end - 16)  # a disk of memory is cut into pages
    wrong = []
    with mounted(disk, f"{at}k"):
        shutil.copytree(before, disk, dirs_exist_ok=True)
        code, said = run(stage, disk)
        if code != 1 or "Traceback" in said or "disk is full" not in said or said.count("\n") > 0:
            wrong.append(f"exit code {code}, said {said!r}")
        subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(disk)], check=True)
        code, said_then = run(stage, disk)
        if code != 0:
            wrong.append(f"with room again exit code {code}, said {said_then!r}")
        if stage.left(disk) != wanted:
            wrong.append("what is left differs from what an undisturbed run leaves")
        if unfinished := [str(path.relative_to(disk)) for path in disk.rglob(".aside-*")]:
            wrong.append(f"unfinished files stay: {unfinished}")
    return {"at": at, "needs": end, "said": said, "wrong": wrong}


def prepared(stage: Stage, disk: Path, home: Path) -> Path:
    """A folder with what the stages before this one leave."""
    folder = home / f"before-{stage.name}"
    if folder.exists():
        return folder
    folder.mkdir()
    if stage.name != "extract":
        data = home / "data"
        run(stages(data)[0], folder, must=0)
    if stage.name == "pack":
        packs = list((folder / "cache").rglob("*.h5"))
        assert packs
        for pack in packs:
            pack.unlink()
    return folder


def run(stage: Stage, folder: Path, must: int | None = None) -> tuple[int, str]:
    """Exit code and what was said on standard error."""
    done = subprocess.run([MSE, *stage.arguments], check=False, cwd=folder, capture_output=True, text=True)
    if must is not None and done.returncode != must:
        raise SystemExit(f"{stage.name} ended with {done.returncode}: {done.stderr}")
    return done.returncode, done.stderr.strip()


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[None]:
    """A disk of memory of that size."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def used(disk: Path) -> int:
    """Kilobytes in use."""
    status = os.statvfs(disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize // 1024


def features(disk: Path) -> dict[str, str]:
    """The packs' bytes, and all features as the shards hold them."""
    dataset = store.open(disk / "cache")["meld"]
    found = {}
    for clip, one in dataset.native("acoustic.egemaps").items():
        raw = b"".join(np.ascontiguousarray(part).tobytes() for part in (one.values, one.intervals, one.valid))
        found[clip] = hashlib.sha256(raw).hexdigest()
    return found | files(disk / "cache", "*.h5")


def trained(disk: Path) -> dict[str, str]:
    """The adapter's weights and the predictions."""
    return files(disk / "runs", "*.safetensors") | files(disk / "runs", "predictions.parquet")


def exported(disk: Path) -> dict[str, str]:
    """Every file."""
    return files(disk / "out", "*")


def files(folder: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of files by their path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


if __name__ == "__main__":
    main()
