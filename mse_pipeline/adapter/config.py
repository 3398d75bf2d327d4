"""AdapterConfig: the sizes that make an adapter, and their versioned JSON form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mse_pipeline.errors import UsageError

FORMAT = 5
"""Version of the JSON form; readers refuse a newer one. Format 1 knew no parts that are left out, format 2 no other
model than the MSE-Adapter, format 3 no other encoder, place, size or head, format 4 no members. It is written in the
oldest that tells all, so that earlier versions read what they can."""
_OLDEST_WRITTEN = 2
_LARGEST = 1 << 20
"""Of any size; far beyond any adapter."""
_MOST_MEMBERS = 64
_MOST_SCALES = 64
"""The paper has three; a configuration that asks for thousands is damaged or hostile."""
_SINCE = {
    **dict.fromkeys(("mixer", "fusion", "text"), 2),
    **dict.fromkeys(("model", "options"), 3),
    **dict.fromkeys(("encoder", "place", "pseudo_size", "head", "residual"), 4),
    "members": 5,
}
"""Keys that earlier formats lack, with the format that brought them; there, they have their defaults."""


ENCODER_NAMES = ("lstm", "attentive", "bilstm-attentive")
"""See `mse_pipeline.adapter.encoders`, which needs torch."""
PLACES = ("before-text", "behind-text", "before-answer")
"""Where pseudo tokens stand: before the clip's text as in the paper, behind it, or behind the whole prompt. What stands
before them does not change in training: behind the prompt, the backbone reads texts and prompt once."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Sizes of an MSE-Adapter (arXiv 2502.12478).

    A modality whose dims are None does not exist: it has no encoder, and its term is left out of the mix. Without
    both, the fused vector is the text vector itself.

    Parts that arXiv 2502.12478 names can be left out, for ablations. How its authors left them out is not published as
    far as we know: the definitions here are ours. With a and v of the encoders and k of the text, the fused vector is

    * ``a * k + v * k`` with the whole adapter,
    * ``a + v + k`` without `mixer`: the modalities meet the text, which no longer guides them,
    * ``a + v`` without `text`: nothing guides them, and nothing of the text is read.

    Without `fusion`, the projector takes the fused vector as it is.

    Attributes:
        hidden_size: Width d of the backbone's token embeddings.
        acoustic_dim: Values a row of the acoustic stream; None for an adapter without it.
        visual_dim: Values a row of the visual stream; None for an adapter without it.
        acoustic_hidden: Width of the acoustic LSTM, or of that in whose place another encoder stands.
        visual_hidden: Width of the visual LSTM, likewise.
        pseudo_tokens: How many embeddings the backbone gets to read; 0 where it reads texts alone, and a head reads its
            state at the end of the prompt and the fused vector. Then nothing of the backbone is computed in training,
            and the projector and the fusion, which make pseudo tokens, are not there.
        dropout: Share of the encoders' states, and of what a head reads, that training sets to zero.
        fusion_dim: Width in which the modalities meet.
        scales: Divisors of `hidden_size` for the inner widths of the fusion's MLPs.
        mixer: Whether the text guides the modalities (TGM), or is added to them.
        fusion: Whether the fused vector goes through the bottlenecks of several widths (MSF).
        text: Whether the adapter reads the text. It has no text weights otherwise.
        model: Which model it is, see `mse_pipeline.adapter.models`. Another than the MSE-Adapter takes of the sizes
            those that it has a use for.
        options: Of that model, as plain JSON values.
        encoder: Which encoder reads the streams: a name of `mse_pipeline.adapter.encoders.ENCODERS`.
        place: Where the pseudo tokens stand: one of `PLACES`.
        pseudo_size: Root mean square of the pseudo tokens' values at the start; None as the projector makes them.
        head: Values that a head makes of the backbone's state, one a class, or one for a number; None where the
            backbone spells the answers.
        residual: Whether what enters the mixer and the fusion is added to what leaves them, so that neither can lose
            it: ``a * (1 + k) + v * (1 + k)``, and the fused vector beside its bottlenecks; and whether a head reads
            beside the backbone's last state the last pseudo token and the state at the end of the prompt.
        members: How many adapters with first weights of their own learn the same, each by a loss of its own, and answer
            together (a deep ensemble, Lakshminarayanan et al. 2017). More than one need a backbone that reads the texts
            alone: no pseudo tokens.

    Raises:
        UsageError: A size is not what it must be; the sentence names it.

    Examples:
        >>> config = AdapterConfig(hidden_size=64, acoustic_dim=25, visual_dim=None)
        >>> AdapterConfig.from_json(config.to_json()) == config
        True
    """

    hidden_size: int
    acoustic_dim: int | None
    visual_dim: int | None
    acoustic_hidden: int = 64
    visual_hidden: int = 32
    pseudo_tokens: int = 4
    dropout: float = 0.0
    fusion_dim: int = 256
    scales: tuple[int, ...] = (8, 32, 16)
    mixer: bool = True
    fusion: bool = True
    text: bool = True
    model: str = "mse-adapter"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    encoder: str = "lstm"
    place: str = "before-text"
    pseudo_size: float | None = None
    head: int | None = None
    residual: bool = False
    members: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden_size", "acoustic_hidden", "visual_hidden", "fusion_dim"):
            _check_size(name, getattr(self, name))
        _check_size("pseudo_tokens", self.pseudo_tokens, least=0)
        for name in ("acoustic_dim", "visual_dim"):
            if getattr(self, name) is not None:
                _check_size(name, getattr(self, name))
        if not isinstance(self.dropout, int | float) or isinstance(self.dropout, bool):
            raise UsageError(f"The adapter's dropout must be a number, but is {self.dropout!r}.")
        if not (math.isfinite(self.dropout) and 0 <= self.dropout < 1):
            raise UsageError(f"The adapter's dropout must be at least 0 and below 1, but is {self.dropout!r}.")
        self._check_scales()
        for name in ("mixer", "fusion", "text", "residual"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"The adapter's {name} must be true or false, but is {getattr(self, name)!r}.")
        self._check_model()
        self._check_reading()
        if not self.text and self.acoustic_dim is None and self.visual_dim is None:
            raise UsageError(
                "An adapter without text, acoustic and visual reads nothing: leave at most two of them out."
            )
        if self.fusion and self.pseudo_tokens and max(self.scales) > self.hidden_size:
            raise UsageError(
                f"The adapter's scale {max(self.scales)} leaves no width: the backbone's hidden_size is only "
                f"{self.hidden_size}. Take a wider backbone or smaller scales."
            )

    def _check_scales(self) -> None:
        if isinstance(self.scales, str) or not isinstance(self.scales, tuple | list) or not self.scales:
            raise UsageError(f"The adapter's scales must be a list of whole numbers, but are {self.scales!r}.")
        object.__setattr__(self, "scales", tuple(self.scales))
        if len(self.scales) > _MOST_SCALES:
            raise UsageError(f"The adapter has {len(self.scales)} scales; {_MOST_SCALES} are the most.")
        for scale in self.scales:
            _check_size("scales", scale)

    def _check_model(self) -> None:
        if not isinstance(self.model, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,99}", self.model):
            raise UsageError(f"The adapter's model must be a name as mse-adapter, but is {self.model!r}.")
        if not isinstance(self.options, Mapping) or not all(isinstance(name, str) for name in self.options):
            raise UsageError(f"The adapter's options must be values by name, but are {self.options!r}.")
        if self.options and self.model == "mse-adapter":
            raise UsageError(f"The model mse-adapter has no options; remove {', '.join(self.options)}.")

    def _check_reading(self) -> None:
        for name, names in (("encoder", ENCODER_NAMES), ("place", PLACES)):
            if getattr(self, name) not in names:
                raise UsageError(
                    f"The adapter's {name} must be one of {', '.join(names)}, but is {getattr(self, name)!r}."
                )
        size = self.pseudo_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < 1e6):
            raise UsageError(f"The adapter's pseudo_size must be a number above 0, but is {size!r}.")
        if self.head is not None:
            _check_size("head", self.head)
        _check_size("members", self.members)
        if self.members > _MOST_MEMBERS:
            raise UsageError(f"The adapter has {self.members} members; {_MOST_MEMBERS} are the most.")
        if self.members > 1 and (self.pseudo_tokens or self.head is None):
            raise UsageError(
                "Members answer together by heads of their own, beside a backbone that reads the texts alone: set "
                "training.pseudo_tokens: 0 and training.answer: head, or training.members: 1."
            )

    def to_json(self) -> dict[str, Any]:
        """The sizes and the format's version as plain JSON values."""
        plain = {**asdict(self), "scales": list(self.scales)}
        usual = {one.name: one.default for one in fields(self)} | {"options": {}}
        needed = [since for name, since in _SINCE.items() if since > _OLDEST_WRITTEN and plain[name] != usual[name]]
        version = max(needed, default=_OLDEST_WRITTEN)
        return {"format": version, **{name: value for name, value in plain.items() if _SINCE.get(name, 1) <= version}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AdapterConfig:
        """The configuration that `to_json` wrote.

        Raises:
            UsageError: It is of another format version, or its keys or sizes are not those of an adapter.
        """
        if not isinstance(value, Mapping):
            raise UsageError(f"An adapter's configuration must be a JSON object, but is {value!r}.")
        found = value.get("format")
        if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= FORMAT:
            raise UsageError(
                f"The adapter's configuration has format {found!r}; this version reads formats 1 to {FORMAT}. "
                "If it was written by a newer mse-pipeline, upgrade: pip install -U mse-pipeline."
            )
        sizes = {name: item for name, item in value.items() if name != "format"}
        known = {one.name for one in fields(cls) if _SINCE.get(one.name, 1) <= found}
        unknown, missing = sorted(set(sizes) - known), sorted(known - set(sizes))
        if unknown or missing:
            raise UsageError(
                "The adapter's configuration does not have the keys of an adapter: "
                f"unknown {', '.join(unknown) or 'none'}; missing {', '.join(missing) or 'none'}."
            )
        return cls(**sizes)


def _check_size(name: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise UsageError(f"The adapter's {name} must be a whole number from {least} to {_LARGEST}, but is {value!r}.")
