"""train: a dataset in the cache and a backbone become a run folder, one training a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline import metrics
from mse_pipeline.adapter import MSEAdapter, save
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import aside, write_json, write_text
from mse_pipeline.store.keys import canonical
from mse_pipeline.task import Classification
from mse_pipeline.training.environment import describe
from mse_pipeline.training.job import Job
from mse_pipeline.training.loop import Trained, fit_adapter, targets

FORMAT = 1


class Progress(Protocol):
    """What is told while trainings go on."""

    def begin(self, seed: int, epochs: int) -> None:
        """The training of a seed begins."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is through."""


class Silent:
    """Progress that tells nothing."""

    def begin(self, seed: int, epochs: int) -> None:
        """Say nothing."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class SeedResult:
    """One training of a run.

    Attributes:
        seed: Its seed.
        folder: Where it lies.
        result: What stands in its result.json.
        reused: It was there already.
    """

    seed: int
    folder: Path
    result: dict[str, Any]
    reused: bool


def train(
    job: Job, runs: Path, seeds: Sequence[int], *, overwrite: bool = False, progress: Progress | None = None
) -> list[SeedResult]:
    """Train one adapter a seed; what is done under the same configuration is not trained again.

    A seed that was interrupted goes on from where it was saved last: at the end of an epoch, and every minute.

    Args:
        job: What is trained, on what.
        runs: Folder of the run folders.
        seeds: One training each.
        overwrite: Train again what is done.
        progress: Told how far it is.

    Raises:
        MseError: Training diverged, or the backbone did not stay as it was.
    """
    progress = progress or Silent()
    folder = run_folder(job, runs)
    write_json(folder / "run.json", _run_description(job))
    results = []
    for seed in seeds:
        home = folder / f"seed-{seed}"
        done = None if overwrite else _done(home)
        if done is None:
            progress.begin(seed, job.settings.epochs)
            results.append(SeedResult(seed, home, _train_seed(job, seed, home, progress, overwrite), reused=False))
        else:
            results.append(SeedResult(seed, home, done, reused=True))
    return results


def run_folder(job: Job, runs: Path) -> Path:
    """Where a job's trainings lie: the name tells dataset, backbone and variant, and a digest tells the rest."""
    about = job.about
    backbone = Path(about["backbone"]["name"]).name
    parts = [about["dataset"], backbone, about["variant"].replace(" ", "-"), config_digest(job)]
    return runs / "-".join(parts)


def config_digest(job: Job) -> str:
    """8 hex digits; equal for runs that differ by seed alone."""
    return blake2b(canonical(dict(job.about)), digest_size=4).hexdigest()


def _run_description(job: Job) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dataset": job.about["dataset"],
        "metrics": job.metric_kind,
        "backbone": job.about["backbone"]["name"],
        "variant": job.about["variant"],
        "streams": {modality: stream and stream["name"] for modality, stream in job.about["streams"].items()},
        "classes": list(job.answers.task.classes) if isinstance(job.answers.task, Classification) else None,
        "config": dict(job.about),
        "places": dict(job.places),
        "config_digest": config_digest(job),
        "trainable_parameters": sum(parameter.numel() for parameter in MSEAdapter(job.config).parameters()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _done(home: Path) -> dict[str, Any] | None:
    try:
        result = json.loads((home / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if result.get("status") == "done" else None


def _train_seed(job: Job, seed: int, home: Path, progress: Progress, overwrite: bool) -> dict[str, Any]:
    home.mkdir(parents=True, exist_ok=True)
    (home / "result.json").unlink(missing_ok=True)
    checkpoint = home / "checkpoint.pt"
    if overwrite:
        checkpoint.unlink(missing_ok=True)
    write_json(home / "environment.json", describe(str(job.backbone.device)))
    log = home / "metrics.jsonl"
    write_text(log, "")

    def on_epoch(record: dict[str, Any]) -> None:
        with log.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        progress.epoch(record)

    trained = fit_adapter(job, seed, on_epoch, checkpoint)
    digest = job.backbone.digest()
    if digest != job.about["backbone"]["digest"]:
        raise MseError(
            f"The weights of the backbone {job.backbone.name} changed in training; the results of seed {seed} are void."
        )
    normalisers = {modality: normaliser.to_dict() for modality, normaliser in job.normalisers.items()}
    write_json(home / "normaliser.json", normalisers)
    save(trained.adapter, home / "adapter", job.description(seed))
    _write_predictions(home / "predictions.parquet", job, trained)
    result = {
        "format": FORMAT,
        "seed": seed,
        "status": "done",
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
        "valid": trained.scores[Split.VALID],
        "test": trained.scores.get(Split.TEST, {}),
        "alarms": _alarms(job, trained),
        "backbone_digest": digest,
        "seconds": sum(record["seconds"] for record in trained.history),
    }
    write_json(home / "result.json", result)
    checkpoint.unlink(missing_ok=True)
    return result


def _alarms(job: Job, trained: Trained) -> list[str]:
    split = Split.TEST if Split.TEST in trained.predicted else Split.VALID
    predicted = trained.predicted[split]
    task = job.answers.task
    classes = task.classes if isinstance(task, Classification) else None
    return metrics.alarms(job.metric_kind, predicted.values, targets(job, predicted.examples), classes)


def _write_predictions(path: Path, job: Job, trained: Trained) -> None:
    """One row a clip. Classes are indices; probabilities are those of the answers in their order."""
    predicted = trained.predicted
    columns = {
        "clip": [example.clip for one in predicted.values() for example in one.examples],
        "split": [split.value for split, one in predicted.items() for _ in one.examples],
        "target": [target for one in predicted.values() for target in targets(job, one.examples)],
        "prediction": [value for one in predicted.values() for value in one.values],
        "probabilities": [row for one in predicted.values() for row in one.probabilities],
    }
    metadata = {"mse.answers": json.dumps(list(job.answers.texts))}
    with aside(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary, compression="zstd")
