"""Packing: the shards of one stream become one HDF5 file, in the order of the clip table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from mse_pipeline.errors import MseError
from mse_pipeline.store.features import Features
from mse_pipeline.store.hdf5 import Pack, write_pack
from mse_pipeline.store.journal import Row

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset


def open_current(dataset: Dataset, stream: str) -> Pack | None:
    """The stream's pack, if there is one that holds just what the journal knows as done.

    A pack remembers the journal's fingerprint, so that in most cases one folder listing tells; where other streams
    have grown since, the journal is read and the clips' keys are compared.
    """
    path = dataset.pack_path(stream)
    if not path.is_file():
        return None
    pack = Pack(path)
    if pack.about.get("journal") == dataset.journal.fingerprint():
        return pack
    if pack.about.get("content") == _content(dataset, stream):
        return pack
    pack.close()
    return None


def pack_stream(
    dataset: Dataset, stream: str, align: Callable[[str, Features], Features] = lambda clip, one: one
) -> bool:
    """Write a stream's pack, unless the one that is there is current; returns whether it was written.

    Args:
        dataset: The dataset in the cache.
        stream: Name of the stream.
        align: Puts a clip's features on the clock that the stream's entry in the manifest names.
    """
    path = dataset.pack_path(stream)
    try:
        current = open_current(dataset, stream)
    except MseError:
        current = None  # a damaged pack is made anew
    if current is not None:
        current.close()
        return False
    native = dataset.native(stream)
    clips = native.in_order()
    first = next(clips, None)
    if first is None:
        path.unlink(missing_ok=True)
        return False
    entry = dataset.manifest.streams[stream]
    about = {
        "stream": stream,
        "version": entry.version,
        "alignment": dict(entry.alignment),
        "identity": dict(entry.identity),
        "journal": dataset.journal.fingerprint(),
        "content": _content(dataset, stream),
    }
    items = ((clip, align(clip, features)) for clip, features in chain([first], clips))
    head = next(items)
    write_pack(path, chain([head], items), head[1].names, about)
    return True


def _content(dataset: Dataset, stream: str) -> str:
    """What a pack depends on: the stream's rows, and those of the words that it is aligned to."""
    hashed = content(dataset.native(stream).rows)
    words = dataset.manifest.streams[stream].alignment.get("stream")
    if words is None or words not in dataset.manifest.streams:
        return hashed
    return f"{hashed}-{content(dataset.native(words).rows)}"


def content(rows: Mapping[str, Row]) -> str:
    """Hash of the clips that are done, in their order, and of their keys."""
    digest = hashlib.blake2b(digest_size=16)
    for clip, row in rows.items():
        digest.update(f"{clip}\0{row.key}\0{row.shard}\n".encode())
    return digest.hexdigest()
