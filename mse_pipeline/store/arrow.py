"""Arrow arrays from plain values and back, without pandas.

`pyarrow.array` and `Array.to_numpy` import it, which costs each process 0.4 s of CPU and 45 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def texts(values: Sequence[str | None]) -> pa.Array:
    """Texts, some of which may be missing.

    Raises:
        pyarrow.ArrowInvalid: They are 2 GiB together, or more.

    Examples:
        >>> texts(["a", None, "né"]).to_pylist()
        ['a', None, 'né']
    """
    encoded = [b"" if value is None else value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowInvalid(f"A column of {ends[-1]:,} bytes of text is too long for one file.")
    content = [pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), [_present(values), *content])


def numbers(values: Sequence[float | None] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Numbers of a kind, some of which may be missing; of an array, truths are numbers too.

    Examples:
        >>> numbers([3, None], pa.int64()).to_pylist(), numbers(np.array([True, False]), pa.bool_()).to_pylist()
        ([3, None], [True, False])
    """
    missing = None if isinstance(values, np.ndarray) else _present(values)
    plain: Any = values if missing is None else [0 if value is None else value for value in values]
    if kind == pa.bool_():
        content = np.packbits(np.asarray(plain, bool), bitorder="little")
    else:
        content = np.ascontiguousarray(plain, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(values), [missing, pa.py_buffer(content)])


def to_numpy(array: pa.Array) -> np.ndarray:
    """Numbers or truths of an array that has all of its values; the memory is shared where it can be.

    Raises:
        ValueError: A value is missing.

    Examples:
        >>> to_numpy(numbers([1.5, 2.5, 3.5], pa.float64()).slice(1)).tolist()
        [2.5, 3.5]
    """
    if array.null_count:
        raise ValueError(f"{array.null_count} of its {len(array)} values are missing")
    kind = bool if array.type == pa.bool_() else np.dtype(array.type.to_pandas_dtype())
    content = array.buffers()[1]
    if content is None or not len(array):
        return np.zeros(0, kind)
    if kind is bool:
        bits = np.frombuffer(content, np.uint8)
        return np.unpackbits(bits, bitorder="little")[array.offset : array.offset + len(array)].astype(bool)
    return np.frombuffer(content, kind)[array.offset : array.offset + len(array)]


def _present(values: Sequence[Any]) -> pa.Buffer | None:
    """Arrow's bits that say where there is a value; None where there is one everywhere."""
    present = [value is not None for value in values]
    return None if all(present) else pa.py_buffer(np.packbits(present, bitorder="little"))
