"""What pydantic finds wrong -> one short sentence a place, with the nearest known key."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mse_pipeline.errors import did_you_mean

_SHOWN = 60


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Place and message of each finding.

    Args:
        error: What pydantic raised.
        model: The model that was validated; its field names are the known keys.

    Yields:
        (place, message), as in ``(("training", "epocs"), "unknown key; did you mean epochs?")``.
    """
    for finding in error.errors(include_url=False):
        location, known = _locate(model, finding["loc"])
        kind, context = finding["type"], finding.get("ctx", {})
        if kind == "extra_forbidden":
            name = str(location[-1])
            near = did_you_mean(name, known)
            message = f"unknown key{near}" if near else f"unknown key; the known ones are {', '.join(known)}"
        elif kind == "missing":
            message = "is missing"
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            field = str(context["discriminator"]).strip("'")
            location = (*location, field)
            tags = context.get("expected_tags", "") or ", ".join(_tags(model, location[:-1], field))
            got = f", got {context['tag']!r}" if "tag" in context else ""
            message = f"must be one of {tags}{got}" if got else f"is missing; it must be one of {tags}"
        elif kind in ("dict_type", "model_type"):
            message = "must be a mapping" + _found(finding["input"])
        elif kind == "value_error":
            message = str(context["error"])
        else:
            message = _sentence(finding["msg"]) + _found(finding["input"])
        yield location, message


def place_name(place: Sequence[str | int]) -> str:
    """The place in a file as users write it.

    Examples:
        >>> place_name(("training", "seeds", 1))
        'training.seeds[1]'
    """
    name = ""
    for step in place:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def fields_at(model: type[BaseModel], place: Sequence[str | int]) -> dict[str, Any]:
    """Annotations of the keys that a model knows at a place; empty within what others check, as a stream's options."""
    models, in_mapping = [model], False
    for step in place:
        if in_mapping:
            in_mapping = False
            continue
        annotation = _fields(models).get(str(step))
        models, in_mapping = _models(annotation), get_origin(annotation) is dict
    return {} if in_mapping else _fields(models)


def _sentence(text: str) -> str:
    """Pydantic's sentence in the voice of ours: `Input should be ...` -> `must be ...`."""
    text = text.replace("Input should be", "must be").replace("Input should have", "must have")
    return text.replace("String should match pattern", "must match the pattern")


def _found(value: object) -> str:
    if isinstance(value, (dict, list, tuple)):
        return f", got {'a mapping' if isinstance(value, dict) else f'a list of {len(value)}'}"
    shown = repr(value)
    return f", got {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"


def _models(kind: Any) -> list[type[BaseModel]]:
    """The models that an annotation allows."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) is Annotated:
        return _models(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [model for part in get_args(kind) for model in _models(part)]
    if get_origin(kind) is dict:
        return _models(get_args(kind)[1])
    return []


def _fields(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Known keys -> annotation."""
    return {info.alias or name: info.annotation for model in models for name, info in model.model_fields.items()}


def _tag_of(model: type[BaseModel]) -> set[str]:
    """Literal values of the model's fields: the tags that pydantic puts into the place of a finding."""
    return {
        str(value)
        for info in model.model_fields.values()
        if get_origin(info.annotation) is Literal
        for value in get_args(info.annotation)
    }


def _locate(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], list[str]]:
    """The place without pydantic's own steps, and the keys that are known there."""
    models, place, in_mapping = [model], [], False
    for index, step in enumerate(loc):
        tagged = [candidate for candidate in models if str(step) in _tag_of(candidate)]
        if len(models) > 1 and tagged:
            models = tagged
            continue
        if step == "[key]":
            continue
        place.append(step)
        if index == len(loc) - 1:
            break
        if in_mapping:
            in_mapping = False
            continue
        annotation = _fields(models).get(str(step))
        models, in_mapping = _models(annotation), get_origin(annotation) is dict
    return tuple(place), list(_fields(models))


def _tags(model: type[BaseModel], place: Sequence[str | int], field: str) -> list[str]:
    """Values that the discriminating field may have."""
    models = [model]
    for step in place:
        models = _models(_fields(models).get(str(step)))
    return [repr(value) for found in models for value in get_args(found.model_fields[field].annotation)]
