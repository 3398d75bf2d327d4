"""Storage: listing, reading and writing files, in a local folder and on object storage alike.

A file is written completely or not at all: on disk under a temporary name that is flushed and renamed; object storage
guarantees it. On object storage nothing can be locked, and a request costs milliseconds, so that many files are listed
or read at once. A pack on object storage is downloaded once, and mapped into memory from the local disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mse_pipeline.errors import writing
from mse_pipeline.places import address, filesystem, is_local

_BLOCK = 8 << 20  # bytes of one request


@dataclass(frozen=True)
class StoredFile:
    """One file of a listing.

    Attributes:
        path: Where it is.
        size: Bytes.
        modified: Seconds since 1970; 0 if the storage does not say.
    """

    path: Path
    size: int
    modified: float


def names(folder: Path) -> list[str]:
    """Sorted names of the files and folders in a folder; empty if there is no such folder."""
    try:
        if is_local(folder):
            return sorted(os.listdir(folder))
        entries = filesystem(folder).ls(address(folder), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted({entry.rstrip("/").rpartition("/")[2] for entry in entries} - {""})


def files(folder: Path) -> Iterator[StoredFile]:
    """All files below a folder; files that disappear meanwhile are left out."""
    if is_local(folder):
        for path in sorted(folder.rglob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield StoredFile(path, status.st_size, status.st_mtime)
        return
    root = address(folder).rstrip("/")
    listing = filesystem(folder).find(root, detail=True)
    for name, entry in sorted(listing.items()):
        yield StoredFile(folder / name[len(root) :].lstrip("/"), int(entry.get("size") or 0), _modified(entry))


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
    contents = filesystem(paths[0]).cat([address(path) for path in paths], on_error="raise")
    if isinstance(contents, bytes):
        return [contents]
    by_name = {name.lstrip("/"): content for name, content in contents.items()}
    return [by_name[address(path).lstrip("/")] for path in paths]


@contextmanager
def readable(path: Path) -> Iterator[Any]:
    """A source for pyarrow: the path, or a file object that requests only the blocks that are read."""
    if is_local(path):
        yield path
    else:
        with cast(Any, path).open("rb", block_size=_BLOCK, cache_type="readahead") as handle:
            yield handle


def upload(local: Path, path: Path) -> None:
    """Copy a local file, in blocks, to object storage; it arrives completely or not at all."""
    filesystem(path).put_file(str(local), address(path))


def put(path: Path, content: bytes) -> None:
    """Write a small file to object storage, completely or not at all."""
    filesystem(path).pipe_file(address(path), content)


def remove(path: Path) -> None:
    """Remove a file if it exists."""
    if is_local(path):
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        filesystem(path).rm_file(address(path))


ASIDE = ".aside-"
"""Prefix of the names of unfinished files; a file with this prefix may be removed after a kill."""


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Give a temporary local path to write to; at the end of the block, the file becomes `path`.

    On disk the temporary file is beside `path`, and is flushed and renamed, with the mode of the umask, whichever
    library wrote it; for object storage it is in a temporary folder, and is uploaded. If the block raises, the
    unfinished file is removed and `path` stays as it was.

    Raises:
        OSError: It could not be written; the error names `path`.
    """
    if not is_local(path):
        with tempfile.TemporaryDirectory(prefix="mse-") as folder:
            local = Path(folder) / path.name
            with writing(local):
                yield local
            upload(local, path)
        return
    temporary = write_aside_name(path)
    try:
        with writing(path):
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            # Some libraries write a private file and rename it.
            if stat.S_IMODE(temporary.stat().st_mode) != mode:
                temporary.chmod(mode)
            flush(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_aside_name(path: Path) -> Path:
    """A new name for an unfinished file in the folder of `path`; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{ASIDE}{uuid.uuid4().hex[:12]}-{path.name}")


def flush(path: Path) -> None:
    """Make the operating system write the file to disk."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, completely or not at all."""
    if not is_local(path):
        put(path, text.encode())
        return
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, completely or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def remove_unfinished(folder: Path) -> int:
    """Remove unfinished files below a folder; returns how many there were. Object storage has none."""
    if not is_local(folder):
        return 0
    unfinished = [path for path in folder.rglob(f"{ASIDE}*") if path.is_file()]
    for path in unfinished:
        path.unlink(missing_ok=True)
    return len(unfinished)


_TAGS = (
    "ETag",
    "etag",
    "LastModified",
    "mtime",
    "created",
)  # fields of a listing that differ between versions of a file


def local_copy(path: Path) -> Path:
    """The same file on the local disk: `path` itself, or a copy that is made once for each version of the file.

    Copies are in ``$MSE_LOCAL_CACHE``, or else in the system's folder for caches. A new copy replaces the old one.
    """
    if is_local(path):
        return path
    copy = _copy(path)
    if copy.is_file():
        return copy
    with aside(copy) as temporary:
        filesystem(path).get_file(address(path), str(temporary))
    for older in copy.parent.glob(f"{copy.name.partition('-')[0]}-*"):
        if older != copy and not older.name.startswith(ASIDE):
            older.unlink(missing_ok=True)
    return copy


def present_copy(path: Path) -> Path | None:
    """The local copy of a file on object storage, if it is up to date; None if there is none."""
    copy = _copy(path)
    return copy if copy.is_file() else None


def _copy(path: Path) -> Path:
    """The path of the copy of a file's current version, whether it exists or not."""
    info = filesystem(path).info(address(path))
    tag = [
        info.get("size"),
        *(str(info[key]) for key in _TAGS if key in info),
    ]
    url = hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()
    version = hashlib.blake2b(repr(tag).encode(), digest_size=8).hexdigest()
    return home_of_copies() / f"{url}-{version}{path.suffix}"


def home_of_copies() -> Path:
    """The folder of local copies."""
    folder = os.environ.get("MSE_LOCAL_CACHE")
    if folder:
        return Path(folder)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "mse"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mse"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mse"
