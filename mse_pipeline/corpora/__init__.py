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
from typing import TYPE_CHECKING, Any

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.plugins import Kind

if TYPE_CHECKING:
    from mse_pipeline.corpora.base import Corpus, DatasetEntry, Facts
    from mse_pipeline.task import Task

_MODULES = {
    "meld": "mse_pipeline.corpora.meld",
    "mosei": "mse_pipeline.corpora.mosei",
    "simsv2": "mse_pipeline.corpora.simsv2",
    "cherma": "mse_pipeline.corpora.cherma",
    "mosi": "mse_pipeline.corpora.mosi",
    "sims": "mse_pipeline.corpora.sims",
    "iemocap": "mse_pipeline.corpora.iemocap",
    "table": "mse_pipeline.corpora.table",
}
"""Name -> module with `OptionsModel`, `read(root, options, task)` and `FACTS`."""


def _problem_of(found: Any) -> str:
    """What is wrong with another package's reader; empty where nothing is."""
    from mse_pipeline.corpora.base import Facts, ReaderOptions

    model = getattr(found, "OptionsModel", None)
    if not (isinstance(model, type) and issubclass(model, ReaderOptions)):
        return "has no OptionsModel that is a subclass of mse_pipeline.corpora.base.Options"
    if not callable(getattr(found, "read", None)):
        return "has no function read(root, options, task)"
    if not isinstance(getattr(found, "FACTS", None), Facts):
        return "has no FACTS of the class mse_pipeline.corpora.base.Facts"
    return ""


KIND = Kind("mse_pipeline.corpora", "corpus", _problem_of)
"""Other packages add a corpus by an entry point: a module, or an object, with what a module of `_MODULES` has."""


def built_in() -> frozenset[str]:
    """Names of the corpora of this package."""
    return frozenset(_MODULES)


def available() -> tuple[str, ...]:
    """Names of the corpora that can be read: those of this package, and those that other installed packages bring."""
    return (*_MODULES, *KIND.discover(_MODULES).plugins)


def refused() -> Mapping[str, str]:
    """By name, why a corpus that another package offers is not taken."""
    return KIND.discover(_MODULES).refused


def facts(name: str) -> Facts:
    """What is known of a dataset.

    Raises:
        UsageError: There is no such corpus, or the package that brings it does not fit.

    Examples:
        >>> facts("meld").predicts.classes[:2]
        ('neutral', 'surprise')
    """
    known_facts: Facts = _reader(name).FACTS
    return known_facts


def entries() -> tuple[tuple[DatasetEntry, ...], dict[str, str]]:
    """All datasets, and by name the reason why a dataset of another package cannot be used.

    Examples:
        >>> [entry.name for entry in entries()[0]][:3]
        ['meld', 'mosei', 'simsv2']
    """
    datasets, reasons = [], dict(refused())
    for name in available():
        try:
            datasets.append(find(name))
        except UsageError as error:
            reasons[name] = str(error)
    return tuple(datasets), reasons


def find(name: str) -> DatasetEntry:
    """A dataset by its name.

    Raises:
        UsageError: There is no such dataset, or the package that brings it does not fit.

    Examples:
        >>> find("meld").splits["test"]
        2610
    """
    from mse_pipeline.corpora.base import DatasetEntry

    names = available()
    if name not in names and name not in refused():
        near = did_you_mean(name, names) or "."
        raise UsageError(f"There is no dataset {name!r}{near} The datasets are {', '.join(names)}.")
    return DatasetEntry(name=name, **vars(facts(name)))


def summary(name: str) -> str:
    """One line about a corpus.

    Raises:
        UsageError: There is no such corpus.
    """
    return (_reader(name).__doc__ or "").strip().partition("\n")[0]


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

    reader = _reader(name)
    corpus: Corpus = reader.read(root, parse_options(name, reader.OptionsModel, options or {}), task)
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
    try:
        model = _reader(name).OptionsModel
    except UsageError as error:
        names = available()
        unknown = f"there is no corpus {name}{did_you_mean(name, names)}; there are {', '.join(names)}"
        yield "corpus.name", str(error) if name in names or name in refused() else unknown
        return
    from pydantic import ValidationError

    from mse_pipeline.recipe.problems import describe, place_name

    try:
        model.model_validate(section.get("options") or {})
    except ValidationError as error:
        for place, message in describe(error, model):
            yield f"corpus.options.{place_name(place)}", message


def _reader(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    reader = KIND.find(name, _MODULES)
    if reader is None:
        names = available()
        near = did_you_mean(name, names) or "."
        raise UsageError(f"There is no corpus {name!r}{near} The corpora are {', '.join(names)}.")
    return reader
