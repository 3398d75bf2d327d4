"""The network of emotion2vec, its published weight files, and the settings beside them.

Ma et al. 2024, "emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation": the audio encoder of
data2vec 2.0 (Baevski et al. 2023, "Efficient Self-supervised Learning with Contextualized Target Representations"),
with ten learned tokens before the sound's rows. Modules are named as the files name their parameters.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors.torch_file import read_checkpoint, tensors

EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
"""The classes of emotion2vec+ in the order of its head."""

NO_CLASS = "unuse"
"""How the names of classes begin that a head has a place for and was never trained on."""

CONFIG, LABELS = "config.yaml", "tokens.txt"
"""Files that FunASR's folders have beside the weights: settings, and the names of the classes."""

_TOPS = ("state_dict", "model_state_dict", "model")
"""Where checkpoints have the weights, the outermost first."""
_PREFIX = re.compile(r"(module\.)?(d2v_model\.)?")
UNUSED = (r"modality_encoders\.AUDIO\.decoder\.", r"shared_decoder\.", r"recon_proj\.", r"_ema\b")
"""Parameters that no feature depends on: what rebuilds masked rows in training, and the teacher's average."""
_STRIDES = {10: 5, 3: 2, 2: 2}
"""Strides by kernel, where no settings tell them."""
_CONVOLUTION = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)\s*\]?(?:\s*\*\s*(\d+))?")
_MOST_SETTINGS = 1 << 20


@dataclass(frozen=True)
class NetworkConfig:
    """What a weight file holds.

    Attributes:
        hidden_size: Values of a row.
        prenet_depth: Blocks of the audio encoder.
        depth: Blocks behind them.
        heads: Heads of the attention.
        mlp_size: Width within a block.
        convolutions: (channels, kernel, stride) of the convolutions over samples.
        positions: (layers, kernel, groups) of the convolutions that tell positions.
        extra_tokens: Learned rows before the sound's.
        alibi_scale: (layers or 1, heads or 1) of the learned factor of the attention's bias.
        norm_eps: Of the blocks' layer norms.
        normalize: Whether the whole sound is brought to mean 0 and variance 1 first.
        classes: Names of the classes; empty for a file without a head.
    """

    hidden_size: int
    prenet_depth: int
    depth: int
    heads: int
    mlp_size: int
    convolutions: tuple[tuple[int, int, int], ...]
    positions: tuple[int, int, int]
    extra_tokens: int
    alibi_scale: tuple[int, int]
    norm_eps: float
    normalize: bool
    classes: tuple[str, ...]

    model_type = "emotion2vec"

    @property
    def num_hidden_layers(self) -> int:
        """Blocks in all."""
        return self.prenet_depth + self.depth


