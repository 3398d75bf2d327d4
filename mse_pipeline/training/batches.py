"""Batches: which clips of an epoch are read together."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def epoch_batches(lengths: Sequence[int], size: int, order: torch.Generator) -> list[list[int]]:
    """Indices of the batches of one epoch, in a random order that is the same for equal generators."""
    shuffled = torch.randperm(len(lengths), generator=order).tolist()
    return [shuffled[place : place + size] for place in range(0, len(shuffled), size)]
