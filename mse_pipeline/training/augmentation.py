"""Augmentation: what the adapter reads of a batch in training, changed at random so that it is not learned by heart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mse_pipeline.recipe import Training
from mse_pipeline.training.reading import Batch
from mse_pipeline.training.streams import MODALITIES


def augment(batch: Batch, settings: Training, *, text: bool = True, device: torch.device | str = "cpu") -> Batch:
    """A batch with noise on its values, rows and spans set to 0, and streams left out, as the settings say.

    0 is the mean of normalised values. All is drawn from torch's global random state: lengths, rows and spans on the
    CPU, so that nothing waits for the device, the noise on the device. Settings of 0 draw nothing.

    Args:
        batch: As it is read without augmentation.
        settings: Of them ``row_dropout``, ``modality_dropout``, ``feature_noise`` and ``time_mask``.
        text: Whether the adapter reads the text. A clip never loses all that is there: one of its streams stays where
            no text is read.
        device: Where the batch is read.

    Returns:
        The batch on the device; the given one, as it is, where no setting changes anything.

    Examples:
        >>> batch = Batch(
        ...     clips=("a",),
        ...     text_ids=torch.zeros(1, 1, dtype=torch.int64),
        ...     text_mask=torch.ones(1, 1, dtype=torch.bool),
        ...     acoustic=torch.ones(1, 8, 1),
        ...     acoustic_lengths=torch.tensor([8]),
        ... )
        >>> _ = torch.manual_seed(0)
        >>> augment(batch, Training(time_mask=0.5)).acoustic.flatten().tolist()
        [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
        >>> augment(batch, Training()) is batch
        True
    """
    if not any((settings.row_dropout, settings.modality_dropout, settings.feature_noise, settings.time_mask)):
        return batch
    there = {name: lengths for name in MODALITIES if (lengths := getattr(batch, f"{name}_lengths")) is not None}
    if settings.modality_dropout and there:
        heard = batch.text_mask.bool().any(1).cpu() if text else torch.zeros(len(batch), dtype=torch.bool)
        there = _drop_modalities(there, settings.modality_dropout, heard)
    batch = batch.to(device)
    changed: dict[str, Any] = {}
    for name, lengths in there.items():
        values = getattr(batch, name)
        kept = _kept_rows(lengths, values.shape[1], settings).to(values.device).unsqueeze(-1)
        if settings.feature_noise:
            values = values + settings.feature_noise * torch.randn_like(values)
        # Chosen, not multiplied: what is padding may be any number.
        changed |= {name: torch.where(kept, values, values.new_zeros(())), f"{name}_lengths": lengths}
    return replace(batch, **changed)


def _drop_modalities(there: dict[str, torch.Tensor], share: float, heard: torch.Tensor) -> dict[str, torch.Tensor]:
    """Lengths (B,) by modality, 0 where a clip's stream is dropped; of a clip that is not `heard`, one stream stays."""
    lengths = torch.stack(list(there.values()))
    present = lengths > 0
    drawn = torch.rand(lengths.shape)
    dropped = present & (drawn < share)
    alone = ~heard & (dropped == present).all(0)
    last = drawn.masked_fill(~present, -1.0).argmax(0)
    dropped[last[alone], alone.nonzero().flatten()] = False
    return dict(zip(there, lengths.masked_fill(dropped, 0), strict=True))


def _kept_rows(lengths: torch.Tensor, rows: int, settings: Training) -> torch.Tensor:
    """(B, rows) bool, False for padding, for rows that are dropped, and for those under the mask's span."""
    place = torch.arange(rows)
    kept = place < lengths.unsqueeze(1)
    if settings.row_dropout:
        kept &= torch.rand(kept.shape) >= settings.row_dropout
    if settings.time_mask:
        # SpecAugment (Park et al. 2019) draws the span's width as well; here it is the share that was asked for.
        width = (settings.time_mask * lengths).round().to(torch.int64)
        begin = (torch.rand(len(lengths)) * (lengths - width + 1)).to(torch.int64).unsqueeze(1)
        kept &= (place < begin) | (place >= begin + width.unsqueeze(1))
    return kept
