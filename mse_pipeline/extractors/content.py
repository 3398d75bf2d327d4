"""Digests of large files by content, remembered as long as path, size and time stay the same."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from mse_pipeline.store.atomic import write_text

_CHUNK = 1 << 20
_REMEMBERED = 1 << 23  # bytes from which on reading a file takes longer than looking up its digest


def folder_digest(files: Iterable[Path], memory: Path) -> str:
    """Digest of some files of one folder by name and content, in whatever order they are given.

    Args:
        files: The files.
        memory: Folder of the digests that are remembered; one that cannot be written to remembers nothing.

    Returns:
        32 hex digits.
    """
    lines = sorted(f"{path.name} {file_digest(path, memory)}" for path in files)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def file_digest(path: Path, memory: Path) -> str:
    """BLAKE2b of a file's content as 32 hex digits; see `folder_digest`."""
    path = path.resolve()
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns, memory)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, mtime_ns: int, memory: Path) -> str:
    if size < _REMEMBERED:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    note = memory / hashlib.blake2b(f"{path}\0{size}\0{mtime_ns}".encode(), digest_size=16).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        known = note.read_text(encoding="ascii")
        if re.fullmatch("[0-9a-f]{32}", known):
            return known
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    with contextlib.suppress(OSError):
        write_text(note, digest.hexdigest())
    return digest.hexdigest()
