"""MSEAdapter: acoustic and visual sequences and text embeddings in, pseudo tokens out."""

from __future__ import annotations

import torch
from torch import nn

from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.encoder import SequenceEncoder
from mse_pipeline.adapter.fusion import MultiScaleFusion
from mse_pipeline.adapter.mixer import TextGuideMixer
from mse_pipeline.adapter.projector import Projector


class MSEAdapter(nn.Module):
    """The trained part beside a frozen backbone (MSE-Adapter, arXiv 2502.12478).

    It stays in float32 whatever the backbone's number format: inputs are converted on the way in.

    Args:
        config: Its sizes.

    Examples:
        >>> config = AdapterConfig(hidden_size=4096, acoustic_dim=74, visual_dim=35)
        >>> with torch.device("meta"):  # sizes without memory
        ...     adapter = MSEAdapter(config)
        >>> sum(parameter.numel() for parameter in adapter.parameters())
        2631692
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.fusion_dim
        self.acoustic = _encoder(config.acoustic_dim, config.acoustic_hidden, config)
        self.visual = _encoder(config.visual_dim, config.visual_hidden, config)
        self.mixer = TextGuideMixer(config.hidden_size, width, guided=config.mixer) if config.text else None
        self.fusion = MultiScaleFusion(config.hidden_size, width, config.scales) if config.fusion else None
        self.projector = Projector(width, config.hidden_size, config.pseudo_tokens)

    def forward(  # noqa: PLR0917 - three pairs of values and where they end
        self,
        acoustic: torch.Tensor | None,
        acoustic_lengths: torch.Tensor | None,
        visual: torch.Tensor | None,
        visual_lengths: torch.Tensor | None,
        text_embeddings: torch.Tensor | None,
        text_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Make the pseudo tokens of a batch of clips.

        What the configuration leaves out is not read, given or not. A clip whose length is 0 has a zero
        vector in that modality.

        Args:
            acoustic: (B, Ta, Da) rows, padded behind.
            acoustic_lengths: (B,) true numbers of rows.
            visual: (B, Tv, Dv) rows, padded behind.
            visual_lengths: (B,) true numbers of rows.
            text_embeddings: (B, L, hidden_size) token embeddings of the text, of any float type.
            text_mask: (B, L), nonzero where a token is.

        Returns:
            (B, pseudo_tokens, hidden_size) float32.

        Raises:
            ValueError: What the configuration asks for is not given, or shapes do not fit.
        """
        streams = (
            ("acoustic", self.acoustic, acoustic, acoustic_lengths),
            ("visual", self.visual, visual, visual_lengths),
        )
        modalities = []
        for name, encoder, sequence, lengths in streams:
            if encoder is None:
                continue
            if sequence is None or lengths is None:
                raise ValueError(
                    f"The adapter reads {name} rows and their lengths, but they were not given. "
                    f"For an adapter without them, set {name}_dim=None in its AdapterConfig."
                )
            modalities.append(encoder(sequence, lengths))
        if self.mixer is None:
            fused = torch.stack(modalities).sum(0)
        elif text_embeddings is None or text_mask is None:
            raise ValueError(
                "The adapter reads the text's embeddings and their mask, but they were not given. "
                "For an adapter without them, set text=False in its AdapterConfig."
            )
        else:
            fused = self.mixer(text_embeddings, text_mask, modalities)
        tokens: torch.Tensor = self.projector(fused if self.fusion is None else self.fusion(fused))
        return tokens


def _encoder(dim: int | None, hidden: int, config: AdapterConfig) -> SequenceEncoder | None:
    if dim is None:
        return None
    return SequenceEncoder(dim, hidden, config.fusion_dim, dropout=config.dropout)
