"""Weights under the names of the authors' implementation, in and out."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mse_pipeline.adapter.model import MSEAdapter
from mse_pipeline.errors import MseError


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
