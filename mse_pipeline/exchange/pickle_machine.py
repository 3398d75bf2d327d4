"""What the steps of a pickle do, on a stack of plain values.

A pickle is a program for a stack machine (documented in the standard library's ``pickletools``). This machine carries
out the steps that build data. It has no step that imports, calls or sets attributes: the calls that numpy writes for
its arrays are recognised by name and carried out by this package's own code, and every other name is refused.
"""

from __future__ import annotations

import codecs
from typing import Any, NoReturn

from mse_pipeline.exchange.pickle_arrays import (
    BigText,
    Blank,
    Refused,
    array_of,
    dtype_of,
    fill_array,
    fill_dtype,
    scalar_of,
)
from mse_pipeline.exchange.pickle_keys import Keys
from mse_pipeline.exchange.pickle_names import Allowed, allowed
from mse_pipeline.exchange.pickle_stack import Stack

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
            raise Refused(f"it says protocol {version}; there are 0 to {HIGHEST_PROTOCOL}.")

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
            raise Refused(f"it has a whole number of {len(line):,} digits.")
        self.push(int(line.removesuffix(b"L")))

    def long(self, form: str) -> None:
        """A whole number as bytes."""
        size = self.number(form)
        if not 0 <= size <= _MAX_NUMBER:
            raise Refused(f"it has a whole number of {size:,} bytes.")
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
            raise Refused("it has a string without quotes.")
        self.push(self._decoded(codecs.escape_decode(line[1:-1])[0]))

    def _decoded(self, data: bytes) -> str | bytes:
        """What is no text in the encoding, as the data of arrays, stays bytes."""
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
            raise Refused(f"it adds to a {type(target).__name__} as if it were a {kind.__name__}.")
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
            raise Refused(f"it calls a {type(function).__name__} with a {type(arguments).__name__}.")
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
                    raise Refused("it makes an OrderedDict of other things than pairs.")
                made: dict[Any, Any] = {}
                for key, (_, value) in zip(self._keys.enter(made, [key for key, _ in pairs]), pairs, strict=True):
                    made[key] = value
                return made
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
        raise Refused(f"it calls {function.module}.{function.name} with other arguments than data need.")

    def _copied(self, values: list[Any]) -> list[Any]:
        """Values of which a few steps could ask again and again for a copy."""
        self.count(len(values))
        self.copying(64 * len(values))
        return values

    def build(self) -> None:
        """The state of an array or dtype; nothing else has one here."""
        state, target = self.pop(), self.top()
        if not isinstance(target, Blank) or target.value is not None:
            raise Refused(f"it sets the state of a {type(target).__name__}, which arrays alone have here.")
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
        raise Refused(f"it asks for {what}, which data files do not need; nothing of the file was run.")
