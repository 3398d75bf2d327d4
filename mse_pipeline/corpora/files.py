"""Files below a root: listed, and never outside of it."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from mse_pipeline.errors import UsageError

_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


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
    """The root as an absolute folder without symbolic links.

    Raises:
        UsageError: It does not exist, or is no folder.
    """
    folder = Path(root).expanduser()
    if not folder.exists():
        raise UsageError(f"Folder {root} does not exist. Give the folder of the raw data with --root.")
    if not folder.is_dir():
        raise UsageError(f"{root} is a file; give the folder of the raw data with --root.")
    return folder.resolve()


def list_files(root: Path) -> Listing:
    """All files below the root, without what systems leave behind (``._*``, ``.DS_Store``, ``__MACOSX``, hidden).

    Links to folders are not followed: inside the root their files are found anyway, and outside is outside.

    Args:
        root: As `open_root` gives it.
    """
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
    return Listing(tuple(sorted(files, key=lambda path: (path.count("/"), path))), tuple(sorted(refused)))


def inside(root: Path, path: str) -> bool:
    """Whether a path below the root stays there once symbolic links are followed.

    Args:
        root: As `open_root` gives it.
        path: Below the root, with forward slashes.
    """
    real = os.path.realpath(root / path)
    return real == str(root) or real.startswith(str(root).rstrip(os.sep) + os.sep)


def relative(root: Path, base: str, written: str) -> str:
    r"""A path as someone wrote it -> the same below the root.

    Args:
        root: As `open_root` gives it.
        base: Folder below the root that the path starts from; empty for the root.
        written: Relative, or absolute and inside of the root; backslashes count as slashes.

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
    if path.startswith("/") and (path + "/").startswith(f"{root.as_posix().rstrip('/')}/"):
        path, base = path[len(root.as_posix().rstrip("/")) :].lstrip("/"), ""
    if path.startswith("/") or PureWindowsPath(path).drive:
        raise ValueError(f"{written!r} is an absolute path outside of the root")
    joined = posixpath.normpath(posixpath.join(base, path))
    if joined == ".." or joined.startswith("../"):
        raise ValueError(f"{written!r} leads out of the root")
    return joined


class Folders:
    """Answers whether files are there, each folder listed once: a table may name 100,000 of them.

    Args:
        root: As `open_root` gives it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, dict[str, bool] | None] = {}

    def has(self, path: str) -> bool:
        """Whether the file exists.

        Args:
            path: Below the root, as `relative` gives it.

        Raises:
            ValueError: It, or a folder on its way, is a symbolic link out of the root.
        """
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
