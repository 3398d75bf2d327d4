"""lfmim: Layer-wise Fusion with Modality Independence Modeling (Sun et al., ACL 2023, long papers).

Section 4: each modality has a transformer of its own, and a further one reads all of them: at layer l it reads
[FEX^l; Z'_t; Z'_v; Z'_a] with Z'_u = alpha_u Z_u + alpha'_u Y_u, where Z_u is the modality's own state, Y_u what the
multimodal one had made of its rows (zeros at first), and FEX are learned rows. So what flows, flows from the modalities
to the multimodal transformer, and never back. Each branch is pooled and answers through layers of its own; the loss is
the sum of the four, and the multimodal one is the prediction.

``preset: paper`` is the paper's: width 128, 4 layers of 8 heads, alpha in each layer. ``released`` is what its code
does, with other features: width 1024, 16 heads, two visual blocks a layer, alpha shared by the layers, four FEX rows,
one learned row before each modality, LayerNorm before and behind attention and feed-forward part (dropout .2 and .1),
pooling by learned weights of positions, and a multimodal head that reads all four pooled vectors.

Decided here: the norms, FEX (one), pooling and heads of the paper's preset are those of the released code; of a stream
longer than its place (80, 50 and 16 rows) rows are taken at equal distances; padding is masked in attention, and left
out of pooling. Texts are words with learned vectors, where the paper reads BERT.

Labels: where clips of the train split have a label of each modality that is read, as those of CH-SIMS v2 and CHERMA,
each branch learns its own, as in the paper (``labels: modality``); a clip that lacks one stands in with its own label.
Elsewhere each branch learns the clip's label (``labels: multimodal``): the paper's ablation "ML". ``auto`` takes what
is there; reports say which it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, DirectModel
from mse_pipeline.errors import UsageError
from mse_pipeline.training.examples import LABELLED, UNKNOWN
from mse_pipeline.training.models.mult import positions
from mse_pipeline.training.models.prompt_tuning import check_choice
from mse_pipeline.training.models.sequences import WORDS, Reader, Sequence
from mse_pipeline.training.reading import Batch

ROWS = {"text": 80, "visual": 16, "acoustic": 50}
"""Places of each modality, in the order in which the multimodal transformer reads them."""
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"width": 128, "heads": 8, "fex": 1, "twice": (), "shared": False},
    "released": {"width": 1024, "heads": 16, "fex": 4, "twice": ("visual",), "shared": True},
}
LAYERS = 4


class Block(nn.Module):
    """x + LN(attention(LN x)), then x + LN(feed-forward(LN x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.2, batch_first=True)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4 * width, width))

    def forward(self, rows: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """(B, T, d); `padding` (B, T), True where no row is."""
        normed = self.norms[0](rows)
        heard = self.attention(normed, normed, normed, key_padding_mask=padding, need_weights=False)[0]
        rows = rows + self.norms[1](heard)
        made: torch.Tensor = rows + self.norms[3](self.inner(self.norms[2](rows)))
        return made


class Entry(nn.Module):
    """A branch's first rows: times the root of the width, LayerNorm, positions, dropout, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.dropout = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(0.25)

    def forward(self, rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(B, T, d); `places` (T,) tell the position of each row."""
        width = rows.shape[2]
        normed = self.first(rows * math.sqrt(width)) + positions(int(places[-1]) + 1, width)[places].to(rows.device)
        made: torch.Tensor = self.second(self.dropout(normed))
        return made


class Pooling(nn.Module):
    """The sum of a branch's rows, each by the learned weight of its position; rows that are padding have none."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(rows) / rows**0.5)

    def forward(self, rows: torch.Tensor, padding: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(B, T, d) -> (B, d); `places` (T,) tell the position of each row."""
        weights = self.weights[places.to(rows.device), None]
        return (rows * weights.masked_fill(padding.unsqueeze(2), 0.0)).sum(1)


def sampled(sequence: Sequence, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, rows, D) rows of each clip, at equal distances where it has more; and (B, rows) True for padding."""
    lengths = sequence.lengths.to(sequence.values.device)[:, None]
    place = torch.arange(rows, device=lengths.device)[None]
    index = torch.where(lengths > rows, place * lengths // rows, place).clamp(max=sequence.values.shape[1] - 1)
    padding = place >= lengths.clamp(max=rows)
    taken = sequence.values.gather(1, index.unsqueeze(2).expand(-1, -1, sequence.values.shape[2]))
    return taken.masked_fill(padding.unsqueeze(2), 0.0), padding


class LfMim(DirectModel):
    """Transformers of the modalities, and one that reads them layer by layer.

    Attributes:
        branches: Values (B, outputs) of each modality's own branch in the last pass.
    """

    adapted = f"padding masked; {WORDS}"
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **{"preset": "paper", "words": 64, "width": 0, "heads": 0},
        "labels": "auto",
    }

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        told = self.options
        if told["preset"] not in PRESETS:
            raise UsageError(f"training.model_options.preset is one of {', '.join(PRESETS)}, not {told['preset']!r}.")
        preset = PRESETS[told["preset"]]
        width, heads = told["width"] or preset["width"], told["heads"] or preset["heads"]
        self.reader = Reader(config, told["words"])
        self.names = [name for name in ROWS if name in self.reader.dims]
        self.fex_rows, layers = preset["fex"], range(LAYERS)
        self.enter = nn.ModuleDict({name: nn.Linear(self.reader.dims[name], width) for name in self.names})
        self.tokens = nn.ParameterDict({name: nn.Parameter(torch.randn(1, 1, width)) for name in self.names})
        self.fex = nn.Parameter(torch.randn(1, self.fex_rows, width))
        self.entries = nn.ModuleDict({name: Entry(width) for name in (*self.names, "all")})
        self.blocks = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    nn.ModuleList(Block(width, heads) for _ in range(1 + (name in preset["twice"]))) for _ in layers
                )
                for name in (*self.names, "all")
            }
        )
        shares = 1 if preset["shared"] else LAYERS
        self.alpha = nn.ParameterDict({name: nn.Parameter(torch.randn(shares, 2)) for name in self.names})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in (*self.names, "all")})
        rows = {name: ROWS[name] + 1 for name in self.names}
        self.pooling = nn.ModuleDict({name: Pooling(count) for name, count in rows.items()})
        self.pooling["all"] = Pooling(sum(rows.values()) + self.fex_rows)
        whole = width * (len(self.names) + 1)
        self.heads = nn.ModuleDict(
            {name: _layers(width, width // 2, max(8, width // 32), self.outputs) for name in self.names}
        )
        self.heads["all"] = _layers(whole, 2 * width, max(8, width // 8), max(8, width // 16), self.outputs)
        self.branches: dict[str, torch.Tensor] = {}

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """The settings as they are, if labels can be chosen so."""
        check_choice("labels", options["labels"], ("auto", "modality", "multimodal"))
        return dict(options)

    @classmethod
    def reads_own_labels(cls, options: Mapping[str, Any]) -> bool:
        """Unless the multimodal label is asked for."""
        return bool(options["labels"] != "multimodal")

    @classmethod
    def with_own_labels(cls, options: Mapping[str, Any], unlabelled: Collection[str]) -> dict[str, Any]:
        """With the labels that are learned.

        Raises:
            UsageError: Those of the modalities are asked for, and there are none.
        """
        if unlabelled and options["labels"] == "modality":
            raise UsageError(
                "training.model_options.labels is modality, but no clip of the train split has a label of "
                f"{', '.join(unlabelled)}. In a table of clips they stand in columns label_text, label_acoustic and "
                "label_visual; extract the dataset again with them, or set labels to auto."
            )
        return {**options, "labels": "multimodal" if unlabelled else "modality"}

    @classmethod
    def identity(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Which labels are learned, if those of the modalities."""
        return {"labels": "modality"} if options["labels"] == "modality" else {}

    @classmethod
    def adaptation(cls, config: AdapterConfig) -> str:
        """With what the branches learn."""
        own = config.options.get("labels") == "modality"
        return f"{'each branch by its own label' if own else 'LFMIM-ML'}, {cls.adapted}"

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs) values of the multimodal branch."""
        read = self.reader(batch)
        own, padding, places = {}, {}, {}
        begin, every = self.fex_rows, [torch.arange(self.fex_rows)]
        for name in self.names:
            # What is padding in all clips is left out, and rows keep their positions: most places of short texts are.
            longest = min(ROWS[name], int(read[name].lengths.max()))
            rows, pads = (one[:, :longest] for one in sampled(read[name], ROWS[name]))
            places[name] = torch.arange(1 + longest)
            every.append(begin + places[name])
            begin += 1 + ROWS[name]
            token = self.tokens[name].expand(len(batch), -1, -1)
            own[name] = self.entries[name](torch.cat([token, self.enter[name](rows)], dim=1), places[name])
            padding[name] = torch.cat([pads.new_zeros(len(batch), 1), pads], dim=1)
        places["all"] = torch.cat(every)
        whole = torch.cat([pads.new_zeros(len(batch), self.fex_rows), *(padding[name] for name in self.names)], dim=1)
        fex = self.fex.expand(len(batch), -1, -1)
        made = {name: torch.zeros_like(own[name]) for name in self.names}
        for layer in range(LAYERS):
            mixed = [self._mixed(name, layer, own[name], made[name]) for name in self.names]
            joined = torch.cat([fex, *mixed], dim=1)
            joined = self.entries["all"](joined, places["all"]) if layer == 0 else joined
            for block in self.blocks["all"][layer]:  # type: ignore[index]
                joined = block(joined, whole)
            fex, *parts = joined.split([self.fex_rows, *(own[name].shape[1] for name in self.names)], dim=1)
            made = dict(zip(self.names, parts, strict=True))
            for name in self.names:
                for block in self.blocks[name][layer]:  # type: ignore[index]
                    own[name] = block(own[name], padding[name])
        padding["all"], states = whole, {**own, "all": torch.cat([fex, *made.values()], dim=1)}
        pooled = {
            name: self.pooling[name](self.norms[name](rows), padding[name], places[name])
            for name, rows in states.items()
        }
        together = pooled.pop("all")
        self.branches = {name: self.heads[name](vector) for name, vector in pooled.items()}
        values: torch.Tensor = self.heads["all"](torch.cat([*pooled.values(), together], dim=1))
        return values

    def _mixed(self, name: str, layer: int, own: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        shares = self.alpha[name][min(layer, len(self.alpha[name]) - 1)]
        return shares[0] * own + shares[1] * made

    def extra_loss(self, loss_of: Any) -> torch.Tensor:
        """The losses of the modalities' own branches, by their own labels where these are learned."""
        own = loss_of.batch.own_targets if self.options["labels"] == "modality" else None
        if own is None:
            return torch.stack([loss_of(values) for values in self.branches.values()]).sum()
        losses = []
        for name, values in self.branches.items():
            targets = own[:, LABELLED.index(name)]
            losses.append(loss_of(values, torch.where(targets == UNKNOWN, loss_of.batch.targets, targets)))
        return torch.stack(losses).sum()


def _layers(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    made: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        made += [nn.Linear(inner, max(1, outer)), nn.ReLU()]
    return nn.Sequential(*made[:-1])
