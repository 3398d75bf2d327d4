"""chfn-style: words that are moved by what is heard and seen around them, in the manner of CHFN.

CHFN is of Guo, Tang, Dai, Ding and Kong (ACM Multimedia 2022, 10.1145/3503161.3548137). Its text and its code were not
to be had; this is written from its abstract and from a description of a re-implementation (MCT-HFR, MIT), and bears
another name therefore. Its numbers are not CHFN's.

Each modality goes through a convolution of kernel 1 without bias to d values, X_u = W_u x_u (1). Acoustic and visual
rows, one behind the other in time, are the hyper-modality H (2). Each layer lets the words X ask H:
Y = LN(X + attention(X, H, H)), S = LN(Y + W_2 ReLU(W_1 Y + b_1) + b_2) (3); and moves the words by S, at most as far as
beta allows, X <- X + min(beta |X| / (|S| + 1e-6), 1) S (4), as the adaptation gate of MAG does. H is the same in each
layer, and words do not ask each other. Behind the last layer stands a LayerNorm. Inputs are multiplied by the root of
d, sinusoidal positions are added, then dropout (.25); within a layer it is .1.

Decided here, as nobody tells it: d = 128, four layers of four heads, beta = 1. Each stream counts its positions from
its own beginning, so that padding between them does not matter. The mean of the words' vectors goes through dropout and
one linear layer. With ``encoder``, a folder of BERT, words are BERT's last states and all of BERT is trained; without,
they have learned vectors. Padding is masked; a clip without a stream has one row of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.errors import UsageError
from mse_pipeline.training.models.mag_bert import bounded
from mse_pipeline.training.models.mult import positions
from mse_pipeline.training.models.pretrained import ENCODER, BertTexts
from mse_pipeline.training.models.sequences import Sequence
from mse_pipeline.training.reading import Batch


class ShiftLayer(nn.Module):
    """Equation (3): what moves the words, by attention to the hyper-modality and two layers."""

    def __init__(self, width: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: torch.Tensor, hyper: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """(B, L, d) of words (B, L, d) and H (B, S, d); `padding` (B, S) is True where no row is."""
        heard = self.attention(words, hyper, hyper, key_padding_mask=padding, need_weights=False)[0]
        rows = self.first_norm(words + self.dropout(heard))
        made: torch.Tensor = self.second_norm(rows + self.dropout(self.narrow(self.dropout(self.wide(rows).relu()))))
        return made


class HyperFusion(nn.Module):
    """The layers, equation (4) behind each, and the last LayerNorm.

    Args:
        width: d.
        heads: Of each attention.
        layers: How many.
        beta: The longest displacement, in lengths of the word that is moved.
    """

    def __init__(self, width: int, heads: int, layers: int, *, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta
        self.layers = nn.ModuleList(ShiftLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def displacements(self, words: torch.Tensor, hyper: torch.Tensor, padding: torch.Tensor) -> list[torch.Tensor]:
        """By how much each layer moves the words, (B, L, d) each."""
        moved = []
        for layer in self.layers:
            moved.append(bounded(layer(words, hyper, padding), words, self.beta))
            words = words + moved[-1]
        return moved

    def forward(self, words: torch.Tensor, hyper: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """The moved words, (B, L, d); without any row in H, the words as they are."""
        for moved in self.displacements(words, hyper, padding) if hyper.shape[1] else ():
            words = words + moved
        made: torch.Tensor = self.norm(words)
        return made


class ChfnStyle(BertTexts):
    """Words, the hyper-modality that moves them, and the mean of what comes of it."""

    adapted = "written without the paper's text"
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **ENCODER,
        **{"words": 64, "width": 128, "heads": 4, "layers": 4, "beta": 1.0, "positions": True},
    }

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        told = self.options
        width = told["width"]
        if width % told["heads"]:
            raise UsageError(
                f"training.model_options.width must be a multiple of heads, but is {width} with {told['heads']} heads."
            )
        self.project = nn.ModuleDict(
            {name: nn.Conv1d(dim, width, kernel_size=1, bias=False) for name, dim in self.dims.items()}
        )
        self.fusion = HyperFusion(width, told["heads"], told["layers"], beta=told["beta"])
        self.entry, self.dropout = nn.Dropout(0.25), nn.Dropout(config.dropout)
        self.out = nn.Linear(width, self.outputs)

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        read = self.sequences(batch)
        rows = {name: self._entered(name, one) for name, one in read.items()}
        streams = [name for name in rows if name != "text"]
        words = rows["text"]
        hyper = torch.cat([rows[name] for name in streams], dim=1) if streams else words[:, :0]
        padding = torch.cat([~read[name].mask for name in streams], dim=1) if streams else hyper.new_zeros(0)
        moved = self.fusion(words, hyper, padding)
        mean = Sequence(moved, read["text"].lengths, read["text"].there).mean()
        made: torch.Tensor = self.out(self.dropout(mean))
        return made

    def _entered(self, name: str, read: Sequence) -> torch.Tensor:
        """Equation (1) of a modality, its rows of padding zero, with positions and dropout."""
        values = torch.where(read.mask.unsqueeze(-1), read.values, read.values.new_zeros(()))
        rows = self.project[name](values.transpose(1, 2)).transpose(1, 2)
        width = rows.shape[2]
        rows = rows * math.sqrt(width)
        if self.options["positions"]:
            rows = rows + positions(rows.shape[1], width, rows.device)
        made: torch.Tensor = self.entry(rows)
        return made
