"""Commit: what a worker made of some clips enters the cache as one, or not at all.

Shards are written aside first; then, under the dataset's lock and only if the writer's run still holds, they are
renamed and one journal file makes them count. A run that was killed may leave a worker that still writes: its
commits are refused once the next run has begun.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from mse_pipeline.store.atomic import flush, remove_unfinished, write_aside_name, write_text
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row
from mse_pipeline.store.parquet import write_shard

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset


class Commit:
    """Rows and features that are to enter the cache together.

    Args:
        dataset: Where to.
        run: Name of the run; `begin_run` gave it, or any name outside of a run.
        guarded: Refuse to write when another run has begun since.
    """

    def __init__(self, dataset: Dataset, run: str, *, guarded: bool = False) -> None:
        self.dataset = dataset
        self.name = f"{time.time_ns():020d}-{run}"
        self._run = run
        self._guarded = guarded
        self._rows: list[Row] = []
        self._features: dict[tuple[str, str], list[tuple[str, str, Features]]] = defaultdict(list)

    def add(self, row: Row, features: Features | None = None) -> None:
        """Add one clip's row in one stream; a row that is done comes with its features, or names their shard."""
        if features is not None:
            row = Row(
                **{
                    **row.__dict__,
                    "shard": f"shard-{self.name}.parquet",
                    "rows": len(features),
                    "valid": int(features.valid.sum()),
                }
            )
            self._features[row.stream, row.version].append((row.clip, row.key, features))
        self._rows.append(row)

    def write(self) -> bool:
        """Enter everything; returns False, with nothing written, if the run no longer holds."""
        written: list[tuple[Path, Path]] = []
        try:
            for (stream, version), rows in self._features.items():
                final = self.dataset.stream_folder(stream, version) / f"shard-{self.name}.parquet"
                temporary = write_aside_name(final)
                written.append((temporary, final))
                write_shard(temporary, stream, rows)
                flush(temporary)
            with commit_lock(self.dataset.path):
                if self._guarded and current_run(self.dataset.path) != self._run:
                    return False
                for temporary, final in written:
                    os.replace(temporary, final)
                self.dataset.journal.commit(self.name, self._rows)
            return True
        finally:
            for temporary, _ in written:
                temporary.unlink(missing_ok=True)


def commit_lock(folder: Path) -> filelock.BaseFileLock:
    """The lock that one commit after the other takes."""
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / ".commit.lock")


def run_lock(folder: Path) -> filelock.BaseFileLock:
    """The lock that one extraction at a time holds; the system frees it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / ".run.lock", timeout=0)


def current_run(folder: Path) -> str | None:
    """Name of the run that may commit."""
    home = folder / ".run"
    return home.read_text(encoding="utf-8").strip() if home.is_file() else None


def begin_run(dataset: Dataset, run: str) -> int:
    """Make `run` the one that may commit, and remove what killed runs left; returns how many files that were."""
    with commit_lock(dataset.path):
        write_text(dataset.path / ".run", run + "\n")
        removed = remove_unfinished(dataset.path)
        named = {row.shard for row in dataset.journal.read().values()}
        for shard in (dataset.path / "streams").glob("*/*/shard-*.parquet"):
            if shard.name not in named:
                shard.unlink()
                removed += 1
    return removed
