"""Packing: each stream is put on the clock that its recipe asks for, in one file that training reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mse_pipeline.alignment.apply import aligner
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.packing import Align, pack_stream


def pack(dataset: Dataset, on_stream: Callable[[str], None] = lambda stream: None) -> list[str]:
    """Write the packs that are missing or out of date; returns the streams that were packed."""
    packed = []
    for stream, entry in dataset.manifest.streams.items():
        on_stream(stream)
        if pack_stream(dataset, stream, _align(entry.alignment)):
            packed.append(stream)
    return packed


def _align(alignment: Mapping[str, Any]) -> Align:
    align = aligner(alignment)
    return lambda clip, features: align(features)
