"""The pickle reader of this package: it reads numpy arrays and builtins only, and runs nothing of the file.

Python's own unpickler calls what a file names, so a downloaded feature file could run any code. This reader makes no
calls: it knows the few functions that numpy writes for arrays by name, and builds the arrays itself. Arrays are views
into the mapped file: a file of 13 GB needs no memory until its rows are read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.pickle_machine import Machine, run_pickle
from mse_pipeline.exchange.pickle_values import Allowed, BigText, Blank, RefusedPickle
from mse_pipeline.file_kinds import kind_of, windows_line_ends

ENCODINGS = ("utf-8", "latin1", "ascii")
MAX_DEPTH = 32
_CONTAINERS = (dict, list, tuple, set, frozenset)
_PLAIN = (str, bytes, bool, int, float, np.ndarray, type(None))
_MOST_BYTES = 1 << 16


class PickleRefused(MseError):
    """A pickle is damaged, or asks for what is not read; nothing of it ran."""


@dataclass(frozen=True)
class PickleFile:
    """What a pickle holds.

    Attributes:
        path: The file.
        value: Dictionaries, lists, tuples, sets, texts, bytes (long ones as views into the file), numbers and arrays,
            of objects too. Arrays of numbers are read-only; ordered and default dictionaries and counters are plain
            ones, deques are lists, and arrays of bytes are bytes.
    """

    path: Path
    value: Any
    _map: mmap.mmap = field(repr=False)

    def release(self) -> None:
        """Give back the memory of the file's parts that were read; they are read again when they are looked at."""
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
                raise PickleRefused(f"{path} is {kind_of(path)}")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        return PickleFile(path, unpickle(memoryview(mapped), path, encoding), mapped)
    except PickleRefused as error:
        raise PickleRefused(_told(str(error), path)) from error


def unpickle(data: memoryview, path: Path, encoding: str = "utf-8") -> Any:
    """The value of a pickle.

    Args:
        data: The pickle, which arrays are views of.
        path: The file that it is, or is of, for errors.
        encoding: As `read_pickle` has it.

    Raises:
        PickleRefused: As `read_pickle` says.
    """
    machine = Machine(data, encoding)
    try:
        value = run_pickle(machine)
        _check(value)
    except RefusedPickle as error:
        raise PickleRefused(f"{path} is refused at byte {machine.position:,}: {error}") from error
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise PickleRefused(
            f"{path} is not a valid pickle: its step before byte {machine.position:,} cannot be carried out "
            f"({type(error).__name__}). Download it again."
        ) from error
    return value


def _told(why: str, path: Path) -> str:
    """Why a file cannot be read as a pickle; what it is instead, where its content shows that."""
    kind = kind_of(path)
    if kind is not None and not kind.name.startswith("a pickle"):
        # The first pickles were text, too.
        if not kind.text or "does not begin like a pickle" in why:
            return f"{path} does not begin with the steps of a pickle: it is {kind}"
        if not _ends_like_a_pickle(path):
            return f"{why} Its content is {kind}"
    if windows_line_ends(path):
        return (
            f"{why} Each of its line feeds follows a carriage return, as a copy in text mode leaves them on Windows: "
            "copy it again as a binary file (in Git, write `*.pkl -text` into .gitattributes)."
        )
    return why


def _ends_like_a_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"."


def _check(value: Any) -> None:
    """Check that only plain values are left, at a depth that a data file has.

    Raises:
        Refused: There is something else.
    """
    seen: set[int] = set()
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            members = _held(item)
            if members is None:
                _check_plain(item)
            elif id(item) not in seen:
                seen.add(id(item))
                below.extend(members)
        if not below:
            return
        level = below
    raise RefusedPickle(f"its values are nested more than {MAX_DEPTH} deep, deeper than any data file.")


def _held(value: Any) -> Iterable[Any] | None:
    """What a container holds; None for what is none."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        members: list[Any] = value.reshape(-1).tolist()
        return members
    if isinstance(value, _CONTAINERS):
        return value.values() if isinstance(value, dict) else value
    return None


def _check_plain(one: Any) -> None:
    if isinstance(one, Allowed):
        raise RefusedPickle(f"it holds the global {one.module}.{one.name} as a value.")
    if isinstance(one, BigText):
        raise RefusedPickle(f"it holds a text of {len(one.utf8):,} bytes.")
    if isinstance(one, Blank):
        raise RefusedPickle("it holds an array that is begun and never filled.")
    if isinstance(one, memoryview):
        if len(one) > _MOST_BYTES:
            raise RefusedPickle(f"it holds {len(one):,} bytes that do not belong to an array.")
    elif not isinstance(one, _PLAIN):
        raise RefusedPickle(f"it holds a {type(one).__name__}, which is neither an array nor a builtin.")
