"""Settings of a command, ``--set KEY=VALUE``: put over a recipe, and checked as its file is.

Examples:
    >>> from mse_pipeline import recipe
    >>> changed = with_settings(recipe.load("meld"), ["streams.visual.mtcnn.detect_every=2", "training.epochs=3"])
    >>> changed.streams["visual.mtcnn"], changed.training_for("llama2").epochs
    ({'policy': 'speaker', 'detect_every': 2}, 3)
    >>> with_settings(recipe.load("meld"), ["training.epocs=3"])
    Traceback (most recent call last):
    mse_pipeline.errors.UsageError: --set has an error:
      training.epocs: unknown key; did you mean epochs?
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.recipe.problems import describe, fields_at, place_name
from mse_pipeline.recipe.reading import Check, Place, parse
from mse_pipeline.recipe.schema import Recipe, names_backbone

AFTER_EXTRACTION = ("prompt", "training", "backbones")
"""Sections that may change when the features are there already: they say how the adapter is trained."""

_STREAM = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_NULLS = ("~", "null", "Null", "NULL")


def with_settings(
    recipe: Recipe, settings: Sequence[str], checks: Sequence[Check] = (), sections: Sequence[str] = ()
) -> Recipe:
    """A recipe with the settings of a command in place of its own.

    A setting of ``training`` holds for every backbone: it also takes the place of what ``backbones`` says of its key.
    ``null`` is no limit, or no file, where a recipe may say so, as in ``media.max_seconds``; elsewhere it resets a key
    to its default.

    Args:
        recipe: The recipe.
        settings: Each a dotted place in the file and a value as the file would have it: ``training.seeds=[1, 2]``.
        checks: Validators of higher layers, as `mse_pipeline.recipe.load` takes them.
        sections: The sections that may be changed; empty for all.

    Raises:
        UsageError: They cannot be read, contradict each other or make no recipe; all errors are told, one a line.
    """
    if not settings:
        return recipe
    content, problems = copy.deepcopy(recipe.to_dict()), []
    given: dict[Place, str] = {}
    for text in settings:
        try:
            place, value = _parse(text, content)
            _require_new(place, given)
            given[place] = text
            if sections and place[0] in fields_at(Recipe, ()) and place[0] not in sections:
                raise ValueError(
                    "the features are made with it already. Extract again with this setting: mse extract … --set "
                    f"'{text}'. A training changes {', '.join(sections)} alone"
                )
            _put(content, place, value)
        except ValueError as error:
            problems.append((text.partition("=")[0].strip() or repr(text), str(error)))
    for place in given:
        _let_hold_for_backbones(content, place, given)
    changed: Recipe | None = None
    try:
        changed = Recipe.model_validate(content)
    except ValidationError as error:
        problems += [(place_name(place), message) for place, message in describe(error, Recipe)]
    broken = {re.split(r"[.\[]", name)[0] for name, _ in problems}
    sound = {key: value for key, value in content.items() if key not in broken}
    problems += [finding for check in checks for finding in check(sound)]
    if problems or changed is None:
        count = "an error" if len(problems) == 1 else f"{len(problems)} errors"
        body = "\n".join(f"  {name}: {message}" for name, message in dict.fromkeys(problems))
        raise UsageError(f"--set has {count}:\n{body}")
    return changed


def sections_of(settings: Sequence[str]) -> set[str]:
    """The top sections that settings name.

    Examples:
        >>> sorted(sections_of(["training.epochs=3", "prompt.language=zh"]))
        ['prompt', 'training']
    """
    return {re.split(r"[.\[=]", text.strip())[0] for text in settings}


def training_settings(settings: Sequence[str], backbone: str) -> dict[str, str]:
    """What settings say of a training with one backbone: key of `Training` -> the setting, as it was given.

    Examples:
        >>> training_settings(["training.epochs=3", "backbones.llama2.patience=2", "prompt.language=zh"], "llama2-7b")
        {'epochs': 'training.epochs=3', 'patience': 'backbones.llama2.patience=2'}
        >>> list(training_settings(["backbones={llama2: {epochs: 3}}", "training={patience: 2}"], "tiny"))
        ['patience']
    """
    found: dict[str, str] = {}
    for text in settings:
        place, value = _parse(text, {})
        for step in reversed(place):
            value = {step: value}
        of_training = value.get("training")
        of_backbones = value.get("backbones")
        sections = [of_training]
        if isinstance(of_backbones, Mapping):
            sections += [own for name, own in of_backbones.items() if names_backbone(str(name), backbone)]
        for section in sections:
            found |= {str(key): text for key in section} if isinstance(section, Mapping) else {}
    return found


def parse_value(text: str) -> Any:
    """A value as a recipe file would have it, by the same strict reader.

    Examples:
        >>> parse_value("1e-8"), parse_value("[a, 2]"), parse_value("no")
        (1e-08, ['a', 2], 'no')

    Raises:
        ValueError: A recipe could not have it, or there is none.
    """
    if not text.strip():
        raise ValueError('no value stands after the equals sign; null resets to the default, "" is an empty text')
    try:
        content, _, problems = parse(f"value: {text}".encode(), "--set")
    except (UsageError, UnicodeEncodeError):
        content, problems = {}, []
    if problems or list(content) != ["value"] or (content["value"] is None and text.strip() not in _NULLS):
        raise ValueError(
            f"its value cannot be read; write it as in a recipe, a text with signs in quotes; got {text!r}"
        )
    return content["value"]


def _parse(text: str, content: Mapping[str, Any]) -> tuple[Place, Any]:
    """Place and value of one setting."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ValueError("a setting is KEY=VALUE, as in training.epochs=3; the equals sign is missing")
    if not key:
        raise ValueError("a setting is KEY=VALUE, as in training.epochs=3; the key is missing")
    return _place(key, content), parse_value(value)


