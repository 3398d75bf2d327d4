"""States: what a frozen backbone has read before the pseudo tokens, kept over the epochs of a training.

A backbone reads from left to right, and its weights stay as they are. So what stands before the pseudo tokens is read
alike in every epoch: its keys and values are computed once a text and kept. With the pseudo tokens behind the prompt,
a step computes a handful of positions a clip, and not its whole sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch

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
        past: A cache of transformers with their keys and values, for one pass of the model alone.
        mask: (B, K) bool, False where padding is, in front.
        ends: (B, d) the last state of each, behind the backbone's last norm.
    """

    past: Any
    mask: torch.Tensor
    ends: torch.Tensor


class PromptStates:
    """Keys and values of token sequences, each computed once, alone and without padding.

    So a clip's states do not depend on the clips beside it, nor on whether a training was interrupted.

    Args:
        backbone: The frozen model.

    Examples:
        >>> from mse_pipeline.backbones import load
        >>> states = PromptStates(load("tiny"))
        >>> read = states.of([(1, 5, 7), (1, 5)])
        >>> read.mask.tolist(), read.past.get_seq_length()
        ([[True, True, True], [False, True, True]], 3)
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._kept: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, sequences: Sequence[tuple[int, ...]]) -> ReadBefore:
        """What the backbone holds after reading the sequences, padded in front."""
        from transformers import DynamicCache

        kept, ends = zip(*(self._of_one(ids) for ids in sequences), strict=True)
        longest = max(one.shape[3] for one in kept)
        layers, pair, heads, _, width = kept[0].shape
        padded = kept[0].new_zeros(layers, pair, len(kept), heads, longest, width)
        mask = torch.zeros(len(kept), longest, dtype=torch.bool, device=padded.device)
        for clip, one in enumerate(kept):
            begin = longest - one.shape[3]
            padded[:, :, clip, :, begin:] = one
            mask[clip, begin:] = True
        past = DynamicCache()
        for layer, (keys, values) in enumerate(padded):
            past.update(keys, values, layer)
        return ReadBefore(past, mask, torch.stack(ends))

    def _of_one(self, ids: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (layers, 2, heads, tokens, width of a head) of one sequence, and its last state (d,)."""
        from transformers import DynamicCache

        if ids not in self._kept:
            # Not inference tensors, even if evaluation comes first: training could not use them.
            with torch.inference_mode(False), torch.no_grad():
                tokens = torch.tensor([ids], dtype=torch.int64, device=self._backbone.device)
                # A cache of one's own, as the model's would drop what lies outside of a layer's sliding window.
                empty = DynamicCache()
                output = self._backbone.model.base_model(input_ids=tokens, past_key_values=empty, use_cache=True)
                kept = torch.stack([torch.cat([one.keys, one.values]) for one in output.past_key_values.layers])
                self._kept[ids] = kept, output.last_hidden_state[0, -1].clone()
        return self._kept[ids]


def kept_bytes(backbone: Backbone, sequences: Iterable[tuple[int, ...]]) -> int | None:
    """Bytes of the states of sequences; None where they cannot be kept.

    They can where the family is known to allow it, and the memory is large enough.

    Args:
        backbone: The frozen model, or its outline.
        sequences: All that would be kept; those that are alike are kept once.
    """
    if backbone.family not in CACHE_FAMILIES:
        return None
    size = sum(map(len, set(sequences))) * bytes_per_token(backbone)
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
