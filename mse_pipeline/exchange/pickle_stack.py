"""The stack, the memory and the bytes of a pickle while it is read; every size is held against what is there."""

from __future__ import annotations

import struct
from typing import Any

from mse_pipeline.exchange.pickle_arrays import Blank, Refused

MAX_STEPS = 50_000_000
_PIECE = 4096


class Stack:
    """Where a pickle is, and what it has built so far.

    Args:
        data: The whole file.
        encoding: Of Python 2's strings.

    Attributes:
        position: Where in the file the next byte is.
        encoding: Of Python 2's strings.
    """

    def __init__(self, data: memoryview, encoding: str) -> None:
        self.position = 0
        self.encoding = encoding
        self._data = data
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0
        # A few steps could name one long value again and again, and fill the memory with its copies.
        self._copies = len(data) + (1 << 20)

    def count(self, steps: int) -> None:
        """Count steps.

        Raises:
            Refused: There are more than any file of arrays has.
        """
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise Refused(f"it has more than {MAX_STEPS:,} steps, which no file of arrays has.")

    def copying(self, size: int) -> None:
        """Count bytes that are made anew.

        Raises:
            Refused: They are more than the file has.
        """
        self._copies -= size
        if self._copies < 0:
            raise Refused("its steps would make more data than the file has.")

    def take(self, size: int) -> memoryview:
        """The next bytes, not copied.

        Raises:
            Refused: There are not so many.
        """
        end = self.position + size
        if size < 0 or end > len(self._data):
            left = len(self._data) - self.position
            raise Refused(f"it is cut off, or lies about sizes: {size:,} bytes are announced, {left:,} are left.")
        part = self._data[self.position : end]
        self.position = end
        return part

    def number(self, form: str) -> Any:
        """The next number, in a form of the module ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """The bytes up to the next line feed, which is passed over."""
        for start in range(self.position, len(self._data), _PIECE):
            found = bytes(self._data[start : start + _PIECE]).find(b"\n")
            if found >= 0:
                line = bytes(self.take(start + found - self.position))
                self.position += 1
                if line.endswith(b"\r"):
                    raise Refused("its lines end as those of Windows do, which is no pickle's way.")
                return line
        raise Refused("it is cut off: a line has no end.")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the value on top of the stack."""
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise Refused("it takes a value where there is none.")
        return filled(self._stack.pop())

    def top(self) -> Any:
        """The value on top of the stack, which stays; an array that is not filled yet as `Blank`."""
        if not self._stack or (self._marks and len(self._stack) <= self._marks[-1]):
            raise Refused("it changes a value where there is none.")
        return self._stack[-1]

    def replace(self, value: Any) -> None:
        """Put another value in the place of the one on top."""
        self._stack[-1] = value

    def mark(self) -> None:
        """Mark the place that `since_mark` goes back to."""
        self._marks.append(len(self._stack))

    def since_mark(self) -> list[Any]:
        """Take all values since the last mark."""
        start = self._marks.pop()
        items = [filled(one) for one in self._stack[start:]]
        del self._stack[start:]
        return items

    def drop(self) -> None:
        """Forget the top of the stack, be it a value or a mark."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self.pop()

    def put(self, index: int) -> None:
        """Remember the value on top of the stack."""
        if not 0 <= index <= MAX_STEPS:  # numbers that hash alike would make the memo slow
            raise Refused("it numbers a value of its memo beyond all steps that a file may have.")
        self._memo[index] = self.top()

    def memoize(self) -> None:
        """Remember the value on top of the stack under the next number."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        if index not in self._memo:
            raise Refused(f"it asks for the value {index:,} of its memory, where there is none.")
        self.push(filled(self._memo[index]))

    def result(self) -> Any:
        """The value that is left when all steps are done."""
        if len(self._stack) != 1 or self._marks:
            raise Refused("it ends before its value is whole.")
        rest = self._data[self.position :]
        if bytes(rest[:_PIECE]).strip(b"\0\r\n "):
            raise Refused(
                f"{len(rest):,} bytes follow its end: several pickles lie in one file, of which Python would read the "
                "first alone. Write one value per file."
            )
        return self.pop()


def filled(value: Any) -> Any:
    """The array or dtype of a `Blank` that has one by now; any other value as it is."""
    return value.value if isinstance(value, Blank) and value.value is not None else value
