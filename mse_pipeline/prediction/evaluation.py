"""Evaluation: a run's predictions of a dataset in the cache, with the dataset's metrics where it has labels.

The dataset must have the same task, and the features that the run was trained on.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from mse_pipeline import adapter
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.metrics.coverage import NOT_TOLD, Coverage
from mse_pipeline.prediction.dropping import SHARES, TEXT, Drop, Without, read_modalities, require_read, without_text
from mse_pipeline.prediction.remaking import load_backbone
from mse_pipeline.prediction.result import ClipPrediction, Remark, meaning, spread
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.keys import differences
from mse_pipeline.store.where import Selection, select
from mse_pipeline.task import Classification, describe
from mse_pipeline.training.earlier import UNTOLD, Data, data_changed, has_rows, measure, read_data
from mse_pipeline.training.examples import UNKNOWN, Example
from mse_pipeline.training.job import Job, metric_kind, restore
from mse_pipeline.training.loop import calibrate, predict_split
from mse_pipeline.training.loop import evaluate as score
from mse_pipeline.training.run_files import DATA, OF_THE_DATASET, StreamAbout
from mse_pipeline.training.scoring import Decoding, check_decoding
from mse_pipeline.training.stored import StoredTraining, open_stored, seeds_of


def require_same(stored: StoredTraining, dataset: Dataset) -> list[str]:
    """Refuse a dataset that the run cannot read.

    Args:
        stored: The run.
        dataset: A dataset of the cache.

    Returns:
        What is not refused and should be known, as sentences.

    Raises:
        UsageError: Task, streams, their identities, clocks or dimensions differ; all differences are named.
    """
    problems, remarks = [], []
    task = dataset.manifest.task
    if task != stored.task:
        problems.append(f"what is predicted: {describe(stored.task)} -> {describe(task)}")
    for stream in stored.streams.values():
        different, notes = _compare(stream, dataset)
        problems += different
        remarks += notes
    words = stored.about.words
    if words is not None and not problems:
        problems += _identity(words, dataset)
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise UsageError(
            f"The dataset {dataset.name} differs from what the run {stored.path} was trained on (the run's -> the "
            f"dataset's):{listed}\nExtract it with the streams, options and alignment of the run's dataset: "
            "`mse evaluate` needs the same ones."
        )
    limit = dict(dataset.manifest.recipe.get("media", {})).get("max_seconds")
    if stored.streams and dataset.manifest.recipe and limit != stored.about.media.max_seconds:
        remarks.append(
            f"Clips of {dataset.name} were cut at {_seconds(limit)}, those of the run's dataset at "
            f"{_seconds(stored.about.media.max_seconds)}."
        )
    return remarks


def _compare(stream: StreamAbout, dataset: Dataset) -> tuple[list[str], list[str]]:
    """What differs in one stream, and what should be known of it."""
    if stream.name not in dataset.manifest.streams:
        return [f"{stream.name}: the dataset has no such stream; it has {', '.join(dataset) or 'none'}"], []
    problems = _identity(stream, dataset)
    entry = dataset.manifest.streams[stream.name]
    clock = differences(stream.alignment.model_dump(mode="json"), dict(entry.alignment))
    problems += [f"{stream.name}, its clock: {difference}" for difference in clock]
    if problems:
        return problems, []
    features = dataset[stream.name]
    first = next(iter(features.values()), None)
    names = stream.names if first is None else tuple(first.names)  # where no clip has the stream, it is read as absent
    if names != stream.names:
        return [f"{stream.name}: {_names_differ(stream.names, names)}"], []
    if not stream.extracted and entry.version != stream.version:
        return [], [f"{stream.name} was imported: of such features only the names of the values can be compared."]
    return [], []


def _identity(stream: StreamAbout, dataset: Dataset) -> list[str]:
    entry = dataset.manifest.streams.get(stream.name)
    if entry is None:
        return [f"{stream.name}: the dataset has no such stream"]
    before = {name: value for name, value in stream.identity.items() if name not in OF_THE_DATASET}
    after = {name: value for name, value in entry.identity.items() if name not in OF_THE_DATASET}
    return [f"{stream.name}: {difference}" for difference in differences(before, after)]


def _names_differ(run: Sequence[str], dataset: Sequence[str]) -> str:
    if len(run) != len(dataset):
        return f"{len(run)} values a row -> {len(dataset)}"
    number, (before, after) = next(
        (n, pair) for n, pair in enumerate(zip(run, dataset, strict=True)) if len(set(pair)) > 1
    )
    return f"value {number} of a row: {before} -> {after}"


def _seconds(limit: object) -> str:
    return "no length" if limit is None else f"{limit} s"


@dataclass(frozen=True)
class SeedEvaluation:
    """What one training of a run does on a split.

    Attributes:
        seed: Its seed.
        choice: Why this seed was taken, as a sentence; empty where there was nothing to choose.
        metrics: Of the labelled clips; empty where there is none.
        predictions: One a clip, in the dataset's order.
        calibration: How far the probabilities are to be believed, as ``ECE`` of classes; empty likewise.
    """

    seed: int
    choice: str
    metrics: Mapping[str, float]
    predictions: tuple[ClipPrediction, ...]
    calibration: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What a run does on a split of a dataset.

    Attributes:
        stored: What the run says of itself, for its first seed.
        dataset: The dataset's name.
        split: Which part of it.
        decoding: How predictions were made of probabilities.
        labelled: How many of the clips have a label.
        remarks: What should be known, as sentences, as what has changed in the dataset since the run was trained on it.
        seeds: One for each training.
        coverage: How many of the split's clips are scored, or where none has a label are predicted, and how many of
            these have each stream.
        metric_kind: Name under which `metrics.evaluate` knows the numbers.
    """

    stored: StoredTraining
    dataset: str
    split: Split
    decoding: Decoding
    labelled: int
    remarks: tuple[str, ...]
    seeds: tuple[SeedEvaluation, ...]
    coverage: Coverage = NOT_TOLD
    metric_kind: str = field(kw_only=True)

    @property
    def predictions(self) -> list[ClipPrediction]:
        """Those of all seeds, one seed after the other."""
        return [prediction for seed in self.seeds for prediction in seed.predictions]

    def mean(self) -> dict[str, tuple[float, float | None]]:
        """Mean and sample deviation of each metric over the seeds; no deviation of one seed."""
        scores = {}
        for name in self.seeds[0].metrics:
            values = [seed.metrics[name] for seed in self.seeds]
            whole = len(values) > 1 and all(map(math.isfinite, values))
            scores[name] = (statistics.fmean(values), statistics.stdev(values) if whole else None)
        return scores


