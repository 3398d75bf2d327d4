"""Condition: an expression over the values of a clip, as ``face_share > 0.5 and split == "train"``.

It has Python's grammar, of which only comparisons of names with constants or names, ``in``, ``and``, ``or`` and ``not``
are read; nothing is ever run. A value that is not known makes a comparison unknown, and not false, so that its opposite
is unknown, too.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mse_pipeline.errors import UsageError, did_you_mean

Kind = Literal["number", "text", "codes"]
"""What a name stands for; codes are a set of texts, which `in` looks into."""

Value = float | str | frozenset[str] | None
"""None and NaN: not known."""

_LONGEST = 4000
_DEEPEST = 50
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, several: one in several,
    ast.NotIn: lambda one, several: one not in several,
}
_HINTS = (
    (ast.BitAnd, "write `and` for &"),
    (ast.BitOr, "write `or` for |"),
    (ast.Invert, "write `not` for ~"),
)


@dataclass(frozen=True)
class Condition:
    """A condition that was read and checked.

    Attributes:
        text: As it was given.
        names: The names in it.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    def __call__(self, values: Mapping[str, Value]) -> bool | None:
        """Whether a clip with these values meets it; None where that is not known.

        Args:
            values: By name; those that it names must be there.
        """
        return _decide(self._tree, values)


def read_condition(text: str, kinds: Mapping[str, Kind], codes: Collection[str] = ()) -> Condition:
    """Read a condition.

    Args:
        text: The expression.
        kinds: The names that there are, and what each stands for.
        codes: The texts that a name of codes may hold; empty for any.

    Raises:
        UsageError: It cannot be read, or names or compares what there is not; the sentence tells the mend.

    Examples:
        >>> kinds = {"face_share": "number", "split": "text", "defects": "codes"}
        >>> good = read_condition('0.5 < face_share and split in ("train", "valid")', kinds)
        >>> good({"face_share": 0.9, "split": "train"}), good({"face_share": float("nan"), "split": "train"})
        (True, None)
        >>> read_condition("not face_share > 0.5", kinds)({"face_share": None}) is None
        True
        >>> read_condition("face_shar > 0.5", kinds)
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: --where 'face_shar > 0.5': there is no face_shar; did you mean face_share? There
        is defects, face_share, split.
    """
    try:
        return _read(text, kinds, codes)
    except _Wrong as wrong:
        told = str(wrong)
        raise UsageError(f"--where {text!r}: {told}{'' if told.endswith('?') else '.'}") from None


class _Wrong(Exception):
    """What is wrong with a condition, as the end of a sentence."""


def _read(text: str, kinds: Mapping[str, Kind], codes: Collection[str]) -> Condition:
    if not text.strip():
        raise _Wrong('it is empty; write as in --where "face_share > 0.5"')
    if len(text) > _LONGEST:
        raise _Wrong(f"it has {len(text):,} characters; {_LONGEST:,} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _Wrong(_unreadable(text, error)) from None
    names: set[str] = set()
    _check(tree, kinds, names, 0)
    for node in ast.walk(tree):
        if codes and isinstance(node, ast.Compare):
            _check_codes(node, kinds, codes)
    return Condition(text.strip(), frozenset(names), tree)


def _unreadable(text: str, error: BaseException) -> str:
    told = error.msg if isinstance(error, SyntaxError) else str(error)
    bare = text.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", "")
    hint = "; write == to compare" if "=" in bare else "; texts stand in quotes, as in split == 'train'"
    return f"it cannot be read ({told}){hint}"


def _check(node: ast.expr, kinds: Mapping[str, Kind], names: set[str], depth: int) -> None:
    """Refuse all but what `_decide` knows, and gather the names."""
    if depth > _DEEPEST:
        raise _Wrong("it is nested too deeply")
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, kinds, names, depth + 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand, kinds, names, depth + 1)
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for left, way, right in zip(sides, node.ops, sides[1:], strict=False):
            _check_pair(left, way, right, kinds)
        names.update(side.id for side in sides if isinstance(side, ast.Name))
    elif isinstance(node, ast.Name):
        _known(node.id, kinds)
        raise _Wrong(f"{node.id} is compared with nothing; write as in {_example(node.id, kinds)}")
    else:
        hint = next((hint for kind, hint in _HINTS if isinstance(getattr(node, "op", None), kind)), "")
        raise _Wrong(
            f"{ast.unparse(node)[:60]!r} is no comparison"
            + (f"; {hint}, and put brackets around comparisons" if hint else "; join comparisons by and, or, not")
        )


