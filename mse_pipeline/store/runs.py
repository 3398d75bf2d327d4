"""Runs: which extractions may be at work on a dataset at once, and which may still commit.

On a local disk a run holds a lock for as long as it lives: one run of the whole dataset, or several of different
shares (``1/8`` to ``8/8``) side by side. Object storage knows no locks. In both places a run also leaves a token, and
a worker whose run's token was taken away may no longer commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from mse_pipeline.errors import UsageError
from mse_pipeline.places import is_local
from mse_pipeline.store.atomic import remove_unfinished, write_text
from mse_pipeline.store.storage import files, names, remove

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
