"""Storage: the few things that a local folder and object storage do differently.

On object storage a file is written whole or not at all by the storage itself, nothing can be locked, and a request
costs milliseconds: listings and readings of many files go through the functions here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mse_pipeline.places import address, filesystem, is_local

_BLOCK = 8 << 20  # bytes that are asked for at once


@dataclass(frozen=True)
class Stored:
    """One file as a listing tells it.

    Attributes:
        path: Where it is.
        size: Bytes.
        modified: Seconds since 1970; 0 where the storage does not tell.
    """

    path: Path
    size: int
    modified: float


def names(folder: Path) -> list[str]:
    """Names of what lies directly in a folder, sorted; empty if there is no such folder."""
    try:
        if is_local(folder):
            return sorted(os.listdir(folder))
        entries = filesystem(folder).ls(address(folder), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted({entry.rstrip("/").rpartition("/")[2] for entry in entries} - {""})


def files(folder: Path) -> Iterator[Stored]:
    """All files below a folder; what vanishes meanwhile is left out."""
    if is_local(folder):
        for path in sorted(folder.rglob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield Stored(path, status.st_size, status.st_mtime)
        return
    root = address(folder).rstrip("/")
    found = filesystem(folder).find(root, detail=True)
    for name in sorted(found):
        yield Stored(folder / name[len(root) :].lstrip("/"), int(found[name].get("size") or 0), _modified(found[name]))


def _modified(entry: dict[str, Any]) -> float:
    for key in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = entry.get(key)
        if value is not None:
            return float(value) if isinstance(value, int | float) else float(value.timestamp())
    return 0.0


def read_many(paths: Sequence[Path]) -> Iterable[bytes]:
    """The files' contents in their order; from object storage many at a time."""
    if not paths or is_local(paths[0]):
        return (path.read_bytes() for path in paths)
    found = filesystem(paths[0]).cat([address(path) for path in paths], on_error="raise")
    if isinstance(found, bytes):
        return [found]
    by_name = {name.lstrip("/"): content for name, content in found.items()}
    return [by_name[address(path).lstrip("/")] for path in paths]


@contextmanager
def readable(path: Path) -> Iterator[Any]:
    """What pyarrow opens: the path, or a file object that asks the storage for the blocks that are read."""
    if is_local(path):
        yield path
    else:
        with cast(Any, path).open("rb", block_size=_BLOCK, cache_type="readahead") as handle:
            yield handle


def upload(local: Path, path: Path) -> None:
    """Copy a local file, in blocks, to a place that is not local; it is there whole or not at all."""
    filesystem(path).put_file(str(local), address(path))


def put(path: Path, content: bytes) -> None:
    """Write a small file to a place that is not local, whole or not at all."""
    filesystem(path).pipe_file(address(path), content)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    if is_local(path):
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        filesystem(path).rm_file(address(path))
