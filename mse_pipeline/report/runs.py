"""Run folders: what `mse train` left on disk, read with distrust."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.metrics.coverage import Coverage

FORMAT = 1
ADAPTER = "mse-adapter"
"""The model of a run that tells none."""
_LARGEST = 32 * 2**20
"""Bytes; a run.json or result.json is a few thousand, so a larger file is something else."""


@dataclass(frozen=True)
class StoredSeed:
    """One finished training.

    Attributes:
        seed: The random seed.
        path: Its folder, with ``predictions.parquet``.
        best_epoch: The epoch whose weights were kept; None if the file does not tell.
        epochs: How many were trained.
        seconds: Wall time of the training.
        valid: Metric -> value on the validation split, in the scale of `metrics.evaluate`.
        test: The same on the test split.
        alarms: What makes the result doubtful, as sentences: signs of collapse, streams that few clips had.
        coverage: Of how many clips it is; None if the file does not tell.
        calibration: Measure -> value on the split that was asked for, as ``ECE`` of classes; empty if the file does not
            tell.
        learning_rate: At the schedule's peak, as given or found; None if the file does not tell.
        trainable_parameters: Of the model that was made; None if the file does not tell.
        total_parameters: The same with the frozen backbone.
        peak_memory: Most bytes that the process had held when the training was done.
    """

    seed: int
    path: Path
    best_epoch: int | None
    epochs: int | None
    seconds: float | None
    valid: Mapping[str, float]
    test: Mapping[str, float]
    alarms: tuple[str, ...]
    coverage: Coverage | None = None
    calibration: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    peak_memory: int | None = None

    def scores(self, split: str) -> Mapping[str, float]:
        """Metric -> value on ``valid`` or ``test``."""
        return self.valid if split == "valid" else self.test


@dataclass(frozen=True)
class RunGroup:
    """One run folder: a configuration and its seeds.

    Attributes:
        path: The folder.
        name: Its name.
        dataset: As in ``meld``.
        kind: First argument of `metrics.evaluate`.
        backbone: The frozen language model.
        variant: ``adapter``, ``text-only``, or what was left out.
        streams: Modality -> stream, as in ``acoustic`` -> ``acoustic.egemaps``.
        classes: Names of the class indices; empty if numbers are predicted.
        config: The configuration, as stored.
        config_digest: Its digest.
        trainable_parameters: None if no file tells.
        created: ISO 8601 time, as stored.
        seeds: The finished ones, by seed.
        unfinished: Name of the seed's folder -> what is missing.
        data: Digests of what is read of the dataset, by kind and stream; empty if the file does not tell.
        model: What was trained.
        adapted: In which respect it is not what its paper describes; empty where it is.
        total_parameters: The trained ones with those of the frozen backbone; None if no file tells.
        recipe: Where the settings of the training came from, and all of them, as stored.
    """

    path: Path
    name: str
    dataset: str
    kind: str
    backbone: str
    variant: str
    streams: Mapping[str, str]
    classes: tuple[str, ...]
    config: Mapping[str, Any]
    config_digest: str
    trainable_parameters: int | None
    created: str
    seeds: tuple[StoredSeed, ...]
    unfinished: Mapping[str, str]
    data: Mapping[str, str] = field(default_factory=dict)
    model: str = ADAPTER
    adapted: str = ""
    total_parameters: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Whose row it is, and whether it is what a paper describes: ``ours``, or ``ours, adapted (what)``."""
        return f"ours, adapted ({self.adapted})" if self.adapted else "ours"

    def short_name(self, width: int) -> str:
        """Its name, or where that is too long, what tells it apart: its variant and its digest."""
        if len(self.name) <= width:
            return self.name
        return f"{self.variant[: width - 9]} {self.config_digest[:8]}"

    @property
    def peak_memory(self) -> int | None:
        """Most bytes that a training of the run took; None if no file tells."""
        return max((seed.peak_memory for seed in self.seeds if seed.peak_memory is not None), default=None)

    @property
    def where(self) -> str:
        """The condition of the clips that it was trained and tested on; empty where it was none."""
        condition = self.config.get("where")
        return shown(condition, 200) if isinstance(condition, str) else ""

    @property
    def coverage(self) -> Coverage | None:
        """Of how many clips its results are; the seeds of a run have the same data."""
        return next((seed.coverage for seed in self.seeds if seed.coverage is not None), None)

    @property
    def heard(self) -> str:
        """What wrote the texts, as in ``asr (whisper-base)``; empty where the corpus has them."""
        text = self.config.get("text")
        if not isinstance(text, Mapping):
            return ""
        return f"{shown(str(text.get('source')), 20)} ({shown(str(text.get('model')), 60)})"

    @property
    def labelled(self) -> str:
        """8 hex digits over clips, splits, labels and texts, by which runs are of the same data; empty if not told."""
        digests = [self.data.get(name, "") for name in ("clips", "label", "text")]
        return blake2b(" ".join(digests).encode(), digest_size=4).hexdigest() if all(digests) else ""

    @property
    def epoch_seconds(self) -> float | None:
        """Wall time of an epoch with its validation, the mean over seeds; None if a file does not tell."""
        times = [seed.seconds / seed.epochs for seed in self.seeds if seed.seconds is not None and seed.epochs]
        return sum(times) / len(times) if times and len(times) == len(self.seeds) else None


