"""Preprocessors of pretrained models: what transformers puts samples, pictures and texts through before the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.pretrained import first_line

_FILES = {
    "AutoFeatureExtractor": "preprocessor_config.json",
    "AutoImageProcessor": "preprocessor_config.json",
    "AutoTokenizer": "tokenizer.json (or the files of its vocabulary)",
}


def load_preprocessor(kind: str, folder: Path) -> Any:
    """Load what belongs to a model's folder.

    Args:
        kind: ``AutoFeatureExtractor`` for sound, ``AutoImageProcessor`` for pictures, ``AutoTokenizer`` for text.
        folder: The model's folder.

    Raises:
        UsageError: The folder has none, or none that the installed transformers can read.
    """
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each kind raises what its files make it stumble over
        raise UsageError(
            f"The model folder {folder} has no usable {_FILES[kind]}: {first_line(error)}. Copy it from the model "
            "that this one was made from."
        ) from error
