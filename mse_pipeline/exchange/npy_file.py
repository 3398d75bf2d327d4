"""One .npy file from a stranger -> an array of numbers; never a pickle, never more than the file holds."""

from __future__ import annotations

import math
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.file_kinds import kind_of

_LIMIT = 128 << 20


def read_npy(path: Path) -> np.ndarray:
    """Read numbers of any shape and kind.

    Args:
        path: The file.

    Raises:
        MseError: It is not an .npy file, is damaged, holds Python objects or other things than numbers, or claims more
            or fewer values than it has bytes for.
    """
    try:
        with path.open("rb") as handle:
            kind = kind_of(path)
            if kind is not None and "npy" not in kind.name:
                raise ValueError(f"it is {kind}")
            shape, dtype = read_header(handle)
            claimed = math.prod(shape) * dtype.itemsize
            size = path.stat().st_size - handle.tell()
            if dtype.hasobject:
                raise ValueError("it holds pickled Python objects, which are never read; save it as numbers")
            if dtype.kind not in "fiu":
                raise ValueError(f"it holds values of type {dtype}; only numbers are read")
            if claimed > size:
                raise ValueError(f"it claims the shape {shape}, {claimed:,} bytes, but holds {size:,}")
            if claimed > _LIMIT:
                raise ValueError(f"it has {claimed:,} bytes; at most {_LIMIT:,} are read for one clip")
            if claimed < size:
                raise ValueError(
                    f"it claims the shape {shape}, {claimed:,} bytes, but holds {size:,}: it is damaged, or several "
                    "arrays were written into it. Save each array to a file of its own"
                )
            handle.seek(0)
            array: np.ndarray = np.load(handle, allow_pickle=False)
            return array
    # Headers are Python literals: what ast makes of a hostile one may be any of these.
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise MseError(f"{path} cannot be read as .npy: {str(error)[:300].rstrip('.')}.") from error


def as_rows(array: np.ndarray, path: Path) -> np.ndarray:
    """An array of one clip as rows (T, D): a vector is one row, leading axes of length 1 go.

    Raises:
        MseError: It has more axes.

    Examples:
        >>> as_rows(np.zeros((1, 5, 8)), Path("a.npy")).shape, as_rows(np.zeros(8), Path("b.npy")).shape
        ((5, 8), (1, 8))
    """
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2:
        raise MseError(f"{path} holds an array of shape {shape}; expected (D,) or (T, D) for a clip.")
    return array


def read_header(handle: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an .npy file, whose values follow.

    Raises:
        ValueError, TypeError, EOFError, SyntaxError, TokenError, RecursionError, MemoryError: There is no sound header.
    """
    version = np.lib.format.read_magic(handle)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(handle)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(handle)
    else:
        raise ValueError(f"it is of .npy version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
    if any(size < 0 for size in shape):
        raise ValueError(f"it claims the shape {shape}")
    handle.seek(-1, 1)
    if handle.read(1) != b"\n":
        raise ValueError(
            "its header does not end with a line feed: a copy in text mode has changed its line ends. Copy it again as "
            "a binary file"
        )
    return shape, dtype
