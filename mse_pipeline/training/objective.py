"""The objective of training: cross entropy on the right answer's tokens."""

from __future__ import annotations

import torch
from torch.nn import functional

from mse_pipeline.adapter import MSEAdapter
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt
from mse_pipeline.training.reading import Batch, answer_logits, read

NO_TARGET = -100
"""Label of positions that the loss passes over."""


def answer_loss(
    backbone: Backbone, adapter: MSEAdapter, prompt: Prompt, answers: Answers, batch: Batch
) -> torch.Tensor:
    """Cross entropy of the right answers' tokens: the mean over the clips of the mean over each one's tokens.

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
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=NO_TARGET, reduction="none"
    )
    counts = (labels != NO_TARGET).sum(1)
    return (losses.view_as(labels).sum(1) / counts).mean()
