"""Sequences: what models without a backbone read of a batch, and the vectors that they make of it.

Their papers read texts as GloVe or BERT vectors, which no such model can be given here without another model: words
have vectors of their own that are learned with the rest, one for each number of `mse_pipeline.backbones.none.Words`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.backbones.none import BUCKETS
from mse_pipeline.training.reading import Batch

WORDS = "words learned from scratch"
"""In which respect such models are not those of their papers."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One modality of a batch.

    Attributes:
        values: (B, T, D) rows, padded behind with zeros; a clip without any has one row of zeros.
        lengths: (B,) number of rows, at least 1, on the CPU.
        there: (B,) bool, whether the clip has the modality.
    """

    values: torch.Tensor
    lengths: torch.Tensor
    there: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """(B, T) bool, True where a row is."""
        return (
            torch.arange(self.values.shape[1], device=self.values.device) < self.lengths.to(self.values.device)[:, None]
        )

    def mean(self) -> torch.Tensor:
        """(B, D) mean of the rows."""
        mask = self.mask.unsqueeze(-1)
        return torch.where(mask, self.values, self.values.new_zeros(())).sum(1) / mask.sum(1)


class Reader(nn.Module):
    """Makes the sequences of a batch.

    Args:
        config: Which modalities there are.
        width: Of a word's vector; None for the streams alone.

    Attributes:
        dims: Values a row, by modality, in the order text, acoustic, visual.
    """

    def __init__(self, config: AdapterConfig, width: int | None) -> None:
        super().__init__()
        width = width if config.text else None
        self.words = None if width is None else nn.Embedding(BUCKETS, width, padding_idx=0)
        dims = {"text": width, "acoustic": config.acoustic_dim, "visual": config.visual_dim}
        self.dims = {name: dim for name, dim in dims.items() if dim is not None}

    def forward(self, batch: Batch) -> dict[str, Sequence]:
        """The sequences, by modality."""
        found = {}
        for name in self.dims:
            if name == "text" and self.words is not None:
                lengths = batch.text_mask.sum(1).cpu()
                ids = batch.text_ids[:, : max(1, int(lengths.max()))]
                ids = ids if ids.shape[1] else ids.new_zeros(len(batch), 1)
                values = self.words(ids)
            else:
                rows, counted = getattr(batch, name), getattr(batch, f"{name}_lengths")
                if rows is None or counted is None:
                    raise ValueError(f"The model reads {name} rows, but the batch has none.")
                values, lengths = rows.to(torch.float32), counted
            found[name] = Sequence(values, lengths.clamp(min=1), lengths > 0)
        return found


def last_state(lstm: nn.Module, sequence: Sequence) -> torch.Tensor:
    """(B, h) the state of an LSTM behind each clip's last row."""
    packed = nn.utils.rnn.pack_padded_sequence(
        sequence.values, sequence.lengths, batch_first=True, enforce_sorted=False
    )
    state: torch.Tensor = lstm(packed)[1][0][-1]
    return state
