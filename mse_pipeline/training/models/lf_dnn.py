"""lf-dnn: late fusion of one small network a modality, as the tables of the field have it.

The name is that of the CH-SIMS paper (Yu et al., ACL 2020, section 4.1), after Cambria et al. (CICLing 2017); neither
prints equations. Each modality is one vector h_m: of acoustic and visual rows the mean through three ReLU layers; of
the text the last state of an LSTM through a linear layer. Fusion is
y = W_3 ReLU(W_2 ReLU(W_1 [h_t; h_a; h_v])). Widths are options; MMSA's differ by dataset, ours do not. Texts are words
with learned vectors, where the papers read GloVe or BERT. There is no BatchNorm on the means, as rows are normalised by
the train split already: so neither the clips beside a clip nor the parts of a batch matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.training.models.sequences import WORDS, Reader, last_state
from mse_pipeline.training.reading import Batch


class Subnet(nn.Module):
    """Dropout and three ReLU layers on the mean of the rows."""

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            *(layer for inner in (dim, width, width) for layer in (nn.Linear(inner, width), nn.ReLU())),
        )

    def forward(self, means: torch.Tensor) -> torch.Tensor:
        """(B, dim) -> (B, width)."""
        made: torch.Tensor = self.layers(means)
        return made


class TextSubnet(nn.Module):
    """The last state of an LSTM, through a linear layer."""

    def __init__(self, dim: int, width: int, out: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, width, batch_first=True)
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(width, out)

    def forward(self, sequence: Any) -> torch.Tensor:
        """Of a `Sequence`, (B, out)."""
        made: torch.Tensor = self.linear(self.dropout(last_state(self.lstm, sequence)))
        return made


class LateFusion(DirectModel):
    """One network a modality, joined by three layers."""

    adapted = WORDS
    defaults: ClassVar[Mapping[str, Any] | None] = {"words": 64, "width": 64, "fused": 64}

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        width, fused = self.options["width"], self.options["fused"]
        self.reader = Reader(config, self.options["words"])
        self.subnets = nn.ModuleDict(
            {
                name: TextSubnet(dim, width, width, config.dropout)
                if name == "text"
                else Subnet(dim, width, config.dropout)
                for name, dim in self.reader.dims.items()
            }
        )
        self.fusion = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(width * len(self.subnets), fused),
            nn.ReLU(),
            nn.Linear(fused, fused),
            nn.ReLU(),
            nn.Linear(fused, self.outputs),
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        read = self.reader(batch)
        vectors = [self.subnets[name](one if name == "text" else one.mean()) for name, one in read.items()]
        made: torch.Tensor = self.fusion(torch.cat(vectors, dim=1))
        return made
