"""The label table of MMSA's layout: label.csv of CMU-MOSI, CMU-MOSEI and CH-SIMS, meta.csv of CH-SIMS v2.

One row a clip; the media lie in ``Raw/<video_id>/<clip_id>.mp4``. Columns come in any order, so names count; copies
without a header are about and hold the columns in the order of `COLUMNS`.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.cells import is_missing, number_of, said
from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some, read_bytes, read_head
from mse_pipeline.corpora.table_cells import Complaints, split_of
from mse_pipeline.corpora.text import decode, is_damaged, repair
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName

COLUMNS = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
MODALITIES = {"label_T": "text", "label_A": "acoustic", "label_V": "visual"}
"""Column -> name of the modality that it annotates, as `Clip.labels` has it."""

LAYOUT = "label.csv (video_id, clip_id, text, label, mode …) + Raw/VIDEO/CLIP.mp4"
"""What a root folder in MMSA's layout looks like."""

HEAD = 8192
"""Bytes of a file that tell whether it is a label table."""

_NEEDED = ("video_id", "clip_id", "text")
_ANNOTATIONS = {"negative", "neutral", "positive", ""}
_MAX_BYTES = 256 << 20
_MAX_ID = 100
# An id becomes part of a path and of the clip's id, so that it is a plain file name, no more.
_ID = re.compile(r"(?!\.)[^\x00-\x1f\x7f-\x9f/\\]+")
_MEDIA = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".mpg", ".wav", ".flac")


@dataclass(frozen=True)
class LabelRow:
    """One row of a label table.

    Attributes:
        number: Of the row in the file, the first being row 1, header included.
        video_id: As written: ``video_0001``, ``-NFrJFQijFE``.
        clip_id: As written, leading zeros kept: ``0001``, ``3``.
        text: Cleaned of encoding damage.
        label: Of the whole clip; None where the cell is empty, as in the unsupervised part of CH-SIMS v2.
        modality_labels: ``text``, ``acoustic``, ``visual`` -> label, of those whose cells are not empty.
        annotation: As written: ``Negative``, ``Neutral``, ``Positive`` or nothing.
        mode: As written, as in ``train``; empty where there is none.
        split: What `mode` says; None where it is empty or names no split.
        repaired: Whether the text held encoding damage.
    """

    number: int
    video_id: str
    clip_id: str
    text: str
    label: float | None
    modality_labels: dict[str, float]
    annotation: str
    mode: str
    split: Split | None
    repaired: bool

    @property
    def id(self) -> str:
        """Id of the clip as MMSA's feature files have it, ``<video_id>$_$<clip_id>``."""
        return f"{self.video_id}$_${self.clip_id}"


def read_label_table(file: str | Path, name: str | None = None) -> list[LabelRow]:
    """Read a label table.

    Ids stay texts, so that ``0001`` keeps its zeros. Encodings are those of `mse_pipeline.corpora.text.decode`: UTF-8
    with or without mark, GB18030.

    Args:
        file: The CSV file.
        name: How errors call it; None for its path.

    Returns:
        The rows in the file's order. Ids may occur twice, and labels may lie outside of a range: that is the
        corpus's to judge.

    Raises:
        UsageError: It cannot be read, lacks columns, has no rows, or rows that cannot be: ids that are not plain file
            names, labels that are not numbers, too few or too many cells. All that is wrong is told, with the rows.
    """
    name = name or str(file)
    source = f"Label table {name}"
    text, _ = decode(read_bytes(file, source, _MAX_BYTES), source)
    columns, records, delimiter = _records(text, name)
    missing = [column for column in _NEEDED if column not in columns]
    if missing:
        raise UsageError(
            f"Label table {name} has no column {', '.join(missing)}; it has {', '.join(columns)}. "
            f"MMSA's tables have the columns {', '.join(COLUMNS)}, in any order."
        )
    complaints = Complaints(name)
    rows = []
    for number, cells in records:
        if len(cells) != len(columns):
            complaints.add(f"{len(cells)} cells instead of {len(columns)}; put texts with commas into quotes", number)
        else:
            rows.append(_row(number, dict(zip(columns, cells, strict=True)), delimiter, complaints))
    complaints.settle()
    if not rows:
        raise UsageError(f"Label table {name} has no rows.")
    return rows


def is_label_table(file: str | Path) -> bool:
    """Whether a local CSV file begins like a label table, with or without a header.

    A file that cannot be read is none; who needs it tells that there is none.
    """
    return begins_as_label_table(read_head(file, HEAD))


