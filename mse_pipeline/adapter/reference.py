"""The authors' implementation: its weights by name, in and out, and its `.pth` checkpoints, in.

Their training saves what it trained as one pickled state dict, with the weights of the adapter under names as in
``Model.audio_LSTM.rnn.weight_ih_l0``, and buffers of the language model beside them (``Model.LLM.…``). Sizes are not
written; they are read off the shapes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.model import MSEAdapter
from mse_pipeline.errors import MseError, UsageError


def reference_names(module: MSEAdapter) -> dict[str, str]:
    """Name of each parameter of `module` -> its name in the authors' implementation (their spelling).

    Examples:
        >>> from mse_pipeline.adapter.config import AdapterConfig
        >>> config = AdapterConfig(hidden_size=64, acoustic_dim=None, visual_dim=None)
        >>> reference_names(MSEAdapter(config))["mixer.linear.bias"]
        'text_guide_mixer.text_mlp.bias'
    """
    prefixes = {
        "acoustic.": "audio_LSTM.",
        "visual.": "video_LSTM.",
        "mixer.linear.": "text_guide_mixer.text_mlp.",
        "fusion.mix.": "mutli_scale_fusion.integrating.Integrating_layer.0.",
        "projector.widen.": "mutli_scale_fusion.multi_scale_projector.",
        "projector.multiply.": "mutli_scale_fusion.projector.",
    }
    for index in range(len(module.config.scales)):
        prefixes[f"fusion.scales.{index}."] = f"mutli_scale_fusion.scale{index + 1}."
    names = {}
    for name, _ in module.named_parameters():
        ours = next(prefix for prefix in prefixes if name.startswith(prefix))
        names[name] = prefixes[ours] + name.removeprefix(ours)
    return names


def reference_state(module: MSEAdapter) -> dict[str, torch.Tensor]:
    """Copies of the parameters of `module` under the authors' names, on the CPU."""
    parameters = dict(module.named_parameters())
    return {theirs: parameters[ours].detach().cpu().clone() for ours, theirs in reference_names(module).items()}


def load_reference_state(module: MSEAdapter, state: Mapping[str, torch.Tensor]) -> None:
    """Set the parameters of `module` to weights under the authors' names. All of them, or none.

    Args:
        module: An adapter of the same sizes.
        state: Name as in ``audio_LSTM.rnn.weight_ih_l0`` -> tensor.

    Raises:
        MseError: Weights are missing, unexpected or of other shapes; the sentence lists them.
    """
    names = reference_names(module)
    parameters = dict(module.named_parameters())
    faults = [f"missing {theirs}" for theirs in names.values() if theirs not in state]
    faults += [f"unexpected {theirs}" for theirs in state if theirs not in set(names.values())]
    faults += [
        f"{theirs} has shape {tuple(state[theirs].shape)} where {tuple(parameters[ours].shape)} is needed"
        for ours, theirs in names.items()
        if theirs in state and state[theirs].shape != parameters[ours].shape
    ]
    if faults:
        raise MseError(
            f"The weights are not those of an adapter of these sizes ({module.config}): {'; '.join(faults)}."
        )
    with torch.no_grad():
        for ours, theirs in names.items():
            parameters[ours].copy_(state[theirs])


_ANCHOR = "mutli_scale_fusion.projector.weight"
"""A name that every checkpoint of theirs has, in their spelling; what stands before it stands before all."""
_BACKBONE = "LLM."
_SHOWN = 5
PUBLISHED = AdapterConfig.scales
"""The scales of the paper, in their order."""


@dataclass(frozen=True, eq=False)
class ImportedAdapter:
    """What a checkpoint held.

    Attributes:
        adapter: In evaluation mode, on the CPU.
        ignored: How many tensors of the language model were passed over.
    """

    adapter: MSEAdapter
    ignored: int