@dataclass(frozen=True)
class FoundRuns:
    """The runs below some paths, and sentences on what was passed over."""

    runs: tuple[RunGroup, ...]
    warnings: tuple[str, ...]


def find(paths: Iterable[str | Path], split: str = "test") -> FoundRuns:
    """Reads run folders, and folders of run folders. What cannot be read is told, never raised.

    Args:
        paths: Each a run folder (it holds a ``run.json``), or a folder whose children are.
        split: Whose results are wanted, ``test`` or ``valid``; a seed without any does not count.
    """
    runs: list[RunGroup] = []
    warnings: list[str] = []
    seen: set[Path] = set()
    for path in map(Path, paths):
        for folder in _candidates(path, warnings):
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            try:
                runs.append(_run(folder, split, warnings))
            except MseError as error:
                warnings.append(f"{shown(str(folder), 200)} is passed over: {error}")
    return FoundRuns(tuple(runs), tuple(warnings))


def shown(text: str, longest: int = 80) -> str:
    r"""A stranger's text, fit for a terminal: control, direction and broken characters replaced, length bounded.

    Examples:
        >>> shown("a\x1b[31mb\nc")
        'a�[31mb�c'
    """
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else c for c in cut)


def _candidates(path: Path, warnings: list[str]) -> list[Path]:
    name = shown(str(path), 200)
    try:
        if not path.is_dir():
            warnings.append(f"There is no folder {name}.")
            return []
        if (path / "run.json").exists():
            return [path]
        children = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    except (OSError, ValueError) as error:
        warnings.append(f"{name} cannot be read: {shown(str(error), 200)}.")
        return []
    if not children:
        warnings.append(f"{name} holds no run: neither a run.json nor folders that might have one.")
    return children


def _run(folder: Path, split: str, warnings: list[str]) -> RunGroup:
    stored = _json(folder / "run.json")
    kind = _text(stored, "metrics")
    try:
        metrics.primary(kind)
    except ValueError as error:
        raise MseError(f"in run.json, {shown(str(error), 300)}") from None
    streams, config, classes, recipe = (stored.get(key) for key in ("streams", "config", "classes", "recipe"))
    seeds: dict[int, StoredSeed] = {}
    unfinished: dict[str, str] = {}
    for child in sorted(folder.glob("seed-*")):
        name = shown(child.name)
        try:
            result = _seed(child, str(stored.get("config_digest", "")), split, warnings)
        except MseError as error:
            unfinished[name] = str(error)
            continue
        if result.seed in seeds:
            unfinished[name] = f"a second result of seed {result.seed}; the first one counts"
            continue
        seeds[result.seed] = result
    if not seeds and not unfinished:
        unfinished["run"] = "no seed was begun"
    trainable, total = (
        next(filter(None, [stored.get(key), *(getattr(seed, key) for seed in seeds.values())]), None)
        for key in ("trainable_parameters", "total_parameters")
    )
    return RunGroup(
        path=folder,
        name=shown(folder.resolve().name),
        dataset=_text(stored, "dataset"),
        kind=kind,
        backbone=_text(stored, "backbone"),
        variant=_text(stored, "variant"),
        streams=_streams(streams) if isinstance(streams, dict) else {},
        classes=tuple(shown(str(name)) for name in classes) if isinstance(classes, list) else (),
        config=config if isinstance(config, dict) else {},
        config_digest=shown(str(stored.get("config_digest", ""))),
        trainable_parameters=_whole(trainable),
        total_parameters=_whole(total),
        model=shown(str(stored.get("model") or ADAPTER)),
        adapted=shown(str(stored.get("adapted") or ""), 200),
        created=shown(str(stored.get("created", ""))),
        seeds=tuple(seeds[seed] for seed in sorted(seeds)),
        unfinished=unfinished,
        data=_data(config),
        recipe=recipe if isinstance(recipe, dict) else {},
    )


