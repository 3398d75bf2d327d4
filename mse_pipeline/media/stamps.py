"""Stamps: whether a media file may have changed, told by size and time without reading it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mse_pipeline.places import is_local, listing

Stamp = tuple[int | None, int | None]
"""Size in bytes and time of the last change in nanoseconds; of a remote file a number that stands for its version."""

_VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "modified", "updated", "created")
"""What storages call what changes with a file's content, the most telling first."""


class Stamps:
    """The stamps of media below a root. A remote root is listed once, instead of a request for each of 22,856 files.

    Args:
        root: As `mse_pipeline.corpora.base.Corpus` has it.

    Examples:
        >>> Stamps(Path("/nowhere")).of("a.mp4")
        (None, None)
    """

    def __init__(self, root: Path) -> None:
        self._folder = f"{root}{os.sep}" if is_local(root) else None
        self._root = root
        self._listed: Mapping[str, Mapping[str, Any]] | None = None

    def of(self, media: str | None) -> Stamp:
        """Stamp of a file, both None where there is none."""
        if media is None:
            return None, None
        if self._folder is not None:
            try:
                status = os.stat(self._folder + media)
            except OSError:
                return None, None
            return status.st_size, status.st_mtime_ns
        if self._listed is None:
            self._listed = listing(self._root)
        return stamp_of(self._listed[media]) if media in self._listed else (None, None)


def stamp_of(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Stamp of a remote file, the same whether the storage was asked for a listing or for the file alone.

    Args:
        entry: What an fsspec file system tells of the file.

    Examples:
        >>> stamp_of({"size": 3, "ETag": '"a"', "LastModified": 1}) == stamp_of({"size": 3, "ETag": '"a"'})
        True
        >>> stamp_of({"size": 3, "ETag": '"a"'}) == stamp_of({"size": 3, "ETag": '"b"'})
        False
    """
    version = next((entry[key] for key in _VERSIONS if entry.get(key) is not None), None)
    if isinstance(version, datetime):
        version = version.timestamp()  # in whichever time zone it was told
    digest = hashlib.blake2b(repr(version).encode(), digest_size=8).digest()
    return int(entry.get("size") or 0), int.from_bytes(digest, "big") >> 1  # the journal keeps 63 bits and a sign
