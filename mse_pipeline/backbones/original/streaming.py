"""The weights of an original checkpoint, streamed into a model of transformers tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.backbones.checkpoint import Checkpoint, read_json
from mse_pipeline.backbones.original.layout import Layout, Plan, Section
from mse_pipeline.backbones.tensors import shapes, tensors
from mse_pipeline.errors import MseError
from mse_pipeline.model_files import CONFIG

SHOWN = 3
"""Names of each kind of misfit that an error tells."""


def load_weights(checkpoint: Checkpoint, layout: Layout, dtype: torch.dtype, device: torch.device) -> Any:
    """The model, on its device and in its number format, never in memory twice.

    Raises:
        UsageError: The checkpoint is a variant that the class does not compute, or a pickle with more than tensors.
        MseError: Weights are missing, unknown or of another shape; all are told at once, before any is read.
    """
    model, plan = empty_model(checkpoint, layout)
    with torch.no_grad():
        for name, tensor in converted(checkpoint.weights, plan, model):
            _assign(model, name, tensor.to(device=device, dtype=dtype, copy=True))
        # Rotation tables are computed, not loaded.
        model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config).to(device)
    model.config.dtype = dtype
    model.tie_weights()
    left = [name for name, tensor in _everything(model) if tensor.is_meta]
    if left:
        raise MseError(f"{layout.model_class} of this transformers has {left[0]}, which mse cannot fill. Report it.")
    return model


def empty_model(checkpoint: Checkpoint, layout: Layout) -> tuple[Any, Plan]:
    """The model without memory for its weights, and where each tensor goes, once the files have been found to fit.

    Raises:
        UsageError, MseError: As `load_weights`.
    """
    import transformers

    path = checkpoint.folder / CONFIG
    config = layout.configure(Section(path, read_json(path, checkpoint.folder)))
    plan = layout.plan(config)
    found = {name: shape for name, shape in shapes(checkpoint.weights).items() if not name.endswith(layout.skipped)}
    # Before the model is made: one of a thousand layers takes a while even without memory.
    _require(checkpoint.folder, layout, lacks=sorted(plan.keys() - found.keys()), unknown=sorted(found.keys() - plan))
    config.architectures = [layout.model_class]
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = getattr(transformers, layout.model_class)(config)
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    misshapen = [
        f"{name} {found[name]} instead of {joint}"
        for name, joint in ((name, _joint([wanted[one] for one in new])) for name, new in plan.items())
        if found[name] != joint
    ]
    _require(checkpoint.folder, layout, misshapen=misshapen)
    return model, plan


def converted(files: tuple[Path, ...], plan: Plan, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Each parameter under transformers' name, in the files' number format and order; views of the files' tensors."""
    rows = {name: parameter.shape[0] for name, parameter in model.named_parameters()}
    for name, tensor in tensors(files):
        new = plan.get(name, ())
        if new and not tensor.is_floating_point():
            raise MseError(
                f"{name} is of whole numbers ({tensor.dtype}): the checkpoint is quantized. Take one that is not."
            )
        yield from zip(new, tensor.split([rows[one] for one in new]) if new else (), strict=True)


def _assign(model: Any, name: str, tensor: torch.Tensor) -> None:
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, torch.nn.Parameter(tensor.contiguous(), requires_grad=False))


def _joint(parts: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of a tensor in which these are stacked by rows."""
    return sum(part[0] for part in parts), *parts[0][1:]


def _everything(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _require(folder: Path, layout: Layout, **misfits: list[str]) -> None:
    """Tell all misfits in one sentence."""
    said = {"lacks": "lack", "unknown": "have unknown", "misshapen": "have misshapen"}
    told = [f"{said[kind]} {len(names)} ({_some(names)})" for kind, names in misfits.items() if names]
    if told:
        raise MseError(
            f"The weights in {folder} are not those of a {layout.title} with this {CONFIG}: they {' and '.join(told)}. "
            "The checkpoint is incomplete, quantized or changed, or weights and configuration are of two models."
        )


def _some(names: list[str]) -> str:
    more = f", … {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
