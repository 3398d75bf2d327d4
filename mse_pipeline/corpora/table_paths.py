"""Where a table and the media that it names lie.

Both may lie anywhere. Only the user says which folders may be read, on the command line or in a recipe: the root, and
``media_root``. A table may come from a stranger, so its paths cannot lead out of these folders: an absolute path is
read only if it lies below them.
"""

from __future__ import annotations

import functools
import os
import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mse_pipeline.clip import Defect
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import Folders, RefusedPath, list_files, open_root, relative, telling
from mse_pipeline.corpora.table_cells import Complaints
from mse_pipeline.corpora.table_file import SUFFIXES, TextTable
from mse_pipeline.errors import UsageError
from mse_pipeline.places import below, is_local, place

_MOST_SEARCHED = 10_000
"""Folders in which a table is searched that nobody named."""


@dataclass(frozen=True)
class TableMedia:
    """The media of a table's rows.

    Attributes:
        folder: What the paths start from: the root, the folder that the option ``media_root`` names, or the table's.
        paths: Of each row's file; None where there is none.
        reasons: Row -> why its file is not read, as the end of a sentence; where nothing is known but that it is not
            there, the row is absent.
        notes: What should be known of all paths together, as sentences.
        defects: Likewise, what is wrong with them.
    """

    folder: Path
    paths: list[str | None]
    reasons: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    defects: tuple[Defect, ...] = ()


def find_table(root: Path, table: str | None, columns: Sequence[str], follow_links: bool = False) -> tuple[Path, str]:
    """A folder, and the table's path below it: the root, or the table's own folder where it lies elsewhere.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        table: What the option `table` says; None for the only clips.csv, clips.tsv or clips.parquet below the root.
        columns: That the table needs, for the error.
        follow_links: Whether the user said that all links may be followed.

    Raises:
        UsageError: There is no such table, or several.
    """
    if table is not None:
        if not table.lower().endswith(SUFFIXES):
            raise UsageError(f"Option table: {table} must be one of {', '.join(SUFFIXES)}.")
        return _named_table(root, table, follow_links)
    listing = list_files(root, follow_links, _MOST_SEARCHED)
    tables = [path for path in listing.files if path.lower().endswith(SUFFIXES)]
    candidates = [path for path in tables if posixpath.splitext(posixpath.basename(path))[0].lower() == "clips"]
    if len(candidates) == 1:
        return root, candidates[0]
    if candidates:
        raise UsageError(
            f"There are several tables below {root}: {enumerate_some(candidates)}. Choose one with the option table of "
            "the recipe's corpus."
        )
    others = f" These tables are there: {enumerate_some(tables, 5)}; name one with the option table." if tables else ""
    searched = "" if listing.complete else f" in the {_MOST_SEARCHED:,} folders that were searched"
    with telling(listing):
        raise UsageError(
            f"There is no clips.csv, clips.tsv or clips.parquet below {root}{searched}. A table with the columns "
            f"{', '.join(columns)} tells which clips there are; one that lies elsewhere is named with its path: "
            f"mse extract TABLE --root {_quoted(root)}.{others}"
        )


def _named_table(root: Path, table: str, follow_links: bool) -> tuple[Path, str]:
    """A table that the user named, anywhere."""
    try:
        path = _inside(root, table)
    except ValueError as error:
        file = _absolute(root, table)
        if not file.is_file():
            raise UsageError(
                f"Option table: there is no file {table}: {error}, and this path does not exist."
            ) from None
        home = file.parent.resolve() if is_local(file) else file.parent
        if is_local(home) and is_local(root) and below(str(home), str(root)):
            return root, (home / file.name).relative_to(root).as_posix()
        return home, file.name
    try:
        if not is_local(root) and (root / path).is_file():
            return root, path
        folders = Folders(root, follow_links)
        existing_file = folders.find(path)
    except RefusedPath as error:
        raise UsageError(f"Option table: {error}.") from None
    if existing_file is None:
        raise UsageError(f"Option table: there is no file {table} below {root}{folders.hint(path)}.")
    return root, existing_file


def find_media(
    root: Path,
    home: Path,
    table: TextTable,
    written: Sequence[str],
    complaints: Complaints,
    *,
    media_root: str | None = None,
    follow_links: bool = False,
) -> TableMedia:
    """The media files that a table names.

    Paths start from the root and from the table's folder; with `media_root` from that.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        home: The folder that the table's path starts from, as `find_table` gives it.
        table: The table.
        written: The cells of its column media.
        complaints: Where rows are noted whose path leads out of the folders that may be read.
        media_root: What the option `media_root` says: a folder below the root, or any other.
        follow_links: Whether the user said that all links may be followed.

    Raises:
        UsageError: There is no folder `media_root`, or none of the media is there.
    """
    beside = home / posixpath.dirname(table.path)
    values = [value.strip() for value in written]
    if media_root is None:
        search = _Search(root, ["", beside], follow_links)
        media = search.all(table.rows, values)
        if home != root and not any(media.paths):
            other = _Search(open_root(home), [""], follow_links)
            other_media = other.all(table.rows, values)
            if any(other_media.paths):
                search, media = other, other_media
    else:
        folder, start, outside = _media_root(root, media_root)
        search = _Search(folder, [start, root, beside] if outside else [start], follow_links)
        media = search.all(table.rows, values)
        if outside and not any(media.paths) and not media.reasons:
            raise UsageError(
                f"Option media_root: {outside}, and none of the {len(values):,} media of table {table.path} is below "
                f"it, as in {next(filter(None, values), 'none at all')!r}."
            )
    search.complain(complaints, beside)
    return media


