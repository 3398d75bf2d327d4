"""Fetching: a media file as one that FFmpeg can open, with its digest; remote ones lie here while they are used.

A remote file is digested while it is written to a temporary folder. The last few stay there for the next spans of the
same long video, never more than `MOST_BYTES` of them, and nothing of a dataset is copied as a whole.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from mse_pipeline.errors import ClipError
from mse_pipeline.media.digest import media_digest
from mse_pipeline.media.stamps import stamp_of
from mse_pipeline.os_errors import refuse_if_of_all_clips
from mse_pipeline.places import address, filesystem, is_local
from mse_pipeline.posix import user

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
        path: A local file. Where it was fetched, it may be gone once the next file was asked for.
        digest: Of its content, see `mse_pipeline.media.digest.media_digest`.
        size: Bytes.
        mtime_ns: The second part of its `mse_pipeline.media.stamps.Stamp`.
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
        MseError: The disk is full or gone, or the system has no more memory or files to give.
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
    """Where a media file can be opened; a local one is not read for that.

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
            told = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise ClipError("missing_media", f"{media} cannot be fetched from {root}: {told}.") from error
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
            # Blocks of two versions of a file would make a third one that never was.
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
    """A new folder and its lock, which tells other processes that this one lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = filelock.FileLock(folder / "lock")
        lock.acquire()
        if (folder / "lock").exists():  # else another process took the folder for an abandoned one just now
            return folder, lock
        lock.release()


def remove_abandoned() -> None:
    """Remove the folders of processes that were killed: a worker has no chance to do it itself."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            # Others may put anything there under this name, which is not to be touched.
            if folder.is_symlink() or user() not in {None, folder.stat().st_uid} or not (folder / "lock").exists():
                continue
            with filelock.FileLock(folder / "lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, filelock.Timeout):
            continue
