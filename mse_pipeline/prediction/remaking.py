"""Remaking: the recipes that make from new media the same features as a run was trained on, or why that is impossible.

A run may come from a stranger. So the models that it names are looked for only in the models' folder and the hub's
cache, where the user has put them, and as folders of safetensors, which are data alone. For anything else, a download
or pickled weights, the user must give the path.
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
from mse_pipeline.backbones.none import NONE, none
from mse_pipeline.backbones.registry import cached_folder
from mse_pipeline.errors import MseError, UsageError, did_you_mean
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


def load_backbone(stored: StoredTraining, source: str | None = None, device: str = "cpu") -> Backbone:
    """The backbone that a run was trained with: the digest of its weights is the run's.

    Args:
        stored: The run.
        source: Short name, hub name or folder, as the user gave it; None for what the run says.
        device: Where it computes.

    Raises:
        UsageError: It is not here, or another model is.
        MseError: It is damaged, or does not fit into memory.
    """
    about = stored.about.backbone
    if about.name == NONE and about.source == BUILT_IN:
        if source is not None:
            raise UsageError(f"The run {stored.path} reads no backbone: leave --backbone out.")
        return none(device)
    name, revision = source, None
    if source is not None:
        entry = registry.find(source)
        same = about.source in {source, entry.hub_id if entry else None}
        revision = about.revision if same and about.source != BUILT_IN and not Path(source).is_dir() else None
    elif about.source == BUILT_IN:
        name = registry.TINY
    else:
        name = str(find_here(about.source, about.revision, f"The run's backbone {about.source}", "--backbone PLACE"))
    loaded = backbones.load(
        str(name), dtype=about.dtype, device=device, revision=revision, quantization=about.quantization
    )
    digest = loaded.digest()
    if digest != about.digest:
        raise UsageError(
            f"The backbone {loaded.source} is not the one that the run was trained with ({about.source}): the SHA-256 "
            f"of its weights is {digest[:12]}…, the run's {about.digest[:12]}…. Give the same checkpoint with "
            "--backbone, or train again."
        )
    if loaded.hidden_size != stored.config.hidden_size:
        raise MseError(
            f"{stored.path} is damaged: its adapter writes embeddings of width {stored.config.hidden_size}, and its "
            f"backbone reads {loaded.hidden_size}. Copy it again as a whole."
        )
    return loaded


def find_here(name: str, revision: str | None, subject: str, option: str) -> Path:
    """The folder or file of a model that a run names, without a download.

    Args:
        name: Hub name, folder, or file of weights.
        revision: Commit of the hub, where the run tells one.
        subject: The model in words, with which an error begins.
        option: The option that gives the path instead.

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
            f"{subject}{at} was not found in the models' folder {kept}, in the hub's cache, or as a folder. Models "
            f"that a run names are not downloaded. If you trust it, use {option} with a hub name or a folder."
        )
    pickled = [file.name for file in files if file.suffix != ".safetensors" and not is_gguf(file)]
    if pickled:
        raise UsageError(
            f"{subject} has pickled weights ({pickled[0]}) outside of the models' folder {kept}. Pickled files can run "
            f"code, so they are not opened because a run names them. If you trust them, use {option}."
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
    """The recipes that make a run's features anew, one for each clock; none for a run that reads given texts alone.

    Where a run was trained on transcripts, each makes those too, of the clips that come without a text.

    Args:
        stored: The run.
        models: By stream, where the user says that its model lies.

    Raises:
        UsageError: The features cannot be made here: other programs made them, an extractor is not installed, a
            model is missing, or what is installed makes other values; the difference is named.
        MseError: What the run says of its features is damaged.
    """
    places = dict(models or {})
    text = stored.about.text.stream if stored.about.text else None
    wanted = list({one.name: one for one in (*stored.streams.values(), stored.about.words, text) if one}.values())
    _refuse_unknown(places, [stream.name for stream in wanted])
    options = {stream.name: _options(stored, stream, places.get(stream.name)) for stream in wanted}
    by_clock: dict[str, list[StreamAbout]] = {}
    for stream in stored.streams.values():
        by_clock.setdefault(stream.alignment.model_dump_json(), []).append(stream)
    heard = {} if text is None else {text.name: options[text.name]}
    remade = [] if by_clock or text is None else [_recipe(stored, {"kind": "none"}, heard)]
    for streams in by_clock.values():
        alignment = _alignment(streams[0], places.get(SUBTOKENS))
        words = alignment.get("stream")
        names = [*([words] if words else []), *(stream.name for stream in streams)]
        if words is not None and words not in options:
            raise MseError(
                f"{stored.path} is damaged: its features are aligned to the words of {words}, which it does not have."
            )
        remade.append(_recipe(stored, alignment, {**heard, **{name: options[name] for name in names}}))
    for recipe in remade:
        _require_same(stored, recipe, {stream.name: stream for stream in wanted})
    return remade


def _recipe(stored: StoredTraining, alignment: dict[str, Any], streams: dict[str, dict[str, Any]]) -> Recipe:
    plain = {
        "version": 1,
        "name": DATASET,
        "corpus": {"name": "table", "text": "asr" if stored.about.text else None},
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


def _refuse_unknown(models: Mapping[str, str], streams: list[str]) -> None:
    unknown = [name for name in models if name not in {*streams, SUBTOKENS}]
    if unknown:
        raise UsageError(
            f"--model {unknown[0]}={models[unknown[0]]}: the run has no such stream; it has {', '.join(streams)}."
            f"{did_you_mean(unknown[0], streams, sentence=True)}"
        )


def _options(stored: StoredTraining, stream: StreamAbout, model: str | None) -> dict[str, Any]:
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
            options |= _model(stream, option, places, model, entry)
    # What does not fit the extractor is told here, before anything is opened.
    made = create(stream.name, options)
    if isinstance(made, FaceExtractor) and (missing := made.face.settled().missing()):
        raise UsageError(
            f"The run's features {stream.name} need {' and '.join(missing)} in {models_folder()}. mse predict "
            "downloads nothing: put the file there, or extract once with `detector: yunet` and `identity: sface`."
        )
    if model is not None and not any(option in extractor.not_values for option in _MODELS):
        raise UsageError(
            f"--model {stream.name}={model}: {made.stream} has no model of its own. Leave out --model for it."
        )
    return options


def _require_remakable(stored: StoredTraining, stream: StreamAbout) -> None:
    if not stream.extracted:
        source = stream.identity.get("imported")
        origin = source.get("tool") or source.get("format") if isinstance(source, Mapping) else None
        raise UsageError(
            f"The run {stored.path} was trained on {stream.name}, features that were imported and not extracted by mse"
            f"{f' ({origin})' if origin else ''}, so they cannot be made of new media here. Import the features of "
            "the new clips as a dataset and run `mse evaluate` on it, or train on extracted features."
        )
    if "files" in stream.identity:
        raise UsageError(
            f"The run {stored.path} was trained on words of {stream.name}, which were read from files beside its "
            "corpus; new media have none. Train on words of text.ctc, or on another alignment."
        )


def _model(
    stream: StreamAbout, option: str, places: Mapping[str, Any], model: str | None, entry: Any
) -> dict[str, Any]:
    """Where an extractor's model is: as the user says, or else as the run says, which is looked up with distrust."""
    named = places.get(option)
    if model is not None:
        same = model == named and isinstance(places.get("revision"), str) and not Path(model).is_dir()
        return {option: model, **({"revision": places["revision"]} if same else {})}
    if named is None:
        named = getattr(create_default(entry), option, None)
    if named is None:
        if entry.file and entry.missing():
            raise UsageError(
                f"The model of the run's features {stream.name} is missing: {entry.missing()} mse predict downloads "
                f"nothing: put the file there, or name it with --model {stream.name}=FILE."
            )
        return {}
    revision = places.get("revision")
    subject = f"The model {named} of the run's features {stream.name}"
    commit = None if revision is None else str(revision)
    return {option: str(find_here(str(named), commit, subject, f"--model {stream.name}=PLACE"))}


def create_default(entry: Any) -> Any:
    """The configuration of an extractor with its defaults; None for one that has an option without."""
    try:
        return entry.load().Config()
    except (TypeError, ValidationError):
        return None


def _alignment(stream: StreamAbout, tokenizer: str | None) -> dict[str, Any]:
    alignment: dict[str, Any] = stream.alignment.model_dump()
    subtokens = alignment.get(SUBTOKENS)
    if tokenizer is not None:
        alignment[SUBTOKENS] = tokenizer
    elif subtokens is not None and not Path(subtokens).expanduser().is_dir():
        subject = f"The tokenizer {subtokens} of the run's alignment"
        alignment[SUBTOKENS] = str(find_here(subtokens, None, subject, f"--model {SUBTOKENS}=PLACE"))
    return alignment


def _require_same(stored: StoredTraining, recipe: Recipe, streams: Mapping[str, StreamAbout]) -> None:
    """Refuse extractors whose values would differ from those that the run was trained on."""
    for spec in stream_specs(recipe):
        changes = differences(streams[spec.stream].identity, spec.identity)
        if changes:
            weights = any(change.startswith("weights:") for change in changes)
            mend = (
                f"Name the model that it was trained with: --model {spec.stream}=PLACE."
                if weights
                else "Install the version of mse-pipeline that it was trained with (environment.json tells it), or "
                "extract and train again."
            )
            raise UsageError(
                f"The run {stored.path} was trained on other values of {spec.stream} than are made here (the run's -> "
                f"here): {'; '.join(changes)}. {mend}"
            )
