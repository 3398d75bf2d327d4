"""Speed: a frozen backbone that computes the same in less memory or less time."""

from __future__ import annotations

from mse_pipeline.backbones.backbone import Backbone


def enable_checkpointing(backbone: Backbone) -> None:
    """Compute activations again in the backward pass instead of keeping them; gradients stay the same."""
    raise NotImplementedError


def compile_forward(backbone: Backbone) -> None:
    """Put the forward pass through torch.compile."""
    raise NotImplementedError