def read_checkpoint(path: str | Path) -> ImportedAdapter:
    """Read a checkpoint of the authors' implementation.

    Nothing in the file runs: of the pickle, only tensors are taken.

    Raises:
        UsageError: There is no such file, it holds more than tensors, or other tensors than those of an adapter.
        MseError: It is damaged, or its shapes do not fit together.
    """
    path = Path(path)
    state = _tensors(path)
    found = [name for name in state if name == _ANCHOR or name.endswith(f".{_ANCHOR}")]
    if len(found) != 1:
        raise UsageError(
            f"{path} is no checkpoint of MSE-Adapter: {'several names end' if found else 'no name in it ends'} in "
            f"{_ANCHOR}. It holds {_some(list(state))}."
        )
    prefix = found[0].removesuffix(_ANCHOR)
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    backbone = [name for name in own if name.startswith(_BACKBONE)]
    weights = {name: tensor.detach().float() for name, tensor in own.items() if name not in set(backbone)}
    config = infer_config(weights)
    adapter = MSEAdapter(config)
    known = set(reference_names(adapter).values())
    strange = [name for name in state if not name.startswith(prefix)] + [name for name in weights if name not in known]
    if strange:
        raise UsageError(
            f"{path} holds tensors that are neither the adapter's nor the language model's: {_some(strange)}. It is of "
            "a changed implementation, whose results this adapter would not give."
        )
    load_reference_state(adapter, weights)
    return ImportedAdapter(adapter.eval(), len(backbone))


def infer_config(weights: Mapping[str, torch.Tensor]) -> AdapterConfig:
    """The sizes of an adapter, from the shapes of its weights under the authors' names.

    Dropout is not in the weights and is taken as 0; it plays no part in predicting.

    Raises:
        MseError: A weight is missing, or shapes do not fit together.
    """

    def shape(name: str, dims: int) -> tuple[int, ...]:
        if name not in weights:
            raise MseError(f"The checkpoint has no {name}: it is incomplete. Copy it again.")
        if weights[name].ndim != dims:
            raise MseError(f"{name} has shape {tuple(weights[name].shape)}, but {dims} dimensions were expected.")
        return tuple(weights[name].shape)

    sizes: dict[str, int | None] = {}
    for modality, theirs in (("acoustic", "audio_LSTM"), ("visual", "video_LSTM")):
        there = any(name.startswith(f"{theirs}.") for name in weights)
        gates, dim = shape(f"{theirs}.rnn.weight_ih_l0", 2) if there else (0, 0)
        sizes[f"{modality}_dim"] = dim if there else None
        if there:
            sizes[f"{modality}_hidden"] = gates // 4
    fusion_dim, hidden_size = shape("text_guide_mixer.text_mlp.weight", 2)
    scales: list[int] = []
    while (name := f"mutli_scale_fusion.scale{len(scales) + 1}.0.weight") in weights:
        inner = shape(name, 2)[0]
        # d // s is known, and s wanted. Several may give the same; the published one is taken where it does.
        candidates = (*PUBLISHED[len(scales) : len(scales) + 1], hidden_size // max(1, inner))
        scale = next((one for one in candidates if one and hidden_size // one == inner), None)
        if scale is None:
            raise MseError(f"{name} has {inner} rows, which is no part of the backbone's width {hidden_size}.")
        scales.append(scale)
    return AdapterConfig(
        hidden_size=hidden_size,
        fusion_dim=fusion_dim,
        pseudo_tokens=shape(_ANCHOR, 2)[0],
        scales=tuple(scales),
        **sizes,  # type: ignore[arg-type]
    )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds more than tensors, which could be code, and was not loaded. Take it from someone whom you "
            "trust, and have them save the state dict alone: torch.save(model.state_dict(), FILE)."
        ) from error
    except Exception as error:
        # torch lets a dozen unrelated types through, those of zip files and of its own reader among them.
        raise MseError(
            f"{path} cannot be read as a checkpoint of torch ({type(error).__name__}). Copy it again."
        ) from error
    plain = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        for name, tensor in state.items()
    )
    if not plain or not state:
        raise UsageError(f"{path} holds other things than tensors by name: a state dict is expected.")
    return dict(state)


def _some(names: list[str]) -> str:
    shown = ", ".join("".join(c if c.isprintable() else "\ufffd" for c in name[:80]) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
