"""Packing: the shards of each stream become one HDF5 file on the clock that training reads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from mse_pipeline.alignment.apply import aligner
from mse_pipeline.errors import MseError
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.hdf5 import Pack, write_pack


def pack(dataset: Dataset, on_stream: Callable[[str], None] = lambda stream: None) -> list[str]:
    """Write the packs that are missing or older than the journal; returns the streams that were packed."""
    fingerprint = dataset.journal.fingerprint()
    packed = []
    for stream, entry in dataset.manifest.streams.items():
        path = dataset.pack_path(stream)
        if path.is_file() and _fingerprint_of(dataset, stream) == fingerprint:
            continue
        on_stream(stream)
        native = dataset.native(stream).in_order()
        first = next(native, None)
        if first is None:
            path.unlink(missing_ok=True)
            continue
        align = aligner(entry.alignment)
        items = ((clip, align(features)) for clip, features in chain([first], native))
        about = {
            "stream": stream,
            "version": entry.version,
            "alignment": dict(entry.alignment),
            "identity": dict(entry.identity),
            "journal": fingerprint,
        }
        write_pack(path, items, first[1].names, about)
        packed.append(stream)
    return packed


def _fingerprint_of(dataset: Dataset, stream: str) -> str | None:
    try:
        with Pack(dataset.pack_path(stream)) as existing:
            return existing.about.get("journal")
    except MseError:
        return None  # a damaged pack is made anew
