"""Stored: what a run, a training of it, or an adapter says of itself on disk, read with distrust.

An adapter may come from a stranger: its files are data of bounded size and known form, and nothing that they name is
opened here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mse_pipeline import metrics
from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.adapter.save import DESCRIPTION
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.recipe import Training
from mse_pipeline.recipe.schema import (
    Alignment,
    ClassificationSection,
    PromptSection,
    RegressionSection,
    StreamName,
)
from mse_pipeline.task import Task, from_plain
from mse_pipeline.training.normaliser import Normaliser

RUN, RESULT, NORMALISER, ADAPTER = "run.json", "result.json", "normaliser.json", "adapter"
_LARGEST = 32 << 20  # bytes; such a file has some thousands
_SEED = re.compile(r"seed-(-?\d+)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed, which a prompt may have
_FOR_PREDICTING = ("task", "streams", "words", "media", "backbone", "prompt", "training", "dataset")


class _Section(BaseModel):
    """Base of what is read; keys of later versions are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StreamAbout(_Section):
    """A stream as the run was trained on it.

    Attributes:
        name: As in ``acoustic.egemaps``.
        version: Its id in the cache.
        alignment: The clock that its rows were put on.
        identity: All that its values depend on, as the cache's manifest had it.
        names: Of its D dimensions on that clock; empty for a stream of words, which is not read itself.
    """

    name: StreamName
    version: str
    alignment: Alignment
    identity: dict[str, Any]
    names: tuple[str, ...] = ()

    @property
    def extracted(self) -> bool:
        """Whether an extractor made it, and not someone else's program."""
        return isinstance(self.identity.get("stream"), str) and isinstance(self.identity.get("config"), dict)


class BackboneAbout(_Section):
    """The frozen model: what the user called it, where it came from, and the SHA-256 of all its weights."""

    name: str
    source: str
    revision: str | None
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    dtype: Literal["float32", "float16", "bfloat16"]
    quantization: Literal["4bit", "8bit"] | None = None


class MediaAbout(_Section):
    """How media were decoded: longer clips were cut to their first `max_seconds`; None for no limit."""

    max_seconds: Annotated[float, Field(gt=0)] | None


class PromptAbout(PromptSection):
    """How the backbone was asked; the question is written out."""

    task: str


class About(_Section):
    """What `mse_pipeline.training.job.prepare` gathered; see there."""

    dataset: str
    variant: str = ""
    backbone: BackboneAbout
    task: Annotated[ClassificationSection | RegressionSection, Field(discriminator="kind")]
    streams: dict[Literal["acoustic", "visual"], StreamAbout | None]
    words: StreamAbout | None
    media: MediaAbout
    prompt: PromptAbout
    training: Training


@dataclass(frozen=True, eq=False)
class Stored:
    """One training as it lies on disk: all that predicting needs but the weights.

    Attributes:
        path: The folder that was asked for.
        folder: The adapter's.
        seed: Of the training.
        choice: Why this seed, as a sentence; empty where there was nothing to choose.
        about: What was trained, on what.
        metric_kind: Name under which `metrics.evaluate` knows the dataset's numbers.
        config: Sizes of the adapter.
        normalisers: By modality.
        places: By stream, the options that change no value, such as where a model lies.
    """

    path: Path
    folder: Path
    seed: int
    choice: str
    about: About
    metric_kind: str
    config: AdapterConfig
    normalisers: Mapping[str, Normaliser]
    places: Mapping[str, Mapping[str, Any]]

    @property
    def task(self) -> Task:
        """What is predicted."""
        return from_plain(self.about.task.model_dump())

    @property
    def streams(self) -> dict[str, StreamAbout]:
        """The streams that are read, by modality."""
        return {modality: stream for modality, stream in self.about.streams.items() if stream is not None}


