"""Weight files of emotion2vec with random values: names and shapes as the published files have them, but narrow."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

CHANNELS, WIDTH, HEADS, PRENET, DEPTH, EXTRA = 16, 32, 4, 2, 3, 10
KERNELS = (10, 3, 3, 3, 3, 2, 2)
TOKENS = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
)
AUDIO = "modality_encoders.AUDIO."


def block_shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    shapes = {f"{prefix}{name}.weight": (out * width, inp * width) for name, (out, inp) in linear.items()}
    shapes |= {f"{prefix}{name}.bias": (out * width,) for name, (out, _) in linear.items()}
    return shapes | {f"{prefix}norm{k}.{kind}": (width,) for k in (1, 2) for kind in ("weight", "bias")}


def shapes(width: int = WIDTH, heads: int = HEADS, scales: int = 1) -> dict[str, tuple[int, ...]]:
    """All that a feature depends on."""
    found: dict[str, tuple[int, ...]] = {
        f"{AUDIO}extra_tokens": (1, EXTRA, width),
        f"{AUDIO}alibi_scale": (scales, 1, heads, 1, 1),
        f"{AUDIO}project_features.1.weight": (CHANNELS,),
        f"{AUDIO}project_features.1.bias": (CHANNELS,),
        f"{AUDIO}project_features.2.weight": (width, CHANNELS),
        f"{AUDIO}project_features.2.bias": (width,),
        f"{AUDIO}context_encoder.norm.weight": (width,),
        f"{AUDIO}context_encoder.norm.bias": (width,),
    }
    for k, kernel in enumerate(KERNELS):
        layer = f"{AUDIO}local_encoder.conv_layers.{k}."
        found[f"{layer}0.weight"] = (CHANNELS, CHANNELS if k else 1, kernel)
        found |= {f"{layer}2.1.weight": (CHANNELS,), f"{layer}2.1.bias": (CHANNELS,)}
    for k in range(1, 6):
        found[f"{AUDIO}relative_positional_encoder.{k}.0.weight"] = (width, width // 16, 19)
        found[f"{AUDIO}relative_positional_encoder.{k}.0.bias"] = (width,)
    for k in range(PRENET):
        found |= block_shapes(f"{AUDIO}context_encoder.blocks.{k}.", width)
    for k in range(DEPTH):
        found |= block_shapes(f"blocks.{k}.", width)
    return found


def random_state(seed: int = 0, **changes: Any) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes(**changes).items()}


def settings(**changes: Any) -> dict[str, Any]:
    """What FunASR's config.yaml says."""
    spec = f"[({CHANNELS}, 10, 5)] + [({CHANNELS}, 3, 2)] * 4 + [({CHANNELS},2,2)] + [({CHANNELS},2,2)]"
    audio = {"extractor_mode": "layer_norm", "feature_encoder_spec": spec, "num_alibi_heads": HEADS}
    conf = {"num_heads": HEADS, "norm_eps": 1e-5, "layer_norm_first": False, "normalize": True}
    return {"model": "Emotion2vec", "model_conf": {**conf, "modalities": {"audio": audio}, **changes}}


def save_plus(folder: Path, state: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    """emotion2vec+ as FunASR's folders have it: model.pt with a head, config.yaml, tokens.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    state = random_state() if state is None else state
    named = {f"d2v_model.{name}": value for name, value in state.items()}
    named |= {"proj.weight": 0.5 * torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(1))}
    named |= {"proj.bias": torch.zeros(9)}
    torch.save({"model": named}, folder / "model.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(**changes)), encoding="utf-8")
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return folder


def save_fairseq(path: Path, state: dict[str, torch.Tensor], **task: Any) -> Path:
    """emotion2vec_base.pt as the authors' training wrote it: with decoder, teacher, settings and counters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model: dict[str, Any] = OrderedDict(state)
    model[f"{AUDIO}decoder.blocks.0.0.weight"] = torch.ones(2, 2)
    model["_ema"] = {"blocks.0.norm1.weight": torch.ones(WIDTH)}
    content = {
        "args": argparse.Namespace(arch="data2vec_multi"),
        "cfg": {"task": {"normalize": True, **task}, "model": {"norm_eps": 1e-5, "num_heads": HEADS}},
        "model": model,
        "extra_state": {"epoch": 3},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}},
    }
    torch.save(content, path)
    return path


def save_safe(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path
