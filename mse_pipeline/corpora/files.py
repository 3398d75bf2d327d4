"""Files below a root, a local folder or one on a remote storage: listed, and never outside of it."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from mse_pipeline.errors import UsageError
from mse_pipeline.places import is_local, listing, place

_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_OTHER_STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|.*(?:://|::)")
"""What reads as another protocol, or as fsspec's chain of them, within a path."""


@dataclass(frozen=True)
class Listing:
    """What lies below a root.

    Attributes:
        files: Paths below the root, forward slashes, sorted by depth and name.
        refused: Entries that were left aside, each with its reason, as sentences.
    """

    files: tuple[str, ...]
    refused: tuple[str, ...]


def open_root(root: str | Path) -> Path:
    """The root as an absolute folder without symbolic links, or as a folder on a remote storage.

    Args:
        root: A local folder, or any URL that fsspec knows.

    Raises:
        UsageError: It does not exist, is no folder, or cannot be reached.
    """
    folder = place(root)
    if is_local(folder):
        folder = folder.expanduser()
    try:
        there, is_folder = folder.exists(), folder.is_dir()
    except Exception as error:  # storages have errors of their own: no credentials, no such host, access denied
        raise UsageError(
            f"{root} cannot be reached: {error}. Check the address and the credentials of --root."
        ) from error
    if not there:
        raise UsageError(f"Folder {root} does not exist. Give the folder of the raw data with --root.")
    if not is_folder:
        raise UsageError(f"{root} is a file; give the folder of the raw data with --root.")
    return folder.resolve() if is_local(folder) else folder


def list_files(root: Path) -> Listing:
    """All files below the root, without what systems leave behind (``._*``, ``.DS_Store``, ``__MACOSX``, hidden).

    Links to folders are not followed: inside the root their files are found anyway, and outside is outside.

    Args:
        root: As `open_root` gives it.
    """
    files, refused = _walk(root) if is_local(root) else _list_remote(root)
    return Listing(tuple(sorted(files, key=lambda path: (path.count("/"), path))), tuple(sorted(refused)))


def _walk(root: Path) -> tuple[list[str], list[str]]:
    files: list[str] = []
    refused: list[str] = []
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(root / prefix) as entries:
                found = list(entries)
        except OSError as error:
            refused.append(f"{prefix or '.'} cannot be listed: {error.strerror}.")
            continue
        for entry in found:
            if entry.name.startswith(".") or entry.name in _IGNORED:
                continue
            path = f"{prefix}{entry.name}"
            if not _is_text(path):
                refused.append(f"{path!a} has a name that is not UTF-8.")
            elif entry.is_symlink() and not inside(root, path):
                refused.append(f"{path} is a symbolic link out of the root.")
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path + "/")
            elif _is_file(entry):
                files.append(path)
    return files, refused


def _list_remote(root: Path) -> tuple[list[str], list[str]]:
    files: list[str] = []
    refused: list[str] = []
    for path in listing(root):
        if any((name.startswith(".") and name.strip(".")) or name in _IGNORED for name in path.split("/")):
            continue
        if _is_plain(path):
            files.append(path)
        else:
            refused.append(f"{path!a} has a name that might lead out of the root.")
    return files, refused


def _is_plain(path: str) -> bool:
    """Whether a key of an object storage, which may be any text, is a path below the root and nothing else."""
    if not _is_text(path) or "\\" in path or "\0" in path or _OTHER_STORAGE.match(path):
        return False
    return posixpath.normpath(path) == path and not _leads_out(path)


def _leads_out(path: str) -> bool:
    """Whether a path is another one once percent signs are decoded, as a web server may do, and that leads out."""
    decoded = path
    while (once := unquote(decoded)) != decoded:
        decoded = once
    return decoded.replace("\\", "/").split("/").count("..") > 0 or decoded.startswith(("/", "\\"))


def inside(root: Path, path: str) -> bool:
    """Whether a path below the root stays there once symbolic links are followed.

    Args:
        root: As `open_root` gives it. Remote storages have no links.
        path: Below the root, with forward slashes.
    """
    if not is_local(root):
        return True
    real = os.path.realpath(root / path)
    return real == str(root) or real.startswith(str(root).rstrip(os.sep) + os.sep)


def relative(root: Path, base: str, written: str) -> str:
    r"""A path as someone wrote it -> the same below the root.

    Args:
        root: As `open_root` gives it.
        base: Folder below the root that the path starts from; empty for the root.
        written: Relative, or absolute (of a remote root its URL) and inside of the root; backslashes count as slashes.

    Returns:
        Path below the root with forward slashes, no `.` or `..` in it. Whether it exists is another question.

    Raises:
        ValueError: It leads out of the root.

    Examples:
        >>> relative(Path("/data"), "labels", "../video\\a.mp4")
        'video/a.mp4'
    """
    path = written.replace("\\", "/")
    if "\0" in path:
        raise ValueError(f"{written!r} holds a zero byte")
    top = root.as_posix().rstrip("/")
    if (path.startswith("/") or not is_local(root)) and (path + "/").startswith(f"{top}/"):
        path, base = path[len(top) :].lstrip("/"), ""
    if path.startswith("/") or PureWindowsPath(path).drive:
        raise ValueError(f"{written!r} is an absolute path outside of the root")
    if not is_local(root) and _OTHER_STORAGE.match(path):
        raise ValueError(f"{written!r} is an address outside of the root")
    joined = posixpath.normpath(posixpath.join(base, path))
    if joined == ".." or joined.startswith("../") or (not is_local(root) and _leads_out(joined)):
        raise ValueError(f"{written!r} leads out of the root")
    return joined


class Folders:
    """Answers whether files are there, each folder listed once, and a remote root as a whole.

    A table may name 100,000 of them.

    Args:
        root: As `open_root` gives it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, dict[str, bool] | None] = {}
        self._remote: frozenset[str] | None = None

    def has(self, path: str) -> bool:
        """Whether the file exists.

        Args:
            path: Below the root, as `relative` gives it.

        Raises:
            ValueError: It, or a folder on its way, is a symbolic link out of the root.
        """
        if not is_local(self._root):
            if self._remote is None:
                self._remote = frozenset(listing(self._root))
            return path in self._remote
        folder, name = posixpath.split(path)
        if folder not in self._names:
            self._names[folder] = self._list(folder)
        names = self._names[folder]
        if names is None:
            raise ValueError(f"folder {folder!r} is a symbolic link out of the root")
        if names.get(name) and not inside(self._root, path):
            raise ValueError(f"{path!r} is a symbolic link out of the root")
        return name in names

    def _list(self, folder: str) -> dict[str, bool] | None:
        """File name -> whether it is a link; None for a folder that is outside."""
        if not inside(self._root, folder):
            return None
        try:
            with os.scandir(self._root / folder) as entries:
                return {entry.name: entry.is_symlink() for entry in entries if _is_file(entry)}
        except OSError:
            # No such folder: none of its files is there, which the caller tells clip by clip.
            return {}


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        # A link that leads to itself is no file.
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
