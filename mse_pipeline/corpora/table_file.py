"""A table file -> columns of text: CSV and TSV in any usual encoding, and Parquet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.reading import read_bytes
from mse_pipeline.corpora.text import decode
from mse_pipeline.errors import UsageError

SUFFIXES = (".csv", ".tsv", ".parquet")
_MAX_BYTES = 1 << 30
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Table:
    """A table whose cells are all text, as they were written: ids keep their leading zeros.

    Attributes:
        path: Below the root.
        columns: Column name -> cells; an absent value is the empty text.
        rows: Number of each row in the file, the header being row 1.
        encoding: Of the file, as in ``utf-8`` or ``parquet``.
    """

    path: str
    columns: dict[str, list[str]]
    rows: list[int]
    encoding: str


def read_table(root: Path, path: str) -> Table:
    """Read a table.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        path: Below the root; its suffix is one of `SUFFIXES`.

    Raises:
        UsageError: It cannot be read, has no rows, rows of differing lengths, or two columns of one name.
    """
    content = read_bytes(root / path, f"Table {path}", _MAX_BYTES)
    table = _parquet(content, path) if path.lower().endswith(".parquet") else _delimited(content, path)
    if not table.rows:
        raise UsageError(f"Table {path} has no rows.")
    return table


def _delimited(content: bytes, path: str) -> Table:
    text, encoding = decode(content, f"Table {path}")
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = "\t" if path.lower().endswith(".tsv") else max(_DELIMITERS, key=header_line.count)
    names: list[str] = []
    records: list[list[str]] = []
    numbers: list[int] = []
    uneven: list[int] = []
    try:
        # Strict: a quote that is opened and not closed would else swallow rows without a word.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = [name.strip() for name in next((cells for cells in reader if cells), [])]
        for number, cells in enumerate(reader, start=2):
            if len(cells) == len(names):
                records.append(cells)
                numbers.append(number)
            elif cells:
                uneven.append(number)
    except csv.Error as error:
        raise UsageError(f"Table {path} is no sound CSV: {error} (about row {len(records) + 2}).") from None
    if uneven:
        raise UsageError(
            f"Table {path} has {len(names)} columns, but another number of cells in rows {enumerate_some(uneven)}. "
            "Put texts with the delimiter in them into double quotes."
        )
    _refuse_twins(names, path)
    columns = dict(zip(names, (list(cells) for cells in zip(*records, strict=True)), strict=True)) if records else {}
    return Table(path, columns, numbers, encoding)


def _parquet(data: bytes, path: str) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"Table {path} is no sound Parquet file: {str(error).splitlines()[0]}.") from None
    _refuse_twins(content.column_names, path)
    columns = {}
    for name in content.column_names:
        kind = content.schema.field(name).type
        value_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not _is_plain(value_kind):
            # A list or a picture in a further column is the user's own; the reader does not need it.
            continue
        columns[name] = ["" if value is None else _as_text(value) for value in content.column(name).to_pylist()]
    return Table(path, columns, list(range(2, content.num_rows + 2)), "parquet")


def _is_plain(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_decimal(kind)
    )


def _as_text(value: object) -> str:
    if isinstance(value, float):
        # pandas writes absent numbers as NaN.
        return "" if math.isnan(value) else repr(value)
    return str(value)


def _refuse_twins(names: Iterable[str], path: str) -> None:
    seen: set[str] = set()
    twins = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if twins:
        raise UsageError(f"Table {path} has several columns named {enumerate_some(twins)}; rename all but one.")
