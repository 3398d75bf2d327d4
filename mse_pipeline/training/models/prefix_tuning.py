"""prefix-tuning: keys and values in each layer that are learned, before all that is read (Li and Liang, ACL 2021).

P_idx of the paper's equation (3), in each layer, is a table of P x (2 x layers x key-value width), PEFT's
`PrefixEncoder`; with ``projection`` the table is made by its MLP (section 4.3), whose weights count as trained. The
backbone gets it as a cache of P positions, which every position behind sees; positions of the text begin at P. PEFT's
own wrapper makes the same cache; it is not used as it does not read embeddings and a tree of answers together.
``init: zero`` begins with zeros, ``random`` with a normal distribution. At the start neither equals the plain backbone:
keys of zeros take their share of the attention. ``budget: matched`` takes as many positions as have nearest to the
parameters of the MSE-Adapter; without ``projection``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.errors import UsageError
from mse_pipeline.training.models.prompt_tuning import check_choice, nearest
from mse_pipeline.training.models.text_only import TextAlone
from mse_pipeline.training.states import CACHE_FAMILIES, kv_shape


class PrefixTuning(TextAlone):
    """The frozen backbone with learned keys and values."""

    steers_backbone = True
    defaults: ClassVar[Mapping[str, Any] | None] = {
        **{"tokens": 20, "init": "random", "projection": 0, "budget": "given"},
        **{"layers": 0, "heads": 0, "width": 0},
    }

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        from peft import PrefixEncoder, PrefixTuningConfig

        told = self.options
        given = PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=told["tokens"],
            token_dim=told["heads"] * told["width"],
            num_layers=told["layers"],
            num_attention_heads=told["heads"],
            num_transformer_submodules=1,
            prefix_projection=told["projection"] > 0,
            encoder_hidden_size=told["projection"] or 1,  # without a projection, of no use
            init_weights="zero" if told["init"] == "zero" else None,
        )
        self.prefix = PrefixEncoder(given)
        self._format: torch.dtype | None = None

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """With the layers, key-value heads and width of the backbone, and the positions that the budget asks for.

        Raises:
            UsageError: It is not known whether the backbone goes on from keys and values of one's own.
        """
        check_choice("init", options["init"], ("random", "zero"))
        check_choice("budget", options["budget"], ("given", "matched"))
        if backbone.family not in CACHE_FAMILIES:
            raise UsageError(
                f"prefix-tuning is known to work with {', '.join(sorted(CACHE_FAMILIES))}; {backbone.name} is "
                f"{backbone.family}. Take prompt-tuning or lora, or another backbone."
            )
        layers, heads, width = kv_shape(backbone)
        tokens = options["tokens"]
        if options["budget"] == "matched":
            if options["projection"]:
                raise UsageError("training.model_options: budget matched counts no projection; leave one of them out.")
            tokens = nearest(matched(), 2 * layers * heads * width)
        return {**options, "tokens": tokens, "layers": layers, "heads": heads, "width": width}

    @classmethod
    def positions(cls, options: Mapping[str, Any], asked: int) -> int:
        """The positions of the prefix."""
        return int(options["tokens"])

    def begin(self, backbone: Any) -> None:
        """Nothing is taken from the backbone."""

    def in_force(self, backbone: Any) -> Any:
        """The backbone's number format is that of the keys and values."""
        self._format = backbone.dtype
        return super().in_force(backbone)

    def past(self, clips: int) -> Any:
        """The keys and values, as a cache of its own for each pass."""
        from transformers import DynamicCache

        told = self.options
        table = self.prefix(torch.arange(told["tokens"], device=self.prefix.embedding.weight.device))
        shape = (told["tokens"], 2 * told["layers"], told["heads"], told["width"])
        # (2 layers, heads, tokens, width): keys of a layer, then its values.
        each = table.view(shape).permute(1, 2, 0, 3).to(self._format)
        cache = DynamicCache()
        for layer in range(told["layers"]):
            keys, values = (each[2 * layer + place].expand(clips, -1, -1, -1) for place in (0, 1))
            cache.update(keys, values, layer)
        return cache
