"""One training: epochs over the train split, the best by the validation split, the test split once at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from mse_pipeline import metrics
from mse_pipeline.adapter import Model, build
from mse_pipeline.adapter.models import find
from mse_pipeline.backbones.answers import answer_values
from mse_pipeline.clip import Split
from mse_pipeline.task import Classification
from mse_pipeline.training.answering import FittedAtOnce, predict_clips
from mse_pipeline.training.batches import epoch_batches
from mse_pipeline.training.checkpoint import TrainingCheckpoint, TrainingState
from mse_pipeline.training.earlier import config_digest
from mse_pipeline.training.examples import UNKNOWN, Example
from mse_pipeline.training.job import Job
from mse_pipeline.training.learning_rate import find_rate
from mse_pipeline.training.processes import ALONE, Processes
from mse_pipeline.training.step import PLAIN, Learner, TrainingOptions


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of a split.

    Attributes:
        examples: The clips.
        values: Predicted class index or number of each.
        probabilities: Of each answer, for each clip; empty rows where nobody asked for them.
    """

    examples: Sequence[Example]
    values: list[Any]
    probabilities: list[list[float]]

    def only(self, chosen: Callable[[Example], bool]) -> Predicted:
        """Those of some of the clips."""
        places = [place for place, example in enumerate(self.examples) if chosen(example)]
        return Predicted(
            [self.examples[place] for place in places],
            [self.values[place] for place in places],
            [self.probabilities[place] for place in places],
        )

    @property
    def labelled(self) -> Predicted:
        """Those of clips that have a label."""
        return self.only(lambda example: example.target != UNKNOWN)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training ends with.

    Attributes:
        adapter: With the weights of the best epoch.
        last: With those of the last epoch.
        best_epoch: Counted from 1.
        history: One record an epoch: loss, learning rate, validation metrics, seconds, clips per second.
        predicted: By split: validation and, where there is one, test.
        scores: Metrics by split, of the best epoch.
        peak: The learning rate at the schedule's peak, as the settings or the range test say; None of a model that is
            fitted at once.
        calibration: How far probabilities are to be believed, by split, see `calibrate`.
    """

    adapter: Model
    last: Model
    best_epoch: int
    history: list[dict[str, Any]]
    predicted: dict[Split, Predicted]
    scores: dict[Split, dict[str, float]]
    peak: float | None
    calibration: dict[Split, dict[str, float]]


def fit_adapter(
    job: Job,
    seed: int,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
    checkpoint: Path | None = None,
    *,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
    on_rate: Callable[[float], None] = lambda rate: None,
    options: TrainingOptions = PLAIN,
    processes: Processes = ALONE,
) -> Trained:
    """Train a model with AdamW on a cosine schedule with warm-up (arXiv 2502.12478), or fit it at once.

    Args:
        job: What is trained, on what.
        seed: Of the adapter's first weights, the order of clips and dropout.
        on_epoch: Told each epoch's record; after an interruption also those of the epochs before.
        checkpoint: File that the training is saved to as it goes on, and goes on from where it is there. On a CPU the
            weights end the same, bit for bit, as without an interruption. One of another training, as of this one
            before labels, texts, splits or features were corrected, is not gone on with.
        on_step: Told after each step how many of its epoch's are done, and how many there are.
        on_rate: Told the learning rate that a range test found, before the first epoch; after an interruption again.
        options: How steps are carried out; of them only the accumulation is looked at here.
        processes: Who trains together. All call this with the same; all get the same back.

    Raises:
        MseError: The loss is no longer a number, a range test finds no rate, or the checkpoint cannot be used.
    """
    if issubclass(find(job.config.model), FittedAtOnce):
        return _fit_at_once(job, seed, on_epoch, processes)
    learner = Learner(job, seed, options, processes)
    lengths = job.batcher.lengths(job.examples[Split.TRAIN])
    order = torch.Generator().manual_seed(seed)
    saved = TrainingCheckpoint(checkpoint, learner.stateful(), processes, of=f"{config_digest(job.about)} {seed}")
    progress = saved.restore()
    found = job.settings.learning_rate == "auto"
    if progress is None:
        progress = TrainingState(order.get_state())
        if found:
            learner.set_peak(find_rate(job, seed, options, processes, on_step))
    if found:
        on_rate(learner.peak)
    for record in progress.history:
        on_epoch(record)
    while progress.epoch <= job.settings.epochs and progress.epoch - 1 - progress.best_epoch < job.settings.patience:
        order.set_state(progress.order)
        begun = time.monotonic() - progress.seconds
        batches = epoch_batches(lengths, job.settings.batch_size, order)
        for _ in learn_epoch(job, learner, batches, progress):
            on_step(progress.step, len(batches))
            saved.save_if_due(progress)
        scores = evaluate(job, predict_split(job, learner.evaluated, Split.VALID, processes, probabilities=False))
        record = {
            "epoch": progress.epoch,
            "loss": sum(progress.losses) / len(progress.losses),
            "learning_rate": learner.schedule.get_last_lr()[0],
            "valid": scores,
            "seconds": time.monotonic() - begun,
            "clips_per_second": len(job.examples[Split.TRAIN]) / max(progress.seconds, 1e-9),
        }
        progress.keep_if_best(_score(job, scores, progress.epoch), learner.evaluated.state_dict())
        progress.end_epoch(record, order.get_state())
        saved.save(progress)
        on_epoch(record)
    return _conclude(job, learner, progress, processes)


def learn_epoch(
    job: Job, learner: Learner, batches: Sequence[Sequence[int]], progress: TrainingState
) -> Iterator[float]:
    """Take the steps of an epoch that are not done yet; each is noted in `progress` before its loss is yielded."""
    train = job.examples[Split.TRAIN]
    begun = time.monotonic() - progress.seconds
    left = [[train[index] for index in batch] for batch in batches[progress.step :]]
    for loss in learner.steps(left, progress.epoch, progress.step):
        progress.losses.append(loss)
        progress.step += 1
        progress.seconds = time.monotonic() - begun
        yield loss


def _conclude(job: Job, learner: Learner, progress: TrainingState, processes: Processes) -> Trained:
    """Go back to the best epoch's weights and predict with them; the test split is read here for the first time."""
    adapter = learner.evaluated
    last = deepcopy(adapter).eval()
    if progress.best_state:
        adapter.load_state_dict(progress.best_state)
    return _trained(job, adapter, last, progress.best_epoch, progress.history, learner.peak, processes)


