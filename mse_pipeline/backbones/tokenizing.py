"""The tokenizer of a checkpoint folder, whatever its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mse_pipeline.backbones.original import LAYOUTS
from mse_pipeline.errors import MseError


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


def first_line(error: Exception) -> str:
    r"""The first line of an error of another library, as the end of a sentence.

    Examples:
        >>> first_line(OSError("no such file:\n  a"))
        'OSError: no such file.'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(' .:!')}." if lines else f"{type(error).__name__}."