def _check_pair(left: ast.expr, way: ast.cmpop, right: ast.expr, kinds: Mapping[str, Kind]) -> None:
    if type(way) not in _COMPARE:
        raise _Wrong("`is` is not read; write == or !=")
    first, second = _kind(left, kinds), _kind(right, kinds)
    shown = f"{ast.unparse(left)[:40]} and {ast.unparse(right)[:40]}"
    if isinstance(way, ast.In | ast.NotIn):
        if second == "codes" and first == "text":
            return
        if second not in {"texts", "numbers"}:
            raise _Wrong(f"`in` looks into a list, as in split in ('train', 'valid'), or into defects: {shown}")
        if first != second.removesuffix("s"):
            raise _Wrong(f"a {first} is in no list of {second}: {shown}")
        return
    if first not in {"number", "text"} or second not in {"number", "text"}:
        raise _Wrong(f"a list is looked into by `in`, as in 'no_audio' in defects: {shown}")
    if first != second:
        raise _Wrong(f"a {first} cannot be compared with a {second}: {shown}")
    if first == "text" and not isinstance(way, ast.Eq | ast.NotEq):
        raise _Wrong(f"texts are equal or not, and have no order: {shown}")


def _check_codes(node: ast.Compare, kinds: Mapping[str, Kind], codes: Collection[str]) -> None:
    """Refuse a code that there is not: it would be in no clip's."""
    sides = [node.left, *node.comparators]
    for left, right in itertools.pairwise(sides):
        code, of_codes = _constant(left), isinstance(right, ast.Name) and kinds[right.id] == "codes"
        if of_codes and isinstance(code, str) and code not in codes:
            near = did_you_mean(code, codes) or f"; there is {', '.join(codes)}"
            raise _Wrong(f"there is no code {code}{near}")


def _kind(node: ast.expr, kinds: Mapping[str, Kind]) -> str:
    """Of a side of a comparison: number, text, codes, or numbers or texts for a list of constants."""
    if isinstance(node, ast.Name):
        return _known(node.id, kinds)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        inner = {_kind(one, {}) for one in node.elts if not isinstance(one, ast.Name)}
        if len(inner) == 1 and not any(isinstance(one, ast.Name) for one in node.elts):
            return f"{inner.pop()}s"
        raise _Wrong(f"a list holds texts or numbers alone: {ast.unparse(node)[:60]}")
    value = _constant(node)
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return "number"
    raise _Wrong(f"{ast.unparse(node)[:60]!r} is neither a name, a number nor a text in quotes")


def _known(name: str, kinds: Mapping[str, Kind]) -> Kind:
    if name not in kinds:
        listed, near = ", ".join(sorted(kinds)), did_you_mean(name, kinds)
        if near:
            raise _Wrong(f"there is no {name}{near} There is {listed}")
        raise _Wrong(f"there is no {name}; there is {listed}. A text stands in quotes, as {name!r}")
    return kinds[name]


def _example(name: str, kinds: Mapping[str, Kind]) -> str:
    examples = {"number": f"{name} > 0.5", "text": f"{name} == 'train'", "codes": f"'no_audio' not in {name}"}
    return examples[kinds[name]]


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return (-value if isinstance(node.op, ast.USub) else value) if number else None
    return node.value if isinstance(node, ast.Constant) else None


def _decide(node: ast.expr, values: Mapping[str, Value]) -> bool | None:
    """By Kleene's three-valued logic."""
    if isinstance(node, ast.BoolOp):
        parts = [_decide(part, values) for part in node.values]
        settles = isinstance(node.op, ast.Or)
        if settles in parts:
            return settles
        return None if None in parts else not settles
    if isinstance(node, ast.UnaryOp):
        inner = _decide(node.operand, values)
        return None if inner is None else not inner
    assert isinstance(node, ast.Compare)  # noqa: S101 - `_check` lets nothing else pass
    sides = [_value(side, values) for side in (node.left, *node.comparators)]
    found = [
        None if left is None or right is None else _COMPARE[type(way)](left, right)
        for left, way, right in zip(sides, node.ops, sides[1:], strict=False)
    ]
    return False if False in found else None if None in found else True


def _value(node: ast.expr, values: Mapping[str, Value]) -> Any:
    if isinstance(node, ast.Name):
        value = values[node.id]
        return None if isinstance(value, float) and math.isnan(value) else value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_constant(one) for one in node.elts]
    return _constant(node)
