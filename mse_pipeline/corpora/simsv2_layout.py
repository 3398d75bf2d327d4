"""Where the label tables and clips of CH-SIMS v2 and CH-SIMS lie, in any of the trees that are about."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.mmsa_table import HEAD, LabelRow, begins_as_label_table, clip_files, read_label_table
from mse_pipeline.corpora.reading import read_heads
from mse_pipeline.names import ByName

Key = tuple[str, str]
"""video_id, clip_id."""

_AUDIO = (".wav", ".flac")
_ARCHIVE = re.compile(r".*\.(?:zip|z\d\d|7z|rar|tar|tar\.gz|tgz)(?:\.\d{3})?", re.I)
# Whole words only, so that a folder such as `sims` around everything says nothing.
_UNSUPERVISED = re.compile(r".*(?:\(u\)|sims[ _-]?v2u|unsup(?:ervised)?)(?:[ _.-].*)?", re.I)


@dataclass(frozen=True)
class LabelTable:
    """A label table that was found.

    Attributes:
        path: Below the root.
        rows: All of them.
        labelled: Whether any row has a label; the table of CH-SIMS v2's unsupervised part has none.
    """

    path: str
    rows: Sequence[LabelRow]
    labelled: bool


def find_tables(root: Path, listing: Listing) -> list[LabelTable]:
    """All label tables below a root, those nearest to it first.

    Raises:
        UsageError: One has rows that cannot be read.
    """
    tables = []
    csv_files = [path for path in listing.files if path.lower().endswith(".csv")]
    for path, head in read_heads(root, csv_files, HEAD):
        if begins_as_label_table(head):
            rows = read_label_table(root / path, path)
            tables.append(LabelTable(path, rows, any(row.label is not None for row in rows)))
    return tables


def choose(tables: Sequence[LabelTable], total: int, name: str) -> tuple[LabelTable | None, list[str]]:
    """The table to use, and a note on each that is left aside.

    CH-SIMS v2 takes up the clips of CH-SIMS, so that people keep both under one folder, in tables of one form. The
    table with the corpus's own number of rows is taken, then the one that is named as the corpus names it, then the
    one nearest to the root.

    Args:
        tables: Of one kind, labelled or not.
        total: Number of rows that the corpus has.
        name: What the file's name begins with, ``meta`` or ``label``.
    """

    def rank(table: LabelTable) -> tuple[bool, bool, int, str]:
        own = posixpath.basename(table.path).lower().startswith(name)
        return len(table.rows) != total, not own, table.path.count("/"), table.path

    ordered = sorted(tables, key=rank)
    if not ordered:
        return None, []
    used = ordered[0]
    return used, [
        f"{other.path} ({len(other.rows):,} rows) is left aside for {used.path} ({len(used.rows):,} rows)."
        for other in ordered[1:]
    ]


def media_beside(table: str, media: Mapping[Key, list[str]]) -> ByName[Key, list[str]]:
    """The media files that belong to a table: those below its folder, or all if there are none.

    Of a clip's files those with a picture come first; sound files that someone made beside them are no further
    copies, and are left out.

    Args:
        table: Path of the table.
        media: As `media_below` gives it.

    Examples:
        >>> media_beside("s/meta.csv", {("v", "1"): ["s/Raw/v/1.wav", "s/Raw/v/1.mp4", "t/Raw/v/1.mp4"]})
        {('v', '1'): ['s/Raw/v/1.mp4']}
    """
    folder = posixpath.dirname(table)
    prefix = f"{folder}/" if folder else ""
    below = {key: kept for key, paths in media.items() if (kept := [path for path in paths if path.startswith(prefix)])}
    chosen = below or media
    return ByName(
        (key, [path for path in paths if not path.lower().endswith(_AUDIO)] or list(paths))
        for key, paths in chosen.items()
    )


def media_below(listing: Listing) -> dict[Key, list[str]]:
    """Media files by (video_id, clip_id), from ``.../<video_id>/<clip_id>.mp4``."""
    return clip_files(listing.files)


def is_unsupervised(path: str) -> bool:
    """Whether a folder above a file is named after the unsupervised part of CH-SIMS v2.

    Examples:
        >>> is_unsupervised("CH-SIMS v2/CH-SIMS v2(u)/Raw/aqgy1_0001/00000.mp4")
        True
        >>> is_unsupervised("ch-simsv2s/Raw/video_0001/0001.mp4")
        False
    """
    return any(_UNSUPERVISED.fullmatch(folder) for folder in path.split("/")[:-1])


def archives(listing: Listing) -> list[str]:
    """Archives that are still packed."""
    return [path for path in listing.files if _ARCHIVE.fullmatch(posixpath.basename(path))]
