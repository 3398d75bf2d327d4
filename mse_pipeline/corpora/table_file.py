"""A table file -> columns of text: CSV and TSV in any usual encoding, and Parquet.

A Parquet column becomes text by its Arrow type. `Unreadable` says why a column cannot be read.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mse_pipeline.corpora.base import enumerate_some, read_bytes
from mse_pipeline.corpora.text import REPLACED, decode_file
from mse_pipeline.errors import UsageError
from mse_pipeline.file_kinds import kind_of_bytes

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY = 86_400
_LONGEST = 31 * _DAY
# Days that programs put a time of no day at: Unix, pandas and R; Python's strptime; Excel, in its two reckonings.
_ZERO_DAYS = tuple(_DAY * day for day in (0, -25_567, -25_569, -25_568, -24_107))


class Unreadable(ValueError):
    """Why a column holds no cells of text, as the end of a sentence about it."""


def to_cells(column: Any, encoding: str = "utf-8") -> list[str]:  # noqa: PLR0911 - a type a line
    """The cells of a column as text; an absent value is the empty text.

    Texts, numbers, truth values and dates are as they are written. Durations, times and timestamps are seconds:
    timestamps from the midnight of their day, where all are of one day, or from the day that stands for no day
    (1970-01-01 and the like), whatever their time zone.

    Args:
        column: A `pyarrow.ChunkedArray`.
        encoding: Of texts that are stored as bytes.

    Raises:
        Unreadable: Its type, or what its bytes are, is none of those.

    Examples:
        >>> import pyarrow as pa
        >>> to_cells(pa.chunked_array([pa.array([1500, None], pa.duration("ms"))]))
        ['1.5', '']
        >>> to_cells(pa.chunked_array([pa.array([[1.0]])]))
        Traceback (most recent call last):
        mse_pipeline.corpora.table_file.Unreadable: is of the type list<item: double>, which is not text or a number
    """
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return to_cells(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type), encoding)
    types = pa.types
    if types.is_dictionary(kind):
        return to_cells(column.cast(kind.value_type), encoding)
    if types.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return to_cells(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if types.is_null(kind):
        return [""] * len(column)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        # Parquet does not check that its texts are UTF-8.
        return _decoded(column.cast(pa.large_binary()), "utf-8")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return _decoded(column, encoding)
    if types.is_fixed_size_binary(kind):
        return _decoded(column, encoding, padded=True)
    if types.is_float16(kind) or types.is_float32(kind):
        return _floats(column)
    if types.is_float64(kind):
        return ["" if value is None or math.isnan(value) else repr(value) for value in column.to_pylist()]
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind) or types.is_date(kind):
        return ["" if value is None else str(value) for value in column.to_pylist()]
    if types.is_duration(kind) or types.is_time(kind):
        return _seconds(_integers(column), _UNITS[kind.unit], 0)
    if types.is_timestamp(kind):
        return _timestamps(column)
    raise Unreadable(f"is of the type {kind}, which is not text or a number")


def _decoded(column: Any, encoding: str, padded: bool = False) -> list[str]:
    cells, damaged, full = [], 0, 0
    for value in column.to_pylist():
        cell = "" if value is None else (value.rstrip(b"\0") if padded else value).decode(encoding, "replace")
        full += bool(cell)
        damaged += REPLACED in cell or "\0" in cell
        cells.append(cell)
    # A few damaged cells are defects of their rows; bytes that are mostly none are something else, as a picture.
    if damaged * 2 > full:
        raise Unreadable(
            f"is of the type {column.type}, whose bytes are not text in {encoding}; the option encoding names another"
        )
    return cells


def _floats(column: Any) -> list[str]:
    """Numbers of half and single width as they were meant: 0.1, not 0.10000000149011612."""
    import numpy as np

    width = np.float16 if str(column.type) == "halffloat" else np.float32
    values = column.to_pylist()
    return ["" if value is None or math.isnan(value) else str(width(value)) for value in values]


def _integers(column: Any) -> list[int | None]:
    import pyarrow as pa

    if column.type.bit_width == 32:
        column = column.cast(pa.int32())
    return list(column.cast(pa.int64()).to_pylist())


def _seconds(values: Sequence[int | None], unit: int, zero: int) -> list[str]:
    """Seconds from a zero that is itself in seconds."""
    return ["" if value is None else repr((value - zero * unit) / unit) for value in values]


def _timestamps(column: Any) -> list[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    unit = _UNITS[column.type.unit]
    instants = _integers(column)
    times = [value for value in instants if value is not None]
    if not times:
        return [""] * len(instants)
    if min(times) >= 0 and max(times) // unit < _LONGEST:
        return _seconds(instants, unit, 0)
    if column.type.tz is not None:
        try:
            instants = _integers(pc.local_timestamp(column))
        except pa.ArrowException as error:
            raise Unreadable(f"is of the type {column.type}, whose time zone is not known: {error}") from None
        times = [value for value in instants if value is not None]
    first, last = min(times) // unit // _DAY * _DAY, max(times) // unit
    one_day = last < first + _DAY
    if not one_day and (first not in _ZERO_DAYS or last >= first + _LONGEST):
        raise Unreadable(
            f"is of the type {column.type} and holds points in time of several days, which are not seconds of a file; "
            "write seconds"
        )
    return _seconds(instants, unit, first)


SUFFIXES = (".csv", ".tsv", ".parquet")
_MAX_BYTES = 1 << 30
_DELIMITERS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=(?P<sign>[^\r\n])"?[ \t;,]*(?:\r\n|\r|\n|$)', re.I)
_UNNAMED = re.compile(r"(?:Unnamed: \d+(?:[._]\w+)*)?")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_BINARY = (".feather", ".arrow", ".ipc", ".pkl", ".pickle", ".rds", ".sav", ".dta")
# First bytes -> what such a file is, whatever its name says.
_MAGIC = (
    (b"PK\x03\x04", "a workbook of Excel or LibreOffice, or another zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old workbook of Excel"),
)


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are all text, as they were written: ids keep their leading zeros.

    Attributes:
        path: Below the root.
        columns: Column name -> cells; an absent value is the empty text.
        rows: Number of each row in the file, the header being row 1.
        encoding: Of the file, as in ``utf-8`` or ``parquet``.
        delimiter: What parts its cells, which tells whether numbers have a decimal comma; empty of Parquet.
        unread: Name of a column that is ignored -> why, as the end of a sentence about it.
        lost: Rows without a sound number of cells that damaged bytes have cost.
        notes: What should be known of the reading, as sentences.
    """

    path: str
    columns: dict[str, list[str]]
    rows: list[int]
    encoding: str
    delimiter: str = ","
    unread: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read_table(root: Path, path: str, encoding: str | None = None) -> TextTable:
    """Read a table.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        path: Below the root; its suffix is one of `SUFFIXES`.
        encoding: That its texts are in; None to find out.

    Raises:
        UsageError: It cannot be read, has no rows, or rows of differing lengths.
    """
    refuse_others(path)
    content = read_bytes(root / path, f"Table {path}", _MAX_BYTES)
    for magic, format_name in _MAGIC:
        if content.startswith(magic):
            raise UsageError(f"Table {path} is {format_name}, whatever its name says. {_AS_CSV}")
    kind = kind_of_bytes(content[:4096])
    if content and kind is not None and not kind.text and not content.startswith(b"PAR1"):
        raise UsageError(f"Table {path} is not a table: it is {kind}")
    if content.startswith(b"PAR1") or path.lower().endswith(".parquet"):
        table = _parquet(content, path, encoding)
    else:
        table = _delimited(content, path, encoding)
    if not table.rows:
        raise UsageError(f"Table {path} has no rows.")
    aside = [f"Table {path}: the column {name} is ignored; it {why}." for name, why in table.unread.items()]
    return replace(table, notes=(*table.notes, *aside))