def evaluate(
    run: str | Path,
    dataset: Dataset,
    *,
    split: Split = Split.TEST,
    seed: int | Literal["all"] | None = None,
    decoding: Decoding | None = None,
    backbone: str | None = None,
    device: str = "cpu",
    where: str | None = None,
    drop: Drop | None = None,
    loaded: Backbone | None = None,
) -> Evaluation:
    """Predict all clips of a split, and score those that have a label.

    Args:
        run: A run folder, a seed's folder in it, or an adapter's folder.
        dataset: The run's own, or another one with the same task and the same kind of features (transfer).
        split: Which part of it.
        seed: Which training of the run, or all; None for the best by its validation split.
        decoding: How a prediction is made of the probabilities; None for the run's own way.
        backbone: Where the backbone is, if not where the run says.
        device: Where it computes.
        where: Only the clips that meet this condition, see `mse_pipeline.store.where`; None for all, also for a run
            that was trained on some.
        drop: Which share of the clips is read without which modality; None for none.
        loaded: The run's backbone, where it is loaded already.

    Raises:
        UsageError: It is no run, the dataset differs from what the run was trained on (the differences are named),
            or the split has no clip.
        MseError: Something is damaged.
    """
    trainings = [open_stored(run, number) for number in (seeds_of(run) if seed == "all" else [seed])]
    first = trainings[0]
    used = decoding or first.about.training.decoding
    check_decoding(first.task, used)
    if drop is not None:
        require_read(drop, first)
    remarks = require_same(first, dataset)
    if not any(clip.split == split for clip in dataset.clips):
        present = [part.value for part in Split if any(clip.split == part for clip in dataset.clips)]
        raise UsageError(f"The dataset {dataset.name} has no clip in its {split} split; it has {', '.join(present)}.")
    selection = None if where is None else select(dataset, where)
    if selection is not None:
        remarks += [selection.sentence(), *selection.remarks]
        if not any(clip.split == split and clip.id in selection.kept for clip in dataset.clips):
            raise UsageError(f"No clip of the {split} split of {dataset.name} meets --where {where!r}.")
    loaded = loaded or load_backbone(first, backbone, device)
    streams = {stream.name: dataset[stream.name] for stream in first.streams.values()}
    jobs = [_job(stored, dataset, loaded, used) for stored in trainings]
    if dataset.name == first.about.dataset:
        trained = _labelled_of(jobs[0], None if first.about.where is None else select(dataset, first.about.where))
        remarks += _since_training(first, read_data(dataset.clips, trained, streams))
    if drop is not None and drop.shares:
        every = [example.clip for example in _examples_of(jobs[0], selection)[split]]
        lost = {modality: drop.clips(modality, every) for modality in drop.shares}
        jobs = [_job(stored, dataset, loaded, used, lost) for stored in trainings]
        remarks += [drop.sentence(every)]
    jobs = [replace(job, examples=_examples_of(job, selection)) for job in jobs]
    labelled = _labelled_of(jobs[0], selection)
    coverage = measure(dataset, {split: labelled[split] or jobs[0].examples[split]}, streams)
    remarks += coverage.shortcomings()
    absent = _absent(dataset, streams, [example.clip for example in jobs[0].examples[split]])
    return Evaluation(
        stored=first,
        dataset=dataset.name,
        split=split,
        decoding=used,
        labelled=sum(example.target != UNKNOWN for example in labelled[split]),
        remarks=tuple(remarks),
        seeds=tuple(_seed(stored, job, split, absent) for stored, job in zip(trainings, jobs, strict=True)),
        coverage=coverage,
        metric_kind=jobs[0].metric_kind,
    )


