"""Commit: what a worker made of some clips enters the cache as one, or not at all.

Shards are written first; then, under the dataset's lock and only if the writer's run still holds, they get their names
and one journal file makes them count. A run that was killed may leave a worker that still writes: its commits are
refused once the next run has begun. Object storage has no lock and no renaming: shards are put there under their names,
and a clip that two runs commit is there twice, of which the last holds.

Runs: which extractions may be at work on a dataset at once, and which may still commit.

On a local disk a run holds a lock for as long as it lives: one run of the whole dataset, or several of different
shares (``1/8`` to ``8/8``) side by side. Object storage knows no locks. In both places a run also leaves a token, and
a worker whose run's token was taken away may no longer commit.
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
from mse_pipeline.store.journal import Row
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


_TOKENS = ".runs"
_SHARE = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")
_START = 60.0  # seconds; starts are short, so that one waits for the other


@contextmanager
def commit_lock(folder: Path) -> Iterator[None]:
    """The lock that one commit after the other takes; nothing on object storage, where none is."""
    if not is_local(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".commit.lock"):
        yield


@contextmanager
def run_lock(folder: Path, share: str | None = None) -> Iterator[None]:
    """The lock that a run holds; the system frees it when the process ends, however it ends.

    A run of the whole dataset excludes all others; runs of different shares do not exclude each other.

    Args:
        folder: The dataset's folder in the cache. On object storage there are no locks: two runs there may do the
            same work twice, which is harmless.
        share: Which part the run is about, as in ``1/8``; None for all of it.

    Raises:
        filelock.Timeout: Another run holds it.
        UsageError: The share is none.
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
    """Let `run` commit and the earlier runs of the same clips no more; remove what killed ones left.

    Nothing is removed where another run may be alive: beside other shares, and on object storage (where `mse cache
    prune` does it).

    Args:
        dataset: The dataset, whose `run_lock` is held.
        run: A fresh name.
        share: Which part the run is about, as in ``1/8``; None for all of it.

    Returns:
        How many files were removed.
    """
    folder, name = dataset.path, _name(share)
    with commit_lock(folder):
        write_text(folder / _TOKENS / f"{name}.{run}", run + "\n")
        for token in names(folder / _TOKENS):
            of, _, whose = token.partition(".")
            if whose != run and (share is None or of in {name, _name(None)}):
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
    """When the last run of a dataset began, in seconds since 1970; 0 if none did, or the storage does not tell."""
    return max((one.modified for one in files(folder / _TOKENS)), default=0.0)


def _name(share: str | None) -> str:
    if share is None:
        return "all"
    match = _SHARE.fullmatch(share)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"A share is a part of all, as in 1/8 to 8/8; got {share!r}.")
    return f"{match[1]}-of-{match[2]}"


def _lock(name: str) -> str:
    return ".run.lock" if name == _name(None) else f".run-{name}.lock"


def _share_locks(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".run-") and name.endswith(".lock")]


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Runs begin one after the other, so that none begins between another's look around and its lock."""
    with filelock.FileLock(folder / ".start.lock", timeout=_START):
        yield


def _alone(folder: Path, name: str) -> bool:
    """Whether no other share's run is alive; holds as long as none can start."""
    try:
        for other in _share_locks(folder):
            if other != _lock(name):
                with filelock.FileLock(folder / other, timeout=0):
                    pass
    except filelock.Timeout:
        return False
    return True


def _remove_orphans(dataset: Dataset) -> int:
    """Remove shards that no journal row names: a run was killed between them and its journal."""
    named = {row.shard for row in dataset.journal.read().values()}
    orphans = [shard for shard in (dataset.path / "streams").glob("*/*/shard-*.parquet") if shard.name not in named]
    for shard in orphans:
        remove(shard)
    return len(orphans)


__all__ = ["Commit", "Shard", "begin_run", "commit_lock", "run_lock"]

Shard = list[tuple[str, str, Features]]
"""Clip id, key and features of each."""


class Commit:
    """Rows and features that are to enter the cache together.

    Args:
        dataset: Where to.
        run: Name of the run; `begin_run` gave it, or any name outside of a run.
        guarded: Refuse to write when another run has begun since.
    """

    def __init__(self, dataset: Dataset, run: str, *, guarded: bool = False) -> None:
        self.dataset = dataset
        self._shard = f"shard-{run}-{secrets.token_hex(8)}.parquet"
        self._run = run
        self._guarded = guarded
        self._rows: list[Row] = []
        self._features: dict[tuple[str, str], Shard] = defaultdict(list)

    def add(self, row: Row, features: Features | None = None) -> None:
        """Add one clip's row in one stream; a row that is done comes with its features, or names their shard."""
        if features is not None:
            shown = pick(features)
            row = Row(
                **{
                    **row.__dict__,
                    "shard": self._shard,
                    "rows": len(shown),
                    "valid": int(shown.valid.sum()),
                    "checksum": of_features(features),
                }
            )
            self._features[row.stream, row.version].append((row.clip, row.key, features))
        self._rows.append(row)

    def write(self) -> bool:
        """Enter everything; returns False, with nothing written, if the run no longer holds."""
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
        put: list[Path] = []
        with tempfile.TemporaryDirectory(prefix="mse-") as folder:
            for final, stream, rows in self._shards():
                made = Path(folder) / final.name
                with writing(made):
                    write_shard(made, stream, rows)
                put.append(final)
                upload(made, final)
        if self._guarded and not is_current(self.dataset.path, self._run):
            for final in put:
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
