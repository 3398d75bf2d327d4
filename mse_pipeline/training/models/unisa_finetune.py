"""unisa-finetune: BART that reads a clip's rows in the place of words, after UniSA (Li et al., ACM Multimedia 2023).

"UniSA: Unified Generative Framework for Sentiment Analysis", section 4, fine-tuning only: neither its pre-training on
twelve corpora nor its pseudo labels, so its numbers are not UniSA's. The encoder reads
<s> <img> V_1 ... <audio> A_1 ... text, context </s>, where each V_i and A_i stands in the place of a placeholder's
embedding, W_u x_i + b_u of a row x_i (1); the text's embeddings have that of the dataset added (2); BART's own
positions and encoder do the rest. Behind the decoder's state, with dropout (.1) before each, two linear layers without
bias answer: W_2 W_1 d (3), as the paper's head of a task, whose second layer has a value for each of the vocabulary.

Fine-tuning shows each clip twice, with all it has and with its text alone (the paper's modal-mask training): the loss
is that of both, where ``text_alone`` is true.

Decided here: one dataset and one task, so that the words of the template that are the same for all clips (task,
dataset, answers) are left out, and the dataset's embedding is one row, zeros at first. The head reads the decoder's
first state and makes one value a class, or the number, in place of the words and of the 15 bits of a score that the
paper's decoder spells: every answer has a probability, by the same loss as in all models here. Of a stream, as many
rows as the paper has placeholders are read (``visual_rows`` 32, ``acoustic_rows`` 157), at equal distances where it has
more; of one with less, no padding. Context are the turns before, where ``prompt.context`` asks for them, and none that
follow. The loss of the contrast, whose sign looks inverted in the released code, belongs to the pre-training.
``encoder`` is a folder of BART in the layout of transformers, with safetensors; all of it is trained, in the paper at a
rate of 5e-6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.errors import UsageError
from mse_pipeline.training.models.lfmim import sampled
from mse_pipeline.training.models.pretrained import BART, ENCODER, Pretrained
from mse_pipeline.training.models.sequences import Reader
from mse_pipeline.training.reading import Batch

STREAMS = ("visual", "acoustic")
"""In the order in which they are read."""
_ENDS = 2
"""Tokens that stand around all else."""


class UniSa(Pretrained):
    """BART with rows in the place of placeholders.

    Attributes:
        bart: The encoder and the decoder.
        marks: (streams, width) embeddings of <img> and <audio>.
        dataset: (width,) embedding of the dataset.
    """

    architecture, held_by = BART, "bart"
    adapted = "no pre-training, one dataset, a head in place of spelled labels"
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **ENCODER,
        **{"visual_rows": 32, "acoustic_rows": 157, "text_alone": True, "head_dropout": 0.1},
    }

    def __init__(self, config: AdapterConfig) -> None:
        from transformers import BartConfig, BartModel

        super().__init__(config)
        told = self.options
        sizes = BartConfig(**told["sizes"])
        self.bart = BartModel(sizes)
        for stack in (self.bart.encoder, self.bart.decoder):
            stack.embed_tokens = None  # a copy of the shared embeddings, which are given as they are
        self.reader = Reader(config, None)
        self.names = [name for name in STREAMS if name in self.reader.dims]
        self.rows = {name: told[f"{name}_rows"] for name in self.names}
        fixed = _ENDS + sum(1 + count for count in self.rows.values())
        if fixed >= sizes.max_position_embeddings:
            raise UsageError(
                f"training.model_options: visual_rows and acoustic_rows must leave room for a text among the "
                f"{sizes.max_position_embeddings} tokens that the encoder reads, but they take {fixed}."
            )
        self.project = nn.ModuleDict({name: nn.Linear(self.reader.dims[name], sizes.d_model) for name in self.names})
        self.marks = nn.Parameter(torch.randn(len(self.names), sizes.d_model) * sizes.init_std)
        self.dataset = nn.Parameter(torch.zeros(sizes.d_model))
        self.head = nn.Sequential(
            nn.Dropout(told["head_dropout"]),
            nn.Linear(sizes.d_model, sizes.d_model, bias=False),
            nn.Dropout(told["head_dropout"]),
            nn.Linear(sizes.d_model, self.outputs, bias=False),
        )
        self._alone: torch.Tensor | None = None

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs)."""
        self._alone = None
        if self.training and self.options["text_alone"] and self.names:
            self._alone = self._values(batch, ())
        return self._values(batch, self.names)

    def extra_loss(self, loss_of: Any) -> torch.Tensor | None:
        """The loss of the texts alone, in training."""
        return None if self._alone is None else loss_of(self._alone)

    def _values(self, batch: Batch, names: Any) -> torch.Tensor:
        embeddings, mask = self.embedded(batch, names)
        first = torch.full((len(batch), 1), self.bart.config.decoder_start_token_id, device=mask.device)
        states = self.bart.encoder(inputs_embeds=embeddings, attention_mask=mask.long()).last_hidden_state
        decoded = self.bart.decoder(
            inputs_embeds=self.bart.shared(first),
            encoder_hidden_states=states,
            encoder_attention_mask=mask.long(),
            use_cache=False,
        ).last_hidden_state
        made: torch.Tensor = self.head(decoded[:, 0])
        return made

    def embedded(self, batch: Batch, names: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder reads, without its positions: (B, L, width), padded behind, and (B, L) where it is not."""
        read = self.reader(batch)
        one = torch.ones(len(batch), 1, dtype=torch.bool, device=batch.text_ids.device)
        parts = [(self._tokens(batch, self.options["first"]), one)]
        for name in names:
            rows, padding = sampled(read[name], self.rows[name])
            there = read[name].there.to(padding.device).unsqueeze(1)
            mark = self.marks[self.names.index(name)].expand(len(batch), 1, -1)
            parts += [(mark, one), (self.project[name](rows), ~padding & there)]
        room = self.bart.config.max_position_embeddings - _ENDS - sum(1 + self.rows[name] for name in names)
        text = batch.text_mask.bool()
        text = text & (text.cumsum(1) <= room)
        parts.append((self.bart.shared(batch.text_ids) + self.dataset, text))
        if batch.context_ids is not None and batch.context_mask is not None:
            context = batch.context_mask.bool()
            # Of the turns before, the last tokens are read, as many as there is room for beside the text.
            behind = context.sum(1, keepdim=True) - context.cumsum(1)
            context = context & (behind < room - text.sum(1, keepdim=True))
            parts.append((self.bart.shared(batch.context_ids), context))
        parts.append((self._tokens(batch, self.options["last"]), one))
        embeddings, mask = (torch.cat(list(every), dim=1) for every in zip(*parts, strict=True))
        # A stable sort moves all padding behind and keeps the order of what is read.
        order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, : int(mask.sum(1).max())]
        return embeddings.gather(1, order.unsqueeze(-1).expand(-1, -1, embeddings.shape[2])), mask.gather(1, order)

    def _tokens(self, batch: Batch, token: int) -> torch.Tensor:
        ids = torch.full((len(batch), 1), token, device=batch.text_ids.device)
        made: torch.Tensor = self.bart.shared(ids)
        return made
