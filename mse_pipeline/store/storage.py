"""Storage: the few things that a local folder and object storage do differently.

On object storage a file is written whole or not at all by the storage itself, nothing can be locked, and a request
costs milliseconds: listings and readings of many files go through the functions here.

Files that are whole or absent: written aside, flushed, renamed; on object storage, put there when they are whole.

Local copies: a pack on object storage is downloaded once, and mapped into memory from this machine's disk.
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


ASIDE = ".aside-"
"""Names of unfinished files begin so; whatever bears this name after a kill may be removed."""


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Give a local name to write to; on leaving, what was written there becomes `path`.

    On disk the name lies beside `path`, and is flushed and renamed, with the mode that the umask says, whichever
    library wrote it; for object storage it lies in a temporary folder, and is uploaded. If the block raises, the
    unfinished file is removed and `path` stays as it was.

    Raises:
        OSError: It could not be written; the error names `path`.
    """
    if not is_local(path):
        with tempfile.TemporaryDirectory(prefix="mse-") as folder:
            made = Path(folder) / path.name
            with writing(made):
                yield made
            upload(made, path)
        return
    temporary = write_aside_name(path)
    try:
        with writing(path):
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            if (
                stat.S_IMODE(temporary.stat().st_mode) != mode
            ):  # some libraries write into a private file, and rename it
                temporary.chmod(mode)
            flush(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_aside_name(path: Path) -> Path:
    """A fresh name in the folder of `path`, which is made if need be, for an unfinished file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{ASIDE}{uuid.uuid4().hex[:12]}-{path.name}")


def flush(path: Path) -> None:
    """Have the operating system put the file on disk."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    if not is_local(path):
        put(path, text.encode())
        return
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def remove_unfinished(folder: Path) -> int:
    """Remove unfinished files below a folder; returns how many there were. Object storage has none."""
    if not is_local(folder):
        return 0
    found = [path for path in folder.rglob(f"{ASIDE}*") if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


_TAGS = ("ETag", "etag", "LastModified", "mtime", "created")  # what file systems call it that tells versions apart


def local_copy(path: Path) -> Path:
    """The same file on this machine's disk: `path` itself, or a copy that is made once for each of its versions.

    Copies lie in ``$MSE_LOCAL_CACHE``, or else in the folder that the system has for such things. One that is out of
    date goes when its successor comes.
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
    """The copy of a file on object storage that is here already and up to date; None where there is none."""
    copy = _copy(path)
    return copy if copy.is_file() else None


def _copy(path: Path) -> Path:
    """Where the copy of a file's present version lies, or is to lie."""
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
    asked = os.environ.get("MSE_LOCAL_CACHE")
    if asked:
        return Path(asked)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "mse"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mse"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mse"
