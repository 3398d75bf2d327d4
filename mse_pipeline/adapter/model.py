"""MSEAdapter: acoustic and visual sequences and text embeddings in, pseudo tokens out.

Its parts, in the order in which a clip passes them: an encoder makes one vector of a stream of any length
(`mse_pipeline.adapter.encoders`); TextGuideMixer (TGM) lets the text decide what of the other modalities gets through;
MultiScaleFusion (MSF) passes the fused vector through bottlenecks of several widths and mixes it again; Projector makes
pseudo tokens of it in the backbone's embedding space. AnswerHead, where there is one, reads the backbone's state
instead of its words.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from mse_pipeline.adapter.base import Model
from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.encoders import ENCODERS, SequenceEncoder
from mse_pipeline.errors import UsageError


class TextGuideMixer(nn.Module):
    """Mean text embedding -> k; fused f = a * k + v * k, elementwise (arXiv 2502.12478, TGM).

    Args:
        hidden_size: Width d of the token embeddings.
        fusion_dim: Width of the vectors that meet.
        guided: False for the ablation without TGM: f = a + v + k, with the same weights.
        residual: Whether the modalities themselves are added: f = a * (1 + k) + v * (1 + k).
    """

    def __init__(self, hidden_size: int, fusion_dim: int, *, guided: bool = True, residual: bool = False) -> None:
        super().__init__()
        self.guided, self.residual = guided, residual
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
        gate = 1 + text if self.residual else text
        return torch.stack([vector * gate for vector in modalities]).sum(0)


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


class MultiScaleFusion(nn.Module):
    """MLPs Linear(w, d // s) -> GELU -> Linear(d // s, w) for each scale s, mixed by a 1 x n convolution.

    The convolution has one filter and a bias: one weight a scale (arXiv 2502.12478, MSF).

    Args:
        hidden_size: Width d of the backbone.
        fusion_dim: Width w of the fused vector.
        scales: The divisors s, in their order.
        residual: Whether the fused vector is added to what the convolution makes.
    """

    def __init__(self, hidden_size: int, fusion_dim: int, scales: Sequence[int], *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
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
        mixed: torch.Tensor = self.mix(stacked.unsqueeze(1)).flatten(1)
        return fused + mixed if self.residual else mixed


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


class Rescale(nn.Module):
    """Pseudo tokens as large as the backbone's own embeddings: x / RMS(x) * g, with one g that is learned.

    A backbone reads embeddings of one size. Fresh pseudo tokens of another size drown its text, or are not heard
    (RMSNorm: Zhang and Sennrich 2019).

    Args:
        size: Root mean square of the values at the start: that of the backbone's token embeddings.
    """

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor(float(size)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, n, d) -> (B, n, d)."""
        return functional.rms_norm(tokens, tokens.shape[-1:], eps=1e-8) * self.size


class AnswerHead(nn.Module):
    """LayerNorm -> dropout -> Linear on the backbone's last state: one value a class, or one for a number.

    Args:
        hidden_size: Width d of the backbone.
        outputs: Number of values.
        dropout: Share of the state that training sets to zero.
        clip_width: Width w of the model's own vector of a clip, which the head reads too, in the same way, and where
            the pseudo tokens stand behind the prompt, the state at the prompt's end; what it makes of them is added.
            So a backbone that loses something of the modalities, and pseudo tokens that throw it off, cost nothing.
            None to read the state alone.
        behind_prompt: Whether they stand there.
        learns_states: Whether pseudo tokens shape the states. Those of texts alone tell of the texts, and little is
            learned by heart of them.

    Attributes:
        width: Of a head for numbers, how unsure it is, the same for all clips: where each clip has a width of its own,
            clips that are hard at first are given up as noise (Seitzer et al. 2022). None for classes.
    """

    def __init__(
        self,
        hidden_size: int,
        outputs: int,
        *,
        dropout: float = 0.0,
        clip_width: int | None = None,
        behind_prompt: bool = False,
        learns_states: bool = True,
    ) -> None:
        super().__init__()
        gain = min(1.0, (_STATE_GAIN if learns_states else _TEXT_STATE_GAIN) / hidden_size)
        self.state = _Readout(hidden_size, outputs, dropout, gain)
        self.clip = None if clip_width is None else _Readout(clip_width, outputs, dropout)
        self.prompt = None
        if self.clip is not None and behind_prompt:
            self.prompt = _Readout(hidden_size, outputs, dropout, gain)
        self.width = nn.Parameter(torch.tensor(-1.5)) if outputs == 1 else None

    def forward(self, states: torch.Tensor, clips: torch.Tensor, prompt: torch.Tensor | None = None) -> torch.Tensor:
        """Read states of any float type.

        Args:
            states: (B, d) of the backbone where the answer would begin.
            clips: (B, w) vectors of the clips.
            prompt: (B, d) of the backbone at the end of the prompt, where pseudo tokens follow it.

        Returns:
            (B, outputs) float32.
        """
        values: torch.Tensor = self.state(states)
        if self.clip is not None:
            values = values + self.clip(clips)
        if self.prompt is not None:
            values = values + self.prompt(prompt)
        return values


_STATE_GAIN = 16.0
"""What the d values of a backbone's state count together. A step of Adam moves each weight by about the learning rate,
so what is read of d normalised values by d times it: without a share of 1 / d (Yang et al. 2022), the wider a backbone
is, the more a head learns its clips by heart."""
_TEXT_STATE_GAIN = 1024.0
"""The same of states of texts alone. On CMU-MOSI's valid clips with a backbone of width 576, all 576 were better than
64 and 16 of them (correlation .73, .71, .69); on RAVDESS, whose two sentences tell nothing, all are alike."""


class _Readout(nn.Module):
    def __init__(self, hidden_size: int, outputs: int, dropout: float, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, outputs)
        # At the start, it holds all answers for about equally likely.
        nn.init.normal_(self.linear.weight, std=0.1 / hidden_size**0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        normed = self.norm(vectors.to(self.linear.weight.dtype))
        values: torch.Tensor = self.linear(self.gain * self.dropout(normed))
        return values


class TrainedModel(Model):
    """What is trained beside a frozen backbone: rows of streams and text embeddings in, pseudo tokens out.

    Subclasses are made of the configuration alone, so that a folder of weights beside that configuration restores them;
    `state_dict` holds all that they learn. Their own options are in ``config.options``.

    Args:
        config: Its sizes and options.

    Attributes:
        head: Answers with the backbone's state; None where answers are spelled by the backbone itself.
    """

    fuses = True

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.head = None
        if config.head is not None:
            self.head = AnswerHead(
                config.hidden_size,
                config.head,
                dropout=config.dropout,
                clip_width=self.clip_width if config.residual else None,
                # Without pseudo tokens, the state at the prompt's end is the last one.
                behind_prompt=config.place == "before-answer" and config.pseudo_tokens > 0,
                learns_states=config.pseudo_tokens > 0,
            )

    @abstractmethod
    def forward(  # noqa: PLR0917 - three pairs of values and where they end
        self,
        acoustic: torch.Tensor | None,
        acoustic_lengths: torch.Tensor | None,
        visual: torch.Tensor | None,
        visual_lengths: torch.Tensor | None,
        text_embeddings: torch.Tensor | None,
        text_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Make the pseudo tokens of a batch of clips, (B, pseudo_tokens, hidden_size) float32.

        Args:
            acoustic: (B, Ta, Da) rows, padded behind.
            acoustic_lengths: (B,) true numbers of rows; 0 for a clip without this stream.
            visual: (B, Tv, Dv) rows, padded behind.
            visual_lengths: (B,) true numbers of rows.
            text_embeddings: (B, L, hidden_size) token embeddings of the text, of any float type.
            text_mask: (B, L), nonzero where a token is.
        """

    def past(self, clips: int) -> Any:
        """Keys and values that the backbone finds before all else, for `clips` clips, as a new cache of transformers.

        None, as here, for nothing.
        """
        return None

    def adjusted(self, steps: torch.Tensor, answers: Any) -> torch.Tensor:
        """Log-probabilities (B, S) of the answers' tokens as the model would have them; by default the backbone's."""
        return steps

    @property
    def heads(self) -> list[AnswerHead]:
        """The heads that answer together, each by its equal part of the clip's vector; none where answers are spelled.

        In training each learns by a loss of its own; the answer is the mean of their probabilities.
        """
        return [] if self.head is None else [self.head]

    @property
    def clip_width(self) -> int:
        """Width w of the vector of a clip that a head reads."""
        return self.config.hidden_size

    def pseudo_and_clips(self, *given: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """What `forward` makes of the same, and (B, heads * clip_width) what the model itself knows of each clip.

        The head reads the second where the configuration is residual. It is the last pseudo token, unless a subclass
        has a vector that holds more.
        """
        pseudo: torch.Tensor = self(*given)
        return pseudo, pseudo[:, -1]


class MSEAdapter(TrainedModel):
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
        super().__init__(config)
        if not config.pseudo_tokens and (config.head is None or not config.residual or config.place != "before-answer"):
            raise UsageError(
                "Without pseudo tokens the backbone reads nothing of the modalities, so a head must: set "
                "training.answer: head, training.residual: true and training.place: before-answer, or "
                "training.pseudo_tokens to 1 or more."
            )
        width = config.fusion_dim
        self.acoustic = _encoder(config.acoustic_dim, config.acoustic_hidden, config)
        self.visual = _encoder(config.visual_dim, config.visual_hidden, config)
        residual = config.residual
        self.mixer = None
        if config.text:
            self.mixer = TextGuideMixer(config.hidden_size, width, guided=config.mixer, residual=residual)
        self.fellows = nn.ModuleList(MSEAdapter(replace(config, members=1)) for _ in range(1, config.members))
        self.fusion = self.projector = self.rescale = None
        if not config.pseudo_tokens:
            return
        if config.fusion:
            self.fusion = MultiScaleFusion(config.hidden_size, width, config.scales, residual=residual)
        self.projector = Projector(width, config.hidden_size, config.pseudo_tokens)
        if config.pseudo_size is not None:
            self.rescale = Rescale(config.pseudo_size)

    @property
    def heads(self) -> list[AnswerHead]:
        """The head of each member."""
        return [one.head for one in self._members() if one.head is not None]

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
        return self.pseudo_and_clips(acoustic, acoustic_lengths, visual, visual_lengths, text_embeddings, text_mask)[0]

    @property
    def clip_width(self) -> int:
        """Width of the fused vector."""
        return self.config.fusion_dim

    def pseudo_and_clips(self, *given: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Pseudo tokens as `forward` makes them, and (B, fusion_dim) the fused vectors that they are made of.

        Of several members, (B, members * fusion_dim).
        """
        fused = torch.cat([one._fuse(*given) for one in self._members()], 1)
        if self.projector is None:
            return fused.new_zeros(len(fused), 0, self.config.hidden_size), fused
        tokens: torch.Tensor = self.projector(fused if self.fusion is None else self.fusion(fused))
        return (tokens if self.rescale is None else self.rescale(tokens)), fused

    def _members(self) -> list[MSEAdapter]:
        """Itself, and those that learn beside it."""
        return [self, *cast("list[MSEAdapter]", list(self.fellows))]

    def _fuse(  # noqa: PLR0917 - as of forward
        self,
        acoustic: torch.Tensor | None,
        acoustic_lengths: torch.Tensor | None,
        visual: torch.Tensor | None,
        visual_lengths: torch.Tensor | None,
        text_embeddings: torch.Tensor | None,
        text_mask: torch.Tensor | None,
    ) -> torch.Tensor:
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
            return torch.stack(modalities).sum(0)
        if text_embeddings is None or text_mask is None:
            raise ValueError(
                "The adapter reads the text's embeddings and their mask, but they were not given. "
                "For an adapter without them, set text=False in its AdapterConfig."
            )
        fused: torch.Tensor = self.mixer(text_embeddings, text_mask, modalities)
        return fused


def _encoder(dim: int | None, hidden: int, config: AdapterConfig) -> SequenceEncoder | None:
    if dim is None:
        return None
    return ENCODERS[config.encoder](dim, hidden, config.fusion_dim, dropout=config.dropout)
