"""Stored: what a run, a training of it, or an adapter says of itself on disk, read with distrust.

An adapter may come from a stranger: its files are data of bounded size and known form, and nothing that they name is
opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from mse_pipeline import metrics
from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.adapter.models import find
from mse_pipeline.adapter.save import DESCRIPTION
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Task, from_plain
from mse_pipeline.training.normaliser import Normaliser
from mse_pipeline.training.run_files import (
    ADAPTER,
    NORMALISER,
    RUN,
    SEED_FOLDER,
    About,
    StreamAbout,
    choose_seed,
    done_seeds,
    read_json,
)

_FOR_PREDICTING = ("task", "streams", "words", "media", "backbone", "prompt", "training", "dataset")


@dataclass(frozen=True, eq=False)
class StoredTraining:
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


def open_stored(path: str | Path, seed: int | None = None) -> StoredTraining:
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
        home, choice = choose_seed(path, seed)
        return _open_seed(path, home, choice)
    if SEED_FOLDER.fullmatch(path.resolve().name) and (path.resolve().parent / RUN).is_file():
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
        return tuple(sorted(done_seeds(path)))
    return (open_stored(path).seed,)


def _open_adapter(path: Path, seed: int | None) -> StoredTraining:
    described = read_json(path / DESCRIPTION)
    extra = described.get("extra")
    if not isinstance(extra, dict):
        raise MseError(f"{path / DESCRIPTION} is damaged: it has no section extra. Copy it again, or train again.")
    stored = _stored(
        path, path, about=extra, more=extra, normalisers=extra.get("normalisers"), config=described.get("config")
    )
    _same_seed(path, stored.seed, seed)
    return stored


def _open_seed(path: Path, home: Path, choice: str) -> StoredTraining:
    run = read_json(home.resolve().parent / RUN)
    name = SEED_FOLDER.fullmatch(home.resolve().name)
    return _stored(
        path,
        home / ADAPTER,
        about=run.get("config"),
        more={**run, "seed": name and name[1]},
        normalisers=read_json(home / NORMALISER),
        config=read_json(home / ADAPTER / DESCRIPTION).get("config"),
        choice=choice,
    )


def _stored(
    path: Path, folder: Path, *, about: Any, more: Mapping[str, Any], normalisers: Any, config: Any, choice: str = ""
) -> StoredTraining:
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
    stored = StoredTraining(path, folder, seed, choice, read, kind, sizes, made, places)
    _require_fit(stored)
    return stored


def _require_fit(stored: StoredTraining) -> None:
    """Refuse parts that are of several trainings."""
    dims = {"acoustic": stored.config.acoustic_dim, "visual": stored.config.visual_dim}
    kind = find(stored.config.model)
    for modality, dim in dims.items():
        stream, normaliser = stored.streams.get(modality), stored.normalisers.get(modality)
        share = int(normaliser.share) if normaliser else 0
        seen = None if stream is None else kind.view_names(stream.names)
        found = (seen and len(seen) + share, normaliser and normaliser.width)
        same = seen is None or normaliser is None or (seen == normaliser.names and _is_whole(normaliser))
        if found != (dim, dim) or not same:
            raise MseError(
                f"{stored.path} is damaged: of the {modality} features the adapter reads {dim or 'no'} values a row, "
                f"the run names {found[0] or 'none'} and the normaliser {found[1] or 'none'}. Copy it again as a whole."
            )


def _is_whole(normaliser: Normaliser) -> bool:
    shapes = {normaliser.mean.shape, normaliser.deviation.shape}
    finite = np.isfinite(normaliser.mean).all() and np.isfinite(normaliser.deviation).all()
    return shapes == {(len(normaliser.names),)} and bool(finite and (normaliser.deviation > 0).all())


def _same_seed(path: Path, found: int, asked: int | None) -> None:
    if asked is not None and asked != found:
        raise UsageError(f"{path} is the training with seed {found}, not {asked}: give the run folder, or no seed.")
