"""Attention of a few new positions over many that were read before, on a CPU.

A kept key needs no gradient, but torch's fused kernel computes one for every key, and in bfloat16 that alone takes half
of a training step (16 clips, 1 position behind 110: 0.32 of the time without it, and 0.11 with 2 positions). It also
needs keys that several heads share copied to each of them. Two products and a softmax do without both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from mse_pipeline.backbones.backbone import Backbone

_NAME = "mse_kept_keys"
_KNOWN: ContextVar[int] = ContextVar("known", default=0)
_MOST_WEIGHTS = 1 << 20
"""Attention weights of a layer, which the backward pass needs: beyond 4 MiB of them, the fused kernel is as fast."""


@contextmanager
def kept_keys(backbone: Backbone, clips: int, known: int, new: int) -> Iterator[None]:
    """Have the model attend so, where that is faster: on a CPU, behind positions that were read before.

    Models whose attention is not torch's own, or whose layers are compiled, stay as they are.

    Args:
        backbone: The frozen model.
        clips: B.
        known: Number K of positions that were read before.
        new: Number of positions that are read now.
    """
    config = backbone.model.config
    heads = int(getattr(config.get_text_config(), "num_attention_heads", 1))
    held = config._attn_implementation
    fits = clips * heads * new * (known + new) <= _MOST_WEIGHTS
    if not known or not fits or backbone.device.type != "cpu" or held != "sdpa" or _compiled(backbone.model):
        yield
        return
    _register()
    config._attn_implementation = _NAME
    token = _KNOWN.set(known)
    try:
        yield
    finally:
        _KNOWN.reset(token)
        config._attn_implementation = held


def _compiled(model: torch.nn.Module) -> bool:
    return any(module._compiled_call_impl is not None for module in model.modules())


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, eager_mask)


def attend(  # noqa: PLR0917 - as transformers calls it
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot product attention, as an attention function of transformers, for frozen models in evaluation mode.

    Args:
        module: The layer's attention.
        query: (B, H, Q, W) of the new positions.
        key: (B, G, K + Q, W), where H is a multiple of G; the first K are taken as they are, without gradient.
        value: Likewise.
        attention_mask: (B, 1, Q, K + Q), added to the scores; None where each position sees all keys.
        scaling: Of the scores; by default 1 / sqrt(W).

    Returns:
        (B, Q, H, W) and no weights.

    Examples:
        >>> ones = torch.ones(1, 2, 1, 4)
        >>> attend(None, ones, ones, 3 * ones, None)[0].shape, attend(None, ones, ones, 3 * ones, None)[0].unique()
        (torch.Size([1, 1, 2, 4]), tensor([3.]))
    """
    known = _KNOWN.get()
    clips, heads, new, width = query.shape
    groups = key.shape[1]
    kept_key, own_key = key[:, :, :known].detach(), key[:, :, known:]
    kept_value, own_value = value[:, :, :known].detach(), value[:, :, known:]
    # Heads that share a key stand below each other, as if they were more positions.
    rows = query.reshape(clips, groups, -1, width) * (width**-0.5 if scaling is None else scaling)
    scores = torch.cat([rows @ kept_key.transpose(2, 3), rows @ own_key.transpose(2, 3)], dim=-1)
    if attention_mask is not None:
        seen = scores.view(clips, groups, -1, new, scores.shape[-1])
        scores = (seen + attention_mask.unsqueeze(2)).view(scores.shape)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    mixed = weights[..., :known] @ kept_value + weights[..., known:] @ own_value
    return mixed.view(clips, heads, new, width).transpose(1, 2).contiguous(), None
