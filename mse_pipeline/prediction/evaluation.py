"""Evaluation: a run's predictions of a dataset in the cache, with the dataset's metrics where it has labels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mse_pipeline import adapter
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.prediction.models import load_backbone
from mse_pipeline.prediction.result import ClipPrediction, meaning, spread
from mse_pipeline.prediction.schema import require_same
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.task import Classification
from mse_pipeline.training.decoding import Decoding, check_decoding
from mse_pipeline.training.examples import Example
from mse_pipeline.training.job import UNKNOWN, Job, metric_kind, restore
from mse_pipeline.training.loop import Predicted, predict_split
from mse_pipeline.training.loop import evaluate as score
from mse_pipeline.training.stored import Stored, open_stored, seeds_of


@dataclass(frozen=True)
class SeedEvaluation:
    """What one training of a run does on a split.

    Attributes:
        seed: Its seed.
        choice: Why this seed was taken, as a sentence; empty where there was nothing to choose.
        metrics: Of the labelled clips; empty where there is none.
        predictions: One a clip, in the dataset's order.
    """

    seed: int
    choice: str
    metrics: Mapping[str, float]
    predictions: tuple[ClipPrediction, ...]


@dataclass(frozen=True)
class Evaluation:
    """What a run does on a split of a dataset.

    Attributes:
        stored: What the run says of itself, for its first seed.
        dataset: The dataset's name.
        split: Which part of it.
        decoding: How predictions were made of probabilities.
        labelled: How many of the clips have a label.
        remarks: What should be known, as sentences.
        seeds: One for each training.
    """

    stored: Stored
    dataset: str
    split: Split
    decoding: Decoding
    labelled: int
    remarks: tuple[str, ...]
    seeds: tuple[SeedEvaluation, ...]

    @property
    def predictions(self) -> list[ClipPrediction]:
        """Those of all seeds, one seed after the other."""
        return [one for seed in self.seeds for one in seed.predictions]

    def mean(self) -> dict[str, tuple[float, float | None]]:
        """Mean and sample deviation of each metric over the seeds; no deviation of one seed."""
        found = {}
        for name in self.seeds[0].metrics:
            values = [seed.metrics[name] for seed in self.seeds]
            whole = len(values) > 1 and all(map(math.isfinite, values))
            found[name] = (statistics.fmean(values), statistics.stdev(values) if whole else None)
        return found


def evaluate(
    run: str | Path,
    dataset: Dataset,
    *,
    split: Split = Split.TEST,
    seed: int | Literal["all"] | None = None,
    decoding: Decoding | None = None,
    backbone: str | None = None,
    device: str = "cpu",
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

    Raises:
        UsageError: It is no run, the dataset differs from what the run was trained on (the differences are named),
            or the split has no clip.
        MseError: Something is damaged.
    """
    trainings = [open_stored(run, one) for one in (seeds_of(run) if seed == "all" else [seed])]
    first = trainings[0]
    used = decoding or first.about.training.decoding
    check_decoding(first.task, used)
    remarks = require_same(first, dataset)
    if not any(clip.split == split for clip in dataset.clips):
        there = [one.value for one in Split if any(clip.split == one for clip in dataset.clips)]
        raise UsageError(f"The dataset {dataset.name} has no clip in its {split} split; it has {', '.join(there)}.")
    loaded = load_backbone(first, backbone, device)
    found = tuple(_seed(stored, dataset, split, loaded, used) for stored in trainings)
    labelled = sum(clip.split == split and clip.label is not None for clip in dataset.clips)
    return Evaluation(first, dataset.name, split, used, labelled, tuple(remarks), found)


def _seed(stored: Stored, dataset: Dataset, split: Split, backbone: Backbone, decoding: Decoding) -> SeedEvaluation:
    streams = {modality: dataset[stream.name] for modality, stream in stored.streams.items()}
    job = restore(stored, backbone, dataset.clips, streams, decoding)
    job = replace(job, metric_kind=metric_kind(dataset))
    trained, _ = adapter.load(stored.folder)
    predicted = predict_split(job, trained.to(backbone.device), split)
    rows = zip(predicted.examples, predicted.values, predicted.probabilities, strict=True)
    return SeedEvaluation(
        seed=stored.seed,
        choice=stored.choice,
        metrics=_metrics(job, predicted),
        predictions=tuple(_prediction(stored, split, *row) for row in rows),
    )


def _metrics(job: Job, predicted: Predicted) -> dict[str, float]:
    """Of those clips that have a label."""
    known = [place for place, example in enumerate(predicted.examples) if example.target != UNKNOWN]
    if not known:
        return {}
    return score(
        job,
        Predicted(
            [predicted.examples[place] for place in known],
            [predicted.values[place] for place in known],
            [predicted.probabilities[place] for place in known],
        ),
    )


def _prediction(
    stored: Stored, split: Split, example: Example, value: Any, probabilities: Sequence[float]
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
