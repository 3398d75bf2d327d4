"""Columns of Arrow types, as Parquet holds them -> cells of text, or why a column holds none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mse_pipeline.corpora.encodings import REPLACED

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
        mse_pipeline.corpora.table_arrow.Unreadable: is of the type list<item: double>, which is no text and no number
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
    raise Unreadable(f"is of the type {kind}, which is no text and no number")


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
            f"is of the type {column.type}, whose bytes are no text in {encoding}; the option encoding names another"
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
    given = [value for value in instants if value is not None]
    if not given:
        return [""] * len(instants)
    if min(given) >= 0 and max(given) // unit < _LONGEST:
        return _seconds(instants, unit, 0)
    if column.type.tz is not None:
        try:
            instants = _integers(pc.local_timestamp(column))
        except pa.ArrowException as error:
            raise Unreadable(f"is of the type {column.type}, whose time zone is not known: {error}") from None
        given = [value for value in instants if value is not None]
    first, last = min(given) // unit // _DAY * _DAY, max(given) // unit
    one_day = last < first + _DAY
    if not one_day and (first not in _ZERO_DAYS or last >= first + _LONGEST):
        raise Unreadable(
            f"is of the type {column.type} and holds points in time of several days, which are no seconds of a file; "
            "write seconds"
        )
    return _seconds(instants, unit, first)
