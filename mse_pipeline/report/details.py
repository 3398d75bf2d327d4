"""Details of one run beyond its row: curves, environment, commands, clips that it gets wrong, and what was extracted.

A page and figures show them. All come from the run's folder; the texts of clips and the state of features come from
the cache, where it has them: what nobody has kept is None, and is shown as not recorded.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mse_pipeline import metrics
from mse_pipeline.errors import MseError
from mse_pipeline.report.runs import ADAPTER, Predictions, RunGroup, read_object, shown
from mse_pipeline.report.table import NO_BACKBONE, ResultRow

if TYPE_CHECKING:
    from mse_pipeline.clip import Clip
    from mse_pipeline.store.cache import Cache
    from mse_pipeline.store.dataset import Dataset

HARDEST = 20
"""Clips that are listed."""
BINS = 10
"""Bins of the reliability diagram."""
_LARGEST = 32 << 20  # bytes; a metrics.jsonl has some hundred lines


@dataclass(frozen=True)
class Curve:
    """A training over its E epochs.

    Attributes:
        seed: Which.
        epochs: (E,) from 1.
        loss: (E,) mean of the train split; NaN where it is not told.
        valid: (E,) the metric that chooses epochs, on the validation split, in the scale of `metrics.evaluate`.
        best: The epoch that was kept; None if nobody tells.
    """

    seed: int
    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    valid: tuple[float, ...]
    best: int | None


@dataclass(frozen=True)
class HardClip:
    """A clip that a run gets wrong, or least right.

    Attributes:
        clip: Its id.
        text: What is said; None where the cache does not have the clip.
        target: Its label.
        predictions: What the seeds said, the most frequent first, each with how many said so.
        right: Of classes, how many seeds are right; None for numbers.
        measure: Of classes the label's mean probability, None where it is not stored; of numbers the mean distance.
    """

    clip: str
    text: str | None
    target: str
    predictions: tuple[tuple[str, int], ...]
    right: int | None
    measure: float | None


@dataclass(frozen=True)
class StreamState:
    """A stream that a run read, as the cache has it.

    Attributes:
        name: As in ``visual.mtcnn``.
        read: Clips with a valid row, of those that the run read, in words, as the run tells it.
        done: Clips with features; None where the cache does not have what the run read, as in the following.
        failed: Code -> clips that have none for this reason.
        valid: Share of rows in which something was measured: of faces, in which one was found.
        defined: Share of the values in these that are defined.
    """

    name: str
    read: str
    done: int | None = None
    failed: Mapping[str, int] = field(default_factory=dict)
    valid: float | None = None
    defined: float | None = None


@dataclass(frozen=True)
class Details:
    """All that is told of a run on its own.

    Attributes:
        row: Its row in the table.
        curves: By seed; empty where no epoch was kept.
        environment: Name -> value, as ``torch`` -> ``2.6.0``; several values where seeds differ.
        commands: What it is for, and the command.
        hardest: Hardest first.
        streams: Those that it read.
        reliability: (mean probability, share that is right, clips) of each bin of the predicted class's probability.
    """

    row: ResultRow
    curves: tuple[Curve, ...]
    environment: Mapping[str, str]
    commands: tuple[tuple[str, str], ...]
    hardest: tuple[HardClip, ...]
    streams: tuple[StreamState, ...]
    reliability: tuple[tuple[float, float, int], ...]

    @property
    def run(self) -> RunGroup:
        """The run."""
        return self.row.run

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
        """(N,) targets, (N,) predictions as means over seeds, and ids of N clips; None for classes or without any."""
        if self.row.classes is not None or not self.row.predicted.seeds:
            return None
        clips, targets, by_seed = together(self.row.predicted.seeds)
        return np.array(targets, float), np.array(by_seed, float).mean(0), clips


def read_details(row: ResultRow, split: str, cache: Cache | None) -> Details:
    """Gather what is told of a run.

    Args:
        row: Of a table.
        split: That the table is of.
        cache: Where texts and features are; None for nowhere.
    """
    dataset = dataset_of(row.run.dataset, cache)
    clips = {} if dataset is None else {clip.id: clip for clip in dataset.clips}
    return Details(
        row=row,
        curves=tuple(_curves(row.run)),
        environment=_environment(row.run),
        commands=tuple(_commands(row.run)),
        hardest=tuple(_hardest(row, clips)),
        streams=tuple(_stream(name, row.run, split, dataset) for name in row.run.streams.values()),
        reliability=_reliability(row),
    )


def dataset_of(name: str, cache: Cache | None) -> Dataset | None:
    """A dataset of a cache, for what is told of its clips; None where there is none, or it cannot be read."""
    if cache is None:
        return None
    try:
        dataset = cache[name]
        _ = dataset.clips, dataset.manifest
    except MseError:
        return None
    return dataset


def together(seeds: Mapping[int, Predictions]) -> tuple[list[str], list[Any], list[list[Any]]]:
    """What all seeds predicted of the clips that all of them have.

    Returns:
        N ids, N targets, and by seed N predictions.

    Examples:
        >>> together({1: Predictions([0, 1], [0, 0], ["a", "b"]), 2: Predictions([1], [0], ["b"])})
        (['b'], [0], [[1], [1]])
    """
    rows = [
        {clip: (p, t) for clip, p, t in zip(one.clips, one.predictions, one.targets, strict=True)}
        for one in seeds.values()
    ]
    common = [clip for clip in rows[0] if all(clip in row for row in rows)]
    return common, [rows[0][clip][1] for clip in common], [[row[clip][0] for clip in common] for row in rows]


def _curves(run: RunGroup) -> Iterator[Curve]:
    metric = metrics.primary(run.kind)[0]
    for seed in run.seeds:
        records = [record for record in _lines(seed.path / "metrics.jsonl") if _finite(record.get("epoch")) is not None]
        if records:
            scores = [record.get("valid") for record in records]
            yield Curve(
                seed.seed,
                tuple(int(record["epoch"]) for record in records),
                tuple(_or_nan(record.get("loss")) for record in records),
                tuple(_or_nan(score.get(metric) if isinstance(score, dict) else None) for score in scores),
                seed.best_epoch,
            )


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; what cannot be read is left out, as the last line of a killed training."""
    records = []
    try:
        if path.stat().st_size > _LARGEST:
            return []
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            records.append(value)
    return records


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not math.isfinite(value):
        return None
    return float(value)


