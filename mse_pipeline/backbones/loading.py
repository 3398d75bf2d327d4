"""Loading a backbone: a short name, a folder or a hub name in, a frozen model with its tokenizer out.

No code of a checkpoint is ever run: `trust_remote_code` stays off, classes are those of the installed transformers,
and of pickled weights only tensors are taken.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.backbones import registry
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.checkpoint import Checkpoint, read_checkpoint, read_model_type
from mse_pipeline.errors import MseError, UsageError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Number formats that a backbone can be loaded in."""
_DEVICE = re.compile(r"(cpu|mps|cuda)(?::(\d+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def load(name_or_path: str | Path, dtype: str = "float32", device: str = "cpu") -> Backbone:
    """Load a causal language model and freeze it.

    Args:
        name_or_path: A short name of `backbones.describe`; a folder; or a hub name, as in ``Qwen/Qwen2.5-0.5B``,
            which is fetched into the hub's cache once (not under ``HF_HUB_OFFLINE=1``). What exists as a folder is
            a folder, but for short names: a folder called ``tiny`` is ``./tiny``.
        dtype: Number format of the weights: ``float32``, ``float16`` or ``bfloat16``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns:
        The model in evaluation mode, no parameter of it trainable, with its tokenizer.

    Raises:
        UsageError: The name leads nowhere, the checkpoint is incomplete or of another kind, or dtype or device
            do not exist here.
        MseError: The checkpoint's files are broken, or it does not fit into memory.

    Examples:
        >>> tiny = load("tiny")
        >>> tiny.embed(tiny.tokenizer("I am fine.", return_tensors="pt")["input_ids"]).shape[-1]
        128
    """
    number_format, where = _dtype(dtype), _device(device)
    name = str(name_or_path)
    if not name.strip():
        raise UsageError("The name of the backbone is empty: take `tiny`, another short name, a folder or a hub name.")
    source: str
    revision: str | None
    entry = registry.find(name)
    if entry is not None and entry.hub_id is None:
        from mse_pipeline.backbones import tiny

        model, tokenizer = tiny.build_tiny()
        source, revision = "built-in", tiny.VERSION
        model = model.to(number_format)
    else:
        folder, source, revision = _locate(name, entry)
        model, tokenizer = _read(read_checkpoint(folder), number_format)
    return Backbone(
        name=entry.name if entry else name,
        source=source,
        revision=revision,
        model=_freeze(_move(model, where, name)),
        tokenizer=tokenizer,
    )


def _locate(name: str, entry: registry.Entry | None) -> tuple[Path, str, str | None]:
    """Folder, source and commit of a name."""
    if entry is None:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder, str(folder), None
        if folder.is_file():
            raise UsageError(
                f"Backbone {name} is a file: give the folder that holds {folder.name} with its config.json."
            )
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UsageError(f"Backbone folder {name!r} does not exist.")
    known = entry or registry.by_hub_id(name)
    if known is not None and known.needs_conversion:
        raise UsageError(registry.conversion_sentence(str(known.hub_id), known.instead))

    from mse_pipeline.backbones import hub

    hub_id = name if entry is None or entry.hub_id is None else entry.hub_id
    read_model_type(hub.fetch_config(hub_id, name))
    folder = hub.fetch_all(hub_id, name)
    return folder, hub_id, folder.name if _COMMIT.fullmatch(folder.name) else None


def _read(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer of a folder that `read_checkpoint` has passed."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(checkpoint.folder)
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    # transformers, safetensors and tokenizers raise a dozen unrelated types, bare Exception among them.
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **common)
    except Exception as error:
        raise MseError(f"The tokenizer in {folder} cannot be read: {_first_line(error)}") from error
    try:
        with _progress_only_on_terminals():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=not checkpoint.pickled,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **common,
            )
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"The weights in {folder} ({checkpoint.weights[0].name}) hold more than tensors, which could be code, and "
            "were not loaded: take a checkpoint with .safetensors files."
        ) from error
    except Exception as error:
        raise MseError(f"The model in {folder} cannot be loaded: {_first_line(error)}") from error
    _require_whole(folder, report)
    rows = int(model.get_input_embeddings().weight.shape[0])
    if tokenizer.vocab_size > rows:
        raise UsageError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens and the model embeddings for {rows}: they "
            "are of two models. Copy the tokenizer files of the model that it was made from into it."
        )
    return model, tokenizer


def _require_whole(folder: str, report: dict[str, Any]) -> None:
    """Refuse weights that leave gaps, which transformers would fill with random numbers and a warning."""
    missing, misshapen = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    if missing:
        raise MseError(
            f"The weights in {folder} lack {len(missing)} parameters that its configuration asks for, {missing[0]} "
            "the first: the checkpoint is incomplete, or weights and configuration are of two models."
        )
    if misshapen:
        name, found, wanted = misshapen[0]
        raise MseError(
            f"The weights in {folder} have {len(misshapen)} parameters of another shape than its configuration asks "
            f"for, {name} the first: {tuple(found)} instead of {tuple(wanted)}. They are of two models."
        )


def _freeze(model: Any) -> Any:
    return model.eval().requires_grad_(False)


def _move(model: Any, device: torch.device, name: str) -> Any:
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 2**30
        raise MseError(
            f"Backbone {name} takes {size:.1f} GiB, more than {device} has free: take a smaller one, or bfloat16."
        ) from error


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise UsageError(f"Number format {name!r} is none of {', '.join(DTYPES)}.")
    return DTYPES[name]


def _device(name: str) -> torch.device:
    match = _DEVICE.fullmatch(name)
    if match is None:
        raise UsageError(f"Device {name!r} is none of cpu, cuda, cuda:N and mps.")
    kind, index = match[1], int(match[2] or 0)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("Device mps needs a Mac with Apple silicon: take --device cpu.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError(
                f"Device {name} asks for CUDA, which torch {torch.__version__} does not find here: take --device cpu, "
                "or install a torch built for CUDA and a driver that it can use."
            )
        if index >= count:
            raise UsageError(f"Device {name} does not exist: this machine has cuda:0 to cuda:{count - 1}.")
    return torch.device(name)


def _first_line(error: Exception) -> str:
    """The first line of an error of another library, as the end of a sentence."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(' .:!')}." if lines else f"{type(error).__name__}."


@contextmanager
def _progress_only_on_terminals() -> Iterator[None]:
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
