"""Two trades of a frozen backbone: time for memory, and a slow start for faster steps. Neither changes a result.

Examples:
    >>> from mse_pipeline import backbones
    >>> tiny = backbones.load("tiny")
    >>> enable_checkpointing(tiny)
    2
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.errors import UsageError


def enable_checkpointing(backbone: Backbone) -> int:
    """Keep of each layer only what goes into it, and compute the layer again in the backward pass.

    Saves most of the activations' memory for about half as much time again. `gradient_checkpointing_enable` of
    transformers does it in training mode alone, where some models drop values out; a frozen backbone stays in
    evaluation mode, so its layers are wrapped here, and outputs and gradients stay the same bits.

    Args:
        backbone: Changed in place; a second call changes nothing.

    Returns:
        Number of layers.

    Raises:
        UsageError: The model's class has no layers that transformers knows how to compute again.
    """
    layers = _layers(backbone)
    for layer in layers:
        if not hasattr(layer.forward, "_checkpointed"):
            layer.forward = _computed_again(layer.forward)
    return len(layers)


def compile_forward(backbone: Backbone) -> int:
    """Compile the layers with torch.compile, for sequences of any length.

    The layers are alike, so one is compiled for all of them; compiling the whole model would take many times as long.
    It happens in the first steps. Numbers agree with those of the plain way up to rounding.

    Args:
        backbone: Changed in place.

    Returns:
        Number of layers.

    Raises:
        UsageError: The model's class has no layers that transformers knows, or torch cannot compile on this machine.
    """
    layers = _layers(backbone)
    _require_compiler(backbone.device)
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)


def _layers(backbone: Backbone) -> list[torch.nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in backbone.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UsageError(
            f"The backbone {backbone.name} ({backbone.family}) has no layers that transformers can compute again or "
            "compile one by one: leave --gradient-checkpointing and --compile out."
        )
    return layers


def _computed_again(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    @wraps(forward)
    def checkpointed(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*given, **named)
        # A frozen model in evaluation mode draws no random numbers, so there is no state of them to keep.
        return checkpoint(forward, *given, use_reentrant=False, preserve_rng_state=False, **named)

    checkpointed._checkpointed = True  # type: ignore[attr-defined]
    return checkpointed


def _require_compiler(device: torch.device) -> None:
    """Compile something small: whether compiler, headers and Triton are there and fit together, only that tells."""
    try:
        torch.compile(_small, dynamic=True)(torch.zeros(2, device=device))
    except Exception as error:  # torch raises errors of a dozen types, those of the compiler it calls among them
        needed = "a C++ compiler (g++ or clang++, or $CXX)" if device.type == "cpu" else "Triton and a C compiler"
        raise UsageError(
            f"torch cannot compile for {device} here ({type(error).__name__}): it needs {needed} and Python's header "
            "files. Install them, or leave --compile out."
        ) from error


def _small(values: torch.Tensor) -> torch.Tensor:
    return values.sin() + 1
