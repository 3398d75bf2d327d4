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

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.errors import UsageError
from mse_pipeline.training.reading import Batch

EPSILON = 1e-6
_WEIGHTS = "model.safetensors"


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
        length, size = moved.norm(dim=2, keepdim=True), text.norm(dim=2, keepdim=True)
        length = torch.where(length == 0, torch.ones_like(length), length)
        return (self.beta * size / (length + EPSILON)).clamp(max=1.0) * moved

    def forward(self, text: torch.Tensor, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The moved embeddings, (B, L, width)."""
        made: torch.Tensor = self.dropout(self.norm(text + self.displacement(text, rows)))
        return made


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


class MagBert(DirectModel):
    """BERT with the gate behind its embeddings.

    Attributes:
        bert: The encoder.
        gate: None for plain BERT.
    """

    parts = ()
    adapted = "rows aligned by bins, Laplace loss for numbers"
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **{"encoder": "", "beta": 1.0, "gate_dropout": 0.5, "bypass": False},
        **{"digest": "", "sizes": {}, "tokenizer": "", "first": 0, "last": 0},
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

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """With the sizes and the tokenizer of the encoder's folder.

        Raises:
            UsageError: It names no folder with a BERT model in safetensors and a fast tokenizer.
        """
        folder = Path(str(options["encoder"])).expanduser()
        files = {name: folder / name for name in ("config.json", "tokenizer.json", _WEIGHTS)}
        missing = [name for name, path in files.items() if not path.is_file()]
        if not options["encoder"] or missing:
            raise UsageError(
                "The model mag-bert needs a folder of a BERT model in the layout of transformers: set "
                f"training.model_options.encoder; {options['encoder'] or 'it'} has no {', '.join(missing)}."
            )
        sizes = json.loads(files["config.json"].read_text(encoding="utf-8"))
        if sizes.get("model_type") != "bert":
            raise UsageError(f"The encoder {folder} is of the kind {sizes.get('model_type')}; mag-bert needs bert.")
        from tokenizers import Tokenizer

        text = files["tokenizer.json"].read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_str(text)
        ends = [tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")]
        if None in ends:
            raise UsageError(f"The tokenizer of the encoder {folder} has no [CLS] and [SEP].")
        kept = {name: value for name, value in sizes.items() if name in _SIZES}
        with files[_WEIGHTS].open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return {**options, "sizes": kept, "tokenizer": text, "first": ends[0], "last": ends[1], "digest": digest}

    @classmethod
    def identity(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """SHA-256 of the weights that the encoder begins with."""
        return {"encoder": options["digest"]}

    @classmethod
    def reads_with(cls, options: Mapping[str, Any], backbone: Any) -> Any:
        """Nothing, with the encoder's tokenizer."""
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(options["tokenizer"]))
        return replace(backbone, tokenizer=made)

    def begin(self, backbone: Any) -> None:
        """Take the encoder's weights from its folder.

        Raises:
            UsageError: They are not those of a BERT model of these sizes.
        """
        from transformers import BertModel

        folder = Path(str(self.options["encoder"])).expanduser()
        try:
            loaded = BertModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
            self.bert.load_state_dict(loaded.state_dict())
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"The encoder {folder} cannot be loaded: {str(error).splitlines()[0]}") from error

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
        room = self.bert.config.max_position_embeddings - 2
        kept = batch.text_mask[:, :room].bool()
        counts = kept.sum(1)
        ids = torch.zeros(len(batch), kept.shape[1] + 2, dtype=torch.int64, device=kept.device)
        ids[:, 1:-1] = batch.text_ids[:, :room].masked_fill(~kept, 0)
        ids[:, 0] = self.options["first"]
        ids[torch.arange(len(ids), device=ids.device), counts + 1] = self.options["last"]
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < (counts + 2)[:, None]
        return ids, mask

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


_SIZES = frozenset(
    {
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
        *("hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size"),
        *("layer_norm_eps", "pad_token_id"),
    }
)
"""Keys of the encoder's configuration that shape what it computes."""
