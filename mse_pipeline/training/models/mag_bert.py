"""mag-bert: BERT whose word embeddings are moved by what is heard and seen (Rahman et al., ACL 2020).

Section 3.1, equations (1) to (5), for each token i, with t, v, a of the text's embedding, the visual and the acoustic
row: gates g_v = ReLU(W_gv [v; t] + b_v) and g_a = ReLU(W_ga [a; t] + b_a); the displacement
h = g_v * (W_v v + c_v) + g_a * (W_a a + c_a); alpha = min(beta |t| / (|h| + 1e-6), 1); and LayerNorm(t + alpha h),
then dropout. The paper writes one bias of h and scalar gate biases; here, as in its released code, each linear layer
has its own. The gate moves what leaves BERT's embeddings, before the first layer; the whole encoder is trained; its
pooled first state, through dropout, gives the values.

Decided here, where the paper leaves it open or needs word-aligned rows: rows are put on a clip's tokens in equal bins,
each the mean of its rows, with zeros at [CLS] and [SEP] (``align: bins``); numbers are learned by the Laplace loss of
all models here, near the absolute error of the MMSA version and not the squared error of the original; beta is 1, as
there. The encoder is a folder of a BERT model in the layout of transformers, with safetensors (``encoder``); its
tokenizer and sizes are kept with the run, so that predicting needs the folder no more. Take a learning rate of 1e-5 to
5e-5. ``bypass: true`` leaves the gate out: plain BERT, on the text alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.training.models.pretrained import BERT, ENCODER, Pretrained, framed
from mse_pipeline.training.reading import Batch

EPSILON = 1e-6


class Gate(nn.Module):
    """The multimodal adaptation gate.

    Args:
        width: Of the text's embeddings.
        dims: Values a row of the visual and the acoustic stream, in this order, by name.
        beta: The longest displacement, in lengths of the embedding.
        dropout: Behind the LayerNorm.
    """

    def __init__(self, width: int, dims: Mapping[str, int], *, beta: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        self.beta = beta
        self.gates = nn.ModuleDict({name: nn.Linear(dim + width, width) for name, dim in dims.items()})
        self.moves = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in dims.items()})
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def displacement(self, text: torch.Tensor, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Alpha h of each token, (B, L, width)."""
        moved = torch.zeros_like(text)
        for name, own in rows.items():
            gate = self.gates[name](torch.cat([own, text], dim=2)).relu()
            moved = moved + gate * self.moves[name](own)
        return bounded(moved, text, self.beta)

    def forward(self, text: torch.Tensor, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The moved embeddings, (B, L, width)."""
        made: torch.Tensor = self.dropout(self.norm(text + self.displacement(text, rows)))
        return made


def bounded(moved: torch.Tensor, text: torch.Tensor, beta: float) -> torch.Tensor:
    """Displacements (B, L, width) that are at most `beta` as long as the rows of the text that they move.

    Examples:
        >>> bounded(torch.tensor([[[6.0, 8.0]]]), torch.tensor([[[0.0, 1.0]]]), 0.5).norm().round(decimals=4).item()
        0.5
    """
    length, size = moved.norm(dim=2, keepdim=True), text.norm(dim=2, keepdim=True)
    length = torch.where(length == 0, torch.ones_like(length), length)
    return (beta * size / (length + EPSILON)).clamp(max=1.0) * moved


def in_bins(values: torch.Tensor, lengths: torch.Tensor, bins: torch.Tensor, width: int) -> torch.Tensor:
    """Rows of each clip in as many equal bins as it has tokens, each the mean of its rows; zeros behind.

    Args:
        values: (B, T, D), padded behind.
        lengths: (B,) rows of each clip; one with none has zeros.
        bins: (B,) tokens of each clip.
        width: Bins L of the result.

    Returns:
        (B, L, D).

    Examples:
        >>> rows = torch.tensor([[[1.0], [3.0], [5.0], [7.0]]])
        >>> in_bins(rows, torch.tensor([4]), torch.tensor([2]), 3).flatten().tolist()
        [2.0, 6.0, 0.0]
        >>> in_bins(rows[:, :1], torch.tensor([1]), torch.tensor([2]), 2).flatten().tolist()
        [1.0, 1.0]
    """
    place = torch.arange(width, device=values.device)[None]
    lengths, bins = lengths.to(values.device)[:, None], bins.to(values.device)[:, None]
    count = bins.clamp(min=1)
    begin = place * lengths // count
    end = torch.maximum((place + 1) * lengths // count, begin + 1)
    there = (place < bins) & (lengths > 0)
    known = torch.arange(values.shape[1], device=values.device)[None] < lengths
    kept = torch.where(known.unsqueeze(-1), values, values.new_zeros(()))
    sums = torch.cat([kept.new_zeros(len(kept), 1, kept.shape[2]), kept.cumsum(1)], dim=1)
    last = sums.shape[1] - 1

    def at(index: torch.Tensor) -> torch.Tensor:
        return sums.gather(1, index.clamp(0, last).unsqueeze(-1).expand(-1, -1, sums.shape[2]))

    means = (at(end) - at(begin)) / (end - begin).unsqueeze(-1)
    return torch.where(there.unsqueeze(-1), means, means.new_zeros(()))


class MagBert(Pretrained):
    """BERT with the gate behind its embeddings.

    Attributes:
        bert: The encoder.
        gate: None for plain BERT.
    """

    architecture, held_by = BERT, "bert"
    adapted = "rows aligned by bins, Laplace loss for numbers"
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **ENCODER,
        **{"beta": 1.0, "gate_dropout": 0.5, "bypass": False},
    }

    def __init__(self, config: AdapterConfig) -> None:
        from transformers import BertConfig, BertModel

        super().__init__(config)
        told = self.options
        sizes = BertConfig(**told["sizes"])
        self.bert = BertModel(sizes)
        dims = {"visual": config.visual_dim, "acoustic": config.acoustic_dim}
        read = {name: dim for name, dim in dims.items() if dim is not None}
        self.gate = None
        if not told["bypass"]:
            self.gate = Gate(sizes.hidden_size, read, beta=told["beta"], dropout=told["gate_dropout"])
        self.dropout = nn.Dropout(sizes.hidden_dropout_prob)
        self.out = nn.Linear(sizes.hidden_size, self.outputs)

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        ids, mask = self._tokens(batch)
        handles = []
        if self.gate is not None:
            gate, rows = self.gate, self._rows(batch, mask)
            handles.append(self.bert.embeddings.register_forward_hook(lambda _module, _given, made: gate(made, rows)))
        try:
            pooled = self.bert(input_ids=ids, attention_mask=mask.long()).pooler_output
        finally:
            for handle in handles:
                handle.remove()
        made: torch.Tensor = self.out(self.dropout(pooled))
        return made

    def _tokens(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """[CLS], the text's tokens as far as there is room, [SEP]; and where these are, (B, L + 2)."""
        return framed(batch, [self.options["first"]], self.options["last"], self.bert.config.max_position_embeddings)

    def _rows(self, batch: Batch, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, L + 2, D) of each stream, on the tokens."""
        tokens = mask.sum(1) - 2
        found = {}
        for name in ("visual", "acoustic"):
            rows, lengths = getattr(batch, name), getattr(batch, f"{name}_lengths")
            if rows is not None and getattr(self.config, f"{name}_dim") is not None:
                inner = in_bins(rows.to(torch.float32), lengths, tokens, mask.shape[1] - 2)
                found[name] = nn.functional.pad(inner, (0, 0, 1, 1))
        return found
