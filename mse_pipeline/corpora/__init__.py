"""Corpora: raw folder -> clips and defects. Nothing here opens media.

Examples:
    >>> from mse_pipeline import corpora
    >>> {"meld", "mosei", "mosi", "table"} <= set(corpora.available())
    True
    >>> list(corpora.check({"corpus": {"name": "meld", "options": {"targt": "emotion"}}}))
    [('corpus.options.targt', 'unknown key; did you mean target?')]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mse_pipeline.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from mse_pipeline.corpora.base import Corpus
    from mse_pipeline.task import Task

_MODULES = {
    "cherma": "mse_pipeline.corpora.cherma",
    "iemocap": "mse_pipeline.corpora.iemocap",
    "meld": "mse_pipeline.corpora.meld",
    "mosei": "mse_pipeline.corpora.mosei",
    "mosi": "mse_pipeline.corpora.mosi",
    "sims": "mse_pipeline.corpora.sims",
    "simsv2": "mse_pipeline.corpora.simsv2",
    "table": "mse_pipeline.corpora.table",
}
"""Name -> module with `OptionsModel` and `read(root, options, task)`."""


def available() -> tuple[str, ...]:
    """Names of the corpora that can be read."""
    return tuple(_MODULES)


def summary(name: str) -> str:
    """One line about a corpus.

    Raises:
        UsageError: There is no such corpus.
    """
    return (_module(name).__doc__ or "").strip().splitlines()[0]


def read(name: str, root: str | Path, options: Mapping[str, Any] | None = None, task: Task | None = None) -> Corpus:
    """List the clips of a raw folder.

    Args:
        name: One of `available`.
        root: The raw folder.
        options: The reader's options, as `corpus.options` of a recipe holds them.
        task: What is to be predicted, where the recipe tells; else the corpus tells it.

    Raises:
        UsageError: There is no such corpus or folder, options have errors, or the folder does not hold the corpus.
    """
    from mse_pipeline.corpora.base import parse_options

    module = _module(name)
    corpus: Corpus = module.read(root, parse_options(name, module.OptionsModel, options or {}), task)
    return corpus


def check(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a recipe's `corpus` section; one of the checks that `mse_pipeline.recipe.load` takes.

    Args:
        recipe: Data of the recipe file; a section that the schema refused is absent.

    Yields:
        (place, message).
    """
    section = recipe.get("corpus")
    if section is None:
        return
    name = section["name"]
    if name not in _MODULES:
        known = ", ".join(_MODULES)
        yield "corpus.name", f"there is no corpus {name}{did_you_mean(name, _MODULES)}; there are {known}"
        return
    from pydantic import ValidationError

    from mse_pipeline.recipe.problems import describe, place_name

    model = _module(name).OptionsModel
    try:
        model.model_validate(section.get("options") or {})
    except ValidationError as error:
        for place, message in describe(error, model):
            yield f"corpus.options.{place_name(place)}", message


def _module(name: str) -> ModuleType:
    if name not in _MODULES:
        raise UsageError(f"There is no corpus {name!r}{did_you_mean(name, _MODULES)}. Corpora: {', '.join(_MODULES)}.")
    return import_module(_MODULES[name])
