"""The globals that a pickle may name: those that numpy and Python write for arrays and plain containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mse_pipeline.exchange.pickle_arrays import Refused

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
        raise Refused("it asks for a global whose name is no text.")
    plain = _OTHER_VERSIONS.get(module, module)
    if (plain, name) not in _KNOWN and not (makes and plain == "builtins" and name in _MADE):
        raise Refused(
            f"it asks for the global {f'{module}.{name}'[:100]!r}. Arrays of numpy and builtin values alone are read, "
            "and nothing of the file was run. Ask its maker for a file of plain arrays."
        )
    return Allowed(plain, name)
