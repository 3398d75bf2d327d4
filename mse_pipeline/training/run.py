"""train: a dataset in the cache and a backbone become a run folder, one training a seed.

A frozen backbone can trade time for memory (checkpointing), and a slow start for faster steps (compilation). Neither
changes a result.

Examples:
    >>> from mse_pipeline import backbones
    >>> tiny = backbones.load("tiny")
    >>> enable_checkpointing(tiny)
    2
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mse_pipeline import metrics, posix
from mse_pipeline.adapter import Model, build, hub, save
from mse_pipeline.adapter.models import find
from mse_pipeline.backbones.answering import computed_again
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.none import NONE
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError, UsageError, writing
from mse_pipeline.metrics.coverage import Coverage
from mse_pipeline.progress import Silent
from mse_pipeline.store.storage import aside, write_json, write_text
from mse_pipeline.task import Classification
from mse_pipeline.training import earlier
from mse_pipeline.training.answering import FittedAtOnce
from mse_pipeline.training.job import Job
from mse_pipeline.training.loop import Trained, fit_adapter, targets
from mse_pipeline.training.processes import Processes, join
from mse_pipeline.training.run_files import ADAPTER, DATA, NORMALISER, RESULT, RUN, describe, read_json
from mse_pipeline.training.step import PLAIN, TrainingOptions
from mse_pipeline.training.trackers import Trackers, check_trackers


def enable_checkpointing(backbone: Backbone) -> int:
    """Keep of each layer only what goes into it, and compute the layer again in the backward pass.

    Saves most of the activations' memory for about half as much time again. `gradient_checkpointing_enable` of
    transformers does it in training mode alone, where some models drop values out; a frozen backbone stays in
    evaluation mode, so its layers are wrapped here, and outputs and gradients stay the same bits.

    Args:
        backbone: Changed in place; a second call changes nothing.

    Returns:
        Number of layers.

    Raises:
        UsageError: The model's class has no layers that transformers knows how to compute again.
    """
    layers = _layers(backbone)
    for layer in layers:
        if not hasattr(layer.forward, "_checkpointed"):
            layer.forward = _computed_again(layer.forward)
    return len(layers)


def compile_forward(backbone: Backbone) -> int:
    """Compile the layers with torch.compile, for sequences of any length.

    The layers are alike, so one is compiled for all of them; compiling the whole model would take many times as long.
    It happens in the first steps. Numbers agree with those of the plain way up to rounding.

    Args:
        backbone: Changed in place.

    Returns:
        Number of layers.

    Raises:
        UsageError: The model's class has no layers that transformers knows, or torch cannot compile on this machine.
    """
    layers = _layers(backbone)
    _require_compiler(backbone.device)
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)


def _layers(backbone: Backbone) -> list[torch.nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in backbone.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UsageError(
            f"The backbone {backbone.name} ({backbone.family}) has no layers that transformers can compute again or "
            "compile one by one: leave --gradient-checkpointing and --compile out."
        )
    return layers


def _computed_again(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    @wraps(forward)
    def checkpointed(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*given, **named)
        # A frozen model in evaluation mode draws no random numbers, so there is no state of them to keep.
        return checkpoint(
            forward, *given, use_reentrant=False, preserve_rng_state=False, context_fn=computed_again, **named
        )

    checkpointed._checkpointed = True  # type: ignore[attr-defined]
    return checkpointed


def _require_compiler(device: torch.device) -> None:
    """Compile something small: whether compiler, headers and Triton are there and fit together, only that tells."""
    try:
        torch.compile(_small, dynamic=True)(torch.zeros(2, device=device))
    except Exception as error:  # torch raises errors of a dozen types, those of the compiler it calls among them
        needed = "a C++ compiler (g++ or clang++, or $CXX)" if device.type == "cpu" else "Triton and a C compiler"
        raise UsageError(
            f"torch cannot compile for {device} here ({type(error).__name__}): it needs {needed} and Python's header "
            "files. Install them, or leave --compile out."
        ) from error


def _small(values: torch.Tensor) -> torch.Tensor:
    return values.sin() + 1


FORMAT = 1


class TrainingProgress(Protocol):
    """What is told while trainings go on."""

    def begin(self, seed: int, epochs: int) -> None:
        """The training of a seed begins."""

    def rate(self, seed: int, rate: float) -> None:
        """A range test found the peak of a seed's learning rate."""

    def step(self, done: int, steps: int) -> None:
        """So many of an epoch's steps are done."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is through."""


