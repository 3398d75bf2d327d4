"""What the steps of a pickle do, on a stack of plain values.

A pickle is a program for a stack machine (documented in the standard library's ``pickletools``). This machine carries
out the steps that build data. It has no step that imports, calls or sets attributes: the calls that numpy writes for
its arrays are recognised by name and carried out by this package's own code, and every other name is refused.

In the order of this file: the stack, the memo and the bytes, where every size is compared with the bytes of the file;
the steps; the table of codes and steps, with the names of ``pickletools``.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from mse_pipeline.exchange.pickle_values import (
    Allowed,
    BigText,
    Blank,
    Keys,
    RefusedPickle,
    allowed,
    array_of,
    dtype_of,
    fill_array,
    fill_dtype,
    scalar_of,
)

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
            raise RefusedPickle(f"it has more than {MAX_STEPS:,} steps, which no file of arrays has.")

    def copying(self, size: int) -> None:
        """Count bytes that are made anew.

        Raises:
            Refused: They are more than the file has.
        """
        self._copies -= size
        if self._copies < 0:
            raise RefusedPickle("its steps would make more data than the file has.")

    def take(self, size: int) -> memoryview:
        """The next bytes, not copied.

        Raises:
            Refused: There are not so many.
        """
        end = self.position + size
        if size < 0 or end > len(self._data):
            left = len(self._data) - self.position
            raise RefusedPickle(
                f"it is cut off, or a size in it is wrong: {size:,} bytes are announced, {left:,} are left."
            )
        part = self._data[self.position : end]
        self.position = end
        return part

    def number(self, form: str) -> Any:
        """The next number, in a form of the module ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """The bytes up to the next line feed, which is passed over."""
        for start in range(self.position, len(self._data), _PIECE):
            end = bytes(self._data[start : start + _PIECE]).find(b"\n")
            if end >= 0:
                line = bytes(self.take(start + end - self.position))
                self.position += 1
                if line.endswith(b"\r"):
                    raise RefusedPickle("its lines end with the line ends of Windows, which a pickle never has.")
                return line
        raise RefusedPickle("it is cut off: a line has no end.")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the value on top of the stack."""
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise RefusedPickle("it takes a value from an empty stack.")
        return filled(self._stack.pop())

    def top(self) -> Any:
        """The value on top of the stack, which stays; an array that is not filled yet as `Blank`."""
        if not self._stack or (self._marks and len(self._stack) <= self._marks[-1]):
            raise RefusedPickle("it changes a value of an empty stack.")
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
        items = [filled(value) for value in self._stack[start:]]
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
            raise RefusedPickle("it numbers a value of its memo beyond all steps that a file may have.")
        self._memo[index] = self.top()

    def memoize(self) -> None:
        """Remember the value on top of the stack under the next number."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        if index not in self._memo:
            raise RefusedPickle(f"it asks for the value {index:,} of its memo, which has no such value.")
        self.push(filled(self._memo[index]))

    def result(self) -> Any:
        """The value that is left when all steps are done."""
        if len(self._stack) != 1 or self._marks:
            raise RefusedPickle("it ends before its value is whole.")
        rest = self._data[self.position :]
        if bytes(rest[:_PIECE]).strip(b"\0\r\n "):
            raise RefusedPickle(
                f"{len(rest):,} bytes follow its end: several pickles lie in one file, of which Python would read the "
                "first alone. Write one value per file."
            )
        return self.pop()


def filled(value: Any) -> Any:
    """The array or dtype of a `Blank` that has one by now; any other value as it is."""
    return value.value if isinstance(value, Blank) and value.value is not None else value


HIGHEST_PROTOCOL = 5
_SHORT_BYTES = 512  # longer ones stay in the file, as views
_SHORT_STRING = 4096
_SHORT_TEXT = 1 << 16
_MAX_NUMBER = 64  # bytes, or digits, of a whole number
_LATIN1 = ("latin1", "latin-1", "iso-8859-1")


