"""Checkpoint folders: what one must hold, told before anything heavy is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.backbones.original import LAYOUTS, Layout
from mse_pipeline.errors import UsageError
from mse_pipeline.model_files import CONFIG, weight_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "qwen.tiktoken",
)
"""Any one of these makes a tokenizer."""
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
    def layout(self) -> Layout | None:
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
    _require_causal(folder, config, model_type)
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


def _require_causal(folder: Path, config: dict[str, Any], model_type: str) -> None:
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
            f"{folder} holds a {found}, which is not a causal language model: take a decoder such as LLaMA, Qwen or "
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
