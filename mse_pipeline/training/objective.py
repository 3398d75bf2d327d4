"""The objective of training: cross entropy on the right answer's tokens, or on the head's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional

from mse_pipeline.adapter import TrainedModel
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Task
from mse_pipeline.training.reading import Batch, answer_logits, head_scores, read
from mse_pipeline.training.states import PromptStates

NO_TARGET = -100
"""Label of positions that the loss passes over."""


def answer_loss(  # noqa: PLR0917 - what reads, what is read
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    answers: Answers,
    batch: Batch,
    weights: torch.Tensor | None = None,
    *,
    states: PromptStates | None = None,
) -> torch.Tensor:
    """Mean over the clips of each clip's loss, the mean cross entropy of its right answer's tokens.

    Every clip counts alike however many tokens its answer has, so the loss of a batch is the mean of its parts'
    losses by their numbers of clips: in whatever parts and on however many devices it is computed. Where all answers
    have as many tokens, it is the mean over all tokens (arXiv 2502.12478).

    Args:
        backbone: Frozen; its parameters get no gradient.
        adapter: What is trained.
        prompt: The fixed parts around the clip.
        answers: All possible answers.
        batch: Clips with targets.
        weights: (A,) what each answer's clips count, as `balanced_weights` gives; None for all alike.
        states: Of what stands before the pseudo tokens, see `read`.

    Returns:
        The loss, a float32 scalar.

    Raises:
        ValueError: The batch has no targets.
        UsageError: Prompt, text and answer are longer than the backbone can read.
    """
    if batch.targets is None:
        raise ValueError("The loss needs targets, but the batch has none.")
    reading = read(backbone, adapter, prompt, batch, states)
    targets = batch.targets.to(reading.embeddings.device)
    if adapter.head is not None:
        scores = head_scores(backbone, adapter, answers, reading)
        return _weighed(functional.nll_loss(scores, targets, reduction="none"), targets, weights)
    right = [answers.ids[index] for index in batch.targets.tolist()]
    longest = max(map(len, right))
    labels = torch.tensor(
        [[*ids, *[NO_TARGET] * (longest - len(ids))] for ids in right], device=reading.embeddings.device
    )
    # The last token of the longest answer is predicted, never read.
    inputs = labels[:, :-1]
    present = inputs != NO_TARGET
    whole = reading.then(backbone, inputs.masked_fill(~present, 0), present) if longest > 1 else reading
    logits = answer_logits(backbone, whole, keep=longest)
    tokens = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=NO_TARGET, reduction="none"
    )
    clips = tokens.unflatten(0, labels.shape).sum(1) / (labels != NO_TARGET).sum(1)
    return _weighed(clips, targets, weights)


def _weighed(clips: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean of the clips' losses (B,), each by what the clips of its answer count."""
    return (clips if weights is None else clips * weights.to(clips.device)[targets]).mean()


def class_weights(kind: Literal["none", "balanced"], task: Task, targets: Sequence[int]) -> torch.Tensor | None:
    """What the clips of each class count in the loss; None for all alike.

    Args:
        kind: ``none``, or ``balanced``: all classes together count alike.
        task: What is predicted.
        targets: Class indices of the train split's clips.

    Raises:
        UsageError: The task is to predict a number.
    """
    if kind == "none":
        return None
    if not isinstance(task, Classification):
        raise UsageError(
            "training.class_weights is for classes, and this task is to predict a number: set it to none, or leave it "
            "out."
        )
    return balanced_weights(targets, len(task.classes))


def balanced_weights(targets: Sequence[int], classes: int) -> torch.Tensor:
    """Weights (classes,) float32 in inverse proportion to the classes' counts, 1 in the mean over all clips.

    n / (classes that occur * count), the "balanced" heuristic (King and Zeng 2001). A class without any clip has 1.

    Examples:
        >>> balanced_weights([0, 0, 0, 1], 3).tolist()
        [0.6666666865348816, 2.0, 1.0]
    """
    counts = Counter(targets)
    weights = [len(targets) / (len(counts) * counts[index]) if counts[index] else 1.0 for index in range(classes)]
    return torch.tensor(weights, dtype=torch.float32)
