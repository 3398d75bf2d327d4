"""Backbone: a frozen causal language model with its tokenizer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen causal language model of transformers.

    Attributes:
        name: What the user called it: a short name, a hub name, a folder or a GGUF file.
        source: Hub name, folder or file that the weights came from; ``built-in`` for `tiny`.
        revision: Commit of the hub repository, where known; version of the built-in one.
        model: The model, in evaluation mode, no parameter of it trainable.
        tokenizer: Its tokenizer.
        quantization: What its linear layers were squeezed into as they were loaded, as in ``4bit``; None for nothing.
        stored_as: How a GGUF file stores the weights, as in ``GGUF Q4_K_M, 5.9 bits a weight``: they are the values of
            this copy, not of the model that it was made of. None for a folder.
    """

    name: str
    source: str
    revision: str | None
    model: Any
    tokenizer: Any
    quantization: str | None = None
    stored_as: str | None = None

    @property
    def family(self) -> str:
        """Architecture by transformers' name, as in ``llama`` or ``qwen2``."""
        return str(self.model.config.model_type)

    @property
    def hidden_size(self) -> int:
        """Width d of the token embeddings."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the token embeddings lie."""
        return torch.device(self.model.get_input_embeddings().weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the token embeddings."""
        return self.model.get_input_embeddings().weight.dtype

    @property
    def remark(self) -> str:
        """What a user should know of a quantized copy, as a sentence; empty for other backbones."""
        if self.stored_as is None:
            return ""
        return (
            f"Backbone {self.name} is stored as {self.stored_as}: results are those of this copy, whose values differ "
            "from those of the model that it was made of."
        )

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of token ids: (..., L) int64 -> (..., L, d)."""
        return self.model.get_input_embeddings()(ids)

    def digest(self) -> str:
        """SHA-256 over every parameter and buffer, to show that training left the backbone as it was."""
        digest = hashlib.sha256()
        for name, held in sorted(self.model.state_dict().items()):
            # Of a model that is sharded over processes each holds a part; all must call this.
            tensor = held.full_tensor() if hasattr(held, "full_tensor") else held
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()
