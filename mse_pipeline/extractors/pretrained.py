"""Pretrained models of transformers: where one lies, what it is, and the digest of all that its values depend on.

Nothing here loads weights, and no code of a model is ever run: classes are those of the installed transformers.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.content import folder_digest
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.model_files import CONFIG, weight_files

DESCRIBING_FILES = (
    CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files beside the weights that change what a model makes of its input."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def find(model: str, revision: str | None = None) -> Path:
    """The folder of a model: given, kept under `$MSE_MODELS`, in the hub's cache, or downloaded into it once.

    Args:
        model: A folder; or a hub name, as in ``microsoft/wavlm-large``, which is looked for as the folder of that
            name in the models' folder (`$MSE_MODELS`), then in the hub's cache, then on the hub.
        revision: Commit, tag or branch of a hub name; None for the newest. A folder under `$MSE_MODELS` does not
            know its revision and is passed over where one is asked for.

    Returns:
        A folder with ``config.json`` and weights.

    Raises:
        UsageError: There is no such folder or repository, or the folder holds no model.
        MseError: The model is gated, or it has to be downloaded and the hub cannot be reached; the message says
            what to download where.

    Examples:
        >>> find("./nowhere")
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: The model folder './nowhere' does not exist. Give a folder that `save_pretrained` or `hf download` wrote, or a hub name such as microsoft/wavlm-base.
    """  # noqa: E501 - a doctest's error stands in one line
    if not model.strip():
        raise UsageError("The name of the model is empty: give a folder, or a hub name such as microsoft/wavlm-base.")
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{model} is a folder, which has no revision {revision!r}: leave the option out.")
        return require_model(folder)
    if folder.is_file():
        raise UsageError(f"The model {model} is a file: give the folder that holds {folder.name} with its {CONFIG}.")
    if not _HUB_NAME.fullmatch(model) or ".." in model:
        raise UsageError(
            f"The model folder {model!r} does not exist. Give a folder that `save_pretrained` or `hf download` wrote, "
            "or a hub name such as microsoft/wavlm-base."
        )
    kept = models_folder() / model
    if revision is None and kept.is_dir():
        return require_model(kept)
    from mse_pipeline.extractors.hub import fetch

    return fetch(model, revision, kept)


def require_model(folder: Path) -> Path:
    """The folder itself, if it holds a model.

    Raises:
        UsageError: It lacks configuration or weights.
    """
    if not (folder / CONFIG).is_file():
        raise UsageError(
            f"{folder} has no {CONFIG}: a model is a folder with {CONFIG}, weights and, by its kind, "
            "preprocessor_config.json or a tokenizer, as `save_pretrained` and `hf download` write it."
        )
    weight_files(folder)
    return folder


def digest(folder: Path) -> str:
    """Digest of all that a model's values depend on: weights, configuration, preprocessor and tokenizer.

    The same files give the same digest wherever they lie. Large files are read once: the digest of one that keeps
    its path, size and time is remembered, in the models' folder, from run to run.

    Args:
        folder: What `find` gave.

    Returns:
        32 hex digits.

    Raises:
        UsageError: The folder holds no model.
    """
    describing = [folder / name for name in DESCRIBING_FILES if (folder / name).is_file()]
    return folder_digest([*weight_files(folder), *describing], models_folder() / ".digests")


def config(folder: Path) -> Any:
    """The configuration of a folder's model, as transformers' class of it, without its weights.

    Raises:
        UsageError: It cannot be read, or is that of a model which the installed transformers does not know.
    """
    return _config(folder, (folder / CONFIG).stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _config(folder: Path, mtime_ns: int) -> Any:
    import transformers
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises what its dozens of configurations stumble over
        raise UsageError(
            f"{folder / CONFIG} is not the configuration of a model that transformers {transformers.__version__} has "
            f"built in ({first_line(error)}). mse runs no code that comes with a model; take another model or a newer "
            "transformers."
        ) from error


def first_line(error: Exception) -> str:
    """An error of another library as part of a sentence: its first line without a closing mark."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(' .:!')}" if lines else type(error).__name__
