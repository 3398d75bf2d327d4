"""Which step of a pickle has which code; codes and names are those of the standard library's ``pickletools``."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from mse_pipeline.exchange.pickle_arrays import Refused
from mse_pipeline.exchange.pickle_machine import Machine

Step = Callable[[Machine], None]
_STOP = ord(".")


def run(machine: Machine) -> Any:
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
            place = "does not begin like a pickle" if machine.position == 1 else "is damaged"
            raise Refused(f"it {place}: {code:#04x} is no step of one.")
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
