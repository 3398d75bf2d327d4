"""Places: where data lies, a local folder or any fsspec URL (``s3://bucket/set``), as one kind of path.

Code works on paths; what is not local is a `upath.UPath`, which answers to the same methods. A request to a remote
storage costs milliseconds, so that who touches many files asks the storage itself (`filesystem`) for many at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from mse_pipeline.errors import UsageError

_LOCAL = {"", "file", "local"}


def place(where: str | os.PathLike[str]) -> Path:
    """The path of a folder, a file, or a URL of either; a ``file://`` URL is the local one.

    Raises:
        UsageError: The URL's kind of storage is unknown, its package is not installed, or it refuses.

    Examples:
        >>> place("file:///data/meld").as_posix()
        '/data/meld'
        >>> str(place("memory://team/meld") / "train_splits")
        'memory://team/meld/train_splits'
    """
    if not isinstance(where, str):
        return cast(Path, where)
    if "://" not in where:
        return Path(where)
    from upath import UPath

    kind = where.partition("://")[0]
    try:
        # Listings must not be remembered: other machines write to the same place.
        path = UPath(where, use_listings_cache=False)
        if path.protocol in _LOCAL:
            return Path(path.path)
        path.fs  # noqa: B018  here a missing package shows
    except ImportError as error:
        package = "mse-pipeline[s3]" if kind in {"s3", "s3a"} else f"fsspec[{kind}]"
        raise UsageError(
            f"{where} needs a package that is not installed ({error}). Run: pip install '{package}'"
        ) from error
    except Exception as error:  # each storage has errors of its own: an unknown kind, no credentials, a bad archive
        raise UsageError(
            f"{where} cannot be opened: {error}. Give a local path, or a URL of a storage that fsspec knows, as in "
            "s3://BUCKET/FOLDER."
        ) from error
    return cast(Path, path)


def is_local(path: Path) -> bool:
    """Whether a path is of this machine's file system, where there are links, and files that libraries open by name."""
    return isinstance(path, Path)


def filesystem(path: Path) -> Any:
    """The fsspec file system of a path that is not local."""
    return cast(Any, path).fs


def address(path: Path) -> str:
    """What the file system of a path that is not local calls it."""
    return str(cast(Any, path).path)


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """All files below a folder that is not local, in one listing: 22,856 of them are 23 requests to S3.

    Returns:
        Path below the folder -> what the storage tells of the file, with ``size`` and mostly ``ETag`` or a time.

    Raises:
        UsageError: The storage refuses, or cannot be reached.
    """
    top = address(folder).rstrip("/")
    try:
        found = filesystem(folder).find(top, detail=True)
    except Exception as error:  # storages have errors of their own
        raise UsageError(f"{folder} cannot be listed: {error}. Check the address and the credentials.") from error
    below = {name[len(top) + 1 :]: entry for name, entry in found.items()}
    # An empty object named "folder/" is what some programs make for a folder.
    return {path: entry for path, entry in below.items() if path and not path.endswith("/")}