def _media_root(root: Path, written: str) -> tuple[Path, str, str]:
    """The folder that may be read, where in it paths start from, and how it leads out of the root, if it does."""
    try:
        path = _inside(root, written)
    except ValueError as error:
        return open_root(_absolute(root, written), "media_root"), "", str(error)
    folders = Folders(root, follow_links=True)  # the user named the folder, be it a link or not
    listed = folders.folder(path)
    if listed is None:
        raise UsageError(f"Option media_root: there is no folder {written} below {root}.")
    if is_local(root) and not below(os.path.realpath(root / listed), str(root)):
        return open_root(root / listed), "", f"{written!r} is a symbolic link out of the root"
    return root, listed, ""


class _Search:
    """The search for the media of a table in one folder.

    Args:
        folder: Nothing outside of it is found.
        starts: Where paths start from: below the folder as text, or another folder.
        follow_links: Whether the user said that all links may be followed.
    """

    def __init__(self, folder: Path, starts: Sequence[str | Path], follow_links: bool) -> None:
        self._folder = folder
        local = is_local(folder)
        # On remote storages, folders elsewhere have no way to the folder that a path could take.
        self._starts = list(dict.fromkeys(x for x in map(self._start, starts) if local or isinstance(x, str)))
        self._folders = Folders(folder, follow_links)
        self._outside: dict[str, list[tuple[int, str]]] = {}

    def _start(self, start: str | Path) -> str | Path:
        if isinstance(start, str):
            return start
        inner = str(start).removeprefix(str(self._folder).rstrip("/"))
        return inner.strip("/") if inner != str(start) and inner[:1] in ("", "/") else start

    def all(self, rows: Sequence[int], values: Sequence[str]) -> TableMedia:
        """Search for the files of all rows."""
        paths: list[str | None] = []
        reasons: dict[int, str] = {}
        absolute, other_form = [], []
        for row, value in zip(rows, values, strict=True):
            path, reason = self._one(row, value) if value else (None, "")
            if reason:
                reasons[row] = reason
            if path is not None and _is_absolute(value):
                absolute.append(value)
            if path is not None and not value.replace("\\", "/").endswith(posixpath.basename(path)):
                other_form.append(path)
            paths.append(path)
        notes = (f"{len(absolute):,} media paths are absolute, as {absolute[0]}.",) if absolute else ()
        defects: tuple[Defect, ...] = ()
        if other_form:
            message = (
                f"{len(other_form):,} media are called otherwise on the disk than in the table, though it looks the "
                f"same (another Unicode normal form), as in row {rows[paths.index(other_form[0])]}; they are used."
            )
            defects = (Defect(code="name_form", message=message, path=other_form[0]),)
        return TableMedia(self._folder, paths, reasons, notes, defects)

    def _one(self, row: int, value: str) -> tuple[str | None, str]:
        """The file of one row, or why there is none."""
        refusals, hints, outside = [], [], []
        for start in self._starts:
            try:
                path = self._below(start, value)
            except ValueError as error:
                outside.append(str(error).removeprefix(f"{value!r} "))
                continue
            try:
                file = self._folders.find(path)
            except RefusedPath as error:
                refusals.append(f"which {replace(error.refusal, path=path)}")
                continue
            if file is not None:
                return file, ""
            if hint := self._folders.hint(path):
                hints.append(f"which is not there{hint}")
        # `../video/a.mp4` may lead out of the folder from one start and be right from another.
        if len(outside) == len(self._starts):
            self._outside.setdefault(outside[0], []).append((row, value))
        return None, next(iter(refusals + hints), "")

    def _below(self, start: str | Path, value: str) -> str:
        """A path as a row has it -> the same below the folder; raises ValueError if it leads out of it."""
        if isinstance(start, Path):
            base, written = "", value if _is_absolute(value) else posixpath.join(start.as_posix(), value)
        else:
            base, written = start, value
        try:
            return relative(self._folder, base, written)
        except ValueError:
            if not (is_local(self._folder) and written.startswith("/")):
                raise
            # The folder may have been reached by another name: /tmp is /private/tmp, or a link beside the table.
            above, name = posixpath.split(written.replace("\\", "/"))
            if not below(_real(above), str(self._folder)):
                raise
            return relative(self._folder, "", posixpath.join(_real(above), name))

    def complain(self, complaints: Complaints, beside: Path) -> None:
        """Note the rows whose paths lead out of the folder: one complaint a reason, with what mends it."""
        for cause, table_rows in self._outside.items():
            message = f"media {table_rows[0][1]!r} {cause}; {self._mend([value for _, value in table_rows], beside)}"
            for row, _ in table_rows:
                complaints.add(message, row)

    def _mend(self, values: Sequence[str], beside: Path) -> str:
        if not is_local(self._folder) or not is_local(beside):
            return f"all media must lie below {self._folder}"
        places = [os.path.normpath(beside / value.replace("\\", "/")) for value in values if "\0" not in value]
        common = os.path.commonpath([os.path.dirname(path) for path in places]) if places else ""
        if not os.path.isdir(common):
            return f"no such folder is on this machine, and all media must lie below {self._folder}"
        return f"--media-root {_quoted(common)} (in a recipe media_root) allows the paths below it"


def _inside(root: Path, written: str) -> str:
    """What the user named, below the root; raises ValueError if it lies elsewhere."""
    if is_local(root) and "://" in written:
        raise ValueError(f"{written!r} is an address outside of the root")
    return relative(root, "", written)


def _absolute(root: Path, written: str) -> Path:
    """A place that the user named: as it is, or from the root."""
    path = place(written)
    if not is_local(path) or not is_local(root):
        return path
    return Path(os.path.normpath(root / path.expanduser()))


def _is_absolute(value: str) -> bool:
    return value.startswith(("/", "\\")) or "://" in value


@functools.lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _quoted(place: object) -> str:
    return shlex.quote(str(place))