def _or_nan(value: Any) -> float:
    number = _finite(value)
    return math.nan if number is None else number


def _environment(run: RunGroup) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for seed in run.seeds:
        try:
            stored = read_object(seed.path / "environment.json")
        except MseError:
            continue
        packages = stored.get("packages")
        flat = {key: value for key, value in stored.items() if key != "packages"}
        flat |= packages if isinstance(packages, dict) else {}
        for name, value in flat.items():
            values = found.setdefault(shown(str(name), 40), [])
            text = "not installed" if value is None else shown(str(value), 80)
            if text not in values:
                values.append(text)
    return {name: ", ".join(values) for name, values in found.items()}


def _is_of_hub(backbone: object) -> bool:
    """Whether a backbone is a repository, which has revisions: no folder, and none that is built in."""
    source = str(backbone.get("source", "")) if isinstance(backbone, dict) else ""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None


def _commands(run: RunGroup) -> Iterator[tuple[str, str]]:
    """The commands that train the run again, evaluate it and show it; every setting of the training is written out."""
    config = run.config
    backbone = config.get("backbone")
    words = ["mse", "train", run.dataset]
    if run.backbone != NO_BACKBONE:
        words += ["--backbone", run.backbone]
        for option in ("revision", "dtype", "quantization"):
            value = backbone.get(option) if isinstance(backbone, dict) else None
            if option == "revision" and not _is_of_hub(backbone):
                continue
            if value is not None and (option, value) != ("dtype", "float32"):
                words += [f"--{option}", str(value)]
    if run.model != ADAPTER:
        words += ["--model", run.model]
    for modality, stream in run.streams.items():
        words += [f"--{modality}", stream]
    without = config.get("without")
    for part in without if isinstance(without, list) else ():
        words += ["--without", str(part)]
    if run.where:
        words += ["--where", run.where]
    for section in ("prompt", "training"):
        told = run.recipe.get(section, config.get(section))
        for key, value in told.items() if isinstance(told, dict) else ():
            if key not in {"seeds", "model"}:
                words += ["--set", f"{section}.{key}={value if _is_plain(value) else json.dumps(value)}"]
    for seed in run.seeds:
        words += ["--seed", str(seed.seed)]
    yield "Train it again", shlex.join(shown(word, 4000) for word in words)
    folder = run.path.as_posix().encode("utf-8", "replace").decode()
    yield "Evaluate it, and see what has changed in its data since", shlex.join(["mse", "evaluate", folder])
    yield "What its features were made with", shlex.join(["mse", "cache", "show", run.dataset, "--versions"])


def _is_plain(value: Any) -> bool:
    """Whether a text stands for itself as a setting of the command line."""
    import yaml

    if not isinstance(value, str):
        return False
    try:
        return bool(yaml.safe_load(value) == value)
    except yaml.YAMLError:
        return False