def _fit_at_once(job: Job, seed: int, on_epoch: Callable[[dict[str, Any]], None], processes: Processes) -> Trained:
    """Fit a model that takes no steps: one epoch, without a loss or a learning rate."""
    begun = time.monotonic()
    torch.manual_seed(seed)
    model = build(job.config).to(job.backbone.device)
    model.begin(job.backbone)
    cast(FittedAtOnce, model).fit(job)
    seconds = time.monotonic() - begun
    record = {
        "epoch": 1,
        "loss": 0.0,
        "learning_rate": 0.0,
        "valid": evaluate(job, predict_split(job, model, Split.VALID, processes)),
        "seconds": time.monotonic() - begun,
        "clips_per_second": len(job.examples[Split.TRAIN]) / max(seconds, 1e-9),
    }
    on_epoch(record)
    return _trained(job, model, model, 1, [record], None, processes)


def _trained(  # noqa: PLR0917 - what a training has come to
    job: Job,
    model: Model,
    last: Model,
    best_epoch: int,
    history: list[dict[str, Any]],
    peak: float | None,
    processes: Processes,
) -> Trained:
    """Predict valid and test, and score them."""
    splits = [split for split in (Split.VALID, Split.TEST) if job.examples[split]]
    predicted = {split: predict_split(job, model, split, processes) for split in splits}
    scores = {split: evaluate(job, one) for split, one in predicted.items()}
    return Trained(
        adapter=model.eval(),
        last=last,
        best_epoch=best_epoch,
        history=history,
        predicted=predicted,
        scores=scores,
        peak=peak,
        calibration={split: calibrate(job, one) for split, one in predicted.items()},
    )


def _score(job: Job, scores: dict[str, float], epoch: int) -> float:
    """What epochs are compared by, larger is better: the main metric, or where the last one is kept, its number."""
    if job.settings.keep == "last":
        return float(epoch)
    name, higher_is_better = metrics.primary(job.metric_kind)
    return scores[name] if higher_is_better else -scores[name]


def predict_split(
    job: Job, adapter: Model, split: Split, processes: Processes = ALONE, *, probabilities: bool = True
) -> Predicted:
    """Predict all labelled clips of a split, in their order; each process predicts its part, and gets all back.

    Without `probabilities`, these are left out where predicting costs less without them.
    """
    adapter.eval()
    chosen = job.examples[split]
    # Of a sharded backbone no process can read a layer alone, and their parts may take unequally many passes.
    own = chosen if processes.sharded else processes.share(chosen)
    prediction = predict_clips(job, adapter, own, probabilities=probabilities)
    predicted = list(zip(prediction.values.tolist(), prediction.probabilities.tolist(), strict=True))
    if not processes.sharded:
        predicted = processes.gather(predicted)
    return Predicted(chosen, [value for value, _ in predicted], [row for _, row in predicted])


def evaluate(job: Job, predicted: Predicted) -> dict[str, float]:
    """Metrics of predictions against the annotations (not against their rounding to one decimal).

    Clips without a label do not count; where no clip has one there are none.
    """
    labelled = predicted.labelled
    if not labelled.examples:
        return {}
    return metrics.evaluate(job.metric_kind, labelled.values, targets(job, labelled.examples))


def calibrate(job: Job, predicted: Predicted) -> dict[str, float]:
    """How far the probabilities of predictions are to be believed: of classes and of numbers, whatever the metrics.

    Where clips have annotators' votes, also how near probabilities are to their shares. Empty where the answers have no
    probabilities.
    """
    if any(len(row) != len(job.answers) for row in predicted.probabilities):
        return {}
    labelled, voted = predicted.labelled, predicted.only(lambda example: bool(example.distribution))
    found: dict[str, float] = {}
    right = [example.target for example in labelled.examples]
    if right and isinstance(job.answers.task, Classification):
        found = metrics.class_calibration(labelled.values, labelled.probabilities, right)
    elif right:
        found = metrics.number_calibration(answer_values(job.answers.task), labelled.probabilities, right)
    if voted.examples:
        given = [example.distribution for example in voted.examples]
        found |= metrics.distribution_distances(voted.probabilities, given)
    return found


def targets(job: Job, chosen: Sequence[Example]) -> list[Any]:
    """What predictions are compared with: class indices, or the annotated numbers; None of clips without a label."""
    classes = isinstance(job.answers.task, Classification)
    return [None if example.target == UNKNOWN else example.target if classes else example.label for example in chosen]