def evaluate_dropping(
    run: str | Path, dataset: Dataset, *, draw: int = 0, **given: Any
) -> list[tuple[Drop, Evaluation]]:
    """A run on a split, without each of its modalities in turn, for the shares of the clips in `SHARES`.

    Args:
        run: As of `evaluate`.
        dataset: As of `evaluate`.
        draw: Seed of the draw of the clips.
        given: What else `evaluate` takes.

    Returns:
        The whole split first.
    """
    stored = open_stored(run, seeds_of(run)[0] if given.get("seed") == "all" else given.get("seed"))
    loaded = load_backbone(stored, given.pop("backbone", None), given.pop("device", "cpu"))
    drops = [Drop(seed=draw)]
    drops += [Drop({modality: share}, draw) for modality in read_modalities(stored) for share in SHARES]
    return [(drop, evaluate(run, dataset, drop=drop, loaded=loaded, **given)) for drop in drops]


def _examples_of(job: Job, selection: Selection | None) -> dict[Split, list[Example]]:
    """The examples of a job whose clips are selected, by split."""
    return {
        split: [example for example in every if selection is None or example.clip in selection.kept]
        for split, every in job.examples.items()
    }


def _labelled_of(job: Job, selection: Selection | None) -> dict[Split, list[Example]]:
    """Those of them that have a label, or votes."""
    chosen = _examples_of(job, selection)
    return {
        split: [example for example in every if example.target != UNKNOWN or example.distribution]
        for split, every in chosen.items()
    }


def _since_training(stored: StoredTraining, data: Data) -> list[str]:
    """What has changed in the run's dataset, so that scores of before and of now are not of the same."""
    name, digests = stored.about.dataset, stored.about.data
    if not digests:
        return [f"Whether {name} has changed since {stored.path} was trained on it is not known: {UNTOLD}."]
    homes = (stored.path, *stored.path.resolve().parents[:2])
    run = next((home for home in homes if (home / DATA).is_file()), stored.path)
    changed = data_changed(digests, run / DATA, data)
    if not changed:
        return []
    return [
        f"The data of {name} have changed since the run {stored.path} was trained on them: {', '.join(changed)}. "
        "Do not compare scores of before with scores of now; `mse train` trains again on the new data."
    ]


def _job(
    stored: StoredTraining,
    dataset: Dataset,
    backbone: Backbone,
    decoding: Decoding,
    lost: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Job:
    """The job of a run on a dataset, of which some clips have lost a modality."""
    streams: dict[str, Mapping[str, Features]] = {
        modality: Without(dataset[stream.name], lost[modality]) if modality in lost else dataset[stream.name]
        for modality, stream in stored.streams.items()
    }
    job = restore(stored, backbone, dataset.clips, streams, decoding)
    silent = lost.get(TEXT, frozenset())
    examples = {split: without_text(every, silent) for split, every in job.examples.items()} if silent else job.examples
    return replace(job, metric_kind=metric_kind(dataset), examples=examples)


def _absent(
    dataset: Dataset, streams: Mapping[str, Mapping[str, Features]], clips: Sequence[str]
) -> dict[str, list[Remark]]:
    """By clip, which streams it is predicted without, and why as far as the journal knows."""
    remarks: dict[str, list[Remark]] = {}
    for name, stream in streams.items():
        lacking = [clip for clip in clips if not has_rows(stream, clip)]
        rows = {row.clip: row for row in dataset.rows(name)} if lacking else {}
        for clip in lacking:
            code, message = (rows[clip].code, rows[clip].message) if clip in rows else (None, None)
            remark = Remark(code or "absent", message or "The dataset has no features of it.", name)
            remarks.setdefault(clip, []).append(remark)
    return remarks


def _seed(stored: StoredTraining, job: Job, split: Split, absent: Mapping[str, Sequence[Remark]]) -> SeedEvaluation:
    trained, _ = adapter.load(stored.folder)
    predicted = predict_split(job, trained.to(job.backbone.device), split)
    rows = zip(predicted.examples, predicted.values, predicted.probabilities, strict=True)
    return SeedEvaluation(
        seed=stored.seed,
        choice=stored.choice,
        metrics=score(job, predicted),
        calibration=calibrate(job, predicted),
        predictions=tuple(
            replace(_prediction(stored, split, *row), remarks=tuple(absent.get(row[0].clip, ()))) for row in rows
        ),
    )


def _prediction(
    stored: StoredTraining, split: Split, example: Example, value: Any, probabilities: Sequence[float]
) -> ClipPrediction:
    target: Any = None
    if example.target != UNKNOWN:
        target = str(example.label) if isinstance(stored.task, Classification) else float(example.label)
    return ClipPrediction(
        clip=example.clip,
        media=None,
        prediction=meaning(stored.task, value),
        probabilities=spread(stored.task, probabilities),
        target=target,
        split=split.value,
        seed=stored.seed,
    )