def _hardest(row: ResultRow, clips: Mapping[str, Clip]) -> Iterator[HardClip]:
    seeds = row.predicted.seeds
    if not seeds or not all(all(one.clips) for one in seeds.values()):
        return
    ids, targets, by_seed = together(seeds)
    labels = row.predicted.labels
    sure = _probabilities(row) if labels else {}
    found = []
    for place, clip in enumerate(ids):
        said = [predictions[place] for predictions in by_seed]
        target = targets[place]
        right = sum(one == target for one in said) if labels else None
        measure = sure.get(clip) if labels else statistics.fmean(abs(one - target) for one in said)
        texts = [labels[one] if labels else f"{one:.2f}" for one in said]
        if right != len(said):
            text = clips[clip].text if clip in clips else None
            named = labels[target] if labels else f"{target:.4g}"
            found.append(HardClip(clip, text, named, tuple(Counter(texts).most_common()), right, measure))
    yield from sorted(found, key=_ease)[:HARDEST]


def _ease(clip: HardClip) -> tuple[float, float]:
    """By which clips are sorted, hardest first: seeds that are right, then the label's probability; or the distance."""
    if clip.right is None:
        return -(clip.measure or 0.0), 0.0
    return clip.right, 1.0 if clip.measure is None else clip.measure


def _probabilities(row: ResultRow) -> dict[str, float]:
    """By clip the mean probability of the right class over the seeds; empty where they are not stored."""
    found: dict[str, list[float]] = {}
    for one in row.predicted.seeds.values():
        for clip, target, rows in zip(one.clips, one.targets, one.probabilities or (), strict=False):
            if len(rows) == len(row.predicted.labels) and _finite(rows[target]) is not None:
                found.setdefault(clip, []).append(rows[target])
    return {clip: statistics.fmean(values) for clip, values in found.items()}


def _reliability(row: ResultRow) -> tuple[tuple[float, float, int], ...]:
    sure, right = [], []
    for one in row.predicted.seeds.values() if row.classes is not None else ():
        for prediction, target, rows in zip(one.predictions, one.targets, one.probabilities or (), strict=False):
            if len(rows) == len(row.predicted.labels) and _finite(rows[prediction]) is not None:
                sure.append(rows[prediction])
                right.append(prediction == target)
    if not sure:
        return ()
    confidence, hit = np.clip(sure, 0.0, 1.0), np.array(right, float)
    bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    return tuple(
        (float(confidence[bins == k].mean()), float(hit[bins == k].mean()), int((bins == k).sum()))
        for k in range(BINS)
        if (bins == k).any()
    )


def _stream(name: str, run: RunGroup, split: str, dataset: Dataset | None) -> StreamState:
    from mse_pipeline.metrics.coverage import told

    coverage = run.coverage
    read = told(coverage.parts(name)) if coverage is not None and name in coverage.streams else ""
    if dataset is None or name not in dataset:
        return StreamState(name, read)
    version = _version(run, name)
    try:
        rows = dataset.rows(name, version)
    except MseError:
        return StreamState(name, read)
    done = [row for row in rows if row.status == "done"]
    made = sum(row.rows for row in done)
    return StreamState(
        name,
        read,
        done=len(done),
        failed=dict(Counter(str(row.code) for row in rows if row.status == "failed").most_common()),
        valid=sum(row.valid for row in done) / made if made else None,
        defined=_defined(dataset, name, version),
    )


def _version(run: RunGroup, stream: str) -> str | None:
    """The version of a stream that a run read, by its id in the cache; None where it does not tell."""
    streams = run.config.get("streams")
    for one in streams.values() if isinstance(streams, dict) else ():
        if isinstance(one, dict) and one.get("name") == stream and isinstance(one.get("version"), str):
            return str(one["version"])
    return None


def _defined(dataset: Dataset, stream: str, version: str | None) -> float | None:
    """Share of the valid rows' values that are defined, of the pack that training reads; None without it."""
    from mse_pipeline.store.pack import Pack, merge_statistics

    if version not in {None, dataset.manifest.streams[stream].version}:
        return None
    try:
        pack = dataset[stream]
        if not isinstance(pack, Pack):
            return None
        merged = merge_statistics(pack.statistics(list(pack)))
        rows = int(np.asarray(pack.arrays["valid"]).astype(bool).sum())
    except (MseError, OSError):
        return None
    return None if merged is None or not rows else float(merged.count.sum() / (rows * merged.count.size))
