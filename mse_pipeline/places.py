"""Places: where data lies, a local folder or any fsspec URL (``s3://bucket/set``), as one kind of path.

Code works with paths. A path that is not local is a `upath.UPath`, which has the same methods. A request to a remote
storage costs milliseconds: code that reads many files asks the storage itself (`filesystem`) for many at once.

Links: a stranger's folder may hold links to any file of this machine. So a link is read only if it ends below the root,
or in the repository that the root is part of. Repositories are laid out like this by Hugging Face's cache
(``snapshots/COMMIT/x`` to ``blobs/SHA``), git-annex and DataLad (``.git/annex/objects``) and DVC (``.dvc/cache``). All
other links are read only if the user allows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
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


def require_parent(path: Path) -> None:
    """Refuse a file or folder to be written whose own folder is not there: a slip of the pen makes no folders.

    Raises:
        UsageError: The folder is not there.
    """
    if not path.absolute().parent.exists():  # a file in its place is refused by whoever writes
        raise UsageError(f"There is no folder {path.parent} to write {path.name} into. Make it, or give another path.")


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
        entries = filesystem(folder).find(top, detail=True)
    except Exception as error:  # storages have errors of their own
        raise UsageError(f"{folder} cannot be listed: {error}. Check the address and the credentials.") from error
    below = {name[len(top) + 1 :]: entry for name, entry in entries.items()}
    # An empty object named "folder/" is what some programs make for a folder.
    return {path: entry for path, entry in below.items() if path and not path.endswith("/")}


_NOT_FETCHED = (
    ("/annex/objects/", "git annex get (or datalad get)"),
    ("/.dvc/cache/", "dvc pull"),
    ("/files/md5/", "dvc pull"),
    ("/blobs/", "hf download"),
)
"""What the place of a file says about what fetches it, where the link to it is there and the file is not."""


@dataclass(frozen=True)
class Refusal:
    """Why a path below a root is not read.

    Attributes:
        path: Below the root.
        link: The link on its way, or the path itself.
        target: What the link says.
        fetched_by: The command that fetches the file; None for a link that leads elsewhere or to nothing.
        there: Whether something is where the link leads.
    """

    path: str
    link: str
    target: str
    fetched_by: str | None
    there: bool

    @property
    def cause(self) -> tuple[str | None, bool, str | None]:
        """What is the same for all paths that are refused for one reason."""
        return self.fetched_by, self.there, None if self.link == self.path else self.link

    def __str__(self) -> str:
        """The reason, and what mends it, as the end of a sentence that begins with the path."""
        position = "is" if self.link == self.path else f"lies behind {self.link},"
        if self.fetched_by is not None:
            return f"{position} a symbolic link whose file is not here; {self.fetched_by} brings it"
        if not self.there:
            return f"{position} a symbolic link to {self.target!r}, which does not exist"
        return f"{position} a symbolic link out of the root, to {self.target!r}; --follow-links allows it"


def summarise(refusals: Iterable[Refusal]) -> list[str]:
    """A sentence for each reason, with the number of paths and an example."""
    groups: dict[tuple[str | None, bool, str | None], list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault(refusal.cause, []).append(refusal)
    sentences = []
    for same in groups.values():
        first = min(same, key=lambda refusal: refusal.path)
        more = "" if len(same) == 1 else f" ({len(same):,} such links, of which this is the first)"
        sentences.append(f"{first.path} {first}{more}.")
    return sentences


class Reach:
    """What may be read below a root.

    Args:
        root: An absolute folder without links in its path, or one on a remote storage, where there are no links.
        follow_links: Whether the user said that all links may be followed.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root = root
        self.follow_links = follow_links

    def allows(self, path: str) -> bool:
        """Whether a path below the root may be read, all links followed.

        Args:
            path: Below the root, with forward slashes; it need not exist.
        """
        if not is_local(self.root) or self.follow_links:
            return True
        real = _real(self.root / path)
        return below(real, str(self.root)) or any(_is_part(real, top) for top in self._tops)

    def refusal(self, path: str) -> Refusal | None:
        """Why a path cannot be read; None where links do not hinder it.

        Args:
            path: Below the root, with forward slashes.
        """
        if not is_local(self.root) or (os.path.exists(self.root / path) and self.allows(path)):
            return None
        link, target = self._first_link(path)
        if link is None:
            return None
        exists = os.path.exists(self.root / link)
        if exists and self.allows(link):
            return None
        real = _real(self.root / link)
        fetched_by = None if exists else next((how for store, how in _NOT_FETCHED if store in real), None)
        return Refusal(path, link, target, fetched_by, exists)

    def _first_link(self, path: str) -> tuple[str | None, str]:
        """The first link on a path's way that leads out or to nothing, or else the last one, and what it says."""
        link, target = None, ""
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            part = "/".join(parts[:end])
            if os.path.islink(self.root / part):
                link, target = part, _target(self.root / part)
                if not self.allows(part) or not os.path.exists(self.root / part):
                    break
        return link, target

    @cached_property
    def _tops(self) -> tuple[tuple[str, bool], ...]:
        """Tops of the repositories that the root is part of, and whether only their stores count."""
        home = os.path.realpath(os.path.expanduser("~"))
        tops: list[tuple[str, bool]] = []
        seen: set[str] = set()
        for folder in (self.root, *self.root.parents):
            if below(home, str(folder)):
                # A home that is a repository as a whole makes no private file in it part of a dataset.
                break
            marks = {
                "hub": (folder / "blobs").is_dir() and (folder / "snapshots").is_dir(),
                "git": (folder / ".git").exists(),
                "dvc": (folder / ".dvc").is_dir(),
            }
            for kind in (kind for kind, there in marks.items() if there):
                # A repository around the repository keeps the files of its parts (.git/modules/PART/annex).
                tops.append((str(folder), kind in seen))
                seen.add(kind)
        return tuple(tops)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # as of another user's processes, below /proc
        return "?"


def _real(path: Path) -> str:
    """A path without links; empty, which is below no folder, where nobody may see it."""
    try:
        return os.path.realpath(path)
    except OSError:
        return ""


def below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it; both absolute, without links and ``..`` in them.

    Examples:
        >>> below("/data/set/a", "/data/set"), below("/data/settings", "/data/set"), below("/a", "/")
        (True, False, True)
    """
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_part(real: str, top: tuple[str, bool]) -> bool:
    """Whether a file is one of a repository's own: of its stores, or of its folders, but not of its settings."""
    folder, stores_alone = top
    if not below(real, folder):
        return False
    inner = real[len(folder.rstrip(os.sep)) :].replace(os.sep, "/")
    if inner.startswith("/.git/"):
        return "/annex/objects/" in inner
    if inner.startswith("/.dvc/"):
        return inner.startswith("/.dvc/cache/")
    return not stores_alone
