"""Projector: the fused vector becomes pseudo tokens in the backbone's embedding space."""

from __future__ import annotations

import torch
from torch import nn


class Projector(nn.Module):
    """Linear(w, d), then Linear(1, n) on a new last axis (arXiv 2502.12478).

    Args:
        fusion_dim: Width w of the fused vector.
        hidden_size: Width d of the backbone.
        pseudo_tokens: Their number n.
    """

    def __init__(self, fusion_dim: int, hidden_size: int, pseudo_tokens: int) -> None:
        super().__init__()
        self.widen = nn.Linear(fusion_dim, hidden_size)
        self.multiply = nn.Linear(1, pseudo_tokens)

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """(B, fusion_dim) -> (B, pseudo_tokens, hidden_size)."""
        tokens: torch.Tensor = self.multiply(self.widen(fused).unsqueeze(-1))
        return tokens.transpose(1, 2)
