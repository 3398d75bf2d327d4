"""Families: what a model of transformers reads, which extractor reads it, and where its encoder lies among other parts.

A model is known by its configuration alone: nothing here loads weights.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any, Literal

from mse_pipeline.errors import UsageError

Reads = Literal["sound", "windows", "pictures", "timm", "text", ""]
"""What a model reads: sound, windows of frames, pictures, pictures by timm, text; empty if that is not known."""

READERS: dict[str, tuple[str, str]] = {
    "sound": ("sound", "acoustic.transformers"),
    "windows": ("windows of several frames", "visual.transformers_clip"),
    "pictures": ("single pictures", "visual.transformers"),
    "timm": ("single pictures, as a model of timm", "visual.timm"),
    "text": ("text", "text.transformers"),
}
"""What a model reads in words, and the extractor that reads it."""

LOG_MEL = ("whisper", "qwen2_audio", "qwen2_audio_encoder")
"""Model types that read a log-mel spectrogram of a fixed length, padded with silence."""

STACKED = ("wav2vec2-bert", "seamless_m4t", "seamless_m4t_v2")
"""Model types that read neighbouring frames of a filter bank as one."""

PATCHED = ("audio-spectrogram-transformer",)
"""Model types that read a filter bank of a fixed length in patches."""

CLAP = ("clap", "clap_audio_model")
"""Model types of CLAP, whose spectrogram is folded into a square."""

WINDOWS = ("videomae", "timesformer", "vivit", "vjepa2", "xclip", "xclip_vision_model")
"""Model types that read windows of frames."""

_FRAMES = ("num_frames", "frames_per_clip", "tubelet_size")
_SIZES = ("image_size", "patch_size", "depths", "hidden_sizes", "hidden_dim", "depth_multiplier", "neck_hidden_sizes")


def reads(config: Any) -> Reads:
    """What a model reads, by its configuration.

    Examples:
        >>> import transformers
        >>> reads(transformers.VideoMAEConfig()), reads(transformers.ResNetConfig()), reads(transformers.BertConfig())
        ('windows', 'pictures', 'text')
    """
    kind = config.model_type
    if kind == "timm_wrapper":
        return "timm"
    if kind in (*LOG_MEL, *STACKED, *PATCHED, *CLAP) or hasattr(config, "conv_kernel"):
        return "sound"
    seen = getattr(config, "vision_config", config)
    if kind in WINDOWS or (seen is config and any(hasattr(config, name) for name in _FRAMES) and not _texts(config)):
        return "windows"
    if seen is not config or (any(hasattr(config, name) for name in _SIZES) and not _texts(config)):
        return "pictures"
    if getattr(config, "audio_config", None) is not None or hasattr(config, "num_mel_bins"):
        return "sound"
    return "text" if _texts(config) else ""


def _texts(config: Any) -> bool:
    # BEiT's configuration has a vocabulary, too, but of picture tokens.
    return bool(getattr(config, "vocab_size", None)) and not hasattr(config, "patch_size")


def refusal(model: str, config: Any, extractor: str, takes: str) -> UsageError:
    """The error about a model that an extractor does not read: what it takes, what the model reads, and who reads that.

    Args:
        model: The model's name, as the user gave it.
        config: Its configuration.
        extractor: The extractor, as in ``visual.transformers``.
        takes: Which models it takes.

    Examples:
        >>> import transformers
        >>> print(refusal("videomae-base", transformers.VideoMAEConfig(), "visual.transformers", "encoders of pictures."))
        videomae-base is a 'videomae' model: visual.transformers takes encoders of pictures. It reads windows of several frames: use visual.transformers_clip.
    """  # noqa: E501 - a doctest's output stands in one line
    return UsageError(
        f"{model} is a {config.model_type!r} model: {extractor} takes {takes}{_advice(config, extractor)}"
    )


def _advice(config: Any, extractor: str) -> str:
    words, reader = READERS.get(reads(config), ("", ""))
    if not words:
        return " What it reads, no extractor gives."
    if extractor == reader or extractor.startswith(f"{reader}_frame"):
        return f" It reads {words}, but in a way that mse does not know."
    return f" It reads {words}: use {reader}."


@dataclass(frozen=True)
class Tower:
    """The encoder within a model of several parts; the others are never loaded.

    Attributes:
        name: Its class, in the module of transformers where its configuration's model is.
        part: Its name in the whole model, with which the names of its weights begin.
        config: Name of its configuration in that of the whole; empty where they share one.
    """

    name: str
    part: str
    config: str = ""

    def part_of_config(self, config: Any) -> Any:
        """Its configuration, from that of the whole model or from its own."""
        return getattr(config, self.config, config) if self.config else config

    def load_class(self, config: Any) -> Any:
        """Its class."""
        module = type(config).__module__.replace(".configuration_", ".modeling_")
        return getattr(importlib.import_module(module), self.name)

    def renamed(self, config: Any) -> dict[str, str]:
        """How names of weights in the whole model become its own, as regular expressions with replacements."""
        import torch

        prefix = rf"^(?:\w+\.)*?{self.part}\."
        with torch.device("meta"):
            own = self.load_class(config)(config)
        return {} if any(re.match(prefix, name) for name, _ in own.named_parameters()) else {prefix: ""}


TOWERS = {
    "whisper": Tower("WhisperEncoder", "encoder"),
    "clap": Tower("ClapAudioModel", "audio_model", "audio_config"),
    "clap_audio_model": Tower("ClapAudioModel", "audio_model"),
    "seamless_m4t": Tower("SeamlessM4TSpeechEncoder", "speech_encoder"),
    "seamless_m4t_v2": Tower("SeamlessM4Tv2SpeechEncoder", "speech_encoder"),
    "qwen2_audio": Tower("Qwen2AudioEncoder", "audio_tower", "audio_config"),
    "qwen2_audio_encoder": Tower("Qwen2AudioEncoder", "audio_tower"),
    "xclip": Tower("XCLIPVisionModel", "vision_model", "vision_config"),
    "xclip_vision_model": Tower("XCLIPVisionModel", "vision_model"),
    "clip": Tower("CLIPVisionModel", "vision_model", "vision_config"),
    "siglip": Tower("SiglipVisionModel", "vision_model", "vision_config"),
}
"""The encoder by the type of the whole model; all other models are loaded whole."""