class Block(nn.Module):
    """Self-attention with a bias and two linear layers, each with its normalisation behind it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(size, config.norm_eps)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(size, 3 * size), "proj": nn.Linear(size, size)})
        self.norm2 = nn.LayerNorm(size, config.norm_eps)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(size, config.mlp_size), "fc2": nn.Linear(config.mlp_size, size)})

    def forward(self, rows: Tensor, bias: Tensor) -> Tensor:
        """(B, T, D) rows and the (H, T, T) bias of the attention -> (B, T, D)."""
        query, key, value = self.attn["qkv"](rows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        rows = self.norm1(rows + self.attn["proj"](heard.transpose(1, 2).flatten(2)))
        return self.norm2(rows + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](rows))))


class AudioEncoder(nn.Module):
    """Samples in, rows with positions and the attention's bias out; the first blocks belong to it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        size, (layers, kernel, groups) = config.hidden_size, config.positions
        channels = [1, *(channels for channels, _, _ in config.convolutions)]
        self.local_encoder = nn.ModuleDict(
            {
                "conv_layers": nn.ModuleList(
                    nn.ModuleDict(
                        {
                            "0": nn.Conv1d(before, after, width, stride, bias=False),
                            "2": nn.ModuleDict({"1": nn.LayerNorm(after)}),
                        }
                    )
                    for before, (after, width, stride) in zip(channels, config.convolutions, strict=False)
                )
            }
        )
        self.project_features = nn.ModuleDict({"1": nn.LayerNorm(channels[-1]), "2": nn.Linear(channels[-1], size)})
        self.relative_positional_encoder = nn.ModuleDict(
            {
                str(layer + 1): nn.ModuleDict({"0": nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=groups)})
                for layer in range(layers)
            }
        )
        self.extra_tokens = nn.Parameter(torch.zeros(1, config.extra_tokens, size))
        scales, per_head = config.alibi_scale
        self.alibi_scale = nn.Parameter(torch.ones(scales, 1, per_head, 1, 1))
        self.context_encoder = nn.ModuleDict(
            {
                "norm": nn.LayerNorm(size, config.norm_eps),
                "blocks": nn.ModuleList(Block(config) for _ in range(config.prenet_depth)),
            }
        )

    def rows(self, samples: Tensor) -> Tensor:
        """(B, N) samples -> (B, T, D): what the blocks read."""
        heard = samples[:, None]
        layer: Any  # a dictionary of modules
        layers: Any = self.local_encoder["conv_layers"]
        for layer in layers:
            heard = functional.gelu(layer["2"]["1"](layer["0"](heard).transpose(1, 2))).transpose(1, 2)
        rows = self.project_features["2"](self.project_features["1"](heard.transpose(1, 2)))
        places = rows.transpose(1, 2)
        for layer in self.relative_positional_encoder.values():
            # A kernel of even width gives one row too many.
            moved = layer["0"](places)[..., : rows.shape[1]].transpose(1, 2)
            places = functional.gelu(functional.layer_norm(moved, moved.shape[-1:])).transpose(1, 2)
        rows = torch.cat([self.extra_tokens.expand(len(rows), -1, -1), rows + places.transpose(1, 2)], 1)
        return self.context_encoder["norm"](rows)


def slopes(heads: int) -> list[float]:
    """How steeply each head's bias falls with distance (Press et al. 2022, "Train Short, Test Long").

    For 2^k heads the slopes are a geometric sequence that begins with its own ratio, 2^(-8/heads). For other numbers
    they are those of the next smaller power of two, and then every second one of the next larger.

    Examples:
        >>> slopes(4)
        [0.25, 0.0625, 0.015625, 0.00390625]
        >>> [round(slope, 4) for slope in slopes(6)]
        [0.25, 0.0625, 0.0156, 0.0039, 0.5, 0.125]
    """
    power = 1 << (heads.bit_length() - 1)
    own = [2.0 ** (-8 * k / power) for k in range(1, power + 1)]
    between = [2.0 ** (-8 * k / (2 * power)) for k in range(1, 2 * power + 1, 2)]
    return own + between[: heads - power]


def attention_bias(rows: int, heads: int, extra: int) -> Tensor:
    """What attention adds for the distance of two rows, (H, extra + rows, extra + rows); 0 to and from extra tokens."""
    places = torch.arange(rows, dtype=torch.float32)
    distance = -(places[None] - places[:, None]).abs()
    return functional.pad(torch.tensor(slopes(heads))[:, None, None] * distance, (extra, 0, extra, 0))


