"""No backbone: what stands in the place of one for models that answer themselves.

Such a model reads words, not a language model's tokens. Each word has a number of its own by a hash, so that there is
no vocabulary to keep; two words share a number as seldom as `BUCKETS` allows (Weinberger et al. 2009). Chinese, which
writes no spaces, is read by its characters.
"""

from __future__ import annotations

import re
from typing import Any
from zlib import crc32

import torch
from torch import nn

from mse_pipeline.backbones.backbone import Backbone

NONE = "none"
BUCKETS = 8192
"""Numbers of words, 0 for padding alone."""
_WIDTH = 32
_WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:['’][^\W_]+)*|[^\w\s]")
"""A Chinese character, a word with its apostrophes, or a mark."""


class Words:
    """The tokenizer: words, Chinese characters and marks as numbers from 1 to `BUCKETS` - 1, whatever their case.

    Examples:
        >>> one, other = Words()(["Oh, no.", "oh no"])["input_ids"]
        >>> one[0] == other[0], len(one), len(other)
        (True, 4, 2)
    """

    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - as those of transformers have it
    bos_token_id = None
    unk_token_id = 0

    def __call__(self, texts: str | list[str], **_: Any) -> dict[str, Any]:
        """``input_ids`` of a text, or of each of several."""
        made = [
            [_number(word) for word in _WORD.findall(text)] for text in ([texts] if isinstance(texts, str) else texts)
        ]
        return {"input_ids": made[0] if isinstance(texts, str) else made}

    def convert_tokens_to_ids(self, word: str) -> int:
        """Number of a word."""
        return _number(word)

    def __len__(self) -> int:
        return BUCKETS


def _number(word: str) -> int:
    return 1 + crc32(word.lower().encode()) % (BUCKETS - 1)


class _Settings:
    """What is asked of a model's configuration."""

    model_type = NONE
    max_position_embeddings = None

    def get_text_config(self) -> _Settings:
        """The same."""
        return self


class _Nothing(nn.Module):
    """A model without layers."""

    config = _Settings()

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding.from_pretrained(torch.zeros(1, _WIDTH))

    def get_input_embeddings(self) -> nn.Embedding:
        """One row of zeros."""
        return self.embeddings


def none(device: str = "cpu") -> Backbone:
    """What a job has in the place of a backbone, for a model that needs none.

    Examples:
        >>> nothing = none()
        >>> nothing.name, sum(weight.numel() for weight in nothing.model.parameters() if weight.requires_grad)
        ('none', 0)
    """
    return Backbone(name=NONE, source="built-in", revision=None, model=_Nothing().to(device).eval(), tokenizer=Words())