def begins_as_label_table(head: bytes) -> bool:
    """Whether the first `HEAD` bytes of a CSV file are those of a label table, with or without a header."""
    # Latin-1 reads any bytes, and names and numbers are ASCII in every encoding that label tables come in.
    # Every second byte of them is zero in UTF-16.
    text = head.replace(b"\0", b"").decode("latin-1")
    line = re.sub(r"\A(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)", "", text).lstrip("\r\n").partition("\n")[0]
    try:
        cells = next(csv.reader([line], delimiter=_delimiter(line)), [])
    except csv.Error:
        return False
    return set(_NEEDED) <= set(_names(cells)) or _without_header(cells)


def clip_files(paths: Iterable[str]) -> ByName[tuple[str, str], list[str]]:
    """Media files by (video_id, clip_id), from the last two parts of their paths: ``Raw/<video_id>/<clip_id>.mp4``.

    Args:
        paths: Below the root, as `mse_pipeline.corpora.files.list_files` gives them; the order is kept, so that the
            first of several files is the one nearest to the root.

    Examples:
        >>> clip_files(["label.csv", "Raw/video_0001/0001.mp4"])
        {('video_0001', '0001'): ['Raw/video_0001/0001.mp4']}
    """
    by_key: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        stem, suffix = posixpath.splitext(path)
        folder, clip = posixpath.split(stem)
        if suffix.lower() in _MEDIA and folder:
            by_key.setdefault((posixpath.basename(folder), clip), []).append(path)
    return ByName(by_key)


def _records(text: str, name: str) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Column names, each record with its number, and what parts the cells."""
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = _delimiter(first)
    records: list[tuple[int, list[str]]] = []
    try:
        # Strict: a quote that is opened and not closed would else swallow rows without a word.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        records = [(number, cells) for number, cells in enumerate(reader, start=1) if any(map(str.strip, cells))]
    except csv.Error as error:
        raise UsageError(f"Label table {name} is not valid CSV: {error}. Download it again.") from None
    if not records:
        raise UsageError(f"Label table {name} is empty.")
    header = records[0][1]
    if _without_header(header):
        return list(COLUMNS), records, delimiter
    columns = _names(header)
    twins = sorted({column for column in columns if column and columns.count(column) > 1})
    if twins:
        raise UsageError(f"Label table {name} has several columns named {enumerate_some(twins)}; keep one of each.")
    return columns, records[1:], delimiter


def _names(cells: Sequence[str]) -> list[str]:
    """Column names in the spelling of `COLUMNS`, whatever the case they are written in."""
    spelling = {column.lower(): column for column in COLUMNS}
    return [spelling.get(cell.strip().lower(), cell.strip()) for cell in cells]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count) if "video_id" in line.lower() else ","


def _without_header(cells: Sequence[str]) -> bool:
    """Whether a first record is a row already: nine cells, numbers and words where `COLUMNS` has them."""
    if len(cells) != len(COLUMNS) or "video_id" in _names(cells):
        return False
    numbers = [cell.strip() for cell in cells[3:7]]
    return (
        all(is_missing(cell) or number_of(cell) is not None for cell in numbers)
        and cells[7].strip().lower() in _ANNOTATIONS
        and bool(split_of(cells[8], {}) or (not cells[8].strip() and any(numbers)))
    )


def _row(number: int, cells: dict[str, str], delimiter: str, complaints: Complaints) -> LabelRow:
    video, clip = cells["video_id"].strip(), cells["clip_id"].strip()
    for column, value in (("video_id", video), ("clip_id", clip)):
        if not _ID.fullmatch(value) or len(value) > _MAX_ID:
            complaints.add(f"{column} {value[:_MAX_ID]!r} is not a plain name, as the media of a clip have", number)
    labels: dict[str, float | None] = {}
    for column in ("label", *MODALITIES):
        value = cells.get(column, "").strip()
        labels[column] = None if is_missing(value) else number_of(value, delimiter)
        if labels[column] is None and not is_missing(value):
            complaints.add(f"{column} {value[:50]!r} is not a number", number)
    mode, annotation = (
        "" if is_missing(value) else value.strip() for value in (cells.get("mode", ""), cells.get("annotation", ""))
    )
    return LabelRow(
        number=number,
        video_id=video,
        clip_id=clip,
        text=repair(said(cells["text"])),
        label=labels["label"],
        modality_labels={name: mark for column, name in MODALITIES.items() if (mark := labels[column]) is not None},
        annotation=annotation,
        mode=mode,
        split=split_of(mode, {}),
        repaired=is_damaged(cells["text"]),
    )
