"""Arrays, dtypes, scalars, globals and keys of a pickle; every claim of size is compared with the bytes of the file.

Only the globals that numpy and Python write for arrays and plain containers are allowed. Keys of dictionaries and
members of sets are plain, and only few may share one hash. Python finds a key by its hash. The hash of a whole number
is the number modulo 2**61 - 1, and that of a tuple follows from its members': a file can hold thousands of keys with
one hash, and each new key would be compared with all earlier ones. Hashes of texts and bytes cannot be predicted.
"""

from __future__ import annotations

import codecs
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_EMPTY = 10_000_000  # rows that an array without any values may claim
_CODE = re.compile(r"[<>|=]?(?:[fiu][1248]|b1|\?|[SU]\d{1,9}|O[48]?)")
_IN_OBJECTS = (str, bytes, bool, int, float, type(None), np.ndarray, list, tuple)
_PIECE = 1 << 20


class RefusedPickle(Exception):
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
        name = repr(code[:40]) if isinstance(code, str) else f"a {type(code).__name__}"
        raise RefusedPickle(f"it asks for the dtype {name}; arrays of numbers, truth values and texts are read.")
    return Blank("dtype", code)


def fill_dtype(blank: Blank, state: Any) -> np.dtype:
    """The dtype with its byte order, from numpy's state ``(version, order, subarray, names, fields, ...)``."""
    if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
        raise RefusedPickle("it asks for a dtype with fields; arrays of plain numbers and texts are read.")
    order = state[1]
    if order not in ("<", ">", "|", "="):
        raise RefusedPickle("it asks for a byte order that there is not.")
    dtype = np.dtype(blank.code)
    blank.value = dtype if order in "|=" else dtype.newbyteorder(order)
    return blank.value


def fill_array(blank: Blank, state: Any, encoding: str) -> np.ndarray:
    """The array from numpy's state ``(version, shape, dtype, column_major, data)``."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise RefusedPickle("it holds an array whose state is not numpy's.")
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
        raise RefusedPickle("it holds an array without a dtype that is read.")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise RefusedPickle("it holds an array whose shape is none.")
    count = math.prod(shape)
    if dtype.hasobject:
        return _objects(data, shape, count, order)
    raw = data.encode(encoding) if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise RefusedPickle(f"it holds an array of {dtype} whose data are a {type(raw).__name__}, not bytes.")
    if count * dtype.itemsize != len(raw):
        raise RefusedPickle(
            f"it claims an array of shape {shape} and {dtype}, {count * dtype.itemsize:,} bytes, but has "
            f"{len(raw):,} bytes for it."
        )
    if not len(raw):
        if max(shape, default=0) > MAX_EMPTY:
            raise RefusedPickle(f"it claims an array of shape {shape} without any bytes.")
        return np.zeros(shape, dtype)
    array = np.frombuffer(raw, dtype, count)
    if dtype.kind == "U":
        points = np.frombuffer(raw, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if points.max() > 0x10FFFF:
            raise RefusedPickle("it holds an array of texts with characters that there are not.")
    array = array.reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _objects(data: Any, shape: tuple[int, ...], count: int, order: str) -> np.ndarray:
    if not isinstance(data, list) or len(data) != count:
        raise RefusedPickle(f"it claims an array of {count:,} objects and does not have them.")
    for one in data:
        # Ragged arrays hold arrays or lists; np.save and np.savez wrap a dictionary into an array without axes.
        if not isinstance(one, _IN_OBJECTS) and not (shape == () and isinstance(one, dict)):
            raise RefusedPickle(
                f"it holds an array of objects, one of them a {type(one).__name__}; texts, numbers and arrays are read."
            )
    array = np.empty(count, object)
    for place, one in enumerate(data):  # numpy would make one array of arrays of one shape
        array[place] = one
    return array.reshape(shape, order="F" if order == "F" else "C")


def scalar_of(dtype: Any, data: Any, encoding: str) -> Any:
    """A number or text that numpy wrote as one of its scalars."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise RefusedPickle("it holds a numpy scalar that is neither a number nor a text.")
    return array_of(data, dtype, (1,), "C", encoding)[0].item()


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("collections", "deque"),
    ("builtins", "bytes"),
    ("builtins", "bytearray"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
}
_MADE = {"dict", "list", "tuple", "int", "long", "float", "str", "unicode", "bool"}
"""Types of builtins, Python 2's too, that a defaultdict may name for the values that it would make."""
_OTHER_VERSIONS = {
    "numpy._core.multiarray": "numpy.core.multiarray",  # numpy 2
    "numpy._core.numeric": "numpy.core.numeric",
    "__builtin__": "builtins",  # Python 2
}


