"""Runs and commits: which extractions may work on a dataset at the same time, and how their results enter the cache.

On a local disk a run holds a lock as long as it lives: one run of the whole dataset, or several runs of different
shares (``1/8`` to ``8/8``) side by side. A run also leaves a token; when the next run removes it, workers of the old
run can no longer commit.

A commit adds the results of some clips together, or not at all. Shards are written first. Then, under the dataset's
lock and only if the run is still current, they get their names, and one journal file makes them count. Object storage
has no locks and no renaming: shards get their names at once. If two runs commit the same clip, both results are there,
and the last one counts.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from mse_pipeline.errors import UsageError, writing
from mse_pipeline.places import is_local
from mse_pipeline.store.candidates import pick
from mse_pipeline.store.checksum import of_features
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.shards import write_shard
from mse_pipeline.store.storage import (
    files,
    flush,
    names,
    remove,
    remove_unfinished,
    upload,
    write_aside_name,
    write_text,
)

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset

__all__ = ["Commit", "Shard", "begin_run", "commit_lock", "run_lock"]

_TOKENS = ".runs"
_SHARE = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")
_START = 60.0  # seconds; a start is short, so that another one can wait for it


@contextmanager
def commit_lock(folder: Path) -> Iterator[None]:
    """The lock that each commit takes in turn; on object storage there is none."""
    if not is_local(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".commit.lock"):
        yield


@contextmanager
def run_lock(folder: Path, share: str | None = None) -> Iterator[None]:
    """The lock that a run holds; the system releases it when the process ends, also if it is killed.

    A run of the whole dataset excludes all others; runs of different shares do not exclude each other.

    Args:
        folder: The dataset's folder in the cache. On object storage there are no locks: two runs there may do the
            same work twice, which is harmless.
        share: The share of the run, as in ``1/8``; None for the whole dataset.

    Raises:
        filelock.Timeout: Another run holds it.
        UsageError: The share is not of the form k/n.
    """
    name = _name(share)
    if not is_local(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with _starting(folder):
            others = [".run.lock"] if share else _share_locks(folder)
            for other in others:
                with filelock.FileLock(folder / other, timeout=0):
                    pass
            held.enter_context(filelock.FileLock(folder / _lock(name), timeout=0))
        yield


def begin_run(dataset: Dataset, run: str, share: str | None = None) -> int:
    """Allow `run` to commit, forbid it to earlier runs of the same clips, and remove the files that killed runs left.

    Nothing is removed where another run may be alive: if runs of other shares are, and on object storage (there
    `mse cache prune` removes them).

    Args:
        dataset: The dataset, whose `run_lock` is held.
        run: A new name.
        share: The share of the run, as in ``1/8``; None for the whole dataset.

    Returns:
        How many files were removed.
    """
    folder, name = dataset.path, _name(share)
    with commit_lock(folder):
        write_text(folder / _TOKENS / f"{name}.{run}", run + "\n")
        for token in names(folder / _TOKENS):
            token_share, _, token_run = token.partition(".")
            if token_run != run and (share is None or token_share in {name, _name(None)}):
                remove(folder / _TOKENS / token)
    if not is_local(folder):
        return 0
    with _starting(folder):
        if share is not None and not _alone(folder, name):
            return 0
        with commit_lock(folder):
            return remove_unfinished(folder) + _remove_orphans(dataset)


def is_current(folder: Path, run: str) -> bool:
    """Whether a run may still commit to the dataset in this folder."""
    return any(token.partition(".")[2] == run for token in names(folder / _TOKENS))


def last_begun(folder: Path) -> float:
    """When the last run of a dataset began, in seconds since 1970; 0 if there was none, or the storage does not say."""
    return max((token.modified for token in files(folder / _TOKENS)), default=0.0)


def _name(share: str | None) -> str:
    if share is None:
        return "all"
    match = _SHARE.fullmatch(share)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"A share is one of n equal parts, as in 1/8 to 8/8; got {share!r}.")
    return f"{match[1]}-of-{match[2]}"


def _lock(name: str) -> str:
    return ".run.lock" if name == _name(None) else f".run-{name}.lock"


def _share_locks(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".run-") and name.endswith(".lock")]


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Runs start one after the other: no run starts between the check of another run and its lock."""
    with filelock.FileLock(folder / ".start.lock", timeout=_START):
        yield