class Machine(Stack):
    """A method a step; those that only move values are in `Stack`."""

    def __init__(self, data: memoryview, encoding: str) -> None:
        super().__init__(data, encoding)
        self._keys = Keys()

    def protocol(self) -> None:
        """The protocol's number."""
        version = self.take(1)[0]
        if version > HIGHEST_PROTOCOL:
            raise RefusedPickle(f"it says protocol {version}; there are 0 to {HIGHEST_PROTOCOL}.")

    def frame(self) -> None:
        """A frame's size, which must be there; the steps in it are read like all others."""
        position = self.position
        self.take(self.number("<Q"))
        self.position = position + 8

    def duplicate(self) -> None:
        """The top of the stack once more."""
        self.push(self.top())

    def whole_line(self) -> None:
        """A whole number or truth value as a line of digits."""
        line = self.line()
        if line in (b"00", b"01"):
            self.push(line == b"01")
            return
        if len(line) > _MAX_NUMBER:
            raise RefusedPickle(f"it has a whole number of {len(line):,} digits.")
        self.push(int(line.removesuffix(b"L")))

    def long(self, form: str) -> None:
        """A whole number as bytes."""
        size = self.number(form)
        if not 0 <= size <= _MAX_NUMBER:
            raise RefusedPickle(f"it has a whole number of {size:,} bytes.")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def text(self, form: str) -> None:
        """A text; a long one stays in the file, for it is an array's bytes."""
        part = self.take(self.number(form))
        self.push(str(part, "utf-8", "surrogatepass") if len(part) <= _SHORT_TEXT else BigText(part))

    def old_string(self, form: str) -> None:
        """Python 2's string: a text, or an array's bytes."""
        part = self.take(self.number(form))
        self.push(part if len(part) > _SHORT_STRING else self._decoded(bytes(part)))

    def old_string_line(self) -> None:
        """The same in quotes, with escapes."""
        line = self.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise RefusedPickle("it has a string without quotes.")
        self.push(self._decoded(codecs.escape_decode(line[1:-1])[0]))

    def _decoded(self, data: bytes) -> str | bytes:
        """What is not text in the encoding, as the data of arrays, stays bytes."""
        try:
            return data.decode(self.encoding)
        except UnicodeDecodeError:
            return data

    def byte_string(self, form: str) -> None:
        """Bytes; long ones stay in the file."""
        part = self.take(self.number(form))
        self.push(bytes(part) if len(part) <= _SHORT_BYTES else part)

    def make_tuple(self, size: int) -> None:
        """A tuple of the last values."""
        self.push(tuple([self.pop() for _ in range(size)][::-1]))

    def append(self, items: list[Any]) -> None:
        """Values at the end of the list on top."""
        self._container(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Keys and values, one after the other, into the dictionary on top."""
        target = self._container(dict)
        for key, value in zip(self._keys.enter(target, items[::2]), items[1::2], strict=True):
            target[key] = value

    def make_dict(self) -> None:
        """A dictionary of all since the mark."""
        items = self.since_mark()
        self.push({})
        self.set_items(items)

    def add(self, items: list[Any]) -> None:
        """Members into the set on top."""
        self._fill(self._container(set), items)

    def make_frozenset(self) -> None:
        """A frozen set of all since the mark."""
        self.push(frozenset(self._fill(set(), self.since_mark())))

    def _fill(self, target: set[Any], members: list[Any]) -> set[Any]:
        for member in self._keys.enter(target, members):
            target.add(member)
        return target

    def _container(self, kind: type) -> Any:
        target = self.top()
        if not isinstance(target, kind):
            raise RefusedPickle(f"it adds to a {type(target).__name__} as if it were a {kind.__name__}.")
        return target

    def global_lines(self) -> None:
        """A global by two lines."""
        module, name = self.line(), self.line()
        self._name(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def stack_global(self) -> None:
        """A global by two texts."""
        name, module = self.pop(), self.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any) -> None:
        before = self._stack[-1] if self._stack else None
        # What a defaultdict would make for a key that it has not; it is never called here.
        makes = isinstance(before, Allowed) and before.name == "defaultdict"
        self.push(allowed(module, name, makes=makes))

    def reduce(self) -> None:
        """What a call stands for."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Allowed) or not isinstance(arguments, tuple):
            raise RefusedPickle(f"it calls a {type(function).__name__} with a {type(arguments).__name__}.")
        self.push(self._called(function, arguments))

    def _called(self, function: Allowed, arguments: tuple[Any, ...]) -> Any:  # noqa: PLR0911, PLR0912 - a call a return
        match function.name, arguments:
            case "_reconstruct", (Allowed(name="ndarray"), tuple(), _):
                return Blank("array")
            case "dtype", (_, *_):
                return dtype_of(arguments)
            case "scalar", (dtype, data):
                return scalar_of(dtype, data, self.encoding)
            case "_frombuffer", (data, dtype, shape, order):
                return array_of(data, dtype, shape, order, self.encoding)
            case "encode", (str() as text, str() as codec) if codec.lower() in _LATIN1:
                self.copying(len(text))
                return text.encode("latin-1")
            case "encode", (BigText() as text, str() as codec) if codec.lower() in _LATIN1:
                self.copying(len(text.utf8))
                return text.latin1()
            case "OrderedDict", () | (list(),):
                pairs = self._copied(arguments[0] if arguments else [])
                if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
                    raise RefusedPickle("it makes an OrderedDict of other things than pairs.")
                ordered: dict[Any, Any] = {}
                for key, (_, value) in zip(self._keys.enter(ordered, [key for key, _ in pairs]), pairs, strict=True):
                    ordered[key] = value
                return ordered
            case "defaultdict", () | (Allowed() | None,):
                return {}
            case "Counter", () | (dict(),):
                return arguments[0] if arguments else {}
            case "deque", () | (list() | (),) | (list() | (), int() | None):
                return list(self._copied(arguments[0])) if arguments else []
            case "bytes" | "bytearray", ():
                return b""
            case "bytearray", (bytes() | memoryview() as data,):
                return data
            case "bytearray", (str() as text, str() as codec) if codec.lower() in _LATIN1:
                self.copying(len(text))
                return text.encode("latin-1")
            case "set" | "frozenset" as kind, () | (list(),):
                members = self._fill(set(), self._copied(arguments[0] if arguments else []))
                return members if kind == "set" else frozenset(members)
        raise RefusedPickle(f"it calls {function.module}.{function.name} with other arguments than data need.")

    def _copied(self, values: list[Any]) -> list[Any]:
        """Values of which a few steps could ask again and again for a copy."""
        self.count(len(values))
        self.copying(64 * len(values))
        return values

    def build(self) -> None:
        """The state of an array or dtype; nothing else has one here."""
        state, target = self.pop(), self.top()
        if not isinstance(target, Blank) or target.value is not None:
            raise RefusedPickle(f"it sets the state of a {type(target).__name__}, which arrays alone have here.")
        if target.kind == "dtype":
            self.replace(fill_dtype(target, state))
            return
        if isinstance(state, tuple) and state and isinstance(state[-1], str | list):
            self.copying(len(state[-1]) * (8 if isinstance(state[-1], list) else 1))
        self.replace(fill_array(target, state, self.encoding))

    def instance(self) -> None:
        """An object of a class that two lines name."""
        self.global_lines()
        self.refuse("an object of a class")

    def refuse(self, what: str) -> NoReturn:
        """Refuse a step that is never carried out."""
        raise RefusedPickle(f"it asks for {what}, which data files do not need; nothing of the file was run.")


Step = Callable[[Machine], None]
_STOP = ord(".")


def run_pickle(machine: Machine) -> Any:
    """Carry out all steps; returns the value that the pickle describes.

    Raises:
        Refused: It asks for something that is not done.
        IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError: It is damaged.
    """
    while True:
        code = machine.take(1)[0]
        if code == _STOP:
            return machine.result()
        step = STEPS.get(code)
        if step is None:
            fault = "does not begin like a pickle" if machine.position == 1 else "is damaged"
            raise RefusedPickle(f"it {fault}: {code:#04x} is not a step of a pickle.")
        machine.count(1)
        step(machine)


def _refusing(what: str) -> Step:
    def step(machine: Machine) -> None:
        machine.refuse(what)

    return step


def _fixed(form: str) -> Step:
    size = struct.calcsize(form)

    def step(machine: Machine) -> None:
        machine.push(struct.unpack(form, machine.take(size))[0])

    return step


def _constant(value: Any) -> Step:
    return lambda machine: machine.push(value)


_PERSISTENT = "an object by a persistent id, which lies outside of the file"
_CLASS = "an object of a class"
_EXTENSION = "an object by a number of Python's extension registry"
_BUFFER = "data that lie outside of the file"

_BY_NAME: dict[str, tuple[bytes, Step]] = {
    "PROTO": (b"\x80", Machine.protocol),
    "FRAME": (b"\x95", Machine.frame),
    "MARK": (b"(", Machine.mark),
    "POP": (b"0", Machine.drop),
    "POP_MARK": (b"1", lambda m: m.since_mark().clear()),
    "DUP": (b"2", Machine.duplicate),
    "NONE": (b"N", _constant(None)),
    "NEWTRUE": (b"\x88", _constant(True)),
    "NEWFALSE": (b"\x89", _constant(False)),
    "INT": (b"I", Machine.whole_line),
    "LONG": (b"L", Machine.whole_line),
    "BININT": (b"J", _fixed("<i")),
    "BININT1": (b"K", _fixed("<B")),
    "BININT2": (b"M", _fixed("<H")),
    "LONG1": (b"\x8a", lambda m: m.long("<B")),
    "LONG4": (b"\x8b", lambda m: m.long("<i")),
    "FLOAT": (b"F", lambda m: m.push(float(m.line()))),
    "BINFLOAT": (b"G", _fixed(">d")),
    "STRING": (b"S", Machine.old_string_line),
    "BINSTRING": (b"T", lambda m: m.old_string("<i")),
    "SHORT_BINSTRING": (b"U", lambda m: m.old_string("<B")),
    "UNICODE": (b"V", lambda m: m.push(str(m.line(), "raw-unicode-escape"))),
    "BINUNICODE": (b"X", lambda m: m.text("<I")),
    "SHORT_BINUNICODE": (b"\x8c", lambda m: m.text("<B")),
    "BINUNICODE8": (b"\x8d", lambda m: m.text("<Q")),
    "BINBYTES": (b"B", lambda m: m.byte_string("<I")),
    "SHORT_BINBYTES": (b"C", lambda m: m.byte_string("<B")),
    "BINBYTES8": (b"\x8e", lambda m: m.byte_string("<Q")),
    "BYTEARRAY8": (b"\x96", lambda m: m.byte_string("<Q")),
    "EMPTY_TUPLE": (b")", _constant(())),
    "TUPLE": (b"t", lambda m: m.push(tuple(m.since_mark()))),
    "TUPLE1": (b"\x85", lambda m: m.make_tuple(1)),
    "TUPLE2": (b"\x86", lambda m: m.make_tuple(2)),
    "TUPLE3": (b"\x87", lambda m: m.make_tuple(3)),
    "EMPTY_LIST": (b"]", lambda m: m.push([])),
    "LIST": (b"l", lambda m: m.push(m.since_mark())),
    "APPEND": (b"a", lambda m: m.append([m.pop()])),
    "APPENDS": (b"e", lambda m: m.append(m.since_mark())),
    "EMPTY_DICT": (b"}", lambda m: m.push({})),
    "DICT": (b"d", Machine.make_dict),
    "SETITEM": (b"s", lambda m: m.set_items([m.pop(), m.pop()][::-1])),
    "SETITEMS": (b"u", lambda m: m.set_items(m.since_mark())),
    "EMPTY_SET": (b"\x8f", lambda m: m.push(set())),
    "ADDITEMS": (b"\x90", lambda m: m.add(m.since_mark())),
    "FROZENSET": (b"\x91", Machine.make_frozenset),
    "GET": (b"g", lambda m: m.get(int(m.line()))),
    "BINGET": (b"h", lambda m: m.get(m.take(1)[0])),
    "LONG_BINGET": (b"j", lambda m: m.get(m.number("<I"))),
    "PUT": (b"p", lambda m: m.put(int(m.line()))),
    "BINPUT": (b"q", lambda m: m.put(m.take(1)[0])),
    "LONG_BINPUT": (b"r", lambda m: m.put(m.number("<I"))),
    "MEMOIZE": (b"\x94", Machine.memoize),
    "GLOBAL": (b"c", Machine.global_lines),
    "STACK_GLOBAL": (b"\x93", Machine.stack_global),
    "REDUCE": (b"R", Machine.reduce),
    "BUILD": (b"b", Machine.build),
    "INST": (b"i", Machine.instance),
    "OBJ": (b"o", _refusing(_CLASS)),
    "NEWOBJ": (b"\x81", _refusing(_CLASS)),
    "NEWOBJ_EX": (b"\x92", _refusing(_CLASS)),
    "EXT1": (b"\x82", _refusing(_EXTENSION)),
    "EXT2": (b"\x83", _refusing(_EXTENSION)),
    "EXT4": (b"\x84", _refusing(_EXTENSION)),
    "PERSID": (b"P", _refusing(_PERSISTENT)),
    "BINPERSID": (b"Q", _refusing(_PERSISTENT)),
    "NEXT_BUFFER": (b"\x97", _refusing(_BUFFER)),
    "READONLY_BUFFER": (b"\x98", _refusing(_BUFFER)),
}
STEPS: dict[int, Step] = {code[0]: step for code, step in _BY_NAME.values()}
