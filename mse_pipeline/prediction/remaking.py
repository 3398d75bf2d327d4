"""Remaking: the recipes by which new media become just the features that a run was trained on, or why they cannot.

Models that a run names, found on this machine: a run may come from a stranger, so that its word alone does little.

What a run names is looked for in the models' folder and in the hub's cache, which hold what the user fetched, and as a
folder of safetensors, which are data alone. Anything else, a download or pickled weights, the user names himself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mse_pipeline import backbones
from mse_pipeline.backbones import registry
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.gguf import inside, is_gguf
from mse_pipeline.backbones.registry import cached_folder
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.base import FaceExtractor
from mse_pipeline.extractors.registry import create, find
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.model_files import weight_files
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.keys import differences
from mse_pipeline.task import to_plain
from mse_pipeline.training.run_files import StreamAbout
from mse_pipeline.training.stored import StoredTraining

BUILT_IN = "built-in"


def load_backbone(stored: StoredTraining, given: str | None = None, device: str = "cpu") -> Backbone:
    """The backbone that a run was trained with: the digest of its weights is the run's.

    Args:
        stored: The run.
        given: Where the user says that it is, by a short name, hub name or folder; None for where the run says.
        device: Where it computes.

    Raises:
        UsageError: It is not here, or another model is.
        MseError: It is damaged, or does not fit into memory.
    """
    about = stored.about.backbone
    name, revision = given, None
    if given is not None:
        entry = registry.find(given)
        same = about.source in {given, entry.hub_id if entry else None}
        revision = about.revision if same and about.source != BUILT_IN and not Path(given).is_dir() else None
    elif about.source == BUILT_IN:
        name = registry.TINY
    else:
        name = str(find_here(about.source, about.revision, f"The run's backbone {about.source}", "--backbone PLACE"))
    loaded = backbones.load(
        str(name), dtype=about.dtype, device=device, revision=revision, quantization=about.quantization
    )
    found = loaded.digest()
    if found != about.digest:
        raise UsageError(
            f"The backbone {loaded.source} is not the one that the run was trained with ({about.source}): the SHA-256 "
            f"of its weights is {found[:12]}…, the run's {about.digest[:12]}…. Give the same checkpoint with "
            "--backbone, or train again."
        )
    if loaded.hidden_size != stored.config.hidden_size:
        raise MseError(
            f"{stored.path} is damaged: its adapter writes embeddings of width {stored.config.hidden_size}, and its "
            f"backbone reads {loaded.hidden_size}. Copy it again as a whole."
        )
    return loaded


def find_here(name: str, revision: str | None, what: str, option: str) -> Path:
    """The folder or file of a model that a run names, without a download.

    Args:
        name: Hub name, folder, or file of weights.
        revision: Commit of the hub, where the run tells one.
        what: How the sentence begins.
        option: With which option the user names it himself.

    Raises:
        UsageError: It is not on this machine, or its weights are pickled and lie where strangers may have put them.
    """
    kept = models_folder()
    for path in (kept / name, Path(name).expanduser()):
        if path.exists() and _inside(path, kept):
            return path
    path = Path(name).expanduser()
    if path.is_dir():
        file = inside(path)
        files = weight_files(path) if file is None else (file,)
    elif path.is_file():
        files = (path,)
    else:
        cached = cached_folder(name, revision)
        if cached is not None:
            return cached
        at = "" if revision is None else f" (commit {revision})"
        raise UsageError(
            f"{what}{at} is neither in the models' folder {kept}, nor in the hub's cache, nor a folder here. What a "
            f"run names is not downloaded unasked: if you trust it, name it yourself with {option}, a hub name or a "
            "folder."
        )
    pickled = [file.name for file in files if file.suffix != ".safetensors" and not is_gguf(file)]
    if pickled:
        raise UsageError(
            f"{what} has pickled weights ({pickled[0]}) outside of the models' folder {kept}. They are not opened on a "
            f"run's word: if you trust them, name the place yourself with {option}."
        )
    return path


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


DATASET = "predicted"
"""Name of the dataset that holds the features of new files."""
SUBTOKENS = "subtokens"
"""How `--model` calls the tokenizer of an alignment."""

_MODELS = ("model", "weights")
"""Options of extractors that say where a model lies."""


def recipes(stored: StoredTraining, models: Mapping[str, str] | None = None) -> list[Recipe]:
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


def _recipe(stored: StoredTraining, alignment: dict[str, Any], streams: dict[str, dict[str, Any]]) -> Recipe:
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


def _options(stored: StoredTraining, stream: StreamAbout, given: str | None) -> dict[str, Any]:
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


def _require_remakable(stored: StoredTraining, stream: StreamAbout) -> None:
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


def _require_same(stored: StoredTraining, recipe: Recipe, streams: Mapping[str, StreamAbout]) -> None:
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
