"""unimse-style: T5 whose last blocks mix what is heard and seen into their states, after UniMSE (EMNLP 2022).

Hu et al., "UniMSE: Towards Unified Multimodal Sentiment Analysis and Emotion Recognition", section 3.4, pre-trained
modality fusion (PMF). Of each stream, the last state of an LSTM through dropout (``stream_dropout``, .3) and a linear
layer is one vector: A, V (1). In the last blocks of encoder and decoder, behind the feed-forward part, an adapter makes
of each token's state F: with G = [F; A; V], F <- W (G + W_up sigmoid(W_down G)) (2). There is no residual around it, as
in the paper: what T5 had learned is not what it begins with. With ``contrast``, an InfoNCE loss (3) brings the mean
state of a clip's tokens before the last adapter near its A, and near its V, among the clips that are read at once
(temperature .1, in 30 dimensions, weight .5 in the paper); it is off in the released code, and here.

As in that code: three blocks with adapters and two that are trained, in both stacks, beside the adapters; all else of
T5 stays as it was, its embeddings among it. The text stands behind a prefix ("sst2 sentence: ") and before </s>.

Decided here: one dataset alone, so that there is no universal label, for which labels of one dataset are copied to
others by likeness of their texts; and a linear layer on the decoder's first state, from which T5 would begin to spell
"positive,1.2", gives the values. So every answer has a probability, by the same loss as in all models here, and rows
differ by what is fused and not by how a text is parsed. InfoNCE compares cosines, of the encoder alone, as the decoder
reads one token here. Where dims differ from the paper's 64, streams are read as they are, and not cut or filled up.
``encoder`` is a folder of T5 or mT5 in the layout of transformers, with safetensors. Rates of 1e-4 to 3e-4 are the
paper's. ``bypass: true`` is T5 without adapters, on the text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.backbones.prompt import encode
from mse_pipeline.errors import UsageError
from mse_pipeline.training.models.pretrained import ENCODER, T5, Pretrained, framed
from mse_pipeline.training.models.sequences import Reader, last_state
from mse_pipeline.training.reading import Batch

TEMPERATURE = 0.1
CONTRASTED = 30
"""Width in which vectors are contrasted."""


class Fusion(nn.Module):
    """Equation (2): the adapter of a block.

    Args:
        width: Of a token's state.
        beside: Of A and V together.
        inner: Of the bottleneck.
    """

    def __init__(self, width: int, beside: int, inner: int) -> None:
        super().__init__()
        whole = width + beside
        self.down, self.up, self.out = nn.Linear(whole, inner), nn.Linear(inner, whole), nn.Linear(whole, width)

    def forward(self, states: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """(B, L, width) of states (B, L, width) and what stands beside all tokens of a clip, (B, beside)."""
        joined = torch.cat([states, beside.unsqueeze(1).expand(-1, states.shape[1], -1)], dim=2)
        made: torch.Tensor = self.out(joined + self.up(self.down(joined).sigmoid()))
        return made


class StreamVector(nn.Module):
    """Equation (1): an LSTM's last state, dropout, and a linear layer of the same width."""

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(dim, width, batch_first=True), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: Any) -> torch.Tensor:
        """Of a `Sequence`, (B, width)."""
        made: torch.Tensor = self.linear(self.dropout(last_state(self.lstm, sequence)))
        return made