def _place(key: str, content: Mapping[str, Any]) -> Place:
    """A dotted key as the steps to its place; names in the recipe that hold a dot, as streams' do, are one step.

    Raises:
        ValueError: A step is empty, or names a stream whose options cannot be set since the recipe lacks it.
    """
    rest = re.sub(r"\[(\d+)\]", r".\1", key)
    if re.search(r"[\[\]]", rest) or "" in rest.split("."):
        raise ValueError("a key is names with dots between them, and [0] for the first of a list")
    place: list[str | int] = []
    here: Any = content
    while rest:
        names = sorted((str(name) for name in here), key=len, reverse=True) if isinstance(here, Mapping) else []
        known = next((name for name in names if rest == name or rest.startswith(f"{name}.")), None)
        stream = _STREAM.match(rest) if place == ["streams"] else None
        step = known or (stream.group() if stream else rest.split(".")[0])
        rest = rest[len(step) + 1 :]
        if known is None and stream and rest:
            near = did_you_mean(step, names) or f"; it has {', '.join(names) or 'none'}"
            raise ValueError(f"the recipe has no stream {step}{near}")
        if isinstance(here, list) and step.isdecimal():
            place.append(int(step))
            here = here[int(step)] if int(step) < len(here) else None
        else:
            place.append(step)
            here = here.get(step) if isinstance(here, Mapping) else None
    return tuple(place)


def _require_new(place: Place, given: Mapping[Place, str]) -> None:
    """Refuse two settings whose order would decide."""
    for other in given:
        if other == place:
            raise ValueError(f"given twice, as {given[other]} and here; keep one")
        short, long = sorted((place, other), key=len)
        if long[: len(short)] == short:
            raise ValueError(f"{place_name(long)} lies within {place_name(short)}, which is set too; keep one of them")


def _put(content: dict[str, Any], place: Place, value: Any) -> None:
    """Set a value in plain data; sections that are not there are made.

    Raises:
        ValueError: The way leads through a value that has no keys, or past the end of a list.
    """
    here: Any = content
    for index, step in enumerate(place):
        above = place_name(place[:index])
        if isinstance(here, list):
            if not isinstance(step, int) or step >= len(here):
                entries = f"; they are [0] to [{len(here) - 1}]" if here else ""
                raise ValueError(f"{above} is a list of {len(here)} entries{entries}")
        elif not isinstance(here, dict):
            raise ValueError(f"{above} is {here!r}, which has no keys below it")
        if index < len(place) - 1:
            if isinstance(here, dict) and here.get(str(step)) is None:
                here[str(step)] = {}
            here = here[step]
    last: Any = place[-1]
    if value is not None or isinstance(here, list) or _may_be_null(place):
        here[last] = value
    elif len(place) == 2 and place[0] in ("streams", "backbones"):
        here[last] = {}  # as a key of the file with nothing after it
    else:
        here.pop(last, None)


def _may_be_null(place: Place) -> bool:
    annotation = fields_at(Recipe, place[:-1]).get(str(place[-1]))
    return type(None) in get_args(annotation)


def _let_hold_for_backbones(content: Mapping[str, Any], place: Place, given: Mapping[Place, str]) -> None:
    """Take from each backbone's own settings what the command says of all."""
    if place[0] != "training" or not isinstance(content.get("backbones"), dict):
        return
    whole = content.get("training")
    keys = [str(place[1])] if len(place) > 1 else list(whole) if isinstance(whole, dict) else []
    for backbone, own in content["backbones"].items():
        for key in keys:
            if isinstance(own, dict) and ("backbones", backbone, key) not in given:
                own.pop(key, None)
