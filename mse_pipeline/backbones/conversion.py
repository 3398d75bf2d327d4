"""Conversion: an original checkpoint of 2023 becomes a plain folder of transformers, shard by shard."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from mse_pipeline.backbones.checkpoint import Checkpoint, read_checkpoint
from mse_pipeline.backbones.loading import locate
from mse_pipeline.errors import MseError, UsageError, explain, writing
from mse_pipeline.store.storage import aside, write_aside_name, write_json

SHARD_BYTES = 2 * 10**9
"""Most that is in memory at once, a single larger tensor apart."""


def convert(
    source: str | Path, destination: str | Path, *, revision: str | None = None, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Write a Qwen-1 or ChatGLM2/3 as transformers' own classes read it: the same weights, bit by bit.

    The folder is whole or absent: it is written aside and renamed.

    Args:
        source: Short name, folder or hub name of a checkpoint in its original layout.
        destination: The new folder; it must not exist, or be empty.
        revision: Branch, tag or commit, for a hub name.
        shard_bytes: Size of a weight file, and the memory that is taken.

    Returns:
        The destination.

    Raises:
        UsageError: The source is in transformers' layout already, or the destination is not empty.
        MseError: The checkpoint is damaged, or the disk is full.
    """
    destination = Path(destination).expanduser()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} exists already: give the name of a new folder.")
    place = locate(str(source), revision)
    folder = place.path if place.path is not None and place.path.is_dir() else None
    checkpoint = None if folder is None else read_checkpoint(folder)
    if checkpoint is None or checkpoint.layout is None:
        raise UsageError(f"{source} needs no conversion: `--backbone {source}` loads it as it is.")
    unfinished = write_aside_name(destination)
    unfinished.mkdir()
    try:
        with writing(destination):
            _write(checkpoint, unfinished, shard_bytes)
        if destination.is_dir():
            destination.rmdir()
        unfinished.rename(destination)
    except OSError as error:
        raise MseError(explain(error, destination)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return destination


def _write(checkpoint: Checkpoint, folder: Path, shard_bytes: int) -> None:
    from mse_pipeline.backbones.checkpoint import converted, empty_model
    from mse_pipeline.backbones.loading import read_tokenizer

    layout = checkpoint.layout
    assert layout is not None  # noqa: S101 - `convert` has seen to it
    model, plan = empty_model(checkpoint, layout)
    tokenizer = read_tokenizer(checkpoint.folder, checkpoint.model_type)
    tokenizer.save_pretrained(folder)
    model.config.dtype = _write_weights(converted(checkpoint.weights, plan, model), folder, shard_bytes)
    model.config.save_pretrained(folder)


def _write_weights(weights: Iterable[tuple[str, torch.Tensor]], folder: Path, shard_bytes: int) -> torch.dtype:
    """Weight files and their index; returns the number format of the largest tensor."""
    from safetensors.torch import save_file

    files: list[tuple[Path, list[str]]] = []
    total, largest = 0, torch.zeros(0)
    for shard in _shards(weights, shard_bytes):
        path = folder / f"part-{len(files)}.safetensors"
        with aside(path) as temporary:
            save_file(shard, temporary, metadata={"format": "pt"})
        files.append((path, list(shard)))
        total += sum(tensor.nbytes for tensor in shard.values())
        largest = max(largest, *shard.values(), key=torch.Tensor.numel)
    places = {}
    for number, (path, names) in enumerate(files, start=1):
        last = f"model-{number:05d}-of-{len(files):05d}.safetensors" if len(files) > 1 else "model.safetensors"
        path.rename(folder / last)
        places.update(dict.fromkeys(names, last))
    if len(files) > 1:
        write_json(
            folder / "model.safetensors.index.json",
            {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))},
        )
    return largest.dtype


def _shards(weights: Iterable[tuple[str, torch.Tensor]], shard_bytes: int) -> Iterator[dict[str, torch.Tensor]]:
    """As many tensors at a time as a file may hold, and at least one."""
    shard: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        # A copy: what is stacked in the checkpoint's file would be written whole, once a part.
        shard[name] = tensor.clone(memory_format=torch.contiguous_format)
        size += tensor.nbytes
    if shard:
        yield shard
