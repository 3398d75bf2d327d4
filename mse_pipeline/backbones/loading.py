"""Loading a backbone: a short name, a folder or a hub name in, a frozen model with its tokenizer out.

No code of a checkpoint is ever run: `trust_remote_code` stays off, classes are those of the installed transformers,
and of pickled weights only tensors are taken.

An outline is a backbone with its real tokenizer and its shapes, but without weights: it is made before gigabytes are
fetched.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.backbones import gguf, registry
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.checkpoint import (
    MOST_LAYERS,
    Checkpoint,
    first_line,
    read_checkpoint,
    read_json,
    read_model_type,
    require_tokenizer,
    require_whole,
    unsafe_sentence,
)
from mse_pipeline.backbones.devices import device as find_device
from mse_pipeline.backbones.devices import number_format, quantization_config, require_quantization
from mse_pipeline.backbones.original import LAYOUTS
from mse_pipeline.backbones.original.layout import ConfigSection
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.model_files import CONFIG


def read_tokenizer(folder: Path, model_type: str) -> Any:
    """The tokenizer of a folder, as one of transformers; no code of the checkpoint is run.

    Args:
        folder: A checkpoint that has a tokenizer.
        model_type: As its configuration says.

    Raises:
        UsageError: It is of a kind that cannot be read here.
        MseError: Its files are damaged.
    """
    if model_type in LAYOUTS:
        return LAYOUTS[model_type].tokenizer(folder)
    from transformers import AutoTokenizer

    # transformers and tokenizers raise a dozen unrelated types, bare Exception among them.
    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise MseError(f"The tokenizer in {folder} cannot be read: {first_line(error)}") from error


_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelSource:
    """Where a name leads.

    Attributes:
        path: The checkpoint, a folder or a GGUF file; None for the built-in backbone.
        source: Hub name, folder or file, or ``built-in``.
        revision: Commit of the hub repository, where known; version of the built-in one.
    """

    path: Path | None
    source: str
    revision: str | None


def load(
    name_or_path: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    *,
    revision: str | None = None,
    quantization: str | None = None,
) -> Backbone:
    """Load a causal language model and freeze it.

    Args:
        name_or_path: A short name of `backbones.describe`; a folder; or a hub name, as in ``Qwen/Qwen2.5-0.5B``,
            which is fetched into the hub's cache once (not under ``HF_HUB_OFFLINE=1``). What exists as a folder is
            a folder, but for short names: a folder called ``tiny`` is ``./tiny``. Folders may hold Qwen-1 and
            ChatGLM2/3 in their original layouts, or one GGUF file, which may be named itself, too; on the hub as
            ``owner/name:FILE.gguf``.
        dtype: Number format of the weights: ``float32``, ``float16`` or ``bfloat16``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        revision: Branch, tag or commit of the hub repository; by default the short name's, or the newest.
        quantization: ``4bit`` or ``8bit``, which need a CUDA GPU and bitsandbytes; None for none.

    Returns:
        The model in evaluation mode, no parameter of it trainable, with its tokenizer.

    Raises:
        UsageError: The name leads nowhere, the checkpoint is incomplete or of another kind, or dtype, device or
            quantization do not exist here.
        MseError: The checkpoint's files are broken, or it does not fit into memory.

    Examples:
        >>> tiny = load("tiny")
        >>> tiny.embed(tiny.tokenizer("I am fine.", return_tensors="pt")["input_ids"]).shape[-1]
        128
    """
    numbers, where = number_format(dtype), find_device(device)
    squeezed = quantization_config(quantization, where, numbers)
    name = str(name_or_path)
    place = locate(name, revision)
    stored_as: str | None = None
    model: Any
    if place.path is None:
        from mse_pipeline.backbones import tiny

        model, tokenizer = tiny.build_tiny()
        # Not `model.to`, which would round the rotation tables as well.
        for weight in model.parameters():
            weight.data = weight.data.to(numbers)
        model.config.dtype = numbers
        model = _move(model, where, name)
    elif gguf.is_gguf(place.path):
        _refuse_quantization(name, quantization)
        header = gguf.read_header(place.path)
        tokenizer = gguf.read_tokenizer(header)
        with progress_only_on_terminals():
            model = _move(gguf.read_model(header, numbers), where, name)
        _require_fit(place.path, model, tokenizer)
        stored_as = header.stored_as
    else:
        checkpoint = read_checkpoint(place.path)
        tokenizer = read_tokenizer(checkpoint.folder, checkpoint.model_type)
        model = _read(checkpoint, numbers, where, name, squeezed)
        _require_fit(checkpoint.folder, model, tokenizer)
    return frozen(model, tokenizer, name, place, quantization=quantization, stored_as=stored_as)


def frozen(
    model: Any,
    tokenizer: Any,
    name: str,
    place: ModelSource,
    *,
    quantization: str | None = None,
    stored_as: str | None = None,
) -> Backbone:
    """A backbone of its parts: in evaluation mode, and no parameter of it trainable."""
    entry = registry.find(name)
    return Backbone(
        name=entry.name if entry else name,
        source=place.source,
        revision=place.revision,
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        quantization=quantization,
        stored_as=stored_as,
    )


def load_tokenizer(name_or_path: str | Path, *, revision: str | None = None) -> tuple[Any, str]:
    """A backbone's tokenizer and its architecture by transformers' name; the weights need not be there.

    Args and Raises: those of `load`.

    Examples:
        >>> tokenizer, family = load_tokenizer("tiny")
        >>> len(tokenizer), family
        (640, 'llama')
    """
    name = str(name_or_path)
    place = locate(name, revision, tokenizer_only=True)
    if place.path is None:
        from mse_pipeline.backbones import tiny

        return tiny.build_tokenizer(), "llama"
    if gguf.is_gguf(place.path):
        header = gguf.read_header(place.path)
        return gguf.read_tokenizer(header), str(gguf.read_config(header).model_type)
    model_type = read_model_type(place.path)
    require_tokenizer(place.path, model_type)
    family = LAYOUTS[model_type].family if model_type in LAYOUTS else model_type
    return read_tokenizer(place.path, model_type), family


def locate(name: str, revision: str | None = None, *, tokenizer_only: bool = False) -> ModelSource:
    """Find what a name means; what only the hub has is fetched.

    Raises:
        UsageError: The name leads nowhere, or a revision is given for what has none.
    """
    if not name.strip():
        raise UsageError("The name of the backbone is empty: take `tiny`, another short name, a folder or a hub name.")
    entry = registry.find(name)
    if entry is not None and entry.hub_id is None:
        _refuse_revision(name, revision)
        from mse_pipeline.backbones import tiny

        return ModelSource(None, "built-in", tiny.VERSION)
    if entry is None:
        folder = Path(name).expanduser()
        if folder.is_dir():
            _refuse_revision(name, revision)
            return ModelSource(gguf.inside(folder) or folder, str(folder), None)
        if folder.is_file():
            _refuse_revision(name, revision)
            if not gguf.is_gguf(folder):
                raise UsageError(
                    f"Backbone {name} is a file: give the folder that holds {folder.name} with its config.json."
                )
            return ModelSource(folder, str(folder), None)
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UsageError(f"Backbone folder {name!r} does not exist.")

    from mse_pipeline.backbones import registry as hub

    hub_id = name if entry is None or entry.hub_id is None else entry.hub_id
    wanted = revision or (entry.revision if entry else None)
    named = hub.file_on_hub(hub_id)
    if named is not None:
        path = hub.fetch_file(named[0], name, named[1], wanted)
        return ModelSource(path, hub_id, path.parent.name if _COMMIT.fullmatch(path.parent.name) else None)
    read_model_type(hub.fetch_config(hub_id, name, wanted))
    folder = (hub.fetch_tokenizer if tokenizer_only else hub.fetch_all)(hub_id, name, wanted)
    return ModelSource(folder, hub_id, folder.name if _COMMIT.fullmatch(folder.name) else None)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise UsageError(
            f"Backbone {name} is no repository of the hub, so it has no revision {revision!r}: leave it out."
        )


def _refuse_quantization(name: str, quantization: str | None) -> None:
    if quantization is not None:
        raise UsageError(
            f"Backbone {name} is a GGUF file, whose weights are stored in the quantization that they have: leave "
            f"--quantization {quantization} out, or take the model's folder with .safetensors files."
        )


def _read(checkpoint: Checkpoint, dtype: torch.dtype, where: torch.device, name: str, squeezed: Any) -> Any:
    """The model of a folder that `read_checkpoint` has passed."""
    layout = checkpoint.layout
    if layout is None:
        model = _read_plain(
            checkpoint, dtype, {"quantization_config": squeezed, "device_map": {"": where}} if squeezed else {}
        )
        return model if squeezed else _move(model, where, name)
    if squeezed:
        raise UsageError(
            f"{checkpoint.folder} has the original layout of {layout.title}, which is not quantized as it is read: "
            f"run `mse backbones convert {checkpoint.folder} DIR`, then `--backbone DIR`."
        )
    from mse_pipeline.backbones.checkpoint import load_weights

    try:
        return load_weights(checkpoint, layout, dtype, where)
    except torch.OutOfMemoryError as error:
        size = sum(path.stat().st_size for path in checkpoint.weights) / 2**30
        raise MseError(
            f"Backbone {name} has {size:.1f} GiB of weights, more than {where} has free: take a smaller one, or "
            "bfloat16."
        ) from error


def _read_plain(checkpoint: Checkpoint, dtype: torch.dtype, more: dict[str, Any]) -> Any:
    """A model that transformers reads itself."""
    from transformers import AutoModelForCausalLM

    folder = str(checkpoint.folder)
    # transformers and safetensors raise a dozen unrelated types, bare Exception among them.
    try:
        with progress_only_on_terminals():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=not checkpoint.pickled,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                local_files_only=True,
                **more,
            )
    except pickle.UnpicklingError as error:
        raise UsageError(unsafe_sentence(checkpoint.folder, checkpoint.weights[0].name)) from error
    except Exception as error:
        raise MseError(f"The model in {folder} cannot be loaded: {first_line(error)}") from error
    require_whole(checkpoint.folder, report)
    return model


def _require_fit(folder: Path, model: Any, tokenizer: Any) -> None:
    rows = int(model.get_input_embeddings().weight.shape[0])
    if tokenizer.vocab_size > rows:
        raise UsageError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens and the model embeddings for {rows}: they "
            "are of two models. Copy the tokenizer files of the model that it was made from into it."
        )


def _move(model: Any, device: torch.device, name: str) -> Any:
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 2**30
        raise MseError(
            f"Backbone {name} takes {size:.1f} GiB, more than {device} has free: take a smaller one, or bfloat16."
        ) from error


@contextmanager
def progress_only_on_terminals() -> Iterator[None]:
    """Keep transformers' bar out of logs, where it would be a line of fragments."""
    from transformers.utils import logging

    hide = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def outline(
    name_or_path: str | Path,
    dtype: str = "float32",
    *,
    revision: str | None = None,
    quantization: str | None = None,
) -> Backbone:
    """A backbone that has all but its weights: they are on torch's meta device, which holds shapes alone.

    Only configuration and tokenizer are read, or fetched from the hub. Everything but computing works with it.

    Args and Raises: those of `backbones.load`; whether a quantization works here is not looked into.

    Examples:
        >>> tiny = outline("tiny", "float16")
        >>> tiny.device, tiny.dtype, sum(weight.numel() for weight in tiny.model.parameters())
        (device(type='meta'), torch.float16, 492160)
    """
    numbers = number_format(dtype)
    require_quantization(quantization)
    name = str(name_or_path)
    place = locate(name, revision, tokenizer_only=True)
    stored_as: str | None = None
    model: Any
    if place.path is None:
        from mse_pipeline.backbones import tiny

        model, tokenizer = tiny.build_tiny()
        model.to("meta")
    elif gguf.is_gguf(place.path):
        _refuse_quantization(name, quantization)
        header = gguf.read_header(place.path)
        tokenizer, model, stored_as = gguf.read_tokenizer(header), gguf.shapes(header), header.stored_as
    else:
        model_type = read_model_type(place.path)
        require_tokenizer(place.path, model_type)
        tokenizer = read_tokenizer(place.path, model_type)
        model = _shapes(place.path, model_type)
    for weight in model.parameters():
        weight.data = weight.data.to(numbers)
    model.config.dtype = numbers
    return frozen(model, tokenizer, name, place, quantization=quantization, stored_as=stored_as)


def _shapes(folder: Path, model_type: str) -> Any:
    """The model of a folder's configuration, on the meta device."""
    import transformers

    path = folder / CONFIG
    written = read_json(path, folder)
    layers = written.get("num_hidden_layers", written.get("num_layers"))
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise UsageError(f"{path} asks for {layers} layers, more than any model has: download it again.")
    try:
        if model_type in LAYOUTS:
            layout = LAYOUTS[model_type]
            config = layout.configure(ConfigSection(path, written))
            config._attn_implementation = "sdpa"
            with torch.device("meta"):
                return getattr(transformers, layout.model_class)(config)
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except MseError:
        raise
    except Exception as error:
        # transformers raises a dozen unrelated types, bare Exception among them.
        raise MseError(f"No model can be made of the configuration in {folder}: {first_line(error)}") from error
