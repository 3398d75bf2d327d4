"""Outline: a backbone with its real tokenizer and its shapes, but without weights, before gigabytes are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.checkpoint import MOST_LAYERS, read_json, read_model_type, require_tokenizer
from mse_pipeline.backbones.devices import QUANTIZATIONS, number_format
from mse_pipeline.backbones.loading import frozen, locate
from mse_pipeline.backbones.original import LAYOUTS
from mse_pipeline.backbones.original.layout import Section
from mse_pipeline.backbones.tokenizing import first_line, read_tokenizer
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.model_files import CONFIG


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
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise UsageError(f"Quantization {quantization!r} is none of {', '.join(QUANTIZATIONS)}.")
    name = str(name_or_path)
    place = locate(name, revision, tokenizer_only=True)
    model: Any
    if place.folder is None:
        from mse_pipeline.backbones import tiny

        model, tokenizer = tiny.build_tiny()
        model.to("meta")
    else:
        model_type = read_model_type(place.folder)
        require_tokenizer(place.folder, model_type)
        tokenizer = read_tokenizer(place.folder, model_type)
        model = _shapes(place.folder, model_type)
    for weight in model.parameters():
        weight.data = weight.data.to(numbers)
    model.config.dtype = numbers
    return frozen(model, tokenizer, name, place, quantization)


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
            config = layout.configure(Section(path, written))
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