_AS_CSV = (
    'In Excel choose File, Save As, "CSV UTF-8 (Comma delimited) (*.csv)"; in LibreOffice "Text CSV" with UTF-8; in '
    'pandas df.to_csv("clips.csv", index=False).'
)


def refuse_others(path: str) -> None:
    """Refuse a table of another kind by its name.

    Raises:
        UsageError: It is a spreadsheet or another file that is not a table here; how to save it is told.

    Examples:
        >>> refuse_others("labels.xlsx")
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: labels.xlsx is a spreadsheet, which is not read: save its sheet as a .csv ...
    """
    suffix = Path(path).suffix.lower()
    if suffix in _SPREADSHEETS:
        raise UsageError(f"{path} is a spreadsheet, which is not read: save its sheet as a .csv file. {_AS_CSV}")
    if suffix in _BINARY:
        raise UsageError(
            f"{path} is not a table that is read here: save it as one of {', '.join(SUFFIXES)}, in pandas with "
            'df.to_parquet("clips.parquet").'
        )


def refuse_unread(table: TextTable, names: Iterable[str]) -> None:
    """Refuse a table of which a column is needed that cannot be read; all are told.

    Raises:
        UsageError: One of the names is one of `Table.unread`.
    """
    unreadable = [f"column {name} {table.unread[name]}" for name in dict.fromkeys(names) if name in table.unread]
    if unreadable:
        raise UsageError(f"Table {table.path} cannot be read: {'; '.join(unreadable)}. Mend or rename what is named.")


