"""The files of a model in the layout of transformers: which hold its weights, and which are fetched from the hub."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from mse_pipeline.errors import UsageError
from mse_pipeline.file_kinds import LFS_POINTER

CONFIG = "config.json"
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where transformers looks for weights, in its order; of the last two only tensors are taken."""

SAFE_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLED_WEIGHTS = ("*.bin", "*.bin.index.json")
OTHER_COPIES = ("*/*", "consolidated*", "*.fp16.*", "*.fp32.*", "training_args.bin", "optimizer.bin")
"""Second copies of the same weights, in other formats, would double a download of many gigabytes."""
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


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a folder's weights, the first kind that transformers would take.

    Raises:
        UsageError: There are none, some are missing, or an index leads out of the folder.
    """
    first = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if first is None:
        raise UsageError(
            f"{folder} has a {CONFIG} but no weights (none of {', '.join(WEIGHT_FILES)}): download it again in full, "
            "or give the folder that holds them."
        )
    files = _shards(first) if first.name.endswith(".index.json") else (first,)
    for path in files:
        with path.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UsageError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in {folder}.")
    return files


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        named = sorted({str(name) for name in names if isinstance(name, str)})
        if not named or len(named) != len(set(names)):
            raise ValueError("a file's name is none")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{index} has no weight_map of parameters to files: download it again.") from error
    suffix = ".bin" if index.name.endswith(".bin.index.json") else ".safetensors"
    for name in named:
        # An index may come from anyone: it must not lead out of its folder, nor to a file of another kind.
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(suffix):
            raise UsageError(f"{index} names {name!r}, which is not a {suffix} file of its own folder.")
        if not (index.parent / name).is_file():
            raise UsageError(f"{index.parent}: {name}, a part of the weights, is missing: download it again in full.")
    return tuple(index.parent / name for name in named)
