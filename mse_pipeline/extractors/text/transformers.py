"""text.transformers: hidden states of a pretrained text encoder or language model, one row a token."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.base import TextExtractor
from mse_pipeline.extractors.encoder import Encoder, EncoderConfig, batches, keep
from mse_pipeline.extractors.families import reads, refusal
from mse_pipeline.extractors.pretrained import load_preprocessor
from mse_pipeline.store.features import Features

_FIRST_POSITION_BEHIND_PADDING = {
    "camembert",
    "data2vec-text",
    "longformer",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Model types whose positions are counted from the padding token's index on, which are therefore fewer."""

_TAKES = "text encoders (BERT, RoBERTa, ...) and language models (LLaMA, Qwen, ...)."


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TextTransformersConfig(EncoderConfig):
    """Options of `TextTransformers`.

    Attributes:
        max_tokens: Tokens that are encoded at once, special ones included; fewer where the model takes fewer.
        overlap: Tokens that neighbouring windows of a longer text share.
        batch: Windows that go through the model at once.
    """

    max_tokens: Annotated[int, Field(ge=8)] = 512
    overlap: Annotated[int, Field(ge=0)] = 128
    batch: Annotated[int, Field(ge=1)] = 4


class TextTransformers(Encoder[TextTransformersConfig], TextExtractor[TextTransformersConfig]):
    """Stream ``text.transformers``, (T, D), one row a token of the model's tokenizer, special tokens left out.

    Encoders (BERT, RoBERTa, MacBERT) and decoders (LLaMA, Qwen) alike; of models with both parts, the encoder. When
    a token is spoken is not known: intervals are NaN. The notes tell each row's token and its place in the clip's
    text, from which word embeddings can be pooled.
    """

    name = "transformers"
    Config = TextTransformersConfig

    def part_of_config(self, config: Any) -> Any:
        """The configuration, where it is that of a text model."""
        if reads(config) == "text":
            return config
        raise refusal(self.config.model, config, "text.transformers", _TAKES)

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return f"text.transformers takes {_TAKES}"

    def part_of_model(self, model: Any) -> Any:
        """The model, or its encoder where it has one beside its decoder."""
        return model.get_encoder() if model.config.is_encoder_decoder else model

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer.

        Raises:
            UsageError: The folder has none that tells where in the text a token stands.
        """
        tokenizer = load_preprocessor("AutoTokenizer", self.folder)
        if not tokenizer.is_fast:
            raise UsageError(
                f"The tokenizer of {self.config.model} ({type(tokenizer).__name__}) cannot tell where in the text its "
                "tokens stand: add a tokenizer.json to its folder, as transformers' `convert_slow_tokenizer` makes it."
            )
        tokenizer.truncation_side = "right"  # long texts are cut into windows from their beginning on
        return tokenizer

    @functools.cached_property
    def length(self) -> int:
        """Tokens of a window, special ones included."""
        config = self.model_config
        positions = getattr(config, "max_position_embeddings", None) or self.config.max_tokens
        if config.model_type in _FIRST_POSITION_BEHIND_PADDING:
            positions -= int(config.pad_token_id) + 1
        return int(min(self.config.max_tokens, positions, self.tokenizer.model_max_length))

    def prepare(self) -> None:
        """Load the tokenizer too, and refuse an overlap that leaves no room."""
        if hasattr(self.model.config, "use_cache"):
            self.model.config.use_cache = False  # keys and values of a text that nobody continues
        room = self.length - self.tokenizer.num_special_tokens_to_add()
        if not self.config.overlap < room:
            raise UsageError(
                f"{self.config.model} takes {room} tokens of text at once, and `overlap` asks for "
                f"{self.config.overlap}: windows must share fewer tokens than they have."
            )

    def __call__(self, clip: Clip, root: Path) -> Features:
        """Extract.

        Args:
            clip: The clip, with its text.
            root: Unused.

        Returns:
            (T, D) features of T tokens with NaN intervals; notes `tokens`, as the tokenizer writes them, and `spans`,
            begin and end of each in characters of the clip's text, without blanks around it.

        Raises:
            ClipError: `no_text` where the clip has no text, or nothing but blanks.
        """
        if not clip.text.strip():
            raise ClipError("no_text", f"{clip.id} has no text.")
        self.ready()
        inputs = self._tokenize(clip)
        content = [[k for k, special in enumerate(mask) if not special] for mask in inputs["special_tokens_mask"]]
        spans = self._places(content)
        if spans[-1][1] == 0:
            raise ClipError("no_text", f"The text of {clip.id} holds no token of {self.config.model}.")
        values = np.empty((spans[-1][1], len(self.names)), np.float32)
        tokens: list[str] = [""] * len(values)
        places: list[list[int]] = [[0, 0]] * len(values)
        order = {window: number for number, window in enumerate(keep(spans))}
        for indices in batches(list(order), self.config.batch):
            states = self._encode([inputs["input_ids"][order[window]] for window in indices])
            for window, state in zip(indices, states, strict=True):
                number = order[window]
                chosen = content[number][window.inner]
                values[window.kept] = state[chosen].cpu().numpy()
                tokens[window.kept] = [inputs[number].tokens[k] for k in chosen]
                places[window.kept] = [_trimmed(clip.text, *inputs["offset_mapping"][number][k]) for k in chosen]
        notes = {**self.told(), "tokens": tokens, "spans": places}
        return Features(values, np.full((len(values), 2), np.nan), np.ones(len(values), bool), self.names, notes)

    def _tokenize(self, clip: Clip) -> Any:
        """The text as windows of tokens, the last of which may be shorter."""
        return self.tokenizer(
            [clip.text],
            truncation=True,
            max_length=self.length,
            stride=self.config.overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )

    def _places(self, content: list[list[int]]) -> list[tuple[int, int]]:
        """Which of the text's tokens each window holds."""
        step = len(content[0]) - self.config.overlap
        return [(number * step, number * step + len(token_ids)) for number, token_ids in enumerate(content)]

    def _encode(self, ids: list[list[int]]) -> Any:
        import torch

        return self.hidden(self.run(input_ids=torch.tensor(ids)))


def _trimmed(text: str, start: int, stop: int) -> list[int]:
    """A token's place without the blanks around it, which some tokenizers count to it.

    Examples:
        >>> _trimmed("so it is", 2, 5), _trimmed("a  b", 1, 3)
        ([3, 5], [1, 3])
    """
    word = text[start:stop]
    if not word.strip():
        return [start, stop]
    return [start + len(word) - len(word.lstrip()), stop - len(word) + len(word.rstrip())]
