"""Fetching: media files as local files that FFmpeg can open, with a digest of their content.

The digest says which media a feature was made from, by content and not by name. A stamp, made of size and time, says
whether a file may have changed, without reading it. `fetch` gives a file with both; a remote file is digested while it
is written to a temporary folder. The last few files stay there for the next spans of the same long video, at most
`MOST_BYTES` of them; a dataset is never copied as a whole.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock

from mse_pipeline.errors import ClipError, refuse_if_of_all_clips
from mse_pipeline.places import address, filesystem, is_local, listing
from mse_pipeline.posix import user

_CHUNK = 1 << 20


def media_digest(path: str | os.PathLike[str]) -> str:
    """BLAKE2b of a file's content, 16 bytes as 32 hexadecimal digits.

    Raises:
        ClipError: `missing_media` where there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise ClipError("missing_media", f"{file} does not exist or is not a file.")
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


Stamp = tuple[int | None, int | None]
"""Size in bytes, and time of the last change in nanoseconds; for a remote file a number that stands for its version."""

_VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "modified", "updated", "created")
"""Names of the fields of a listing that change with a file's content, the most reliable first."""


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
        entry: The file's entry in a listing of its fsspec file system.

    Examples:
        >>> stamp_of({"size": 3, "ETag": '"a"', "LastModified": 1}) == stamp_of({"size": 3, "ETag": '"a"'})
        True
        >>> stamp_of({"size": 3, "ETag": '"a"'}) == stamp_of({"size": 3, "ETag": '"b"'})
        False
    """
    version = next((entry[key] for key in _VERSIONS if entry.get(key) is not None), None)
    if isinstance(version, datetime):
        version = version.timestamp()  # the same in every time zone
    digest = hashlib.blake2b(repr(version).encode(), digest_size=8).digest()
    return int(entry.get("size") or 0), int.from_bytes(digest, "big") >> 1  # the journal keeps 63 bits and a sign


MOST_BYTES = 1 << 30
"""Bytes of fetched files that one process keeps; a single larger file is kept alone."""

MOST_FILES = 8
"""Fetched files that one process keeps."""

_BLOCK = 16 << 20
_PREFIX = "mse-media-"
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


@dataclass(frozen=True)
class MediaFile:
    """A media file that can be opened here.

    Attributes:
        path: A local file. A fetched file may be removed when the next file is fetched.
        digest: Of its content, see `mse_pipeline.media.fetching.media_digest`.
        size: Bytes.
        mtime_ns: The second part of its `mse_pipeline.media.fetching.Stamp`.
    """

    path: Path
    digest: str
    size: int
    mtime_ns: int


def fetch(root: Path, media: str) -> MediaFile:
    """A media file with its digest.

    Args:
        root: As `mse_pipeline.corpora.base.Corpus` has it.
        media: The file below the root.

    Raises:
        ClipError: `missing_media` where there is no such file, or it cannot be read.
        MseError: The disk is full or gone, or the system has no memory or file handles left.
    """
    if not is_local(root):
        return _store().fetch(root, media)
    path = root / media
    try:
        status = os.stat(path)
        digest = _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        refuse_if_of_all_clips(error, path)
        raise ClipError("missing_media", f"{media} cannot be read: {error.strerror}.") from error
    return MediaFile(path, digest, status.st_size, status.st_mtime_ns)


def local_path(root: Path, media: str) -> Path:
    """The local path of a media file. A remote file is fetched; a local one is not read.

    Raises:
        ClipError: `missing_media` where a remote file cannot be fetched.
    """
    return root / media if is_local(root) else fetch(root, media).path


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Digest of a local file's content; the spans of one long file share the reading."""
    return media_digest(path)


class _Store:
    """The files that this process has fetched."""

    def __init__(self) -> None:
        remove_abandoned()
        self._folder, self._lock = _own_folder()
        atexit.register(self._remove)
        self._kept: OrderedDict[tuple[str, str, int, int], MediaFile] = OrderedDict()
        self._number = 0

    def fetch(self, root: Path, media: str) -> MediaFile:
        storage, name = filesystem(root), address(root / media)
        try:
            size, version = stamp_of(storage.info(name))
            key = (str(root), media, size, version)
            if key not in self._kept:
                self._make_room(size)
                self._kept[key] = self._download(storage, name, size, version)
        except ClipError:
            raise
        except FileNotFoundError as error:
            raise ClipError("missing_media", f"{media} does not exist below {root}.") from error
        except Exception as error:  # storages have errors of their own
            refuse_if_of_all_clips(error, self._folder)
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise ClipError("missing_media", f"{media} cannot be fetched from {root}: {reason}.") from error
        self._kept.move_to_end(key)
        return self._kept[key]

    def _download(self, storage: Any, name: str, size: int, version: int) -> MediaFile:
        self._number += 1
        suffix = Path(name).suffix
        path = self._folder / f"{self._number}{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        digest = hashlib.blake2b(digest_size=16)
        try:
            with path.open("wb") as file:
                for begin in range(0, size, _BLOCK):
                    block = storage.cat_file(name, start=begin, end=min(begin + _BLOCK, size))
                    digest.update(block)
                    file.write(block)
                written = file.tell()
            # Blocks of two versions must not be mixed.
            if written != size or (size > _BLOCK and stamp_of(storage.info(name)) != (size, version)):
                raise ClipError("missing_media", f"{name} was changed while it was fetched; run the command again.")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return MediaFile(path, digest.hexdigest(), size, version)

    def _make_room(self, size: int) -> None:
        while self._kept and (
            len(self._kept) >= MOST_FILES or size + sum(file.size for file in self._kept.values()) > MOST_BYTES
        ):
            _, file = self._kept.popitem(last=False)
            file.path.unlink(missing_ok=True)

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()


@functools.cache
def _store() -> _Store:
    return _Store()


def _own_folder() -> tuple[Path, filelock.BaseFileLock]:
    """A new folder and its lock, which shows other processes that this process is alive."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = filelock.FileLock(folder / "lock")
        lock.acquire()
        if (folder / "lock").exists():  # else another process has just removed the folder as abandoned
            return folder, lock
        lock.release()


def remove_abandoned() -> None:
    """Remove the folders of killed processes, which could not do it themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            # Other users may have files of this name there; they are left alone.
            if folder.is_symlink() or user() not in {None, folder.stat().st_uid} or not (folder / "lock").exists():
                continue
            with filelock.FileLock(folder / "lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, filelock.Timeout):
            continue
