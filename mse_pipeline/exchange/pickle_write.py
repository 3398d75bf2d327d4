"""Writes pickles of plain values and arrays, the arrays piece by piece.

Python's own pickler wants every array whole in memory, and names numpy's functions where the numpy at hand has them.
This one names them where every numpy since 1.0 finds them, so that a file opens with old and new ones alike.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

_PROTOCOL = 4


@dataclass(frozen=True)
class Pieces:
    """An array that is made while it is written.

    Attributes:
        shape: Of the whole.
        dtype: A number's.
        make: Gives the array in pieces along its first axis.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], Iterator[np.ndarray]]


def write_pickle(value: Any, file: BinaryIO) -> None:
    """Write a value as a pickle of protocol 4.

    Args:
        value: Dictionaries, lists, tuples, texts, numbers, truth values, None, arrays of numbers, `Pieces`,
            and iterators, which become lists.
        file: Where to.

    Raises:
        TypeError: There is a value of another kind.
        ValueError: Pieces are together not what was announced.
    """
    file.write(b"\x80" + bytes([_PROTOCOL]))
    _write(value, file)
    file.write(b".")


def _write(value: Any, file: BinaryIO) -> None:  # noqa: PLR0912 - a kind a branch
    if value is None:
        file.write(b"N")
    elif isinstance(value, bool):
        file.write(b"\x88" if value else b"\x89")
    elif isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            file.write(b"J" + struct.pack("<i", value))
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            file.write(b"\x8a" + bytes([len(data)]) + data)
    elif isinstance(value, float):
        file.write(b"G" + struct.pack(">d", value))
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        file.write(b"X" + struct.pack("<I", len(data)) + data)
    elif isinstance(value, bytes):
        file.write(b"\x8e" + struct.pack("<Q", len(value)) + value)
    elif isinstance(value, Mapping):
        file.write(b"}(")
        for key, one in value.items():
            _write(key, file)
            _write(one, file)
        file.write(b"u")
    elif isinstance(value, list | tuple):
        file.write(b"](" if isinstance(value, list) else b"(")
        for one in value:
            _write(one, file)
        file.write(b"e" if isinstance(value, list) else b"t")
    elif isinstance(value, Iterator):
        file.write(b"](")
        for one in value:
            _write(one, file)
        file.write(b"e")
    elif isinstance(value, np.ndarray):
        whole = np.ascontiguousarray(value)
        _array(Pieces(value.shape, whole.dtype, lambda: iter([whole])), file)
    elif isinstance(value, Pieces):
        _array(value, file)
    else:
        raise TypeError(f"A {type(value).__name__} is not written into a pickle.")


def _array(pieces: Pieces, file: BinaryIO) -> None:
    dtype = np.dtype(pieces.dtype)
    if dtype.kind not in "fiub":
        raise TypeError(f"An array of {dtype} is not written into a pickle.")
    size = int(np.prod(pieces.shape, dtype=np.int64)) * dtype.itemsize
    file.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
    _write((0,), file)
    file.write(b"C\x01b\x87R(K\x01")  # _reconstruct(ndarray, (0,), b"b"); its state: version 1,
    _write(pieces.shape, file)
    file.write(b"cnumpy\ndtype\n")
    _write((f"{dtype.kind}{dtype.itemsize}", False, True), file)
    file.write(b"R")
    order: Literal["|", "<"] = "|" if dtype.itemsize == 1 else "<"
    _write((3, order, None, None, None, -1, -1, 0), file)
    file.write(b"b\x89\x8e" + struct.pack("<Q", size))  # not column-major, data
    written = 0
    for piece in pieces.make():
        data = np.ascontiguousarray(piece, dtype.newbyteorder(order))
        written += data.nbytes
        file.write(data.tobytes())
    if written != size:
        raise ValueError(f"The pieces of an array have {written:,} bytes; {size:,} were announced.")
    file.write(b"tb")
