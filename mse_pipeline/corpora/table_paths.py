"""Where a table and the media that it names lie, never outside of the root."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import Folders, inside, list_files, relative
from mse_pipeline.corpora.table_cells import Complaints
from mse_pipeline.corpora.table_file import SUFFIXES, Table
from mse_pipeline.errors import UsageError


def find_table(root: Path, table: str | None, columns: Sequence[str]) -> str:
    """The table's path below the root.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        table: What the option `table` says; None for the only clips.csv, clips.tsv or clips.parquet.
        columns: That the table needs, for the error.

    Raises:
        UsageError: There is no such table, or several.
    """
    if table is not None:
        try:
            path = relative(root, "", table)
        except ValueError as error:
            raise UsageError(f"Option table: {error}; it must lie below {root}.") from None
        if not (root / path).is_file():
            raise UsageError(f"Option table: there is no file {table} below {root}.")
        if not inside(root, path):
            raise UsageError(f"Option table: {table} is a symbolic link out of {root}.")
        if not path.lower().endswith(SUFFIXES):
            raise UsageError(f"Option table: {table} must be one of {', '.join(SUFFIXES)}.")
        return path
    tables = [path for path in list_files(root).files if path.lower().endswith(SUFFIXES)]
    found = [path for path in tables if posixpath.splitext(posixpath.basename(path))[0].lower() == "clips"]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"There are several tables below {root}: {enumerate_some(found)}. Choose one with the option table of the "
            "recipe's corpus."
        )
    others = f" These tables are there: {enumerate_some(tables, 5)}; name one with the option table." if tables else ""
    raise UsageError(
        f"There is no clips.csv, clips.tsv or clips.parquet below {root}. A table with the columns "
        f"{', '.join(columns)} tells which clips there are.{others}"
    )


def find_media(
    root: Path, table: Table, written: list[str], media_root: str | None, complaints: Complaints
) -> list[str | None]:
    """Media paths below the root; None where there is no such file.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        table: The table; paths may start from its folder.
        written: The cells of its column media.
        media_root: What the option `media_root` says.
        complaints: Where rows whose path leads out of the root are noted.

    Raises:
        UsageError: `media_root` is no folder below the root.
    """
    bases = ["", posixpath.dirname(table.path)]
    if media_root is not None:
        try:
            bases = [relative(root, "", media_root)]
        except ValueError as error:
            raise UsageError(f"Option media_root: {error}; it must lie below {root}.") from None
        if not (root / bases[0]).is_dir() or not inside(root, bases[0]):
            raise UsageError(f"Option media_root: there is no folder {media_root} below {root}.")
    folders = Folders(root)
    paths: list[str | None] = []
    for row, value in zip(table.rows, written, strict=True):
        found, refusals = None, []
        for base in dict.fromkeys(bases) if value.strip() else ():
            try:
                path = relative(root, base, value.strip())
                if folders.has(path):
                    found = path
                    break
            except ValueError as error:
                refusals.append(str(error))
        # `../video/a.mp4` may lead out of the root from one base and be right from another.
        if found is None and len(refusals) == len(set(bases)):
            complaints.add(f"media {refusals[0]}; all media must lie below {root}", row)
        paths.append(found)
    return paths
