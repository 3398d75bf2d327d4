"""Sharding: a frozen backbone that no single device holds, spread over the processes (FSDP2 of torch)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.errors import UsageError


def shard(backbone: Backbone, device: str) -> None:
    """Spread the weights of a backbone's layers over all processes, in place.

    Each process keeps its part of every layer and has a layer whole only while that computes, in the forward and in
    the backward pass. Embeddings, head and what else lies outside of the layers stay whole in each process:
    embeddings are read outside of the model's own forward pass, and may share their weights with the head. All
    processes must call the model equally often.

    Args:
        backbone: As loaded, the same in all processes; it may lie in the memory of the host. One that is sharded
            already stays as it is.
        device: Of this process; the parts are brought there layer by layer.

    Raises:
        UsageError: torch is too old, or the weights are quantized.
    """
    try:
        from torch.distributed.fsdp import FSDPModule, fully_shard
    except ImportError as error:  # before torch 2.6
        raise UsageError(f"Sharding the backbone needs torch 2.6 or newer, and this is {torch.__version__}.") from error
    if getattr(backbone.model, "is_quantized", False):
        raise UsageError(
            f"The backbone {backbone.name} is quantized, and quantized weights cannot be sharded: leave one of the two."
        )
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(torch.device(device).type, (get_world_size(),))
    chosen = layers(backbone.model)
    if isinstance(chosen[0], FSDPModule):
        return
    for layer in chosen:
        fully_shard(layer, mesh=mesh)
    inside = {id(tensor) for layer in chosen for tensor in (*layer.parameters(), *layer.buffers())}
    for tensor in (*backbone.model.parameters(), *backbone.model.buffers()):
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(device)


def layers(model: Any) -> nn.ModuleList:
    """The list of a model's layers: of all lists of modules, the one with the most weights.

    Raises:
        UsageError: It has none.

    Examples:
        >>> model = nn.Sequential(nn.Embedding(9, 4), nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]))
        >>> len(layers(model))
        2
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise UsageError(f"{type(model).__name__} cannot be sharded: it has no list of layers.")
    return max(lists, key=lambda one: sum(weight.numel() for weight in one.parameters()))
