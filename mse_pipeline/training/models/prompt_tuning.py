"""prompt-tuning: n embeddings that are learned, the same for all clips, beside the text (Lester et al., EMNLP 2021).

The vectors are PEFT's `PromptEmbedding`. They begin as embeddings of tokens drawn from the vocabulary (``init:
vocabulary``, section 3.2 of the paper), or as PEFT's normal distribution (``init: random``), with which small models
learn little. Two things differ from PEFT's own wrapper: the vectors stand where the recipe's ``place`` has the
adapter's pseudo tokens, and not before the start of the sequence; and answers are scored, not generated.
``budget: matched`` takes as many as have nearest to the parameters of the MSE-Adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.errors import UsageError
from mse_pipeline.training.models.text_only import TextAlone, text_of


def nearest(wanted: int, each: int) -> int:
    """How many parts of `each` parameters have nearest to `wanted` parameters together; at least one.

    Examples:
        >>> nearest(2_631_692, 4 * 2 * 32 * 4096 // 16), nearest(3, 10)
        (40, 1)
    """
    return max(1, round(wanted / each))


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a setting of a model that is none of its choices.

    Raises:
        UsageError: It is another one.
    """
    if value not in choices:
        raise UsageError(f"training.model_options.{name} is one of {', '.join(choices)}, not {value!r}.")


class PromptTuning(TextAlone):
    """The frozen backbone with learned embeddings in front of the text."""

    adapted = "virtual tokens stand where the recipe's place says"
    defaults: ClassVar[Mapping[str, Any] | None] = {"tokens": 20, "init": "vocabulary", "budget": "given"}

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        from peft import PromptEmbedding, PromptTuningConfig

        given = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.options["tokens"],
            token_dim=config.hidden_size,
            num_transformer_submodules=1,
        )
        self.prompt = PromptEmbedding(given, None)

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """With the number of tokens that the budget asks for."""
        check_choice("init", options["init"], ("vocabulary", "random"))
        check_choice("budget", options["budget"], ("given", "matched"))
        if options["budget"] == "matched":
            return {**options, "tokens": nearest(matched(), backbone.hidden_size)}
        return dict(options)

    @classmethod
    def positions(cls, options: Mapping[str, Any], asked: int) -> int:
        """The number of tokens."""
        return int(options["tokens"])

    def begin(self, backbone: Any) -> None:
        """Draw the first embeddings from the vocabulary, by torch's random state."""
        if self.options["init"] == "vocabulary":
            ids = torch.randint(len(backbone.tokenizer), (self.options["tokens"],))
            with torch.no_grad():
                self.prompt.embedding.weight.copy_(backbone.embed(ids.to(backbone.device)))

    def forward(self, *given: torch.Tensor | None) -> torch.Tensor:
        """The same embeddings for each clip, (B, tokens, hidden_size) float32."""
        weight: torch.Tensor = self.prompt(torch.arange(self.options["tokens"], device=text_of(given).device))
        return weight.expand(len(text_of(given)), -1, -1)
