"""Describe: an extractor with its options and dimensions, for people and for other programs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.registry import create, find
from mse_pipeline.extractors.trial import require_fit

_BOUNDS = (
    ("ge", "from {}"),
    ("gt", "above {}"),
    ("le", "to {}"),
    ("lt", "below {}"),
    ("multiple_of", "multiple of {}"),
)
CHOICES = {"model", "weights"}
"""Options by which a user chooses a model."""

_KINDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none"}


@dataclass(frozen=True)
class Option:
    """One option of an extractor.

    Attributes:
        name: As a recipe writes it.
        kind: Its allowed values, in words.
        default: Its value if it is left out; None may be a default, too.
        required: Whether it has no default.
        meaning: What it does.
    """

    name: str
    kind: str
    default: Any
    required: bool
    meaning: str


@dataclass(frozen=True)
class Dimension:
    """One value of a row.

    Attributes:
        name: As in the features' names.
        unit: Empty where there is none.
        definition: Empty where the name says it.
    """

    name: str
    unit: str
    definition: str


@dataclass(frozen=True)
class Description:
    """An extractor with some options, described.

    Attributes:
        name: As in ``acoustic.egemaps``.
        summary: What it makes, in a line.
        text: The docstring of its class.
        licence: Licence of its model or tool.
        needs: What must be downloaded to use it.
        missing: What is missing to run it on this machine; empty if nothing is.
        brought_by: The package that it comes with.
        revision: Of our code; raised whenever the same options give other values.
        model: The model and its revision; empty where there is none.
        size: Bytes of the model.
        step: Seconds from row to row; None if rows have no fixed distance.
        options: Its options.
        dimensions: Its dimensions with these options; None if they are not known.
        unknown: Why the dimensions are not known, as when an option is missing.
    """

    name: str
    summary: str
    text: str
    licence: str
    needs: str
    missing: str
    brought_by: str
    revision: int
    model: str
    size: int | None
    step: float | None
    options: tuple[Option, ...]
    dimensions: tuple[Dimension, ...] | None
    unknown: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, with `dim` and `ready` counted out."""
        plain = dataclasses.asdict(self)
        dim = None if self.dimensions is None else len(self.dimensions)
        return {**plain, "dim": dim, "ready": not self.missing}


def describe(name: str, options: Mapping[str, Any] | None = None) -> Description:
    """Describe an extractor.

    Args:
        name: As in ``acoustic.egemaps``.
        options: Options, since the dimensions may depend on them; they are checked.

    Raises:
        UsageError: There is no such extractor, an option is wrong, or a model that it names does not fit.

    Examples:
        >>> egemaps = describe("acoustic.egemaps")
        >>> egemaps.step, egemaps.dimensions[10].name, egemaps.dimensions[10].unit
        (0.01, 'F0semitoneFrom27.5Hz_sma3nz', 'semitones above 27.5 Hz')
        >>> [option.name for option in egemaps.options]
        ['version']
    """
    entry = find(name)
    extractor_class = entry.load()
    known = options_of(extractor_class.Config)
    step, dimensions, unknown = None, None, ""
    lacking = [option.name for option in known if option.required and option.name not in (options or {})]
    if lacking:
        unknown = f"Its dimensions depend on {', '.join(lacking)}: mse extractors show {name} --set {lacking[0]}=…"
    else:
        extractor = create(name, options)
        if CHOICES & (options or {}).keys():
            require_fit(extractor)
        try:
            step = extractor.step
            columns = zip(extractor.names, extractor.units, extractor.definitions, strict=True)
            dimensions = tuple(Dimension(*column) for column in columns)
        except ImportError as error:  # only the library knows some names
            unknown = f"Its dimensions are known once it is installed ({error})."
    return Description(
        name=name,
        summary=entry.summary,
        text=inspect.cleandoc(extractor_class.__doc__ or "").split("\nExamples:")[0].strip(),
        licence=entry.licence,
        needs=entry.needs,
        missing=entry.missing(),
        brought_by=entry.brought_by or "mse-pipeline",
        revision=extractor_class.revision,
        model=entry.model,
        size=entry.size,
        step=step,
        options=known,
        dimensions=dimensions,
        unknown=unknown,
    )


def options_of(config: type[Any]) -> tuple[Option, ...]:
    """The options of an extractor's configuration, with their meanings from its docstring.

    Args:
        config: A dataclass, with an ``Attributes:`` section in its docstring or in one of its bases'.

    Examples:
        >>> from mse_pipeline.extractors.visual.faces import FaceConfig
        >>> options_of(FaceConfig)[1].kind, options_of(FaceConfig)[1].default
        ('whole number from 64 to 8192', 480)
        >>> options_of(FaceConfig)[1].meaning[:38]
        'Width in pixels that frames are reduce'
    """
    meanings: dict[str, str] = {}
    for base in reversed(config.__mro__):
        meanings.update(_attributes(base.__doc__ or ""))
    hints = typing.get_type_hints(config, include_extras=True)
    return tuple(
        Option(
            name=field.name,
            kind=_kind(hints[field.name]),
            default=_default(field),
            required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            meaning=meanings.get(field.name, ""),
        )
        for field in dataclasses.fields(config)
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _attributes(docstring: str) -> dict[str, str]:
    r"""The entries of a Google-style ``Attributes:`` section, each on one line.

    Examples:
        >>> _attributes("A config.\n\nAttributes:\n    hop: Seconds\n        a row.\n    rate: Frames.\n")
        {'hop': 'Seconds a row.', 'rate': 'Frames.'}
    """
    section = inspect.cleandoc(docstring).partition("Attributes:\n")[2]
    meanings: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = re.fullmatch(r" {4}(\w+):\s+(.*)", line)
        if entry:
            name, meanings[entry[1]] = entry[1], entry[2]
        elif line.startswith(" " * 8) and name:
            meanings[name] += f" {line.strip()}"
        elif line.strip():
            break
    return meanings


def _kind(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        bounds = [_bounds(constraint) for constraint in inner[1:]]
        return " ".join(filter(None, [_kind(inner[0]), *bounds]))
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_kind, inner))
    if origin in (tuple, list):
        several = len(inner) == 2 and inner[1] is Ellipsis
        return f"list of {_kind(inner[0])}" if origin is list or several else f"list of {len(inner)}: {_kind(inner[0])}"
    if origin is dict or hint is dict:
        return "names with values"
    return _KINDS.get(hint, "see below" if not isinstance(hint, type) else hint.__name__.lower())


def _bounds(constraint: Any) -> str:
    """A constraint of pydantic in words; a Field carries several."""
    parts = [constraint, *getattr(constraint, "metadata", ())]
    bounds = [
        words.format(f"{value:g}")
        for key, words in _BOUNDS
        for part in parts
        if isinstance(value := getattr(part, key, None), int | float)
    ]
    return " ".join(bounds)


def missing_options(name: str) -> list[str]:
    """Options that an extractor requires, as the name of its model.

    Raises:
        UsageError: There is no such extractor, or the package that brings it is broken.
    """
    return [option.name for option in options_of(find(name).load().Config) if option.required]


def step_of(name: str) -> float | None:
    """Seconds from row to row with the default options; None if rows have no fixed distance, or options decide it."""
    try:
        step: float | None = None if missing_options(name) else create(name).step
    except (UsageError, ImportError):
        return None
    return step