class Emotion2vecNetwork(nn.Module):
    """The whole network, with the head where there are classes."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.modality_encoders = nn.ModuleDict({"AUDIO": AudioEncoder(config)})
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.proj = nn.Linear(config.hidden_size, len(config.classes)) if config.classes else None

    def forward(self, samples: Tensor, output_hidden_states: bool = False) -> SimpleNamespace:
        """Encode sounds of one length.

        Args:
            samples: (B, N) at 16 kHz, already normalised.
            output_hidden_states: Keep what goes into the first block and what each block gives.

        Returns:
            ``last_hidden_state`` (B, T, D) and ``hidden_states``, a list of such or None; without the extra tokens.
        """
        audio: Any = self.modality_encoders["AUDIO"]
        extra = self.config.extra_tokens
        rows = audio.rows(samples)
        bias = attention_bias(rows.shape[1] - extra, self.config.heads, extra).to(rows)
        scales = audio.alibi_scale.clamp_min(0)[:, 0].to(rows)
        states = [rows]
        for layer, block in enumerate([*audio.context_encoder["blocks"], *self.blocks]):
            rows = block(rows, bias * scales[layer if len(scales) > 1 else 0])
            if output_hidden_states:
                states.append(rows)
        return SimpleNamespace(
            last_hidden_state=rows[:, extra:],
            hidden_states=[state[:, extra:] for state in states] if output_hidden_states else None,
        )


@functools.lru_cache(maxsize=4)
def network_config(weights: Path, content: str) -> NetworkConfig:
    """What a weight file holds; read once for each content.

    Args:
        weights: The file; ``config.yaml`` and ``tokens.txt`` are looked for beside it.
        content: Digest of all these, so that a changed file is read again.

    Raises:
        UsageError: The file holds another model, or a variant of this one that is not known.
    """
    state, settings = _read(weights)
    return _described(state, settings, weights)


@functools.lru_cache(maxsize=2)
def load_network(weights: Path, content: str, precision: str, device: str) -> Emotion2vecNetwork:
    """The network with a file's weights; one for each content and process.

    Raises:
        UsageError: As `network_config` says.
        MseError: Parameters are missing, unknown or of another shape.
    """
    config = network_config(weights, content)
    with torch.device("meta"):
        network = Emotion2vecNetwork(config)
    state, _ = _read(weights)
    used = {name: value for name, value in state.items() if not any(re.match(part, name) for part in UNUSED)}
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    problems = {
        "missing": sorted(wanted.keys() - used.keys()),
        "unknown": sorted(used.keys() - wanted.keys()),
        "of another shape": sorted(name for name in wanted.keys() & used.keys() if used[name].shape != wanted[name]),
    }
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {what}, as {names[0]}" for what, names in problems.items() if names)
        raise MseError(
            f"The parameters in {weights} are not those of emotion2vec: {told}. The file is incomplete or of another "
            "model: fetch the whole model again."
        )
    # Copied: a mapped file that is replaced while it is in use ends the process.
    own = {name: value.to(torch.device(device), getattr(torch, precision), copy=True) for name, value in used.items()}
    network.load_state_dict(own, assign=True)
    return network.eval().requires_grad_(False)


def _read(weights: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file's tensors by their names in the network, and the settings in ``config.yaml`` or in the file itself."""
    content = read_checkpoint(weights)
    settings = _settings(weights.with_name(CONFIG), content.get("cfg"))
    for top in _TOPS:
        content = content[top] if isinstance(content.get(top), Mapping) else content
    named = {_PREFIX.sub("", name, count=1): value for name, value in tensors(content).items()}
    scale = "modality_encoders.AUDIO.alibi_scale"
    if scale in named and named[scale].dim() == 4:  # as older files have it, without the dimension of the layers
        named[scale] = named[scale][None]
    return named, settings


