"""Local copies: a pack on object storage is downloaded once, and mapped into memory from this machine's disk."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from mse_pipeline.places import address, filesystem, is_local
from mse_pipeline.store.atomic import ASIDE, aside

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
