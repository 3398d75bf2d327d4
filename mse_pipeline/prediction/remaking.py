"""Remaking: the recipes by which new media become just the features that a run was trained on, or why they cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.registry import create, find
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.prediction.models import find_here
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.versions import differences
from mse_pipeline.task import to_plain
from mse_pipeline.training.about import StreamAbout
from mse_pipeline.training.stored import Stored

DATASET = "predicted"
"""Name of the dataset that holds the features of new files."""
SUBTOKENS = "subtokens"
"""How `--model` calls the tokenizer of an alignment."""

_MODELS = ("model", "weights")
"""Options of extractors that say where a model lies."""


def recipes(stored: Stored, models: Mapping[str, str] | None = None) -> list[Recipe]:
    """The recipes that make a run's features anew, one for each clock; none for a run that reads text alone.

    Args:
        stored: The run.
        models: By stream, where the user says that its model lies.

    Raises:
        UsageError: The features cannot be made here: other programs made them, an extractor is not installed, a
            model is missing, or what is installed makes other values; the difference is named.
        MseError: What the run says of its features is damaged.
    """
    given = dict(models or {})
    wanted = [*stored.streams.values(), *([stored.about.words] if stored.about.words else [])]
    _refuse_unknown(given, [stream.name for stream in wanted])
    options = {stream.name: _options(stored, stream, given.get(stream.name)) for stream in wanted}
    by_clock: dict[str, list[StreamAbout]] = {}
    for stream in stored.streams.values():
        by_clock.setdefault(stream.alignment.model_dump_json(), []).append(stream)
    made = []
    for streams in by_clock.values():
        alignment = _alignment(streams[0], given.get(SUBTOKENS))
        words = alignment.get("stream")
        names = [*([words] if words else []), *(stream.name for stream in streams)]
        if words is not None and words not in options:
            raise MseError(f"{stored.path} is damaged: its features stand on the words of {words}, which it lacks.")
        made.append(_recipe(stored, alignment, {name: options[name] for name in names}))
    for recipe in made:
        _require_same(stored, recipe, {stream.name: stream for stream in wanted})
    return made


def _recipe(stored: Stored, alignment: dict[str, Any], streams: dict[str, dict[str, Any]]) -> Recipe:
    plain = {
        "version": 1,
        "name": DATASET,
        "corpus": {"name": "table"},
        "media": {"max_seconds": stored.about.media.max_seconds},
        "streams": streams,
        "alignment": alignment,
        "task": to_plain(stored.task),
    }
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MseError(f"{stored.path} is damaged: its features make no recipe ({first['msg']}).") from error


def _refuse_unknown(given: Mapping[str, str], known: list[str]) -> None:
    strangers = [name for name in given if name not in {*known, SUBTOKENS}]
    if strangers:
        raise UsageError(
            f"--model {strangers[0]}={given[strangers[0]]}: the run has no such stream; it has {', '.join(known)}."
        )


def _options(stored: Stored, stream: StreamAbout, given: str | None) -> dict[str, Any]:
    """Options that configure the extractor as the run's identity says, and where its model is."""
    _require_remakable(stored, stream)
    name = str(stream.identity["stream"])
    entry = find(name)
    if any(package in entry.missing() for package in entry.packages):
        raise UsageError(f"The run's features {stream.name} cannot be made here. {entry.missing()}")
    extractor = entry.load()
    options = dict(stream.identity["config"])
    if name != stream.name:
        options["extractor"] = name
    places = stored.places.get(stream.name, {})
    for option in _MODELS:
        if option in extractor.not_values:
            options |= _model(stream, option, places, given, entry)
    # What does not fit the extractor is told here, before anything is opened.
    asked = create(stream.name, options)
    if isinstance(asked, FaceExtractor) and (missing := asked.face.settled().missing()):
        raise UsageError(
            f"The run's features {stream.name} need {' and '.join(missing)} in {models_folder()}. A run causes no "
            "download unasked: put the file there, or extract once with `detector: yunet` and `identity: sface`."
        )
    if given is not None and not any(option in extractor.not_values for option in _MODELS):
        raise UsageError(f"--model {stream.name}={given}: {asked.stream} has no model of its own to be named.")
    return options


def _require_remakable(stored: Stored, stream: StreamAbout) -> None:
    if not stream.extracted:
        source = stream.identity.get("imported")
        told = source.get("tool") or source.get("format") if isinstance(source, Mapping) else None
        raise UsageError(
            f"The run {stored.path} was trained on {stream.name}, features that were imported and not extracted by mse"
            f"{f' ({told})' if told else ''}, so they cannot be made of new media here. Import the new clips' features "
            "as a dataset and run `mse evaluate` on it, or train on extracted features."
        )
    if "files" in stream.identity:
        raise UsageError(
            f"The run {stored.path} was trained on words of {stream.name}, which were read from files beside its "
            "corpus; new media have none. Train on words of text.ctc, or on another alignment."
        )


def _model(
    stream: StreamAbout, option: str, places: Mapping[str, Any], given: str | None, entry: Any
) -> dict[str, Any]:
    """Where an extractor's model is: the user's word counts, the run's is looked up with distrust."""
    named = places.get(option)
    if given is not None:
        same = given == named and isinstance(places.get("revision"), str) and not Path(given).is_dir()
        return {option: given, **({"revision": places["revision"]} if same else {})}
    if named is None:
        named = getattr(create_default(entry), option, None)
    if named is None:
        if entry.file and entry.missing():
            raise UsageError(
                f"The model of the run's features {stream.name} is missing: {entry.missing()} A run causes no download "
                f"unasked: put the file there, or name it with --model {stream.name}=FILE."
            )
        return {}
    revision = places.get("revision")
    what = f"The model {named} of the run's features {stream.name}"
    found = find_here(str(named), None if revision is None else str(revision), what, f"--model {stream.name}=PLACE")
    return {option: str(found)}


def create_default(entry: Any) -> Any:
    """The configuration of an extractor with its defaults; None for one that has an option without."""
    try:
        return entry.load().Config()
    except (TypeError, ValidationError):
        return None


def _alignment(stream: StreamAbout, given: str | None) -> dict[str, Any]:
    alignment: dict[str, Any] = stream.alignment.model_dump()
    subtokens = alignment.get(SUBTOKENS)
    if given is not None:
        alignment[SUBTOKENS] = given
    elif subtokens is not None and not Path(subtokens).expanduser().is_dir():
        what = f"The tokenizer {subtokens} of the run's alignment"
        alignment[SUBTOKENS] = str(find_here(subtokens, None, what, f"--model {SUBTOKENS}=PLACE"))
    return alignment


def _require_same(stored: Stored, recipe: Recipe, streams: Mapping[str, StreamAbout]) -> None:
    """Refuse extractors that would make other values than the run was trained on."""
    for spec in stream_specs(recipe):
        found = differences(streams[spec.stream].identity, spec.identity)
        if found:
            weights = any(one.startswith("weights:") for one in found)
            mend = (
                f"Name the model that it was trained with: --model {spec.stream}=PLACE."
                if weights
                else "Install the version of mse-pipeline that it was trained with (environment.json tells it), or "
                "extract and train again."
            )
            raise UsageError(
                f"The run {stored.path} was trained on other values of {spec.stream} than are made here (the run's -> "
                f"here): {'; '.join(found)}. {mend}"
            )