def _settings(path: Path, kept: Any) -> dict[str, Any]:
    """The settings of FunASR's file, else those that fairseq keeps in a checkpoint, of model and task as one."""
    import yaml

    if path.is_file():
        try:
            if path.stat().st_size > _MOST_SETTINGS:
                raise ValueError("it is too large")
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
            return dict(read["model_conf"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(
                f"{path} has no settings of a model (model_conf): {reason}. Fetch the model's folder again."
            ) from error
    groups = [kept.get(name) for name in ("task", "model")] if isinstance(kept, Mapping) else []
    return {key: value for group in groups if isinstance(group, Mapping) for key, value in group.items()}


def _described(state: Mapping[str, Tensor], settings: Mapping[str, Any], weights: Path) -> NetworkConfig:
    """The network that parameters and settings belong to."""
    audio = "modality_encoders.AUDIO."

    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise UsageError(
                f"{weights} is not a weight file of emotion2vec: it lacks {name}. Give the file that FunASR or the "
                "authors publish (model.pt, emotion2vec_base.pt), or its folder."
            )
        return tuple(state[name].shape)

    def count(pattern: str) -> int:
        numbers = {int(found[1]) for name in state if (found := re.match(pattern, name))}
        return max(numbers, default=-1) + 1

    first = "blocks.0."
    size, mlp_size = shape(f"{first}mlp.fc2.weight")
    layers = count(re.escape(audio) + r"local_encoder\.conv_layers\.(\d+)\.0\.weight")
    kernels = [shape(f"{audio}local_encoder.conv_layers.{k}.0.weight") for k in range(layers)]
    _, group, width = shape(f"{audio}relative_positional_encoder.1.0.weight")
    scale = shape(f"{audio}alibi_scale")
    own = settings.get("modalities", {}).get("audio", {}) if isinstance(settings.get("modalities"), Mapping) else {}
    for name, found, known in (
        ("layer_norm_first", settings.get("layer_norm_first"), False),
        ("extractor_mode", own.get("extractor_mode"), "layer_norm"),
        ("conv_pos_pre_ln", own.get("conv_pos_pre_ln"), False),
        ("learned_alibi", own.get("learned_alibi"), False),
    ):
        if found is not None and found != known:
            raise UsageError(f"{weights}: a model with {name}: {found} is not known; emotion2vec has {known}.")
    heads = scale[2] if len(scale) == 5 and scale[2] > 1 else int(settings.get("num_heads") or 0)
    if len(scale) != 5 or heads < 1 or size % heads or size % group:
        raise UsageError(
            f"{weights} does not tell how many heads its attention has. Give the folder with {CONFIG} beside it."
        )
    return NetworkConfig(
        hidden_size=size,
        prenet_depth=count(re.escape(audio) + r"context_encoder\.blocks\.(\d+)\."),
        depth=count(r"blocks\.(\d+)\."),
        heads=heads,
        mlp_size=mlp_size,
        convolutions=_convolutions(kernels, own.get("feature_encoder_spec"), weights),
        positions=(count(re.escape(audio) + r"relative_positional_encoder\.(\d+)\.") - 1, width, size // group),
        extra_tokens=shape(f"{audio}extra_tokens")[1],
        alibi_scale=(scale[0], scale[2]),
        norm_eps=float(settings.get("norm_eps") or 1e-5),
        normalize=bool(settings.get("normalize", True)),
        classes=_classes(shape("proj.weight")[0], weights) if "proj.weight" in state else (),
    )


def _convolutions(kernels: list[tuple[int, ...]], told: Any, weights: Path) -> tuple[tuple[int, int, int], ...]:
    """(channels, kernel, stride) by the weights' shapes, with the strides that the settings tell."""
    if isinstance(told, str):
        found = [
            (int(channels), int(kernel), int(stride))
            for channels, kernel, stride, times in _CONVOLUTION.findall(told[:1000])
            for _ in range(min(int(times or 1), 99))
        ]
    else:
        found = [(channels, kernel, _STRIDES.get(kernel, 0)) for channels, _, kernel in kernels]
    if [(channels, kernel) for channels, _, kernel in kernels] != [layer[:2] for layer in found] or not all(
        stride for _, _, stride in found
    ):
        raise UsageError(
            f"{weights} has convolutions with kernels {[kernel for *_, kernel in kernels]}, which its settings "
            f"({told or 'none'}) do not tell the strides of. Give the folder with its {CONFIG}."
        )
    return tuple(found)


def _classes(count: int, weights: Path) -> tuple[str, ...]:
    """The names of the head's classes: those of ``tokens.txt``, else the nine that are known.

    A line is Chinese and English (``生气/angry``), of which the English is taken; ``<unk>`` stands for the last.
    """
    path = weights.with_name(LABELS)
    lines: tuple[str, ...] = EMOTIONS if count == len(EMOTIONS) else ()
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")[:_MOST_SETTINGS]
        lines = tuple(line.strip().rpartition("/")[2] for line in text.splitlines() if line.strip())
    named = tuple("unknown" if line == "<unk>" else line for line in lines)
    used = [name for name in named if not name.startswith(NO_CLASS)]
    if len(named) != count or len(set(used)) != len(used) or not used:
        raise UsageError(
            f"The head in {weights} has {count} classes, and {path.name} beside it names {len(set(named))}. Give the "
            "folder with the file that belongs to it."
        )
    return named