def _delimited(content: bytes, path: str, encoding: str | None) -> TextTable:
    decoded = decode_file(content, f"Table {path}", encoding)
    text = decoded.text.lstrip("\r\n")
    separator = _SEPARATOR_LINE.match(text)
    if separator:
        # Excel's own line, which tells how the cells are parted; it is not a row.
        text = text[separator.end() :]
    header_line = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    usual = "\t" if path.lower().endswith(".tsv") else max(_DELIMITERS, key=header_line.count)
    delimiter = separator["sign"] if separator else usual
    try:
        rows = _rows(text, delimiter, path)
    except UsageError:
        if REPLACED not in text:
            raise
        # A damaged byte may have been a quote, without which the rows behind it are taken for one text.
        rows = _rows(_without_broken_lines(text), delimiter, path)
    names = [name.strip().lstrip("\ufeff") for name in rows[0]] if rows else []
    named = max((number for number, name in enumerate(names, start=1) if name), default=0)
    records: list[list[str]] = []
    numbers: list[int] = []
    uneven: list[int] = []
    lost: list[int] = []
    for number, written in enumerate(rows[1:], start=2):
        cells = _trimmed(written, len(names), named)
        if len(cells) == len(names):
            if any(map(str.strip, cells)):
                records.append(cells)
                numbers.append(number)
        elif any(REPLACED in cell for cell in cells):
            lost.append(number)
        elif cells:
            uneven.append(number)
    if uneven:
        raise UsageError(
            f"Table {path} has {len(names)} columns, but another number of cells in rows {enumerate_some(uneven)}. "
            "Put texts with the delimiter in them into double quotes."
        )
    cells_of = [list(cells) for cells in zip(*records, strict=True)] if records else [[] for _ in names]
    kept, notes = _named(names, cells_of, numbers, path)
    columns, unread = _without_twins(kept)
    if decoded.note:
        notes = [decoded.note, *notes]
    return TextTable(
        path,
        columns if records else {},
        numbers,
        decoded.encoding,
        delimiter=delimiter,
        unread=unread,
        lost=tuple(lost),
        notes=tuple(notes),
    )


def _rows(text: str, delimiter: str, path: str) -> list[list[str]]:
    """All rows from the header on, blank ones among them.

    Raises:
        UsageError: It is not CSV.
    """
    rows: list[list[str]] = []
    try:
        # Strict: a quote that is opened and not closed would else swallow rows without a word.
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if rows or any(cells):
                rows.append(cells)
    except csv.Error as error:
        raise UsageError(f"Table {path} is not valid CSV: {error} (about row {len(rows) + 1}).") from None
    return rows


def _without_broken_lines(text: str) -> str:
    """The text with nothing but the sign of damage in lines that are damaged and have a quote without its twin."""
    lines = text.split("\n")
    return "\n".join(REPLACED if REPLACED in line and line.count('"') % 2 else line for line in lines)


def _trimmed(cells: list[str], columns: int, named: int) -> list[str]:
    """A row without the empty cells that spreadsheets leave behind its last column, or with those of the header."""
    if named <= len(cells) < columns:
        return [*cells, *[""] * (columns - len(cells))]
    while len(cells) > columns and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _named(
    names: Sequence[str], columns: Sequence[list[str]], rows: Sequence[int], path: str
) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """The columns that have a name, and notes on others: the index that pandas and R write, and Excel's empty ones.

    Raises:
        UsageError: A column without a name behind the others holds something: texts with the delimiter in them have
            pushed the cells of these rows to the right.
    """
    kept: list[tuple[str, list[str]]] = []
    notes = []
    for name, cells in zip(names, columns, strict=True):
        if not _UNNAMED.fullmatch(name):
            kept.append((name, cells))
            continue
        full = [row for row, cell in zip(rows, cells, strict=True) if cell.strip()]
        if not full or (not kept and all(cell.strip().isdecimal() for cell in cells)):
            continue
        if kept and not name:
            raise UsageError(
                f"Table {path} has cells in a column without a name, in rows {enumerate_some(full)}. Put texts with "
                "the delimiter in them into double quotes, or name the column."
            )
        notes.append(f"Table {path}: the column {name or 'without a name'} is ignored.")
    return kept, notes


def _parquet(data: bytes, path: str, encoding: str | None) -> TextTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"Table {path} is not a valid Parquet file: {str(error).splitlines()[0]}.") from None
    kept: list[tuple[str, list[str]]] = []
    unread: dict[str, str] = {}
    for name, column in zip(content.column_names, content.columns, strict=True):
        try:
            kept.append((name, to_cells(column, encoding or "utf-8")))
        except Unreadable as error:
            unread[name] = str(error)
        except pa.ArrowException as error:
            unread[name] = f"is of the type {column.type}, which cannot be read: {str(error).splitlines()[0]}"
    columns, twins = _without_twins(kept)
    return TextTable(
        path,
        columns,
        list(range(2, content.num_rows + 2)),
        "parquet",
        delimiter="",
        unread={**unread, **twins},
        notes=(f"Table {path} was read as parquet.",),
    )


def _without_twins(columns: Iterable[tuple[str, list[str]]]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Columns by name, and names of several columns that differ, with the words that tell it."""
    by_name: dict[str, list[str]] = {}
    differing: dict[str, str] = {}
    for name, cells in columns:
        if by_name.setdefault(name, cells) != cells:
            differing[name] = f"is ambiguous: there are several columns named {name}; rename all but one"
    return {name: cells for name, cells in by_name.items() if name not in differing}, differing