@dataclass(frozen=True)
class SeedResult:
    """One training of a run.

    Attributes:
        seed: Its seed.
        folder: Where it lies.
        result: What stands in its result.json.
        reused: It was there already, trained on the same data; ``finished`` in the result says since when.
        changed: What has changed in the data since the newest run of the same configuration on other data, for
            which this one was trained anew; empty for one that is reused.
    """

    seed: int
    folder: Path
    result: dict[str, Any]
    reused: bool
    changed: tuple[str, ...] = ()


def train(
    job: Job,
    runs: Path,
    seeds: Sequence[int],
    *,
    overwrite: bool = False,
    progress: TrainingProgress | None = None,
    options: TrainingOptions = PLAIN,
) -> list[SeedResult]:
    """Train one adapter a seed; what is done under the same configuration, on the same data, is not trained again.

    Where labels, texts, splits or features have changed since, it is trained anew, beside the run of before.
    A seed that was interrupted goes on from where it was saved last: at the end of an epoch, and every minute. Under
    torchrun or `accelerate launch` all processes call this and train together; the main one writes.

    Args:
        job: What is trained, on what.
        runs: Folder of the run folders.
        seeds: One training each.
        overwrite: Train again what is done.
        progress: Told how far it is.
        options: How it is carried out, with the same result.

    Raises:
        UsageError: An option cannot be used here.
        MseError: Training diverged, the backbone did not stay as it was, another run trains the same seed, or
            processes see other data than the main one.
    """
    check_trackers(options.trackers)
    processes = join(str(job.backbone.device))
    _require_agreement(job, processes)
    _prepare_backbone(job, options, processes)
    beside_others = processes.count > 1 and job.backbone.device.type == "cpu"
    if options.checkpointing or processes.sharded or beside_others:
        # Layers that compute twice, or in pieces, do not go on from kept states; processes that share one memory would
        # each keep all of them.
        job = replace(job, states=None)
    folder = run_folder(job, runs)
    changed: tuple[str, ...] = ()
    if processes.main:
        changed = earlier.standing(job.about, job.data, runs).changed
        _describe(job, folder)
    changed = processes.from_main(changed)
    results = []
    for seed in seeds:
        home = folder / f"seed-{seed}"
        with _held(home, processes):
            done = processes.from_main(None if overwrite or not processes.main else _done(home, job))
            run = _SeedRun(job, seed, home, options=options, processes=processes, progress=progress or Silent())
            result = done or run.train(overwrite)
            results.append(SeedResult(seed, home, result, done is not None, () if done else changed))
    return results


def _require_agreement(job: Job, processes: Processes) -> None:
    """Refuse to train on several datasets as if they were one: each process reads its own machine's cache."""
    digests = processes.gather([config_digest(job)])
    others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
    if others:
        raise MseError(
            f"Process {', '.join(others)} would train on other data, or with another configuration, than process 0. "
            "All need the same cache: copy it to each machine again, and wait for extractions into it to end."
        )


def _prepare_backbone(job: Job, options: TrainingOptions, processes: Processes) -> None:
    """Have the frozen model compute as the options say; its weights stay what they are."""
    if options.checkpointing:
        enable_checkpointing(job.backbone)
    if processes.sharded:
        from mse_pipeline.training.processes import shard_model

        shard_model(job.backbone, processes.device)
    if options.compile:
        compile_forward(job.backbone)


