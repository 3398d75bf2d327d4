"""self-mm: a multimodal network and one a modality, whose labels it makes itself (Yu et al., AAAI 2021).

Equations (1) to (3): of each modality a vector F_s; joined, F_m. Equations (4): of each of the four,
F*_s = ReLU(W_1 F_s + b_1) and the value y_s = W_2 F*_s + b_2. The labels of the modalities are made of the multimodal
one and of where a clip's F* lies (section 3.3):

* (5) centres of all clips with a label above and below zero, C^p_i and C^n_i, of each i in m, t, a, v;
* (6), (7) D_i = |F*_i - C_i|^2 / sqrt(d_i), and the relative distance alpha_i = (D^n_i - D^p_i) / (D^p_i + epsilon);
* (8) the label y_s = y_m + (alpha_s - alpha_m) / 2 * (y_m + alpha_m) / alpha_m;
* (9) the momentum, y^(i) = (i - 1) / (i + 1) y^(i - 1) + 2 / (i + 1) y_s, and y_m in the first epoch.

Equation (10): the loss is that of the prediction, and sum_s W_s |y^_s - y_s| with W_s = tanh |y_s - y_m|: what a
modality says is learned as far as it is another thing than the whole. The prediction is the multimodal value.

Decided here: labels are numbers from -1 to 1, the ends of the task's range, as CH-SIMS has them, so that the middle
parts positive from negative; made ones are kept in this range, and stay the multimodal label where a centre has no clip
or alpha_m is zero. The multimodal loss is the Laplace loss of all models here; the absolute errors of the modalities
are divided by its width, so that both weigh alike. Labels are made after each step, of that step's F*, and with several
processes of those of all. Classes have no sign, so no labels can be made: there, each modality learns the clip's class,
with the weight 1. Texts are words with learned vectors and an LSTM (the last state), or with ``encoder``, a folder of
BERT, the state of [CLS] as in the paper; sizes are options, as the paper prints none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.training.models.pretrained import ENCODER, BertTexts
from mse_pipeline.training.models.sequences import last_state
from mse_pipeline.training.reading import Batch

ALL = "all"
"""Name of the multimodal branch."""
EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class Seen:
    """A clip as a step of the training saw it.

    Attributes:
        clip: Its id.
        right: Its multimodal label, from -1 to 1.
        vectors: F* by branch.
    """

    clip: str
    right: float
    vectors: Mapping[str, torch.Tensor]


class UnimodalLabels:
    """The unimodal label generation module: labels of the modalities, of all clips seen so far.

    Args:
        modalities: Names of the branches that get labels; `ALL` is beside them.

    Examples:
        >>> labels = UnimodalLabels(["text"])
        >>> sad, glad = ({"all": torch.tensor([n, 0.0]), "text": torch.tensor([0.0, n])} for n in (-1.0, 1.0))
        >>> first = [Seen("a", -0.5, sad), Seen("b", 0.5, glad)]
        >>> labels.update(first)
        >>> labels.of("text", ["a", "b"], torch.tensor([-0.5, 0.5])).tolist()
        [-0.5, 0.5]
    """

    def __init__(self, modalities: Sequence[str]) -> None:
        self._modalities = tuple(modalities)
        self._places: dict[str, int] = {}
        self._times = torch.zeros(0, dtype=torch.int64)
        self._right = torch.zeros(0)
        self._labels = {name: torch.zeros(0) for name in self._modalities}
        self._vectors: dict[str, torch.Tensor] = {}

    def of(self, modality: str, clips: Sequence[str], right: torch.Tensor) -> torch.Tensor:
        """Labels (B,) of a modality; of clips that were never seen, the multimodal ones, `right`."""
        made = right.clone()
        for row, clip in enumerate(clips):
            if clip in self._places:
                made[row] = self._labels[modality][self._places[clip]]
        return made

    def update(self, seen: Sequence[Seen]) -> None:
        """Make the labels of clips that were seen before by equations (5) to (9), then note all of them."""
        once = {one.clip: one for one in seen}
        again = [one for clip, one in once.items() if clip in self._places]
        if again:
            self._make(again)
            self._note(again)
        new = [one for clip, one in once.items() if clip not in self._places]
        if new:
            self._add(new)

    def _make(self, again: Sequence[Seen]) -> None:
        places = torch.tensor([self._places[one.clip] for one in again])
        right, times = self._right[places], self._times[places] + 1
        alpha = {name: self._relative_distances(name, _stacked(again, name)) for name in (ALL, *self._modalities)}
        for name in self._modalities:
            shift = (alpha[name] - alpha[ALL]) / 2 * (right + alpha[ALL]) / alpha[ALL]
            made = torch.where(shift.isfinite(), right + shift, right).clamp(-1, 1)
            before = self._labels[name][places]
            self._labels[name][places] = (times - 1) / (times + 1) * before + 2 / (times + 1) * made
        self._times[places] = times

    def _relative_distances(self, name: str, vectors: torch.Tensor) -> torch.Tensor:
        """(B,) alpha of vectors (B, d); NaN as long as a centre has no clip."""
        labels = self._right if name == ALL else self._labels[name]
        known, root = self._vectors[name], vectors.shape[1] ** 0.5
        positive, negative = (
            (vectors - known[chosen].mean(0)).pow(2).sum(1) / root for chosen in (labels > 0, labels < 0)
        )
        return (negative - positive) / (positive + EPSILON)

    def _note(self, again: Sequence[Seen]) -> None:
        places = torch.tensor([self._places[one.clip] for one in again])
        for name, known in self._vectors.items():
            known[places] = _stacked(again, name)

    def _add(self, new: Sequence[Seen]) -> None:
        self._places |= {one.clip: place for place, one in enumerate(new, start=len(self._places))}
        right = torch.tensor([one.right for one in new])
        self._times = torch.cat([self._times, torch.ones(len(new), dtype=torch.int64)])
        self._right = torch.cat([self._right, right])
        for name in (ALL, *self._modalities):
            own = _stacked(new, name)
            self._vectors[name] = torch.cat([self._vectors[name], own]) if name in self._vectors else own
        self._labels = {name: torch.cat([known, right]) for name, known in self._labels.items()}

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors and names."""
        told = {"clips": list(self._places), "times": self._times, "right": self._right}
        return {**told, "labels": self._labels, "vectors": self._vectors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as `state_dict` tells."""
        self._places = {clip: place for place, clip in enumerate(state["clips"])}
        self._times, self._right = state["times"].clone(), state["right"].clone()
        self._labels = {name: values.clone() for name, values in state["labels"].items()}
        self._vectors = {name: values.clone() for name, values in state["vectors"].items()}


def _stacked(seen: Sequence[Seen], name: str) -> torch.Tensor:
    return torch.stack([one.vectors[name] for one in seen])


class Branch(nn.Module):
    """Equations (4) of one branch: dropout, F* = ReLU(W_1 F + b_1), and the values W_2 F* + b_2."""

    def __init__(self, width: int, inner: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.first, self.second = nn.Linear(width, inner), nn.Linear(inner, outputs)

    def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, width) -> F* (B, inner) and values (B, outputs)."""
        inner = self.first(self.dropout(vectors)).relu()
        return inner, self.second(inner)


class SelfMm(BertTexts):
    """Self-supervised multi-task learning of the modalities.

    Attributes:
        labels: Those that it has made of the train split's clips; empty outside of a training.
    """

    defaults: ClassVar[Mapping[str, Any] | None] = {
        **ENCODER,
        **{"words": 64, "text": 64, "others": 32, "fused": 128, "single": 32},
    }
    parts: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        told = self.options
        widths = {
            name: dim if name == "text" and self.bert is not None else told["text" if name == "text" else "others"]
            for name, dim in self.dims.items()
        }
        self.lstms = nn.ModuleDict(
            {
                name: nn.LSTM(dim, widths[name], batch_first=True)
                for name, dim in self.dims.items()
                if name != "text" or self.bert is None
            }
        )
        inner = {ALL: told["fused"], **dict.fromkeys(widths, told["single"])}
        self.branches = nn.ModuleDict(
            {
                name: Branch(width, inner[name], self.outputs, config.dropout)
                for name, width in {ALL: sum(widths.values()), **widths}.items()
            }
        )
        self.labels = UnimodalLabels(list(widths))
        self._last: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._seen: list[Seen] = []

    @classmethod
    def adaptation(cls, config: AdapterConfig) -> str:
        """Of classes, no labels are made."""
        of_classes = "" if config.head == 1 else "each modality learns the clip's class"
        return "; ".join(filter(None, [of_classes, super().adaptation(config)]))

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, outputs) values of the multimodal branch."""
        vectors = {
            name: last_state(self.lstms[name], one) if name in self.lstms else one.values[:, 0]
            for name, one in self.sequences(batch).items()
        }
        joined = {ALL: torch.cat(list(vectors.values()), dim=1), **vectors}
        self._last = {name: self.branches[name](one) for name, one in joined.items()}
        return self._last[ALL][1]

    def extra_loss(self, loss_of: Any) -> torch.Tensor | None:
        """The losses of the modalities, by the labels that were made of them."""
        single = {name: values for name, (_, values) in self._last.items() if name != ALL}
        if self.width is None:
            return torch.stack([loss_of(values) for values in single.values()]).sum()
        right, clips = loss_of.numbers, loss_of.batch.clips
        inner = {name: one.detach().cpu() for name, (one, _) in self._last.items()}
        self._seen += [
            Seen(clip, number, {name: rows[place].clone() for name, rows in inner.items()})
            for place, (clip, number) in enumerate(zip(clips, right.tolist(), strict=True))
        ]
        total = self.width.new_zeros(())
        for name, values in single.items():
            made = self.labels.of(name, clips, right)
            weights = (made - right).abs().tanh().to(values.device)
            total = total + (weights * (values[:, 0] - made.to(values.device)).abs()).mean()
        return total / nn.functional.softplus(self.width.detach())

    def memory(self) -> dict[str, Any]:
        """The labels, which go on after an interruption."""
        return {"labels": self.labels}

    def after_step(self, gather: Callable[[list[Any]], list[Any]]) -> None:
        """Make labels of the step's clips, of those of all processes."""
        if self.width is not None:
            self.labels.update(gather(self._seen))
        self._seen = []