@dataclass(frozen=True)
class Allowed:
    """A global that a pickle may name, by the name of `_KNOWN`; it is no function, and nothing can be called."""

    module: str
    name: str


def allowed(module: Any, name: Any, *, makes: bool = False) -> Allowed:
    """The global of a pickle, if it is one of those that are known.

    Args:
        module: As the pickle says.
        name: As the pickle says.
        makes: Whether it stands where a defaultdict names the type of its values.

    Raises:
        Refused: It is not.

    Examples:
        >>> allowed("numpy._core.multiarray", "_reconstruct")
        Allowed(module='numpy.core.multiarray', name='_reconstruct')
    """
    if not isinstance(module, str) or not isinstance(name, str):
        raise RefusedPickle("it asks for a global whose name is not text.")
    plain = _OTHER_VERSIONS.get(module, module)
    if (plain, name) not in _KNOWN and not (makes and plain == "builtins" and name in _MADE):
        raise RefusedPickle(
            f"it asks for the global {f'{module}.{name}'[:100]!r}. Arrays of numpy and builtin values alone are read, "
            "and nothing of the file was run. Ask its maker for a file of plain arrays."
        )
    return Allowed(plain, name)


MOST_ALIKE = 64
"""Keys of one hash in one container; by chance there are hardly two."""

_SCALARS = (str, bytes, bool, int, float, type(None), np.number)
_UNFORESEEN = (str, bytes, type(None))


class Keys:
    """Lets keys into containers, and counts those that hash alike."""

    def __init__(self) -> None:
        # By the container's id; the container is kept beside, so that no other one gets its id.
        self._counts: dict[int, tuple[Any, dict[int, int]]] = {}

    def enter(self, container: dict[Any, Any] | set[Any], keys: Iterable[Any]) -> Iterable[Any]:
        """Give the keys one after the other, each to be put into the container before the next is asked for.

        Raises:
            Refused: A key is not plain, or very many have one hash.
        """
        for key in keys:
            if type(key) is str:  # nearly all are
                yield key
                continue
            _check(key)
            if not _is_spread(key) and key not in container:
                _, counts = self._counts.setdefault(id(container), (container, {}))
                alike = counts.get(hash(key), 0) + 1
                if alike > MOST_ALIKE:
                    raise RefusedPickle(
                        f"it has more than {MOST_ALIKE} keys with one hash, as {str(key)[:40]}; such files are made to "
                        "take very long to read."
                    )
                counts[hash(key)] = alike
            yield key


def _check(key: Any) -> None:
    """Nested tuples are refused: a few steps make one whose hash takes centuries."""
    flat = key if isinstance(key, tuple) else (key,)
    if len(flat) > 8 or not all(isinstance(part, _SCALARS) for part in flat):
        raise RefusedPickle(f"it has a {type(key).__name__} as a key; texts and numbers are read.")


def _is_spread(key: Any) -> bool:
    """Whether nobody can make many different keys of this kind with one hash."""
    if isinstance(key, tuple):
        return all(isinstance(part, _UNFORESEEN) for part in key)
    # Smaller whole numbers are their own hash.
    return isinstance(key, _UNFORESEEN) or (isinstance(key, int) and abs(key) < sys.hash_info.modulus)
