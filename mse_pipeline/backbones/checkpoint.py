"""Checkpoint folders: what they must hold, and their weights, read tensor by tensor.

A folder is checked before anything heavy is read. Of weight files come names and shapes first, then one tensor after
the other, never the whole checkpoint at once; those of an original layout are streamed into a model of transformers.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.backbones.original import LAYOUTS
from mse_pipeline.backbones.original.layout import CheckpointLayout, ConfigSection, Plan
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.model_files import CONFIG, TOKENIZER_FILES, weight_files


def shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint's files; no weight is read.

    Raises:
        UsageError: A pickle holds more than tensors.
        MseError: A file is broken, or two files hold one name.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        for name, shape in _shapes(path):
            if name in found:
                raise MseError(f"{path} holds {name}, which another file of the checkpoint holds as well.")
            found[name] = shape
    return found


def tensors(files: Sequence[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor, on the CPU, file by file. Pickles are mapped into memory where their form allows.

    Raises:
        UsageError: A pickle holds more than tensors.
        MseError: A file is broken.
    """
    for path in files:
        if path.suffix == ".bin":
            # Taken out one by one, so that what has been used can go.
            state = _unpickled(path, "cpu")
            for name in list(state):
                yield name, state.pop(name)
        else:
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 - the handle of safetensors is no mapping
                    yield name, file.get_tensor(name)


def first_line(error: Exception) -> str:
    r"""The first line of an error of another library, as the end of a sentence.

    Examples:
        >>> first_line(OSError("no such file:\n  a"))
        'OSError: no such file.'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(' .:!')}." if lines else f"{type(error).__name__}."


def require_whole(place: Path, report: dict[str, Any]) -> None:
    """Refuse weights that leave gaps, which transformers would fill with random numbers and a warning.

    Args:
        place: The folder or file of the weights.
        report: What transformers says of the loading.

    Raises:
        MseError: Parameters are missing or of another shape.
    """
    missing, misshapen = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    if missing:
        raise MseError(
            f"The weights in {place} lack {len(missing)} parameters that its configuration asks for, {missing[0]} "
            "the first: the checkpoint is incomplete, or weights and configuration are of two models."
        )
    if misshapen:
        name, found, wanted = misshapen[0]
        raise MseError(
            f"The weights in {place} have {len(misshapen)} parameters of another shape than its configuration asks "
            f"for, {name} the first: {tuple(found)} instead of {tuple(wanted)}. They are of two models."
        )


def unsafe_sentence(folder: Path, file: str) -> str:
    """The sentence on a pickle that could run code."""
    return (
        f"The weights in {folder} ({file}) hold more than tensors, which could be code, and "
        "were not loaded: take a checkpoint with .safetensors files."
    )


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if path.suffix == ".bin":
        yield from ((name, tuple(tensor.shape)) for name, tensor in _unpickled(path, "meta").items())
    else:
        with _opened(path) as file:
            yield from ((name, tuple(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise MseError(f"{path} cannot be read as safetensors: {error}. Download it again.") from error


def _unpickled(path: Path, device: str) -> dict[str, torch.Tensor]:
    """A pickle's tensors; only tensors are taken (`weights_only`), and nothing in it runs."""
    try:
        try:
            state = torch.load(path, map_location=device, weights_only=True, mmap=True)
        except RuntimeError:
            # Files of torch before 1.6 cannot be mapped.
            state = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(unsafe_sentence(path.parent, path.name)) from error
    except Exception as error:
        # torch lets a dozen unrelated types through, those of zip files and of its own reader among them.
        raise MseError(
            f"{path} cannot be read as weights of torch: {type(error).__name__}. Download it again."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        for name, tensor in state.items()
    ):
        raise UsageError(f"{path} holds other things than weights by name: take a checkpoint with .safetensors files.")
    return state