def _data(config: Any) -> dict[str, str]:
    stored = config.get("data") if isinstance(config, dict) else None
    return {shown(name): shown(str(digest)) for name, digest in stored.items()} if isinstance(stored, dict) else {}


def _streams(stored: Mapping[str, Any]) -> dict[str, str]:
    """The streams that are read; null stands for a modality that is left out."""
    return {shown(modality): shown(str(name)) for modality, name in stored.items() if name is not None}


def _seed(folder: Path, digest: str, split: str, warnings: list[str]) -> StoredSeed:
    if not (folder / "result.json").exists():
        raise MseError("not finished, there is no result.json yet")
    stored = _json(folder / "result.json")
    if stored.get("status") != "done":
        raise MseError(f"not finished, its status is {shown(str(stored.get('status')))!r}")
    seed, best, epochs = (_number(stored.get(key)) for key in ("seed", "best_epoch", "epochs"))
    if seed is None:
        raise MseError("result.json names no seed")
    scores = {name: _scores(stored, name, folder, warnings) for name in ("valid", "test")}
    if not scores[split]:
        other = next((name for name, found in scores.items() if found), None)
        hint = "" if other is None else f", but metrics of {other}: take --split {other}"
        raise MseError(f"result.json holds no {split} metrics{hint}")
    if stored.get("config_digest", digest) != digest:
        raise MseError("trained on other data, or with another configuration, than run.json tells")
    alarms = stored.get("alarms")
    return StoredSeed(
        seed=int(seed),
        path=folder,
        best_epoch=None if best is None else int(best),
        epochs=None if epochs is None else int(epochs),
        seconds=_number(stored.get("seconds")),
        valid=scores["valid"],
        test=scores["test"],
        alarms=tuple(shown(str(a), 300) for a in alarms) if isinstance(alarms, list) else (),
        coverage=_coverage(stored.get("coverage"), folder, warnings),
        calibration=_calibration(stored.get("calibration"), split, folder, warnings),
        learning_rate=_number(stored.get("learning_rate")),
        trainable_parameters=_whole(stored.get("trainable_parameters")),
        total_parameters=_whole(stored.get("total_parameters")),
        peak_memory=_whole(stored.get("peak_memory")),
    )


def _coverage(stored: Any, folder: Path, warnings: list[str]) -> Coverage | None:
    if stored is None:
        return None
    try:
        coverage = Coverage.from_plain(stored)
    except ValueError as error:
        where = shown(f"{folder.parent.name}/{folder.name}", 120)
        warnings.append(f"{where}: its coverage cannot be read: {shown(str(error), 120)}.")
        return None
    named = {
        name: replace(split_coverage, streams={shown(s): n for s, n in split_coverage.streams.items()})
        for name, split_coverage in coverage.splits.items()
    }
    return Coverage(named)


def _calibration(stored: Any, split: str, folder: Path, warnings: list[str]) -> dict[str, float]:
    return _scores(stored, split, folder, warnings) if isinstance(stored, dict) else {}