def open_stored(path: str | Path, seed: int | None = None) -> Stored:
    """Read one training.

    Args:
        path: A run folder, the folder of one of its seeds, or an adapter's folder.
        seed: Which training of a run; None for the best by its validation split.

    Raises:
        UsageError: There is no such folder or seed, or it was written by a version that did not keep what predicting
            needs.
        MseError: Its files are damaged.
    """
    path = Path(path)
    if (path / DESCRIPTION).is_file():
        return _open_adapter(path, seed)
    if (path / RUN).is_file():
        home, choice = _choose(path, seed)
        return _open_seed(path, home, choice)
    if _SEED.fullmatch(path.resolve().name) and (path.resolve().parent / RUN).is_file():
        stored = _open_seed(path, path, "")
        _same_seed(path, stored.seed, seed)
        return stored
    raise UsageError(
        f"{path} is no run: give a run folder (it holds {RUN}), a seed's folder in it, or an adapter's folder (it "
        f"holds {DESCRIPTION}). `mse train` makes runs, below runs/."
    )


def seeds_of(path: str | Path) -> tuple[int, ...]:
    """The seeds of a run whose trainings are done; for a seed's or an adapter's folder, its own alone.

    Raises:
        UsageError: As `open_stored`.
    """
    path = Path(path)
    if (path / RUN).is_file() and not (path / DESCRIPTION).is_file():
        return tuple(sorted(_done(path)))
    return (open_stored(path).seed,)


def _open_adapter(path: Path, seed: int | None) -> Stored:
    described = _json(path / DESCRIPTION)
    extra = described.get("extra")
    if not isinstance(extra, dict):
        raise MseError(f"{path / DESCRIPTION} is damaged: it has no section extra. Copy it again, or train again.")
    stored = _stored(
        path, path, about=extra, more=extra, normalisers=extra.get("normalisers"), config=described.get("config")
    )
    _same_seed(path, stored.seed, seed)
    return stored


def _open_seed(path: Path, home: Path, choice: str) -> Stored:
    run = _json(home.resolve().parent / RUN)
    name = _SEED.fullmatch(home.resolve().name)
    return _stored(
        path,
        home / ADAPTER,
        about=run.get("config"),
        more={**run, "seed": name and name[1]},
        normalisers=_json(home / NORMALISER),
        config=_json(home / ADAPTER / DESCRIPTION).get("config"),
        choice=choice,
    )


