"""Answering: of the last layer and the output embeddings, what the answer needs and nothing else.

What a model says depends on its last positions alone. So its last MLP, two thirds of that layer, and its output
embeddings are computed there only; and where only some tokens can follow, of the output embeddings only their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mse_pipeline.backbones.backbone import Backbone

PLAIN_FAMILIES = frozenset(
    {
        "cohere",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "gpt2",
        "gpt_neox",
        "granite",
        "llama",
        "mistral",
        "opt",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
    }
)
"""Architectures whose logits depend on their own token's row alone, capped or scaled or not, and whose last MLP, called
``mlp``, reads one tensor and computes each position alone."""


_LAST: ContextVar[tuple[nn.Module, int] | None] = ContextVar("last", default=None)
"""The last MLP and the positions that it reads, while a model answers."""


@contextmanager
def answering(backbone: Backbone, keep: int, tokens: Sequence[int] | None = None) -> Iterator[None]:
    """Have the model compute at its last `keep` positions alone what no earlier position needs.

    Args:
        backbone: The frozen model.
        keep: Number of positions at the end whose logits or states are read; those of others are not to be used.
        tokens: The only tokens whose logits are read. They are columns of the logits in this order where
            `takes_tokens` says so; elsewhere the logits are those of the whole vocabulary.
    """
    head = backbone.model.get_output_embeddings()
    with ExitStack() as stack:
        if head is not None and head is not backbone.model.get_input_embeddings():
            # Not every class of every version of transformers knows ``logits_to_keep``. Those that do pass on a slice
            # with gaps, of which torch makes one product a clip: with 151,936 tokens in bfloat16 on a CPU, of two
            # positions of 16 clips in 13 seconds instead of 0.04. What a class does to logits after that, as capping
            # them, it still does.
            hook = head.register_forward_pre_hook(lambda _, given: (given[0][:, -keep:].contiguous(), *given[1:]))
            stack.callback(hook.remove)
            if tokens is not None and takes_tokens(backbone):
                stack.enter_context(_only_rows(head, tokens))
        mlp = _last_mlp(backbone)
        if mlp is not None:
            stack.enter_context(_only_last(mlp, keep))
        yield


def takes_tokens(backbone: Backbone) -> bool:
    """Whether logits of some tokens can be computed alone: a plain product, in a family known for it."""
    head = backbone.model.get_output_embeddings()
    return (
        backbone.family in PLAIN_FAMILIES
        and type(head) is nn.Linear
        and type(head.weight) in {nn.Parameter, torch.Tensor}
        and "forward" not in vars(head)
    )


@contextmanager
def _only_rows(head: nn.Linear, tokens: Sequence[int]) -> Iterator[None]:
    rows = torch.tensor(tokens, device=head.weight.device)
    weight, bias = head.weight[rows], None if head.bias is None else head.bias[rows]
    head.forward = lambda states: functional.linear(states, weight, bias)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward


def _last_mlp(backbone: Backbone) -> nn.Module | None:
    """The MLP of the last layer; None where the layers are of another kind, or are compiled."""
    if backbone.family not in PLAIN_FAMILIES:
        return None
    lists = [module for module in backbone.model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    layer = max(lists, key=len)[-1] if lists else None
    mlp = getattr(layer, "mlp", None)
    if layer is None or not isinstance(mlp, nn.Module) or layer._compiled_call_impl is not None:
        return None
    return mlp


@contextmanager
def _only_last(mlp: nn.Module, keep: int) -> Iterator[None]:
    """Have an MLP read the last `keep` positions; what it would have said of others is zero."""
    left_out: list[int] = []

    def cut(_: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        left_out.append(max(0, given[0].shape[1] - keep))
        return (given[0][:, left_out[-1] :].contiguous(), *given[1:])

    def widen(_: nn.Module, given: Any, made: torch.Tensor) -> torch.Tensor:
        return functional.pad(made, (0, 0, left_out.pop(), 0))

    token = _LAST.set((mlp, keep))
    with ExitStack() as stack:
        stack.callback(_LAST.reset, token)
        stack.callback(mlp.register_forward_pre_hook(cut).remove)
        stack.callback(mlp.register_forward_hook(widen).remove)
        yield


def computed_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What `torch.utils.checkpoint` enters as a layer is computed, and as it is computed again for the backward pass.

    By then the model's answer is long made: the last MLP must read what it read.
    """
    held = _LAST.get()
    return nullcontext(), nullcontext() if held is None else _only_last(*held)
