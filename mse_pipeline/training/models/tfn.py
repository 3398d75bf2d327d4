"""tfn: the Tensor Fusion Network (Zadeh et al., EMNLP 2017).

Section 4.2, equation (1) and those behind it: of each modality an embedding z_m, of the text by an LSTM and ReLU layers
(128 values), of acoustic and visual rows by their mean and three ReLU layers (32 values each); then the tensor
z = [z_l; 1] (x) [z_v; 1] (x) [z_a; 1], whose parts are the uni-, bi- and trimodal products; and two ReLU layers of 128
on it. A dataset without a modality has a tensor without that factor. Numbers are not squeezed by a sigmoid, and the
text network takes the LSTM's last state through one layer, where the paper has two; texts are words with learned
vectors, where the paper reads GloVe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.training.models.lf_dnn import Subnet, TextSubnet
from mse_pipeline.training.models.sequences import WORDS, Reader
from mse_pipeline.training.reading import Batch


def tensor_fusion(vectors: list[torch.Tensor]) -> torch.Tensor:
    """(B, product of (d_m + 1)): the outer product of vectors (B, d_m), each with a 1 behind it.

    Examples:
        >>> tensor_fusion([torch.tensor([[2.0]]), torch.tensor([[3.0]])]).tolist()
        [[6.0, 2.0, 3.0, 1.0]]
    """
    made = vectors[0].new_ones(len(vectors[0]), 1)
    for vector in vectors:
        with_one = torch.cat([vector, vector.new_ones(len(vector), 1)], dim=1)
        made = (made.unsqueeze(2) * with_one.unsqueeze(1)).flatten(1)
    return made


class TensorFusion(DirectModel):
    """Embeddings of the modalities, their outer product, and a network on it."""

    adapted = WORDS
    defaults: ClassVar[Mapping[str, Any] | None] = {"words": 64, "text": 128, "others": 32, "width": 128}

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        told = self.options
        self.reader = Reader(config, told["words"])
        self.subnets = nn.ModuleDict(
            {
                name: TextSubnet(dim, told["text"], told["text"], config.dropout)
                if name == "text"
                else Subnet(dim, told["others"], config.dropout)
                for name, dim in self.reader.dims.items()
            }
        )
        size = 1
        for name in self.subnets:
            size *= (told["text"] if name == "text" else told["others"]) + 1
        self.inference = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(size, told["width"]),
            nn.ReLU(),
            nn.Linear(told["width"], told["width"]),
            nn.ReLU(),
            nn.Linear(told["width"], self.outputs),
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        read = self.reader(batch)
        vectors = [
            self.subnets[name](one).relu() if name == "text" else self.subnets[name](one.mean())
            for name, one in read.items()
        ]
        made: torch.Tensor = self.inference(tensor_fusion(vectors))
        return made
