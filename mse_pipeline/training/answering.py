"""Answering: the answers of any model, whether it speaks through the backbone or answers itself, and the latter's loss.

The loss of what speaks through the backbone is `mse_pipeline.training.objective.answer_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import torch

from mse_pipeline.adapter import DirectModel, Model, TrainedModel
from mse_pipeline.backbones.answers import Answers, answer_values
from mse_pipeline.task import Classification
from mse_pipeline.training.batches import ahead
from mse_pipeline.training.examples import Example
from mse_pipeline.training.objective import distribution_loss, scores_loss
from mse_pipeline.training.reading import Batch, value_scores
from mse_pipeline.training.scoring import Prediction, decode, predict_examples, score_examples

if TYPE_CHECKING:
    from mse_pipeline.training.job import Job

_AT_ONCE = 64
"""Clips that a direct model reads at once where nothing is learned."""


@runtime_checkable
class FittedAtOnce(Protocol):
    """A model that is not learned step by step, but fitted to the train split at once."""

    def fit(self, job: Job) -> None:
        """Fit it, and choose what is to be chosen by the valid split.

        Raises:
            UsageError: The job asks for what the model cannot do.
        """


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """The loss of values that a model that answers itself, or a branch of it, makes for the clips of a batch.

    Attributes:
        job: What is learned, and how.
        model: Whose values they are.
        batch: The clips, with targets.

    Raises:
        ValueError: The batch has no targets.
    """

    job: Job
    model: DirectModel
    batch: Batch

    def __post_init__(self) -> None:
        if self.batch.targets is None:
            raise ValueError("The loss needs targets, but the batch has none.")

    def __call__(self, values: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Mean loss of values (B, outputs); by other right answers than the clips', if `targets` (B,) has such."""
        return self.of_scores(value_scores(values, self.model.width, self.job.answers), targets)

    def of_scores(self, scores: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """The same of the answers' log-probabilities (B, A)."""
        job, shares = self.job, self.batch.distributions
        smoothing = job.settings.label_smoothing if isinstance(job.answers.task, Classification) else 0.0
        if shares is not None and targets is None:
            return distribution_loss(scores, shares.to(scores.device), [1] * len(job.answers), job.weights, smoothing)
        right = cast(torch.Tensor, self.batch.targets if targets is None else targets)
        return scores_loss(scores, right.to(scores.device), job.weights, smoothing)

    @property
    def numbers(self) -> torch.Tensor:
        """(B,) the right numbers, from -1 to 1 between the ends of the answers, as a model's values are."""
        values = torch.tensor(answer_values(self.job.answers.task), dtype=torch.float32)
        right = values[cast(torch.Tensor, self.batch.targets).cpu()]
        return 2 * (right - values[0]) / (values[-1] - values[0]) - 1


def direct_loss(job: Job, model: DirectModel, batch: Batch) -> torch.Tensor:
    """The loss of a batch with targets, by a model that answers itself: a float32 scalar with gradient."""
    loss_of = BatchLoss(job, model, batch)
    loss = loss_of.of_scores(direct_scores(model, job.answers, batch, job.backbone.device))
    extra = model.extra_loss(loss_of)
    return loss if extra is None else loss + extra


def direct_scores(
    model: DirectModel, answers: Answers, batch: Batch, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Log-probability of each answer by a model that answers itself, (B, A) float32."""
    batch = (batch if model.config.text else batch.without_text()).to(device)
    values: torch.Tensor = model(batch)
    if values.shape != (len(batch), model.outputs):
        raise ValueError(
            f"The model {model.config.model} made values of shape {tuple(values.shape)}; a batch of {len(batch)} clips "
            f"needs ({len(batch)}, {model.outputs})."
        )
    return value_scores(values, model.width, answers)


def score_clips(job: Job, model: Model, chosen: Sequence[Example]) -> torch.Tensor:
    """Log-probability of each token of every answer to some clips, (N, S) float32 on the CPU, without gradient."""
    if isinstance(model, DirectModel):
        steps = torch.zeros(len(chosen), len(job.answers))
        parts = [range(begin, min(begin + _AT_ONCE, len(chosen))) for begin in range(0, len(chosen), _AT_ONCE)]
        batches = ahead(job.batcher.batch, ([chosen[place] for place in part] for part in parts))
        for part, batch in zip(parts, batches, strict=True):
            with torch.inference_mode():
                steps[part.start : part.stop] = direct_scores(model, job.answers, batch, job.backbone.device).cpu()
        return steps
    speaking = cast(TrainedModel, model)
    with speaking.in_force(job.backbone):
        steps = score_examples(
            job.backbone,
            speaking,
            job.prompt,
            job.answers,
            batcher=job.batcher,
            chosen=chosen,
            states=job.states,
            among_answers=True,
        )
        with torch.no_grad():
            return speaking.adjusted(steps, job.answers)


def predict_clips(job: Job, model: Model, chosen: Sequence[Example], *, probabilities: bool = True) -> Prediction:
    """Predict some clips, in their order, on the CPU.

    Args:
        job: With answers and decoding.
        model: In evaluation mode.
        chosen: The clips.
        probabilities: Whether these are asked for; else they are left out where predicting costs less without them.
    """
    plain = isinstance(model, TrainedModel) and not isinstance(model, FittedAtOnce) and not model.steers_backbone
    if probabilities or not plain:
        return decode(score_clips(job, model, chosen), job.answers, job.settings.decoding)
    return predict_examples(
        job.backbone,
        cast(TrainedModel, model),
        job.prompt,
        job.answers,
        batcher=job.batcher,
        chosen=chosen,
        states=job.states,
        decoding=job.settings.decoding,
        probabilities=False,
    )
