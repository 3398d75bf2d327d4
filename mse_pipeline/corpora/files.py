"""Files below a root, a local folder or one on a remote storage: which there are, and which of them may be read.

`list_files` lists them, `relative` and `Folders` look up paths that a table names, and `read_folder` makes the corpus
of a raw folder. A symbolic link that is not followed costs only its own clips; their defects name the link.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from mse_pipeline.clip import Defect
from mse_pipeline.corpora.base import Corpus, ReaderOptions
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName, composed
from mse_pipeline.places import Reach, Refusal, below, is_local, listing, place, summarise

MOST_ENTRIES = 5_000_000
"""Files and folders below a root; whoever has more of them has given the wrong folder."""

_MANY_ENTRIES = 200_000  # of which the user is told that they are listed
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_SYSTEM = {"/dev", "/proc", "/sys"}  # folders that hold the system's own state, and no end of it
_OF_A_CACHE = {"dataset.json", "clips.parquet", "journal"}, {".run.lock"}
"""Names that only a dataset of a cache has together: who works in the folder of the data has the cache there too."""

_OTHER_STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|.*(?:://|::)")
"""What reads as another protocol, or as fsspec's chain of them, within a path."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """What lies below a root.

    Attributes:
        files: Paths below the root, forward slashes, sorted by depth and name.
        refused: What was ignored, each with its reason, as sentences; links of one reason share one.
        withheld: Links that are not followed, or that lead to nothing, by their paths.
        complete: Whether everything was listed.
    """

    files: tuple[str, ...]
    refused: tuple[str, ...]
    withheld: Mapping[str, Refusal] = field(default_factory=dict)
    complete: bool = True


@contextmanager
def telling(listing: Listing) -> Iterator[None]:
    """Let an error about what is not there tell what was ignored.

    Raises:
        UsageError: The block raised it.
    """
    try:
        yield
    except UsageError as error:
        untold = [sentence for sentence in listing.refused if sentence not in str(error)]
        if not untold:
            raise
        raise UsageError(f"{error} Ignored: {' '.join(untold[:3])}") from None


def open_root(root: str | Path, option: str = "--root") -> Path:
    """The root as an absolute folder without symbolic links, or as a folder on a remote storage.

    Args:
        root: A local folder, or any URL that fsspec knows.
        option: What names it, for the errors.

    Raises:
        UsageError: It does not exist, is not a folder, or cannot be reached.
    """
    folder = place(root)
    if is_local(folder):
        folder = folder.expanduser()
    try:
        exists, is_folder = folder.exists(), folder.is_dir()
    except Exception as error:  # storages have errors of their own: no credentials, no such host, access denied
        raise UsageError(
            f"{root} cannot be reached: {error}. Check the address and the credentials of {option}."
        ) from error
    if not exists:
        raise UsageError(f"Folder {root} does not exist. Give the folder of the raw data with {option}.")
    if not is_folder:
        raise UsageError(f"{root} is a file; give the folder of the raw data with {option}.")
    return folder.resolve() if is_local(folder) else folder


def list_files(root: Path, follow_links: bool = False, most: int | None = None) -> Listing:
    """All files below the root, without what systems leave behind (``._*``, ``.DS_Store``, ``__MACOSX``, hidden).

    Datasets of a cache below the root are left out too: they hold features and tables of ours.

    Links are followed as `mse_pipeline.places` says. Links to folders inside of the root are not: their files are found
    anyway.

    Args:
        root: As `open_root` gives it.
        follow_links: Whether the user said that all links may be followed.
        most: Folders after which the listing ends, those nearest to the root first; None for all.

    Raises:
        UsageError: There are more than `MOST_ENTRIES`.
    """
    complete = True
    withheld: dict[str, Refusal] = {}
    if is_local(root):
        files, refused, complete = _walk(root, Reach(root, follow_links), withheld, most)
    else:
        files, refused = _list_remote(root)
    refused += summarise(withheld.values())
    ordered = sorted(files, key=lambda path: (path.count("/"), path))
    return Listing(tuple(ordered), tuple(sorted(refused)), withheld, complete)


def _walk(
    root: Path, reach: Reach, withheld: dict[str, Refusal], most: int | None
) -> tuple[list[str], list[str], bool]:
    """Files, sentences on what was ignored, and whether that is all; the nearest to the root first."""
    files: list[str] = []
    refused: list[str] = []
    entered: set[str] = set()  # folders outside of the root, so that links that go in circles end
    waiting = deque([""])
    count = folders = 0
    while waiting:
        if folders == most:
            return files, refused, False
        folders += 1
        prefix = waiting.popleft()
        try:
            with os.scandir(root / prefix) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            refused.append(f"{prefix or '.'} cannot be listed: {error.strerror}.")
            continue
        names = {entry.name for entry in ordered}
        if prefix and any(names >= together for together in _OF_A_CACHE):
            continue
        for entry in ordered:
            if entry.name.startswith(".") or entry.name in _IGNORED or entry.path in _SYSTEM:
                continue
            count += 1
            if count == _MANY_ENTRIES:
                _log.warning("%s holds more than %s files and folders, which are all listed.", root, f"{count:,}")
            if count > MOST_ENTRIES:
                raise UsageError(
                    f"There are more than {MOST_ENTRIES:,} files and folders below {root}; give the dataset's own "
                    "folder with --root."
                )
            path = f"{prefix}{entry.name}"
            if not _is_text(path):
                refused.append(f"{path!a} has a name that is not UTF-8.")
            elif entry.is_symlink() and (refusal := reach.refusal(path)) is not None:
                withheld[path] = refusal
            elif entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and _enters(entry, root, entered)):
                waiting.append(path + "/")
            elif _is_file(entry):
                files.append(path)
    return files, refused, True


def _enters(link: os.DirEntry[str], root: Path, entered: set[str]) -> bool:
    """Whether a link leads to a folder outside of the root that was not entered yet."""
    if not link.is_dir():
        return False
    real = os.path.realpath(link.path)
    if below(real, str(root)) or real in entered:
        return False
    entered.add(real)
    return True


def _list_remote(root: Path) -> tuple[list[str], list[str]]:
    files: list[str] = []
    refused: list[str] = []
    listed = listing(root)
    journals = {path.partition("/journal/")[0] for path in listed if "/journal/" in path}
    own = [home for home in journals if {f"{home}/dataset.json", f"{home}/clips.parquet"} <= listed.keys()]
    caches = tuple(f"{home}/" for home in own)
    for path in listed:
        hidden = any((name.startswith(".") and name.strip(".")) or name in _IGNORED for name in path.split("/"))
        if hidden or path.startswith(caches):
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
    """Whether a path below the root may be read once symbolic links are followed, see `mse_pipeline.places`.

    Args:
        root: As `open_root` gives it. Remote storages have no links.
        path: Below the root, with forward slashes.
    """
    return Reach(root).allows(path)


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


class RefusedPath(ValueError):
    """A path is there, and is not read.

    Args:
        refusal: Why.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.path} {refusal}")
        self.refusal = refusal