def info_nce(one: torch.Tensor, other: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """Equation (3): how badly each of N vectors (N, d) tells its partner among all partners, by cosines; at best 0.

    Examples:
        >>> same = torch.ones(8, 3)
        >>> round(info_nce(same, same).exp().item(), 4)
        8.0
    """
    alike = functional.normalize(one, dim=1) @ functional.normalize(other, dim=1).T
    return functional.cross_entropy(alike / temperature, torch.arange(len(one), device=one.device))


class UniMse(Pretrained):
    """T5 with adapters in its last blocks.

    Attributes:
        t5: The encoder and the decoder.
        adapters: By stack, those of its last blocks in their order.
        vectors: What makes A and V.
    """

    architecture, held_by = T5, "t5"
    adapted = "one dataset, no universal labels, a head in place of spelled labels"
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **ENCODER,
        **{"prefix": "sst2 sentence: ", "hidden": 32, "inner": 64, "fused": 3, "tuned": 2},
        **{"stream_dropout": 0.3, "contrast": 0.0, "bypass": False, "before": []},
    }

    may_be_0 = frozenset({"fused", "tuned"})

    def __init__(self, config: AdapterConfig) -> None:
        from transformers import T5Config, T5Model

        super().__init__(config)
        told = self.options
        sizes = T5Config(**told["sizes"])
        self.t5 = T5Model(sizes)
        for stack in (self.t5.encoder, self.t5.decoder):
            stack.embed_tokens = None  # a copy of the shared embeddings, which are given as they are
        blocks = min(len(self.t5.encoder.block), len(self.t5.decoder.block))
        for name in ("fused", "tuned"):
            if told[name] > blocks:
                raise UsageError(
                    f"training.model_options.{name} must be a number of blocks from 0 to {blocks}, but is {told[name]}."
                )
        self.t5.requires_grad_(False)
        self.reader = Reader(config, None)
        self.vectors, self.adapters, self.contrasted = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name, stack in (("encoder", self.t5.encoder), ("decoder", self.t5.decoder)):
            for block in stack.block[blocks_from(stack, told["tuned"]) :]:
                block.requires_grad_(True)
            if not told["bypass"]:
                beside = told["hidden"] * len(self.reader.dims)
                self.adapters[name] = nn.ModuleList(
                    Fusion(sizes.d_model, beside, told["inner"]) for _ in range(told["fused"])
                )
        if not told["bypass"]:
            drop = told["stream_dropout"]
            self.vectors.update({n: StreamVector(dim, told["hidden"], drop) for n, dim in self.reader.dims.items()})
        if told["contrast"] and not told["bypass"]:
            widths = {"text": sizes.d_model, **dict.fromkeys(self.vectors, told["hidden"])}
            self.contrasted.update({name: nn.Linear(width, CONTRASTED) for name, width in widths.items()})
        self.dropout = nn.Dropout(sizes.dropout_rate)
        self.out = nn.Linear(sizes.d_model, self.outputs)
        self._contrasts: list[torch.Tensor] = []

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """With the sizes and the tokenizer of T5's folder, and the prefix in tokens."""
        found = super().planned(options, backbone, matched)
        if found["contrast"] < 0:
            raise UsageError(f"training.model_options.contrast must be at least 0, but is {found['contrast']}.")
        if found["contrast"] and (found["bypass"] or not found["fused"]):
            raise UsageError(
                "training.model_options.contrast is of what adapters read, and there are none: set it to 0, or fused "
                "to 1 or more and bypass to false."
            )
        return {**found, "before": list(encode(cls.reads_with(found, backbone).tokenizer, found["prefix"]))}

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        ids, mask = framed(batch, self.options["before"], self.options["last"])
        first = torch.full((len(batch), 1), self.options["first"], device=ids.device)
        vectors = {name: self.vectors[name](one) for name, one in self.reader(batch).items() if name in self.vectors}
        with self._fused(vectors, mask):
            read = {"attention_mask": mask.long()}
            states = self.t5.encoder(inputs_embeds=self.t5.shared(ids), **read).last_hidden_state
            decoded = self.t5.decoder(
                inputs_embeds=self.t5.shared(first),
                encoder_hidden_states=states,
                encoder_attention_mask=mask.long(),
                use_cache=False,
            ).last_hidden_state
        made: torch.Tensor = self.out(self.dropout(decoded[:, 0]))
        return made

    def extra_loss(self, loss_of: Any) -> torch.Tensor | None:
        """The contrast of text and streams, where it is asked for and there are clips to tell apart."""
        return self.options["contrast"] * torch.stack(self._contrasts).sum() if self._contrasts else None

    @contextmanager
    def _fused(self, vectors: Mapping[str, torch.Tensor], mask: torch.Tensor) -> Iterator[None]:
        """Have the adapters take part, with the streams' vectors of the clips that are read."""
        self._contrasts = []
        beside = torch.cat(list(vectors.values()), dim=1) if vectors else mask.new_zeros(len(mask), 0).float()
        with ExitStack() as stack:
            for name, every in self.adapters.items():
                adapters: Any = every
                own = getattr(self.t5, name)
                for block, adapter in zip(own.block[blocks_from(own, len(adapters)) :], adapters, strict=True):
                    if name == "encoder" and adapter is adapters[-1] and self.contrasted:
                        note = partial(self._contrast, vectors, mask)
                        stack.callback(block.layer[-1].register_forward_hook(note).remove)
                    stack.callback(block.layer[-1].register_forward_hook(partial(_mixed, adapter, beside)).remove)
            yield

    def _contrast(
        self, vectors: Mapping[str, torch.Tensor], mask: torch.Tensor, _: nn.Module, __: Any, states: torch.Tensor
    ) -> None:
        """Equation (3), of the states that a block's feed-forward part makes, before its adapter."""
        if not self.training or len(states) == 1:
            return
        mean = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        text = self.contrasted["text"](mean)
        self._contrasts = [info_nce(text, self.contrasted[name](one)) for name, one in vectors.items()]


def blocks_from(stack: Any, count: int) -> int:
    """Index of the first of the last `count` blocks of a stack."""
    return len(stack.block) - count


def _mixed(adapter: Fusion, beside: torch.Tensor, _: nn.Module, __: Any, made: torch.Tensor) -> torch.Tensor:
    """What a block's feed-forward part makes, through its adapter."""
    mixed: torch.Tensor = adapter(made, beside)
    return mixed
