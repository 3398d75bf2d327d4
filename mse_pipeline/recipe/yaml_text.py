"""YAML text -> plain data and the line of every key, strictly: hostile or ambiguous files are refused."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mse_pipeline.errors import UsageError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
Place = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Plain data only: no aliases (they can grow without bound), no deep nesting, YAML 1.2's scalars.

    YAML 1.1 reads `no` as False, `1:30` as 90, `2024-01-01` as a date and `1e-4` as a text. Class names and learning
    rates must not depend on that.
    """

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(
                None,
                None,
                "aliases (*name) are not allowed in a recipe; write the value out",
                event.start_mark,
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, f"more than {MAX_DEPTH} levels of nesting", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_SCALARS = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]{1,18}$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?$",
        "-+.0123456789",
    ),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _int(loader: _Loader, node: ScalarNode) -> int:
    """Decimal numbers only: YAML 1.1 reads 010 as eight."""
    return int(loader.construct_scalar(node))


def _float(loader: _Loader, node: ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def parse(data: bytes, source: str) -> tuple[dict[str, Any], dict[Place, int], list[tuple[Place, str]]]:
    r"""Read a recipe file's bytes.

    Args:
        data: The file's bytes, UTF-8.
        source: How errors call the file.

    Returns:
        The mapping, the line (from 1) of every place in it, and problems that do not hinder reading on:
        keys that are there twice or are no text.

    Raises:
        UsageError: It is no YAML, no mapping, or too large; there are aliases or tags.

    Examples:
        >>> data, lines, problems = parse(b"name: mine\ntraining:\n  learning_rate: 1e-4\n", "mine.yaml")
        >>> data["training"]["learning_rate"], lines["training", "learning_rate"]
        (0.0001, 3)
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"Recipe {source} has {len(data):,} bytes; a recipe has at most {MAX_BYTES:,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"Recipe {source} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    problems: list[tuple[Place, str]] = []
    lines: dict[Place, int] = {}
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, MappingNode):
                found = "empty" if node is None else "no mapping"
                raise UsageError(f"Recipe {source} is {found}; it must be a mapping with keys such as name and corpus.")
            _walk(node, (), lines, problems)
            content = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"Recipe {source}{where} cannot be read: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"Recipe {source} cannot be read as YAML: {first}.") from None
    return content, lines, problems


def _walk(node: Node, place: Place, lines: dict[Place, int], problems: list[tuple[Place, str]]) -> None:
    """Note the line of every key and item; drop what YAML would let pass silently, and tell it."""
    lines[place] = node.start_mark.line + 1
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*place, index), lines, problems)
    elif isinstance(node, MappingNode):
        kept = []
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else "?"
            line = key.start_mark.line + 1
            inner = (*place, name)
            if not isinstance(key, ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                lines.setdefault(inner, line)
                problems.append((inner, f"the key in line {line} must be a text; put it in quotes"))
            elif inner in lines:
                problems.append((inner, f"given twice, in lines {lines[inner]} and {line}; keep one"))
            else:
                _walk(value, inner, lines, problems)
                lines[inner] = line
                kept.append((key, value))
        node.value = kept