class Folders:
    """Answers whether files are there, each folder listed once, and a remote root as a whole.

    A table may name 100,000 of them. Names are found in whichever Unicode normal form they are written.

    Args:
        root: As `open_root` gives it.
        follow_links: Whether the user said that all links may be followed.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self._root = root
        self._reach = Reach(root, follow_links)
        self._listed: dict[str, tuple[ByName[str, bool], ByName[str, bool]]] = {}
        self._refused: dict[str, Refusal] = {}
        self._by_case: dict[str, dict[str, list[str]]] = {}
        self._remote: ByName[str, None] | None = None

    def has(self, path: str) -> bool:
        """Whether the file exists; as `find`."""
        return self.find(path) is not None

    def find(self, path: str) -> str | None:
        """The file as it is called on the disk; None if it does not exist.

        Args:
            path: Below the root, as `relative` gives it.

        Raises:
            Refused: It, or a folder on its way, is a symbolic link that is not followed or leads to nothing.
        """
        if not is_local(self._root):
            return self._keys().written(path)
        folder, name = posixpath.split(path)
        home = self.folder(folder)
        if home is None:
            return None
        files, _ = self._list(home)
        written = files.written(name)
        if written is None:
            return None
        actual = posixpath.join(home, written)
        if files[written] and (refusal := self._reach.refusal(actual)) is not None:
            raise RefusedPath(refusal)
        return actual

    def hint(self, path: str) -> str:
        """What the neighbours of a file that is not there tell of it, as the end of a sentence; mostly nothing.

        Args:
            path: Below the root, as `relative` gives it.
        """
        if not is_local(self._root):
            return self._case_hint("", path, self._keys())
        folder, name = posixpath.split(path)
        try:
            home = self.folder(folder)
        except RefusedPath:
            home = None
        if home is None:
            return ""
        files, _ = self._list(home)
        if f"{name}.dvc" in files:
            return f"; {name}.dvc is there, so that dvc pull brings it"
        return self._case_hint(home, name, files)

    def _case_hint(self, folder: str, name: str, names: ByName[str, Any]) -> str:
        if folder not in self._by_case:
            self._by_case[folder] = {}
            for other in names:
                self._by_case[folder].setdefault(composed(other).casefold(), []).append(other)
        near = self._by_case[folder].get(composed(name).casefold(), [])
        return f"; {near[0]} is there, which differs by case alone" if len(near) == 1 else ""

    def _keys(self) -> ByName[str, None]:
        if self._remote is None:
            self._remote = ByName(dict.fromkeys(listing(self._root)))
        return self._remote

    def folder(self, folder: str) -> str | None:
        """A folder as it is called on the disk; None if it does not exist.

        Args:
            folder: Below the root, as `relative` gives it; ``.`` or nothing for the root.

        Raises:
            Refused: It, or one on its way, is a symbolic link that is not followed or leads to nothing.
        """
        if folder in ("", "."):
            return ""
        if not is_local(self._root):
            return folder if any(key.startswith(f"{folder}/") for key in self._keys()) else None
        above, name = posixpath.split(folder)
        home = self.folder(above)
        if home is None:
            return None
        _, folders = self._list(home)
        written = folders.written(name)
        if written is None:
            return None
        actual = posixpath.join(home, written)
        if folders[written]:
            if actual not in self._refused and (refusal := self._reach.refusal(actual)) is not None:
                self._refused[actual] = refusal
            if actual in self._refused:
                raise RefusedPath(self._refused[actual])
        return actual

    def _list(self, folder: str) -> tuple[ByName[str, bool], ByName[str, bool]]:
        """Files and folders in a folder, by name: whether they are links. A link to nothing counts as both."""
        if folder not in self._listed:
            files, folders = {}, {}
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        link = entry.is_symlink()
                        if _is_file(entry) or (link and not os.path.exists(entry.path)):
                            files[entry.name] = link
                        if _is_folder(entry) or (link and not os.path.exists(entry.path)):
                            folders[entry.name] = link
            except OSError:
                # It cannot be listed: none of its files is there, which the caller tells clip by clip.
                pass
            self._listed[folder] = ByName(files), ByName(folders)
        return self._listed[folder]


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        # A link that leads to itself is not a file.
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


_MEDIA = (
    *(".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".mpg", ".mpeg", ".ts", ".vob", ".wmv", ".3gp", ".ogv"),
    *(".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".wma"),
)


def read_folder(root: str | Path, options: ReaderOptions, read: Callable[[Path, Listing], Corpus]) -> Corpus:
    """The corpus of a raw folder, of which nothing is read that a link hides.

    Args:
        root: The raw folder.
        options: Of the reader.
        read: Makes the corpus of the root and what lies below it; media it opens none.

    Raises:
        UsageError: There is no such folder, or `read` refuses; links that are not followed are told as well.
    """
    folder = open_root(root)
    listing = list_files(folder, options.follow_links)
    with telling(listing):
        corpus = read(folder, listing)
    lost = {clip.id for clip in corpus.clips if clip.media is None}
    return _with_reasons(corpus, lost, folder, listing, read) if lost and listing.withheld else corpus


def _with_reasons(
    corpus: Corpus, lost: set[str], folder: Path, listing: Listing, read: Callable[[Path, Listing], Corpus]
) -> Corpus:
    """The corpus whose clips without media tell the link that has them.

    The reader itself says which clip a withheld file would be of: it is asked again, as if the file were there.
    """
    media = [path for path in listing.withheld if path.lower().endswith(_MEDIA)]
    files = tuple(sorted((*listing.files, *media), key=lambda path: (path.count("/"), path)))
    try:
        supposed = {clip.id: clip.media for clip in read(folder, replace(listing, files=files)).clips}
    except UsageError:
        supposed = {}
    folders = [path for path in listing.withheld if path not in media and not (folder / path).is_file()]

    def explained(defect: Defect) -> Defect:
        path = supposed.get(defect.clip or "")
        if defect.code != "missing_media" or defect.clip not in lost:
            return defect
        if path is not None and path in listing.withheld:
            message = f"The file of {defect.clip}, {path}, {listing.withheld[path]}."
            return replace(defect, message=message, path=path)
        if folders:
            reason = f"it may lie in {folders[0]}, which {listing.withheld[folders[0]]}"
            return replace(defect, message=f"{defect.message.removesuffix('.')}; {reason}.")
        return defect

    return replace(corpus, defects=tuple(map(explained, corpus.defects)))