def _scores(stored: Mapping[str, Any], split: str, folder: Path, warnings: list[str]) -> dict[str, float]:
    """Metric -> value; null stands for a value that is not defined."""
    rows = stored.get(split)
    scores = {}
    for name, value in rows.items() if isinstance(rows, dict) else ():
        number = math.nan if value is None else _number(value, finite=False)
        if number is None:
            where = shown(f"{folder.parent.name}/{folder.name}", 120)
            warnings.append(f"{where}: the {split} metric {shown(name)} is no number and left out.")
            continue
        scores[shown(name)] = number
    return scores


def _json(path: Path) -> dict[str, Any]:
    """A JSON object of format 1.

    Raises:
        MseError: As `read_object`, or it is of another format.
    """
    stored = read_object(path)
    if stored.get("format") != FORMAT:
        raise MseError(
            f"{path.name} has format {shown(str(stored.get('format')))!r}; this version reads format {FORMAT}."
        )
    return stored


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        MseError: The file is absent, unreadable, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise MseError(f"{path.name} is larger than {_LARGEST >> 20} MiB, which no run's is.")
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MseError(f"it holds no {path.name}, so it is no run of `mse train`.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MseError(f"{path.name} cannot be read ({shown(str(error), 120)}).") from None
    if not isinstance(stored, dict):
        raise MseError(f"{path.name} holds no JSON object.")
    return stored


def _text(stored: Mapping[str, Any], key: str) -> str:
    value = stored.get(key)
    if not isinstance(value, str) or not value:
        raise MseError(f"run.json lacks {key!r}, a text.")
    return shown(value)


def _number(value: Any, *, finite: bool = True) -> float | None:
    """The number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if finite and not math.isfinite(number) else number


def _whole(value: Any) -> int | None:
    """The whole number, or None for anything else."""
    number = _number(value)
    return None if number is None else int(number)


_COLUMNS = ("split", "target", "prediction")


class Predictions(NamedTuple):
    """What a training predicted of N clips of a split, in the file's order.

    Attributes:
        predictions: (N,) class indices, class names, or numbers.
        targets: (N,) of the same sort.
        clips: (N,) their ids; empty texts where the file has none.
        probabilities: (N, K) of each answer, where they were asked for and the file has them.
    """

    predictions: list[Any]
    targets: list[Any]
    clips: list[str]
    probabilities: list[list[float]] | None = None


def read_predictions(
    path: Path, split: str, only: Collection[str] | None = None, *, probabilities: bool = False
) -> Predictions:
    """Predictions and targets of a split.

    Args:
        path: The file.
        split: Whose predictions.
        only: Ids of the clips that count; None for all.
        probabilities: Whether these are read, too.

    Raises:
        MseError: The file is absent or unreadable, or holds no predictions of the split.
    """
    if not path.is_file():
        raise MseError("there is no predictions.parquet.")
    import pyarrow.parquet as pq

    needed = _COLUMNS if only is None else ("clip", *_COLUMNS)
    try:
        # One file, not a data set: folder names of the form key=value would become columns.
        with pq.ParquetFile(path) as file:
            wanted = ["clip", *_COLUMNS, *(["probabilities"] if probabilities else [])]
            columns = file.read(columns=wanted).to_pydict()
    except (OSError, ValueError, RuntimeError) as error:
        raise MseError(f"predictions.parquet cannot be read ({shown(str(error), 120)}).") from None
    missing = [name for name in needed if name not in columns]
    if missing:
        raise MseError(f"predictions.parquet lacks {', '.join(missing)}.")
    clips = [str(clip) for clip in columns.get("clip", [""] * len(columns["split"]))]
    rows = [
        place
        for place, (clip, own) in enumerate(zip(clips, columns["split"], strict=True))
        if own == split and (only is None or clip in only)
        # A clip with votes alone has no target.
        if columns["target"][place] is not None or columns["prediction"][place] is None
    ]
    if not rows:
        which = "" if only is None else ", of a clip that meets --where,"
        raise MseError(f"predictions.parquet holds no predictions{which} of the {split} split.")
    stored = columns.get("probabilities")
    return Predictions(
        predictions=[columns["prediction"][row] for row in rows],
        targets=[columns["target"][row] for row in rows],
        clips=[clips[row] for row in rows],
        probabilities=None if stored is None or any(stored[row] is None for row in rows) else [stored[r] for r in rows],
    )
