"""mult: the Multimodal Transformer for unaligned sequences (Tsai et al., ACL 2019).

Section 3: a temporal convolution brings each modality to d values (equation 3; kernels of 1 for text, 3 for acoustic
and visual rows), sinusoidal positions are added (equation 4). For each ordered pair a crossmodal transformer lets the
target's rows attend to the source's low-level rows, layer after layer (equations 1 and 5: LayerNorm first, a residual
around attention and around the feed-forward part). What reaches a target from all sources is joined and goes through a
self-attention transformer; the vectors of the targets' last rows are joined, and a residual network of two layers reads
the answer off (section 3.2 and the released code's last layers).

The paper does not mask padding and reads the last row, padded or not. Here padding is masked, and the last row is a
clip's own, so that the clips beside it do not matter. With one modality there is no source, and its own rows alone are
read. Texts are words with learned vectors, where the paper reads GloVe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.training.models.sequences import WORDS, Reader
from mse_pipeline.training.reading import Batch


def positions(length: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """(length, width) sinusoids of Vaswani et al. (2017); of an odd width the last value is a sine."""
    place = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(10_000.0) / width))
    made = torch.zeros(length, width, device=device)
    made[:, 0::2] = (place * rate).sin()
    made[:, 1::2] = (place * rate).cos()[:, : width // 2]
    return made


class Block(nn.Module):
    """LayerNorm, attention to a source or to itself, a residual; LayerNorm, two layers, a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.source_norm, self.last_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        rows: torch.Tensor,
        source: torch.Tensor | None,
        padding: torch.Tensor | None,
        wanted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What becomes of some rows.

        Args:
            rows: (B, T, d).
            source: (B, S, d) what is attended to; None for the rows themselves.
            padding: (B, S) bool, True where no row of the source is; None where all are.
            wanted: (B, 1) index of the row that is asked for of each clip; None for all.

        Returns:
            (B, T, d), or (B, 1, d).
        """
        normed = self.norm(rows)
        read = normed if source is None else self.source_norm(source)
        if wanted is not None:
            normed, rows = (one.take_along_dim(wanted.unsqueeze(2), 1) for one in (normed, rows))
        heard = self.attention(normed, read, read, key_padding_mask=padding, need_weights=False)[0]
        rows = rows + self.dropout(heard)
        wide = self.dropout(functional.relu(self.wide(self.last_norm(rows))))
        made: torch.Tensor = rows + self.dropout(self.narrow(wide))
        return made


class MulT(DirectModel):
    """Crossmodal transformers between all pairs of modalities."""

    adapted = f"padding masked; {WORDS}"
    defaults: ClassVar[Mapping[str, Any] | None] = {"words": 64, "width": 40, "heads": 10, "layers": 4}

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        told = self.options
        width, heads, dropout = told["width"], told["heads"], config.dropout
        if width % heads:
            raise ValueError(f"its width {width} is no multiple of its {heads} heads")
        self.reader = Reader(config, told["words"])
        names = list(self.reader.dims)
        self.convolutions = nn.ModuleDict(
            {
                name: nn.Conv1d(dim, width, 1 if name == "text" else 3, padding=0 if name == "text" else 1, bias=False)
                for name, dim in self.reader.dims.items()
            }
        )

        def stack(wide: int) -> nn.ModuleList:
            return nn.ModuleList(Block(wide, heads, dropout) for _ in range(told["layers"]))

        pairs = [(target, source) for target in names for source in names if source != target]
        self.crossed = nn.ModuleDict({f"{target} of {source}": stack(width) for target, source in pairs})
        joined = width * max(1, len(names) - 1)
        self.selfs = nn.ModuleDict({name: stack(joined) for name in names})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(joined) for name in names})
        whole = joined * len(names)
        self.first, self.second, self.out = (
            nn.Linear(whole, whole),
            nn.Linear(whole, whole),
            nn.Linear(whole, self.outputs),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        read = self.reader(batch)
        low: dict[str, torch.Tensor] = {}
        padding: dict[str, torch.Tensor | None] = {}
        for name, one in read.items():
            mask = one.mask
            values = torch.where(mask.unsqueeze(-1), one.values, one.values.new_zeros(()))
            rows = self.convolutions[name](values.transpose(1, 2)).transpose(1, 2)
            width = rows.shape[2]
            low[name] = self.dropout(rows * math.sqrt(width) + positions(rows.shape[1], width, rows.device))
            # Without a mask attention takes less time: a batch of equally long texts has no padding.
            padding[name] = None if int(one.lengths.min()) == rows.shape[1] else ~mask
        ends = []
        for target, one in read.items():
            heard = []
            for source in (name for name in read if name != target):
                rows = low[target]
                for block in self.crossed[f"{target} of {source}"]:  # type: ignore[attr-defined]
                    rows = block(rows, low[source], padding[source])
                heard.append(rows)
            rows = torch.cat(heard, dim=2) if heard else low[target]
            # Of the last block the clip's last row alone is read, so that the others are not computed there.
            end = (one.lengths - 1).to(rows.device).unsqueeze(1)
            stack: Any = self.selfs[target]
            for block in stack[:-1]:
                rows = block(rows, None, padding[target])
            ends.append(self.norms[target](stack[-1](rows, None, padding[target], end).squeeze(1)))
        joined = torch.cat(ends, dim=1)
        made: torch.Tensor = self.out(joined + self.second(self.dropout(functional.relu(self.first(joined)))))
        return made
