"""The objective of training: the loss on the right answer's tokens, and the prediction from the answers' scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from mse_pipeline.adapter import MSEAdapter
from mse_pipeline.backbones.answers import Answers, answer_values
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt
from mse_pipeline.errors import MseError
from mse_pipeline.task import Task
from mse_pipeline.training.reading import Batch, answer_logits, read, text_room
from mse_pipeline.training.scoring import score_answers

__all__ = ["Batch", "Prediction", "answer_loss", "predict", "score_answers", "text_room"]

NO_TARGET = -100
"""Label of positions that the loss passes over."""


def answer_loss(
    backbone: Backbone, adapter: MSEAdapter, prompt: Prompt, answers: Answers, batch: Batch
) -> torch.Tensor:
    """Cross entropy of the right answers' tokens, the mean over all of them in the batch (arXiv 2502.12478).

    Args:
        backbone: Frozen; its parameters get no gradient.
        adapter: What is trained.
        prompt: The fixed parts around the clip.
        answers: All possible answers.
        batch: Clips with targets.

    Returns:
        The loss, a float32 scalar.

    Raises:
        ValueError: The batch has no targets.
        UsageError: Prompt, text and answer are longer than the backbone can read.
    """
    if batch.targets is None:
        raise ValueError("The loss needs targets, but the batch has none.")
    reading = read(backbone, adapter, prompt, batch)
    right = [answers.ids[index] for index in batch.targets.tolist()]
    longest = max(map(len, right))
    labels = torch.tensor(
        [[*ids, *[NO_TARGET] * (longest - len(ids))] for ids in right], device=reading.embeddings.device
    )
    # The last token of the longest answer is predicted, never read.
    inputs = labels[:, :-1]
    present = inputs != NO_TARGET
    whole = reading.then(backbone, inputs.masked_fill(~present, 0), present)
    logits = answer_logits(backbone, whole, keep=longest)
    return functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=NO_TARGET)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was answered.

    Attributes:
        values: (B,) class index, int64, or number, float64.
        probabilities: (B, A) float32 of each answer among all possible ones.
    """

    values: torch.Tensor
    probabilities: torch.Tensor


def predict(scores: torch.Tensor, task: Task) -> Prediction:
    """The likeliest answer to each clip.

    Args:
        scores: (B, A) log-likelihood of each answer, as `score_answers` gives.
        task: What is predicted.

    Raises:
        ValueError: There is not one score an answer.
        MseError: A score is not a number.

    Examples:
        >>> from mse_pipeline.task import Regression
        >>> prediction = predict(torch.tensor([[-3.0, -1.0, -2.0]]), Regression(-0.1, 0.1))
        >>> prediction.values.tolist(), round(prediction.probabilities[0, 1].item(), 3)
        ([0.0], 0.665)
    """
    values = answer_values(task)
    if scores.ndim != 2 or scores.shape[1] != len(values):
        raise ValueError(f"The task has {len(values)} answers, but the scores have shape {tuple(scores.shape)}.")
    if not torch.isfinite(scores).all():
        raise MseError(
            "The backbone's scores are not finite numbers. Half precision overflows in some models: take "
            "bfloat16 or float32, or a lower learning rate."
        )
    scores = scores.float()
    meanings = torch.tensor(values, dtype=torch.int64 if isinstance(values[0], int) else torch.float64)
    return Prediction(meanings.to(scores.device)[scores.argmax(1)], scores.softmax(1))
