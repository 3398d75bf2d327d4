"""TextGuideMixer (TGM): the text decides what of the other modalities gets through."""

from __future__ import annotations

import torch
from torch import nn


class TextGuideMixer(nn.Module):
    """Mean text embedding -> k; fused f = a * k + v * k, elementwise (arXiv 2502.12478, TGM).

    Args:
        hidden_size: Width d of the token embeddings.
        fusion_dim: Width of the vectors that meet.
        guided: False for the ablation without TGM: f = a + v + k, with the same weights.
    """

    def __init__(self, hidden_size: int, fusion_dim: int, *, guided: bool = True) -> None:
        super().__init__()
        self.guided = guided
        self.linear = nn.Linear(hidden_size, fusion_dim)

    def forward(
        self, text_embeddings: torch.Tensor, text_mask: torch.Tensor, modalities: list[torch.Tensor]
    ) -> torch.Tensor:
        """Mix the modalities under the text's guidance.

        Args:
            text_embeddings: (B, L, d) token embeddings of the text.
            text_mask: (B, L), nonzero where a token is, zero where padding is.
            modalities: (B, fusion_dim) each: what the encoders made, in any order; may be empty.

        Returns:
            (B, fusion_dim) float32; the text vector k itself if there is no other modality.
        """
        text = self.linear(masked_mean(text_embeddings.to(self.linear.weight.dtype), text_mask))
        if not modalities:
            return text
        if not self.guided:
            return torch.stack([*modalities, text]).sum(0)
        return torch.stack([vector * text for vector in modalities]).sum(0)


def masked_mean(embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, L, d) over the positions where mask (B, L) is nonzero; zero where there is none.

    Examples:
        >>> masked_mean(torch.tensor([[[2.0], [4.0], [99.0]]]), torch.tensor([[1, 1, 0]])).item()
        3.0
    """
    if mask.shape != embeddings.shape[:2]:
        raise ValueError(
            f"The text mask has shape {tuple(mask.shape)}, but the text embeddings {tuple(embeddings.shape)}; "
            "they need one mask value a token."
        )
    kept = mask.bool().unsqueeze(-1)
    # Chosen, not multiplied: a padding embedding may be anything, not-a-number included.
    total = torch.where(kept, embeddings, embeddings.new_zeros(())).sum(1)
    return total / kept.sum(1).clamp(min=1)
