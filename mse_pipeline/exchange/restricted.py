"""The pickle reader of this package: numpy arrays and builtins alone, and nothing of the file runs.

Python's own unpickler calls what a file names, so that a downloaded feature file may do whatever its author likes. This
one has no calls to make: it knows by name the few functions that numpy writes for arrays, and builds arrays itself.
Arrays are views into the mapped file: a file of 13 GB costs no memory until its rows are looked at.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.pickle_arrays import BigText, Blank, Refused
from mse_pipeline.exchange.pickle_machine import Machine
from mse_pipeline.exchange.pickle_names import Allowed
from mse_pipeline.exchange.pickle_steps import run

ENCODINGS = ("utf-8", "latin1", "ascii")
MAX_DEPTH = 32
_CONTAINERS = (dict, list, tuple, set, frozenset)
_PLAIN = (str, bytes, bool, int, float, np.ndarray, type(None))


class PickleRefused(MseError):
    """A pickle is damaged, or asks for what is not read; nothing of it ran."""


@dataclass(frozen=True)
class PickleFile:
    """What a pickle holds.

    Attributes:
        path: The file.
        value: Dictionaries, lists, tuples, sets, texts, bytes, numbers and arrays. Arrays are read-only.
    """

    path: Path
    value: Any
    _map: mmap.mmap = field(repr=False)

    def release(self) -> None:
        """Give back the memory of the file's parts that were read; they are read anew when they are looked at."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def read_pickle(path: Path, *, encoding: str = "utf-8") -> PickleFile:
    """Read a pickle of any protocol without running anything of it.

    Args:
        path: The file.
        encoding: Of the texts in pickles that Python 2 wrote; one of `ENCODINGS`. Texts that are none in it stay bytes.

    Raises:
        PickleRefused: It is empty, damaged, or asks for anything but numpy arrays and builtins; the error names what.
        UsageError: It cannot be opened, or the encoding is unknown.
    """
    if encoding not in ENCODINGS:
        raise UsageError(f"Texts of a pickle are in one of {', '.join(ENCODINGS)}; got {encoding!r}.")
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise PickleRefused(f"{path} is empty: it has no bytes. Get it anew.")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    machine = Machine(memoryview(mapped), encoding)
    try:
        value = run(machine)
        _check(value)
    except Refused as error:
        raise PickleRefused(f"{path} is refused at byte {machine.position:,}: {error}") from error
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise PickleRefused(
            f"{path} is no sound pickle: its step before byte {machine.position:,} cannot be carried out "
            f"({type(error).__name__}). Get it anew."
        ) from error
    return PickleFile(path, value, mapped)


def _check(value: Any) -> None:
    """See to it that plain values alone are left, at a depth that a data file has.

    Raises:
        Refused: There is something else.
    """
    seen: set[int] = set()
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, _CONTAINERS):
                if id(one) in seen:
                    continue
                seen.add(id(one))
                below.extend(one.values() if isinstance(one, dict) else one)
            elif isinstance(one, Allowed):
                raise Refused(f"it holds the global {one.module}.{one.name} as a value.")
            elif isinstance(one, BigText):
                raise Refused(f"it holds a text of {len(one.utf8):,} bytes.")
            elif isinstance(one, Blank):
                raise Refused("it holds an array that is begun and never filled.")
            elif isinstance(one, memoryview):
                raise Refused(f"it holds {len(one):,} bytes that are no array's.")
            elif not isinstance(one, _PLAIN):
                raise Refused(f"it holds a {type(one).__name__}, which is neither an array nor a builtin.")
        if not below:
            return
        level = below
    raise Refused(f"its values are nested more than {MAX_DEPTH} deep, which no data file is.")
