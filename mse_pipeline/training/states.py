"""States: what a frozen backbone has read before the pseudo tokens, kept over the epochs of a training.

A backbone reads from left to right, and its weights stay as they are. So what stands before the pseudo tokens is read
alike in every epoch: its keys and values are computed once a text and kept. With the pseudo tokens behind the prompt,
a step computes a handful of positions a clip, and not its whole sequence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import psutil
import torch

from mse_pipeline.backbones.answering import answering
from mse_pipeline.backbones.backbone import Backbone

CACHE_FAMILIES = frozenset(
    {"llama", "qwen2", "qwen3", "gpt_neox", "gemma", "gemma2", "gemma3_text", "mistral", "glm", "phi3", "smollm3"}
)
"""Architectures that are known to go on from keys and values of their own, each layer with as many heads."""
_SHARE = 3
"""States take a third of the memory at most: the rest is for the model, the features and other programs."""


@dataclass(frozen=True, eq=False)
class ReadBefore:
    """What a backbone holds of sequences that it has read.

    Attributes:
        past: A cache of transformers with their keys and values, for one pass of the model alone; None where nothing
            goes on from them.
        mask: (B, K) bool, False where padding is, in front.
        ends: (B, d) the last state of each, behind the backbone's last norm.
    """

    past: Any
    mask: torch.Tensor
    ends: torch.Tensor


class PromptStates:
    """Keys and values of token sequences, each computed once and without padding.

    Those of one length that are expected are computed together, always the same ones: so a clip's states do not depend
    on the clips beside it in a batch, nor on whether a training was interrupted.

    Args:
        backbone: The frozen model.
        expected: Sequences that will be asked for. Any other is computed alone.
        go_on: Whether pseudo tokens follow. Where none do, the last states alone are kept.
        only_beginning: Whether they are those of the prompt's beginning alone, which all clips share: where each text
            is read once, or where the memory does not hold all of them.

    Examples:
        >>> from mse_pipeline.backbones import load
        >>> states = PromptStates(load("tiny"))
        >>> read = states.of([(1, 5, 7), (1, 5)])
        >>> read.mask.tolist(), read.past.get_seq_length()
        ([[True, True, True], [False, True, True]], 3)
    """

    def __init__(
        self,
        backbone: Backbone,
        expected: Collection[tuple[int, ...]] = (),
        *,
        go_on: bool = True,
        only_beginning: bool = False,
    ) -> None:
        self.only_beginning = only_beginning
        self._backbone, self._go_on = backbone, go_on
        self._together = {ids: group for group in _of_one_length(expected) for ids in group}
        self._kept: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, sequences: Sequence[tuple[int, ...]]) -> ReadBefore:
        """What the backbone holds after reading the sequences, padded in front."""
        from transformers import DynamicCache

        kept, ends = zip(*(self._of_one(ids) for ids in sequences), strict=True)
        longest = max(map(len, sequences))
        mask = torch.ones(len(sequences), longest, dtype=torch.bool, device=ends[0].device)
        for clip, ids in enumerate(sequences):
            mask[clip, : longest - len(ids)] = False
        if not self._go_on:
            return ReadBefore(None, mask, torch.stack(ends))
        if all(one is kept[0] for one in kept):
            padded = kept[0].unsqueeze(2).expand(-1, -1, len(kept), -1, -1, -1)
        else:
            layers, pair, heads, _, width = kept[0].shape
            padded = kept[0].new_zeros(layers, pair, len(kept), heads, longest, width)
            for clip, one in enumerate(kept):
                padded[:, :, clip, :, longest - one.shape[3] :] = one
        past = DynamicCache()
        for layer, (keys, values) in enumerate(padded):
            past.update(keys, values, layer)
        return ReadBefore(past, mask, torch.stack(ends))

    def _of_one(self, ids: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (layers, 2, heads, tokens, width of a head) of one sequence, and its last state (d,).

        Of keys and values that nothing goes on from, none.
        """
        if ids not in self._kept:
            self._compute(self._together.get(ids, (ids,)))
        return self._kept[ids]

    def _compute(self, group: Sequence[tuple[int, ...]]) -> None:
        """Compute and keep the states of sequences of one length."""
        from transformers import DynamicCache

        # Not inference tensors, even if evaluation comes first: training could not use them.
        with torch.inference_mode(False), torch.no_grad(), answering(self._backbone, 1):
            tokens = torch.tensor(group, dtype=torch.int64, device=self._backbone.device)
            # A cache of one's own, as the model's would drop what lies outside of a layer's sliding window.
            empty = DynamicCache()
            output = self._backbone.model.base_model(input_ids=tokens, past_key_values=empty, use_cache=True)
            layers = output.past_key_values.layers if self._go_on else ()
            for place, ids in enumerate(group):
                pairs = [torch.stack([layer.keys[place], layer.values[place]]) for layer in layers]
                kept = torch.stack(pairs) if pairs else torch.empty(0)
                self._kept[ids] = kept, output.last_hidden_state[place, -1].clone()


_MOST_TOGETHER = 1 << 12  # tokens


def _of_one_length(sequences: Collection[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Groups of different sequences that are equally long, each as large as is worth it.

    Examples:
        >>> list(_of_one_length([(7, 8), (1,), (5, 6), (1,)]))
        [((1,),), ((5, 6), (7, 8))]
    """
    for length, alike in groupby(sorted(set(sequences), key=lambda ids: (len(ids), ids)), key=len):
        ordered = tuple(alike)
        size = max(1, _MOST_TOGETHER // max(1, length))
        yield from (ordered[begin : begin + size] for begin in range(0, len(ordered), size))


def goes_on(backbone: Backbone, length: int) -> bool:
    """Whether the backbone goes on from keys and values of its own, with padding behind them, up to this length.

    A sliding window counts the padding, so the sequence must not outgrow it.
    """
    return backbone.family in CACHE_FAMILIES and within_window(backbone, length)


def within_window(backbone: Backbone, length: int) -> bool:
    """Whether a sequence of this length fits into the model's sliding window, if it has one."""
    window = getattr(backbone.model.config.get_text_config(), "sliding_window", None)
    return window is None or length <= window


def kept_bytes(backbone: Backbone, sequences: Iterable[tuple[int, ...]], *, go_on: bool = True) -> int | None:
    """Bytes of the states of sequences; None where they cannot be kept.

    They can where the family is known to allow it, and the memory is large enough.

    Args:
        backbone: The frozen model, or its outline.
        sequences: All that would be kept; those that are alike are kept once.
        go_on: As of `PromptStates`.
    """
    if backbone.family not in CACHE_FAMILIES:
        return None
    different = set(sequences)
    if go_on:
        size = sum(map(len, different)) * bytes_per_token(backbone)
    else:
        size = len(different) * backbone.hidden_size * torch.empty((), dtype=backbone.dtype).element_size()
    return size if size <= _memory(backbone.device) // _SHARE else None


def bytes_per_token(backbone: Backbone) -> int:
    """Bytes of the keys and values of one token in all layers."""
    layers, heads, width = kv_shape(backbone)
    return 2 * layers * heads * width * torch.empty((), dtype=backbone.dtype).element_size()


def kv_shape(backbone: Backbone) -> tuple[int, int, int]:
    """Layers, heads of keys and values in each, and the width of a head."""
    config = backbone.model.config.get_text_config()
    heads = int(config.num_attention_heads)
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return int(config.num_hidden_layers), groups, width


def _memory(device: torch.device) -> int:
    """Bytes of all memory, not of what is free: the same on each day, so that a training goes on as it began."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)
