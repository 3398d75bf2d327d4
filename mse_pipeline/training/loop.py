"""One training: epochs over the train split, the best by the validation split, the test split once at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mse_pipeline import metrics
from mse_pipeline.adapter import MSEAdapter
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError
from mse_pipeline.task import Classification
from mse_pipeline.training.batches import ahead, epoch_batches
from mse_pipeline.training.checkpoint import Checkpoint, Progress
from mse_pipeline.training.decoding import decode
from mse_pipeline.training.examples import Example
from mse_pipeline.training.job import Job
from mse_pipeline.training.objective import answer_loss
from mse_pipeline.training.reading import Batch
from mse_pipeline.training.scoring import score_examples


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of a split.

    Attributes:
        examples: The clips.
        values: Predicted class index or number of each.
        probabilities: Of each answer, for each clip.
    """

    examples: Sequence[Example]
    values: list[Any]
    probabilities: list[list[float]]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training ends with.

    Attributes:
        adapter: With the weights of the best epoch.
        best_epoch: Counted from 1.
        history: One record an epoch: loss, learning rate, seconds, validation metrics.
        predicted: By split: validation and, where there is one, test.
        scores: Metrics by split, of the best epoch.
    """

    adapter: MSEAdapter
    best_epoch: int
    history: list[dict[str, Any]]
    predicted: dict[Split, Predicted]
    scores: dict[Split, dict[str, float]]


def fit_adapter(
    job: Job,
    seed: int,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
    checkpoint: Path | None = None,
) -> Trained:
    """Train an adapter with AdamW on a cosine schedule with warm-up (arXiv 2502.12478).

    Args:
        job: What is trained, on what.
        seed: Of the adapter's first weights, the order of clips and dropout.
        on_epoch: Told each epoch's record; after an interruption also those of the epochs before.
        checkpoint: File that the training is saved to as it goes on, and goes on from where it is there. On a CPU the
            weights end the same, bit for bit, as without an interruption.

    Raises:
        MseError: The loss is no longer a number, or the checkpoint cannot be used.
    """
    from transformers import get_cosine_schedule_with_warmup

    torch.manual_seed(seed)
    settings, train = job.settings, job.examples[Split.TRAIN]
    adapter = MSEAdapter(job.config).to(job.backbone.device)
    optimiser = torch.optim.AdamW(
        adapter.parameters(),
        settings.learning_rate,
        eps=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
    )
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    schedule = get_cosine_schedule_with_warmup(optimiser, round(settings.warm_up * steps), steps)
    order = torch.Generator().manual_seed(seed)
    saved = Checkpoint(checkpoint, {"adapter": adapter, "optimiser": optimiser, "schedule": schedule})
    progress = saved.restore() or Progress(order.get_state())
    order.set_state(progress.order)
    for record in progress.history:
        on_epoch(record)
    lengths = job.batcher.lengths(train)
    name, higher_is_better = metrics.primary(job.metric_kind)
    while progress.epoch <= settings.epochs and progress.epoch - 1 - progress.best_epoch < settings.patience:
        begun = time.monotonic() - progress.seconds
        adapter.train()
        batches = epoch_batches(lengths, settings.batch_size, order)[progress.step :]
        for batch in ahead(job.batcher.batch, ([train[place] for place in places] for places in batches)):
            progress.losses.append(_step(job, adapter, optimiser, batch, progress.epoch))
            schedule.step()
            progress.step += 1
            progress.seconds = time.monotonic() - begun
            saved.save_if_due(progress)
        scores = evaluate(job, predict_split(job, adapter, Split.VALID))
        record = {
            "epoch": progress.epoch,
            "loss": sum(progress.losses) / len(progress.losses),
            "learning_rate": schedule.get_last_lr()[0],
            "valid": scores,
            "seconds": time.monotonic() - begun,
        }
        score = scores[name] if higher_is_better else -scores[name]
        if score > progress.best_score:
            progress.best_score, progress.best_epoch = score, progress.epoch
            progress.best_state = {key: value.detach().clone() for key, value in adapter.state_dict().items()}
        progress.history.append(record)
        progress.epoch, progress.step, progress.losses, progress.seconds = progress.epoch + 1, 0, [], 0.0
        progress.order = order.get_state()
        saved.save(progress)
        on_epoch(record)
    if progress.best_state:
        adapter.load_state_dict(progress.best_state)
    predicted = {
        split: predict_split(job, adapter, split) for split in (Split.VALID, Split.TEST) if job.examples[split]
    }
    scores_by_split = {split: evaluate(job, one) for split, one in predicted.items()}
    return Trained(adapter.eval(), progress.best_epoch, progress.history, predicted, scores_by_split)


def _step(job: Job, adapter: MSEAdapter, optimiser: torch.optim.Optimizer, batch: Batch, epoch: int) -> float:
    """One step of the optimiser; returns the loss before it."""
    loss = answer_loss(job.backbone, adapter, job.prompt, job.answers, batch, job.weights)
    if not torch.isfinite(loss):
        raise MseError(
            f"The loss of epoch {epoch} is {loss.item()}: training has diverged. Take a lower learning rate "
            f"than {job.settings.learning_rate:g}, or set clip_norm in the recipe's training section."
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if job.settings.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), job.settings.clip_norm)
    optimiser.step()
    return loss.item()


def predict_split(job: Job, adapter: MSEAdapter, split: Split) -> Predicted:
    """Predict all labelled clips of a split, in their order."""
    adapter.eval()
    chosen = job.examples[split]
    steps = score_examples(job.backbone, adapter, job.prompt, job.answers, batcher=job.batcher, chosen=chosen)
    prediction = decode(steps, job.answers, job.settings.decoding)
    return Predicted(chosen, prediction.values.tolist(), prediction.probabilities.tolist())


def evaluate(job: Job, predicted: Predicted) -> dict[str, float]:
    """Metrics of predictions against the annotations (not against their rounding to one decimal)."""
    return metrics.evaluate(job.metric_kind, predicted.values, targets(job, predicted.examples))


def targets(job: Job, chosen: Sequence[Example]) -> list[Any]:
    """What predictions are compared with: class indices, or the annotated numbers."""
    classes = isinstance(job.answers.task, Classification)
    return [example.target if classes else example.label for example in chosen]