MOST_LAYERS = 10_000
"""Far beyond any model; a configuration that asks for more is damaged or hostile."""
SMALL_EMBEDDINGS = 10**8
"""Numbers of an embedding that may be asked for without a second look."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds a causal language model.

    Attributes:
        folder: Where it lies.
        model_type: Architecture by the name in its configuration, as in ``llama``.
        weights: The files of its weights.
    """

    folder: Path
    model_type: str
    weights: tuple[Path, ...]

    @property
    def layout(self) -> CheckpointLayout | None:
        """The original layout of 2023 that it has; None for a folder that transformers reads itself."""
        return LAYOUTS.get(self.model_type)

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickles, of which only tensors are taken."""
        return self.weights[0].suffix == ".bin"


def read_checkpoint(folder: Path) -> Checkpoint:
    """Look at a folder's files without loading its weights.

    Raises:
        UsageError: The folder lacks configuration, weights or tokenizer, holds only an adapter, or holds a model
            that is no causal language model of this transformers.
    """
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"{folder} holds a PEFT adapter, which names another model to load: merge it into that model "
            "(`merge_and_unload`), save the result, and give the folder of the result."
        )
    model_type = read_model_type(folder)
    weights = weight_files(folder)
    if model_type not in LAYOUTS:
        _require_plausible(folder, read_json(folder / CONFIG, folder), weights)
    require_tokenizer(folder, model_type)
    return Checkpoint(folder=folder, model_type=model_type, weights=weights)


def require_tokenizer(folder: Path, model_type: str) -> None:
    """Say so if a folder has no tokenizer.

    Raises:
        UsageError: None of the files is there that one could be made of.
    """
    names = (LAYOUTS[model_type].tokenizer_file,) if model_type in LAYOUTS else TOKENIZER_FILES
    if not any((folder / name).is_file() for name in names):
        raise UsageError(
            f"{folder} has weights but no tokenizer (none of {', '.join(names)}): copy the tokenizer "
            "files of the model that it was made from into it."
        )


def read_model_type(folder: Path) -> str:
    """The architecture in a folder's ``config.json``, where it is a causal language model that can be read here.

    Raises:
        UsageError: There is no readable configuration, or it is that of another kind of model.
    """
    config = read_json(folder / CONFIG, folder)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise UsageError(f"{folder / CONFIG} names no model_type: it is not the configuration of a transformers model.")
    if model_type in LAYOUTS:
        return model_type
    _require_known(folder, config, model_type)
    require_causal(folder, config, model_type)
    return model_type


def _require_known(folder: Path, config: dict[str, Any], model_type: str) -> None:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type in CONFIG_MAPPING:
        return
    own_code = " It brings code of its own, which mse never runs." if "auto_map" in config else ""
    raise UsageError(
        f"{folder} is a {model_type!r} model, which transformers {transformers.__version__} does not know.{own_code} "
        "Take a model that transformers has built in, or a newer transformers."
    )


def require_causal(place: Path, config: dict[str, Any], model_type: str) -> None:
    """Say so if a configuration is not that of a causal language model.

    Args:
        place: The folder or file that it is of.
        config: As plain values.
        model_type: Architecture by transformers' name.

    Raises:
        UsageError: It is that of another kind of model.
    """
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    declared = [name for name in config.get("architectures") or () if isinstance(name, str)]
    if causal is None or config.get("is_encoder_decoder") is True:
        fits = False
    elif declared:
        # A model that also reads images or sound holds the language model within.
        fits = causal in declared or any(name.endswith("ForConditionalGeneration") for name in declared)
    else:
        # Encoders such as BERT have a causal class as well, which they were not trained for.
        fits = model_type not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not fits:
        found = declared[0] if declared else f"model of type {model_type!r}"
        raise UsageError(
            f"{place} holds a {found}, which is not a causal language model: take a decoder such as LLaMA, Qwen or "
            "GLM, with its language-model head."
        )


def _require_plausible(folder: Path, config: dict[str, Any], weights: tuple[Path, ...]) -> None:
    """Refuse sizes that the files cannot hold, before memory is taken for them."""
    nested = config.get("text_config")
    sizes = {**config, **nested} if isinstance(nested, dict) else config
    rows, width, layers = (sizes.get(key) for key in ("vocab_size", "hidden_size", "num_hidden_layers"))
    held = sum(path.stat().st_size for path in weights)
    # Half a byte a number is what the smallest of the usual quantizations takes; small misfits are told by their names.
    if isinstance(rows, int) and isinstance(width, int) and rows * width > max(2 * held, SMALL_EMBEDDINGS):
        raise UsageError(
            f"{folder / CONFIG} asks for {rows} embeddings of width {width}, more than the {held} bytes of its weights "
            "can hold: weights and configuration are of two models, or the download is incomplete."
        )
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise UsageError(f"{folder / CONFIG} asks for {layers} layers, more than any model has: download it again.")


def read_json(path: Path, folder: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        UsageError: It is absent, or holds something else.
    """
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {path.name}: a backbone is a folder with {CONFIG}, weights and tokenizer, as "
            "`hf download NAME --local-dir DIR` or `save_pretrained` writes it."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}. Download it again.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a JSON {type(content).__name__}, not an object: download it again.")
    return content


SHOWN = 3
"""Names of each kind of misfit that an error tells."""


def load_weights(checkpoint: Checkpoint, layout: CheckpointLayout, dtype: torch.dtype, device: torch.device) -> Any:
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


def empty_model(checkpoint: Checkpoint, layout: CheckpointLayout) -> tuple[Any, Plan]:
    """The model without memory for its weights, and where each tensor goes, once the files have been found to fit.

    Raises:
        UsageError, MseError: As `load_weights`.
    """
    import transformers

    path = checkpoint.folder / CONFIG
    config = layout.configure(ConfigSection(path, read_json(path, checkpoint.folder)))
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


def _require(folder: Path, layout: CheckpointLayout, **misfits: list[str]) -> None:
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
