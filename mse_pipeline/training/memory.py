"""An estimate of the memory that a training takes, from shapes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.training.scoring import MOST_LOGITS, MOST_TOKENS_ELSEWHERE

_ADAPTER_COPIES = 5
"""Weights, gradients, AdamW's two moments, and the weights of the best epoch."""
_SQUEEZED = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
"""Bytes a weight: NF4 keeps a float32 scale for each 64 weights; of 8 bits, the scale of each row is nothing."""


@dataclass(frozen=True)
class Load:
    """What one step holds.

    Attributes:
        clips: Clips of a batch, B.
        tokens: Tokens of the longest sequence, T.
        answer_tokens: Of the longest answer, K: logits are made at so many places.
        nodes: Places at which scoring needs logits: the inner nodes of the answers' tree.
        rows: Rows of the longest acoustic and visual sequence together with their dims, as (rows, dims, LSTM width).
    """

    clips: int
    tokens: int
    answer_tokens: int
    nodes: int
    rows: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        weights: The backbone's.
        adapter: Weights, gradients, the optimiser's moments and the best epoch's weights.
        activations: What the backward pass needs of the forward pass.
        logits: Of the answers, over the whole vocabulary.
        scoring: What predicting a split takes at once, in place of activations and logits.
    """

    weights: int
    adapter: int
    activations: int
    logits: int
    scoring: int

    @property
    def total(self) -> int:
        """At the peak."""
        return self.weights + self.adapter + max(self.activations + self.logits, self.scoring)


def estimate(backbone: Backbone, config: AdapterConfig, load: Load, *, checkpointing: bool = False) -> Memory:
    """Estimate the peak of a training step, and of predicting a split.

    The gradient runs through the frozen backbone to the pseudo tokens, so that a step keeps activations as in ordinary
    training, but for one thing: frozen linear layers keep no inputs, since their weights get no gradient. With b bytes
    a number, width d, H the width of all heads together, I that of the MLP, L layers, vocabulary V, and B, T, K of
    `Load`:

    * weights: b a parameter; with a quantization 0.56 (4bit) or 1 (8bit) a weight of the layers' linear maps
    * adapter: 4 bytes times five a parameter (weights, gradients, two moments of AdamW, the best epoch's weights)
    * activations: B T L tokens, of each b (4 H + 3 I) for queries, keys, values and result of the attention and for
      the three vectors of a gated MLP (one, where it is not gated), 4 bytes a number that a norm reads, since norms
      compute in float32, 4 a head, and b T for the row of the attention mask; then b d four times a token for the
      embeddings, and what the LSTMs keep. With gradient checkpointing a layer keeps the b d that it reads, and one
      layer at a time all of that
    * logits: B K V times b + 8, as they come, as log-probabilities, and their gradient; 4 more where b is not float32
    * scoring: as many clips as `score_examples` reads at once on a GPU keep one layer's vectors alone, and their logits
      at the nodes of the answers' tree, N V times b; 4 more likewise

    Not counted: what the framework itself takes (about half a GB on a GPU), fragmentation, and workspaces of kernels.

    Args:
        backbone: The model, or its outline.
        config: Sizes of the adapter.
        load: The largest batch; of one that is cut into parts, the largest part.
        checkpointing: Whether the layers' activations are computed again in the backward pass.
    """
    model = backbone.model
    sizes = model.config.get_text_config()
    number = torch.empty((), dtype=backbone.dtype).element_size()
    width = backbone.hidden_size
    layers = _size(sizes, "num_hidden_layers", 1)
    heads = _size(sizes, "num_attention_heads", 1)
    all_heads = heads * _size(sizes, "head_dim", width // heads)
    inner, inner_vectors = _mlp(model, width)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    vectors = number * (4 * all_heads + inner_vectors * inner)
    token = vectors + 4 * _normed(model, width, layers) + 4 * heads + number * load.tokens
    embeddings = 4 * number * width
    kept = layers * number * width + token if checkpointing else layers * token
    encoders = sum(load.clips * rows * 4 * (dims + 7 * hidden) for rows, dims, hidden in load.rows)
    with torch.device("meta"):
        adapter = sum(parameter.numel() for parameter in MSEAdapter(config).parameters())
    read = load.tokens - load.answer_tokens + load.nodes
    copies = number if number == 4 else number + 4
    scored = max(1, min(MOST_TOKENS_ELSEWHERE // read, MOST_LOGITS // ((load.nodes + 1) * vocabulary)))
    return Memory(
        weights=_weights(backbone),
        adapter=4 * _ADAPTER_COPIES * adapter,
        activations=load.clips * load.tokens * (kept + embeddings) + encoders,
        logits=load.clips * load.answer_tokens * vocabulary * (copies + 8),
        scoring=scored * (read * (vectors + 8 * width) + (load.nodes + 1) * vocabulary * copies),
    )


def _weights(backbone: Backbone) -> int:
    """Bytes of all parameters; of a quantized model also those that an outline does not show."""
    total = float(sum(parameter.numel() * parameter.element_size() for parameter in backbone.model.parameters()))
    if backbone.quantization is None or backbone.device.type != "meta":
        return int(total)
    head = backbone.model.get_output_embeddings()
    for module in backbone.model.modules():
        if isinstance(module, nn.Linear) and module is not head:
            squeezed = _SQUEEZED[backbone.quantization]
            total -= module.weight.numel() * (module.weight.element_size() - squeezed)
    return int(total)


def _size(config: Any, name: str, default: int) -> int:
    value = getattr(config, name, None)
    return int(value) if isinstance(value, int) and value > 0 else default


def _mlp(model: Any, width: int) -> tuple[int, int]:
    """Inner width of the MLPs, and how many vectors of it a token keeps: three where it is gated, else one."""
    config = model.config.get_text_config()
    names = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
    inner = next((size for name in names if (size := _size(config, name, 0))), 4 * width)
    gated = any(name.endswith(("gate_proj", "gate_up_proj", "linear_v")) for name, _ in model.named_modules())
    return inner, 3 if gated else 1


def _normed(model: Any, width: int, layers: int) -> int:
    """Numbers that the norms of one layer read of a token: norms of single heads read all heads."""
    read = 0
    config = model.config.get_text_config()
    heads = _size(config, "num_attention_heads", 1)
    groups = _size(config, "num_key_value_heads", heads)
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" not in type(module).__name__.lower() or not isinstance(weight, torch.Tensor) or weight.ndim != 1:
            continue
        size = len(weight)
        if size < width and "q_norm" in name:
            size *= heads
        elif size < width and "k_norm" in name:
            size *= groups
        read += size
    return math.ceil(read / layers)