@contextmanager
def _held(home: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs away from a seed's folder."""
    if not processes.main:
        yield
        return
    import filelock

    home.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(home / ".lock", timeout=0).acquire()
    except filelock.Timeout as error:
        raise MseError(
            f"Another run is training in {home} at this moment. Wait for it, or stop it; then give the same command."
        ) from error
    with lock:
        yield


def run_folder(job: Job, runs: Path) -> Path:
    """Where a job's trainings lie: the name tells dataset, backbone, model and variant, and a digest tells the rest."""
    about = job.about
    parts = [about["dataset"]]
    if about["backbone"]["name"] != NONE:
        parts.append(Path(about["backbone"]["name"]).name)
    if job.config.model != "mse-adapter":
        parts.append(job.config.model)
    if job.config.model == "mse-adapter" or about["variant"] != "adapter":
        parts.append(about["variant"].replace(" ", "-"))
    return runs / "-".join([*parts, config_digest(job)])


def config_digest(job: Job) -> str:
    """8 hex digits; equal for runs that differ by seed alone."""
    return earlier.config_digest(job.about)


def _describe(job: Job, folder: Path) -> None:
    """Write what the run is, and what it reads; of a run that goes on, the time when it was begun stays."""
    begun = None
    if (folder / RUN).is_file():
        with suppress(MseError):
            begun = read_json(folder / RUN).get("created")
    job.data.write(folder / DATA)
    write_json(folder / RUN, {**_run_description(job), **({"created": begun} if begun else {})})


def _run_description(job: Job) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dataset": job.about["dataset"],
        "metrics": job.metric_kind,
        "backbone": job.about["backbone"]["name"],
        "model": job.config.model,
        "variant": job.about["variant"],
        "streams": {modality: stream and stream["name"] for modality, stream in job.about["streams"].items()},
        "classes": list(job.answers.task.classes) if isinstance(job.answers.task, Classification) else None,
        "config": dict(job.about),
        "places": dict(job.places),
        "recipe": dict(job.recipe),
        "config_digest": config_digest(job),
        **_parameters(job),
        "adapted": find(job.config.model).adaptation(job.config),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _parameters(job: Job) -> dict[str, int]:
    """How many numbers are trained, and how many there are with the frozen ones.

    Nothing of a model that is fitted at once, whose size the train split decides: its result tells.
    """
    if issubclass(find(job.config.model), FittedAtOnce):
        return {}
    with torch.device("meta"):
        return count_parameters(job, build(job.config))


def count_parameters(job: Job, model: Model) -> dict[str, int]:
    """``trainable_parameters`` of a model, and ``total_parameters``, those of its backbone included."""
    own = list(model.parameters())
    frozen = sum(one.numel() for one in job.backbone.model.parameters()) if model.reads_backbone else 0
    trained = sum(one.numel() for one in own if one.requires_grad)
    return {"trainable_parameters": trained, "total_parameters": frozen + sum(one.numel() for one in own)}


def _done(home: Path, job: Job) -> dict[str, Any] | None:
    """The result of a training that is done, of this configuration and these data.

    What it leaves out may have become more since, as by clips without a label: its coverage is that of now.
    """
    try:
        result = read_json(home / RESULT)
    except MseError:
        return None
    if (result.get("status"), result.get("config_digest")) != ("done", config_digest(job)):
        return None
    stored = result.get("coverage")
    if job.coverage.to_plain() != stored:
        with suppress(ValueError):
            before = Coverage.from_plain(stored).shortcomings()
            alarms = [alarm for alarm in result.get("alarms", ()) if alarm not in before]
            result |= {"coverage": job.coverage.to_plain(), "alarms": [*alarms, *job.coverage.shortcomings()]}
            write_json(home / RESULT, result)
    return result


class _SeedRun:
    """One training and its folder, in which the main process alone writes."""

    def __init__(
        self,
        job: Job,
        seed: int,
        home: Path,
        *,
        options: TrainingOptions,
        processes: Processes,
        progress: TrainingProgress,
    ) -> None:
        self._job, self._seed, self._home = job, seed, home
        self._options, self._processes, self._progress = options, processes, progress
        self._checkpoint, self._log = home / "checkpoint.pt", home / "metrics.jsonl"

    def train(self, overwrite: bool) -> dict[str, Any]:
        """Train and write; returns what stands in result.json."""
        job, seed, processes = self._job, self._seed, self._processes
        if processes.main:
            self._begin(overwrite)
        trackers = self._trackers()
        self._progress.begin(seed, job.settings.epochs)

        def on_epoch(record: dict[str, Any]) -> None:
            if processes.main:
                with writing(self._log), self._log.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(record) + "\n")
            trackers.epoch(record)
            self._progress.epoch(record)

        try:
            trained = fit_adapter(
                job,
                seed,
                on_epoch,
                self._checkpoint,
                on_step=self._progress.step,
                on_rate=lambda rate: self._progress.rate(seed, rate),
                options=self._options,
                processes=processes,
            )
            result = self._result(trained)
            trackers.end({split.value: one for split, one in trained.scores.items()}, len(trained.history))
        finally:
            trackers.close()
        if processes.main:
            self._write(trained, result)
        return result

    def _begin(self, overwrite: bool) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / RESULT).unlink(missing_ok=True)
        if overwrite:
            self._checkpoint.unlink(missing_ok=True)
        # Logs begin anew as metrics.jsonl does: a training that goes on tells of its earlier epochs again.
        shutil.rmtree(self._home / "logs", ignore_errors=True)
        write_json(self._home / "environment.json", describe(self._processes.device, self._processes.count))
        write_text(self._log, "")

    def _trackers(self) -> Trackers:
        names = self._options.trackers if self._processes.main else ()
        run = f"{self._home.parent.name}-{self._home.name}"
        return Trackers(names, self._home / "logs", run, {"seed": self._seed, **self._job.about})

    def _result(self, trained: Trained) -> dict[str, Any]:
        job = self._job
        digest = job.backbone.digest()
        if digest != job.about["backbone"]["digest"]:
            raise MseError(
                f"The weights of the backbone {job.backbone.name} changed in training; the results of seed "
                f"{self._seed} are void."
            )
        return {
            "format": FORMAT,
            "seed": self._seed,
            "status": "done",
            "best_epoch": trained.best_epoch,
            "epochs": len(trained.history),
            "learning_rate": trained.peak,
            "valid": trained.scores[Split.VALID],
            "test": trained.scores.get(Split.TEST, {}),
            "calibration": {split.value: one for split, one in trained.calibration.items()},
            "coverage": job.coverage.to_plain(),
            "alarms": [*_alarms(job, trained), *job.coverage.shortcomings()],
            "backbone_digest": digest,
            "config_digest": config_digest(job),
            **count_parameters(job, trained.adapter),
            "peak_memory": peak_memory(job.backbone.device),
            "seconds": sum(record["seconds"] for record in trained.history),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _write(self, trained: Trained, result: dict[str, Any]) -> None:
        """Write all that is kept; result.json, which says that the rest is there, comes last."""
        job, home = self._job, self._home
        about = job.description(self._seed)
        normalisers = {modality: normaliser.to_dict() for modality, normaliser in job.normalisers.items()}
        write_json(home / NORMALISER, normalisers)
        save(trained.adapter, home / ADAPTER, {**about, "epoch": trained.best_epoch})
        save(trained.last, home / "last", {**about, "epoch": len(trained.history)})
        _write_predictions(home / "predictions.parquet", job, trained)
        hub.write_card(home / ADAPTER, result)
        write_json(home / RESULT, result)
        self._checkpoint.unlink(missing_ok=True)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes that this process has held so far: of the GPU, else of main memory; None where nobody tells."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return posix.peak_memory()


def _alarms(job: Job, trained: Trained) -> list[str]:
    split = Split.TEST if Split.TEST in trained.predicted else Split.VALID
    predicted = trained.predicted[split]
    labelled = predicted.labelled
    task = job.answers.task
    classes = task.classes if isinstance(task, Classification) else None
    told = []
    if without := len(predicted.examples) - len(labelled.examples):
        told.append(
            f"{without:,} of {len(predicted.examples):,} clips of the {split} split have votes and no label: metrics "
            "of classes are of the others."
        )
    if labelled.examples:
        train = [target for target in targets(job, job.examples[Split.TRAIN]) if target is not None]
        there = targets(job, labelled.examples)
        told += metrics.alarms(job.metric_kind, labelled.values, there, classes, split=split.value, train=train)
    return told


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
    metadata = {
        "mse.answers": json.dumps(list(job.answers.texts)),
        "mse.config_digest": config_digest(job),
        "mse.coverage": json.dumps(job.coverage.to_plain()),
    }
    with aside(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary, compression="zstd")