def _stored(
    path: Path, folder: Path, *, about: Any, more: Mapping[str, Any], normalisers: Any, config: Any, choice: str = ""
) -> Stored:
    """The parts of one training, from wherever each stands, looked at together.

    Args:
        path: What was asked for.
        folder: The adapter's.
        about: What `About` reads.
        more: With ``metrics``, ``places`` and ``seed``.
        normalisers: By modality.
        config: The adapter's sizes.
        choice: Why this seed.
    """
    if not isinstance(about, Mapping):
        raise MseError(f"{path} does not say how it was trained: its {RUN} or {DESCRIPTION} is damaged. Train again.")
    lacking = [name for name in _FOR_PREDICTING if name not in about]
    lacking += [name for name in ("metrics", "places") if name not in more] + (
        ["normalisers"] if normalisers is None else []
    )
    if not lacking:
        streams = about["streams"]
        named = streams.values() if isinstance(streams, Mapping) else ()
        lacking = ["identity of the streams" for one in named if isinstance(one, Mapping) and "identity" not in one][:1]
    if lacking:
        raise UsageError(
            f"{path} was trained by an earlier version of mse, which did not keep all that predicting needs "
            f"(there is no {', no '.join(lacking)}). Run the same `mse train` again."
        )
    try:
        read = About.model_validate(dict(about))
        kind = str(more["metrics"])
        metrics.primary(kind)
        made = {str(modality): Normaliser.from_dict(one) for modality, one in dict(normalisers).items()}
        places = {str(stream): dict(one) for stream, one in dict(more["places"]).items()}
        sizes, seed = AdapterConfig.from_json(config), int(more["seed"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MseError(f"{path} is damaged, or of another version: {place}: {first['msg']}. Train again.") from error
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MseError(
            f"{path} is damaged ({type(error).__name__}: {error}). Copy it again, or train again."
        ) from error
    stored = Stored(path, folder, seed, choice, read, kind, sizes, made, places)
    _require_fit(stored)
    return stored


def _require_fit(stored: Stored) -> None:
    """Refuse parts that are of several trainings."""
    dims = {"acoustic": stored.config.acoustic_dim, "visual": stored.config.visual_dim}
    for modality, dim in dims.items():
        stream, normaliser = stored.streams.get(modality), stored.normalisers.get(modality)
        found = (stream and len(stream.names), normaliser and len(normaliser.names))
        same = stream is None or normaliser is None or (stream.names == normaliser.names and _is_whole(normaliser))
        if found != (dim, dim) or not same:
            raise MseError(
                f"{stored.path} is damaged: of the {modality} features the adapter reads {dim or 'no'} values a row, "
                f"the run names {found[0] or 'none'} and the normaliser {found[1] or 'none'}. Copy it again as a whole."
            )


def _is_whole(normaliser: Normaliser) -> bool:
    shapes = {normaliser.mean.shape, normaliser.deviation.shape}
    finite = np.isfinite(normaliser.mean).all() and np.isfinite(normaliser.deviation).all()
    return shapes == {(len(normaliser.names),)} and bool(finite and (normaliser.deviation > 0).all())


def _choose(path: Path, seed: int | None) -> tuple[Path, str]:
    """The folder of a seed, and why this one."""
    done = _done(path)
    if seed is not None:
        if seed not in done:
            raise UsageError(f"{path} has no training with seed {seed}; it has {', '.join(map(str, sorted(done)))}.")
        return done[seed], ""
    if len(done) == 1:
        return next(iter(done.values())), ""
    name, higher = metrics.primary(_kind(path))
    scores = {one: _score(home, name) for one, home in done.items()}
    known = {one: score for one, score in scores.items() if score is not None}
    if not known:
        first = min(done)
        return done[first], f"Seed {first}: no seed tells its {name} on the validation split."
    best = (max if higher else min)(sorted(known), key=lambda one: known[one])
    return done[best], f"Seed {best} of {len(done)}: the best by validation ({name} {known[best]:.4f})."


def _done(path: Path) -> dict[int, Path]:
    """Folders of the trainings that are done, by seed.

    Raises:
        UsageError: There is none.
    """
    found = {int(name[1]): home for home in path.glob("seed-*") if (name := _SEED.fullmatch(home.name))}
    done = {seed: home for seed, home in found.items() if (home / RESULT).is_file()}
    if not done:
        raise UsageError(f"{path} has no training that is done: run `mse train` again.")
    return done


def _kind(path: Path) -> str:
    kind = str(_json(path / RUN).get("metrics"))
    try:
        metrics.primary(kind)
    except ValueError as error:
        raise MseError(f"{path / RUN} is damaged: {error}") from error
    return kind


def _score(home: Path, name: str) -> float | None:
    valid = _json(home / RESULT).get("valid")
    score = valid.get(name) if isinstance(valid, dict) else None
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None


def _same_seed(path: Path, found: int, asked: int | None) -> None:
    if asked is not None and asked != found:
        raise UsageError(f"{path} is the training with seed {found}, not {asked}: give the run folder, or no seed.")


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise MseError(f"{path} is larger than {_LARGEST >> 20} MiB, which no such file is.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MseError(f"{path} cannot be read ({error}). Copy the run again, or train again.") from error
    if not isinstance(value, dict):
        raise MseError(f"{path} holds no JSON object. Copy the run again, or train again.")
    if _has_controls(value):
        raise MseError(f"{path} holds control characters, which no run's does and which would steer a terminal.")
    return value


def _has_controls(value: Any) -> bool:
    if isinstance(value, str):
        return _CONTROL.search(value) is not None
    if isinstance(value, Mapping):
        return any(map(_has_controls, value)) or any(map(_has_controls, value.values()))
    return isinstance(value, list) and any(map(_has_controls, value))