def _alone(folder: Path, name: str) -> bool:
    """Whether no run of another share is alive; true as long as none can start."""
    try:
        for other in _share_locks(folder):
            if other != _lock(name):
                with filelock.FileLock(folder / other, timeout=0):
                    pass
    except filelock.Timeout:
        return False
    return True


def _remove_orphans(dataset: Dataset) -> int:
    """Remove shards that no journal row names: a run was killed before it wrote its journal file."""
    named = {row.shard for row in dataset.journal.read().values()}
    orphans = [shard for shard in (dataset.path / "streams").glob("*/*/shard-*.parquet") if shard.name not in named]
    for shard in orphans:
        remove(shard)
    return len(orphans)


Shard = list[tuple[str, str, Features]]
"""Clip id, key and features of each."""


class Commit:
    """Rows and features that enter the cache together.

    Args:
        dataset: The dataset.
        run: Name of the run as given to `begin_run`, or any name outside of a run.
        guarded: Refuse to write if another run has begun since.
    """

    def __init__(self, dataset: Dataset, run: str, *, guarded: bool = False) -> None:
        self.dataset = dataset
        self._shard = f"shard-{run}-{secrets.token_hex(8)}.parquet"
        self._run = run
        self._guarded = guarded
        self._rows: list[JournalRow] = []
        self._features: dict[tuple[str, str], Shard] = defaultdict(list)

    def add(self, row: JournalRow, features: Features | None = None) -> None:
        """Add the row of one clip in one stream. A row that is done comes with its features, or names their shard."""
        if features is not None:
            picked = pick(features)
            row = JournalRow(
                **{
                    **row.__dict__,
                    "shard": self._shard,
                    "rows": len(picked),
                    "valid": int(picked.valid.sum()),
                    "checksum": of_features(features),
                }
            )
            self._features[row.stream, row.version].append((row.clip, row.key, features))
        self._rows.append(row)

    def write(self) -> bool:
        """Commit everything; returns False, with nothing written, if the run is no longer current."""
        if not self._rows:
            return not self._guarded or is_current(self.dataset.path, self._run)
        return self._write_local() if is_local(self.dataset.path) else self._write_remote()

    def _write_local(self) -> bool:
        written: list[tuple[Path, Path]] = []
        try:
            for final, stream, rows in self._shards():
                temporary = write_aside_name(final)
                written.append((temporary, final))
                with writing(final):
                    write_shard(temporary, stream, rows)
                    flush(temporary)
            with commit_lock(self.dataset.path):
                if self._guarded and not is_current(self.dataset.path, self._run):
                    return False
                for temporary, final in written:
                    os.replace(temporary, final)
                self._enter()
            return True
        finally:
            for temporary, _ in written:
                temporary.unlink(missing_ok=True)

    def _write_remote(self) -> bool:
        uploaded: list[Path] = []
        with tempfile.TemporaryDirectory(prefix="mse-") as folder:
            for final, stream, rows in self._shards():
                local = Path(folder) / final.name
                with writing(local):
                    write_shard(local, stream, rows)
                uploaded.append(final)
                upload(local, final)
        if self._guarded and not is_current(self.dataset.path, self._run):
            for final in uploaded:
                remove(final)
            return False
        self._enter()
        return True

    def _enter(self) -> None:
        journal = self.dataset.journal
        journal.commit(journal.next_name(self._run), self._rows)

    def _shards(self) -> Iterator[tuple[Path, str, Shard]]:
        for (stream, version), rows in self._features.items():
            yield self.dataset.stream_folder(stream, version) / self._shard, stream, rows
