"""MultiScaleFusion (MSF): the fused vector through bottlenecks of several widths, mixed again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class MultiScaleFusion(nn.Module):
    """MLPs Linear(w, d // s) -> GELU -> Linear(d // s, w) for each scale s, mixed by a 1 x n convolution.

    The convolution has one filter and a bias: one weight a scale (arXiv 2502.12478, MSF).

    Args:
        hidden_size: Width d of the backbone.
        fusion_dim: Width w of the fused vector.
        scales: The divisors s, in their order.
    """

    def __init__(self, hidden_size: int, fusion_dim: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Linear(fusion_dim, hidden_size // scale),
                nn.GELU(),
                nn.Linear(hidden_size // scale, fusion_dim),
            )
            for scale in scales
        )
        self.mix = nn.Conv2d(1, 1, kernel_size=(1, len(self.scales)))

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """(B, fusion_dim) -> (B, fusion_dim)."""
        stacked = torch.stack([scale(fused) for scale in self.scales], dim=-1)
        mixed: torch.Tensor = self.mix(stacked.unsqueeze(1))
        return mixed.flatten(1)
