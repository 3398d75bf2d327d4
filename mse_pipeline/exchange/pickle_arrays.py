"""Arrays, dtypes and scalars from what a pickle says of them, every claim held against the bytes that are there."""

from __future__ import annotations

import codecs
import math
import re
from typing import Any

import numpy as np

MAX_EMPTY = 10_000_000  # rows that an array without any values may claim
_CODE = re.compile(r"[<>|=]?(?:[fiu][1248]|b1|\?|[SU]\d{1,9}|O[48]?)")
_IN_OBJECTS = (str, bytes, bool, int, float, type(None), np.ndarray, list, tuple)
_PIECE = 1 << 20


class Refused(Exception):
    """What a pickle asks for is not done; the message ends a sentence of the reader's error."""


class Blank:
    """An array or dtype that is named but not filled yet; the memo may hold it before its state comes.

    Attributes:
        kind: ``array`` or ``dtype``.
        code: Of a dtype, as in ``f4``.
        value: The finished array or dtype; None before.
    """

    __slots__ = ("code", "kind", "value")

    def __init__(self, kind: str, code: str = "") -> None:
        self.kind = kind
        self.code = code
        self.value: np.ndarray | np.dtype | None = None


class BigText:
    """A long text of a file, not decoded: pickles of protocol 2 hold the bytes of arrays so.

    Attributes:
        utf8: View into the file.
    """

    __slots__ = ("utf8",)

    def __init__(self, utf8: memoryview) -> None:
        self.utf8 = utf8

    def latin1(self) -> bytearray:
        """The bytes that the text stands for: character U+00E9 for byte E9."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        made = bytearray()
        for start in range(0, len(self.utf8), _PIECE):
            made += decoder.decode(bytes(self.utf8[start : start + _PIECE])).encode("latin-1")
        decoder.decode(b"", final=True)
        return made


def dtype_of(arguments: tuple[Any, ...]) -> Blank:
    """A dtype from the arguments of numpy's own call, as in ``("f4", False, True)``.

    Raises:
        Refused: It is not one of numbers, truth values, texts, bytes or objects.
    """
    code = arguments[0]
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        told = repr(code[:40]) if isinstance(code, str) else f"a {type(code).__name__}"
        raise Refused(f"it asks for the dtype {told}; arrays of numbers, truth values and texts are read.")
    return Blank("dtype", code)


def fill_dtype(blank: Blank, state: Any) -> np.dtype:
    """The dtype with its byte order, from numpy's state ``(version, order, subarray, names, fields, ...)``."""
    if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
        raise Refused("it asks for a dtype with fields; arrays of plain numbers and texts are read.")
    order = state[1]
    if order not in ("<", ">", "|", "="):
        raise Refused("it asks for a byte order that there is not.")
    dtype = np.dtype(blank.code)
    blank.value = dtype if order in "|=" else dtype.newbyteorder(order)
    return blank.value


def fill_array(blank: Blank, state: Any, encoding: str) -> np.ndarray:
    """The array from numpy's state ``(version, shape, dtype, column_major, data)``."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise Refused("it holds an array whose state is not numpy's.")
    shape, dtype, column_major, data = state[-4:]
    blank.value = array_of(data, dtype, shape, "F" if column_major else "C", encoding)
    return blank.value


def array_of(data: Any, dtype: Any, shape: Any, order: Any, encoding: str) -> np.ndarray:
    """An array over bytes of the file, which are not copied.

    Args:
        data: Bytes, or a text that stands for bytes; for objects a list of them.
        dtype: As `fill_dtype` gave it.
        shape: A tuple of whole numbers.
        order: ``C`` or ``F``.
        encoding: In which Python 2's strings were decoded.

    Raises:
        Refused: Shape, dtype and data do not fit together, or objects are not plain.
    """
    if not isinstance(dtype, np.dtype) or order not in ("C", "F"):
        raise Refused("it holds an array without a dtype that is read.")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("it holds an array whose shape is none.")
    count = math.prod(shape)
    if dtype.hasobject:
        return _objects(data, shape, count, order)
    raw = data.encode(encoding) if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise Refused(f"it holds an array of {dtype} whose data are a {type(raw).__name__}, not bytes.")
    if count * dtype.itemsize != len(raw):
        raise Refused(
            f"it claims an array of shape {shape} and {dtype}, {count * dtype.itemsize:,} bytes, but has "
            f"{len(raw):,} bytes for it."
        )
    if not len(raw):
        if max(shape, default=0) > MAX_EMPTY:
            raise Refused(f"it claims an array of shape {shape} without any bytes.")
        return np.zeros(shape, dtype)
    array = np.frombuffer(raw, dtype, count)
    if dtype.kind == "U":
        points = np.frombuffer(raw, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if points.max() > 0x10FFFF:
            raise Refused("it holds an array of texts with characters that there are not.")
    array = array.reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _objects(data: Any, shape: tuple[int, ...], count: int, order: str) -> np.ndarray:
    if not isinstance(data, list) or len(data) != count:
        raise Refused(f"it claims an array of {count:,} objects and does not have them.")
    for one in data:
        # Ragged arrays hold arrays or lists; np.save and np.savez wrap a dictionary into an array without axes.
        if not isinstance(one, _IN_OBJECTS) and not (shape == () and isinstance(one, dict)):
            raise Refused(
                f"it holds an array of objects, one of them a {type(one).__name__}; texts, numbers and arrays are read."
            )
    array = np.empty(count, object)
    for place, one in enumerate(data):  # numpy would make one array of arrays of one shape
        array[place] = one
    return array.reshape(shape, order="F" if order == "F" else "C")


def scalar_of(dtype: Any, data: Any, encoding: str) -> Any:
    """A number or text that numpy wrote as one of its scalars."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise Refused("it holds a numpy scalar that is neither a number nor a text.")
    return array_of(data, dtype, (1,), "C", encoding)[0].item()
