"""Packing: the shards of one stream become one HDF5 file, in the order of the clip table.

A pack depends only on its clips, their keys and their values. A small JSON file beside it names the journal that it
belongs to, so that in most cases one listing of a folder shows whether the pack is current.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mse_pipeline.errors import MseError
from mse_pipeline.store.checksum import read_sealed, write_sealed
from mse_pipeline.store.features import Features
from mse_pipeline.store.keys import canonical
from mse_pipeline.store.pack import Pack, PackEntry, write_pack
from mse_pipeline.store.storage import local_copy, remove

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.store.manifest import StreamEntry

Align = Callable[[str, Features], Features | None]
"""Puts a clip's features on another clock; None leaves the clip out, as if it has no words to align to."""


def open_current(dataset: Dataset, stream: str) -> Pack | None:
    """The stream's pack, if there is one that holds exactly the clips that are done in the journal.

    Raises:
        MseError: The pack is damaged.
    """
    path = dataset.pack_path(stream)
    if not path.is_file():
        return None
    pack = Pack(local_copy(path), path)
    if is_current(dataset, stream, pack):
        return pack
    pack.close()
    return None


def is_current(dataset: Dataset, stream: str, pack: Pack) -> bool:
    """Whether an open pack holds exactly the clips that are done in the journal, on the stream's current clock."""
    entry = dataset.manifest.streams[stream]
    if (pack.about.get("version"), pack.about.get("alignment")) != (entry.version, dict(entry.alignment)):
        return False
    state = _read_state(dataset.pack_path(stream))
    if state.get("content") == pack.about.get("content") and state.get("state") == _state(dataset, stream):
        return True
    return bool(pack.about.get("content") == content(pack_keys(dataset, stream)))


def pack_stream(
    dataset: Dataset, stream: str, align: Align = lambda clip, features: features, *, anew: bool = False
) -> bool:
    """Write a stream's pack, unless the present one is current; returns whether it was written.

    Clips with the same key as in the previous pack are copied from it in bulk; only the others are read from shards and
    aligned.

    Args:
        dataset: The dataset in the cache.
        stream: Name of the stream.
        align: Puts features on the clock that the stream's entry in the manifest names.
        anew: Write it even if it is current, because a part of it is damaged.
    """
    path, state = dataset.pack_path(stream), _state(dataset, stream)  # before the journal is read: it may grow
    try:
        current = None if anew else open_current(dataset, stream)
    except MseError:
        current = None  # a damaged pack is written again
    keys = pack_keys(dataset, stream) if current is None else {}
    if current is not None:
        current.close()
        if _read_state(path).get("state") != state:
            write_sealed(state_path(path), {"state": state, "content": current.about["content"]})
        return False
    if keys and _write(dataset, stream, keys, align):
        write_sealed(state_path(path), {"state": state, "content": content(keys)})
        return True
    remove(path)
    remove(state_path(path))
    return False


def _write(dataset: Dataset, stream: str, keys: Mapping[str, str], align: Align) -> bool:
    path, entry = dataset.pack_path(stream), dataset.manifest.streams[stream]
    native = dataset.native(stream)
    before = _before(path, entry)
    same = {} if before is None else _unchanged(before, keys)
    items = _aligned(native.in_order(keys.keys() - same.keys()), align)
    first = next(items, None)
    if first is not None and before is not None and first[1].names != before.names:
        before, same = None, {}
        items = _aligned(native.in_order(), align)
        first = next(items, None)
    if first is None and not same:
        return False
    timeless = entry.alignment.get("kind") == "none"
    entries = [
        PackEntry(clip, key, native.rows[clip].rows if timeless else None, same.get(clip)) for clip, key in keys.items()
    ]
    about = {
        "stream": stream,
        "version": entry.version,
        "alignment": dict(entry.alignment),
        "identity": dict(entry.identity),
        "content": content(keys),
    }
    names = first[1].names if first is not None else before.names if before is not None else ()
    fresh = items if first is None else chain([first], items)
    write_pack(path, entries, fresh, names=names, about=about, before=before)
    return True


def _aligned(items: Iterator[tuple[str, Features]], align: Align) -> Iterator[tuple[str, Features]]:
    for clip, features in items:
        aligned = align(clip, features)
        if aligned is not None:
            yield clip, aligned


def _before(path: Path, entry: StreamEntry) -> Pack | None:
    """The present pack, if its rows may be copied: it needs checksums, and the same version and alignment."""
    try:
        pack = Pack(local_copy(path), path) if path.is_file() else None
    except MseError:
        return None
    if pack is None or not pack.checked:
        return None
    same = (pack.about.get("version"), pack.about.get("alignment")) == (entry.version, dict(entry.alignment))
    return pack if same else None


def _unchanged(before: Pack, keys: Mapping[str, str]) -> dict[str, int]:
    """Position in the previous pack of each clip that has the same key there and matches its checksums."""
    positions = {clip: before.place(clip) for clip in keys}
    return {
        clip: index
        for clip, index in positions.items()
        if index is not None
        and before.clip_keys[index] == keys[clip]
        and before.rows_intact(index)
        and before.statistics_intact(index)
    }


def pack_keys(dataset: Dataset, stream: str) -> dict[str, str]:
    """The key of each clip's rows in the pack, in the corpus's order.

    It is the key of the features, with the chosen faces if there are several; if the stream is aligned to another
    stream of the dataset, as to words, it is a hash of both keys.
    """
    native = dataset.native(stream)
    other = _other(dataset.manifest.streams[stream].alignment)
    if other is None:
        return {clip: native.key(clip) for clip in native}
    others = dataset.native(other).rows if other in dataset.manifest.streams else {}
    pairs = {clip: [native.key(clip), others[clip].key if clip in others else ""] for clip in native}
    return {clip: hashlib.blake2b(canonical(pair), digest_size=16).hexdigest() for clip, pair in pairs.items()}


def content(keys: Mapping[str, str]) -> str:
    """Hash of the clips that are done, in their order, and of their keys."""
    digest = hashlib.blake2b(digest_size=16)
    for clip, key in keys.items():
        digest.update(f"{clip}\0{key}\n".encode())
    return digest.hexdigest()


def _other(alignment: Mapping[str, Any]) -> str | None:
    other = alignment.get("stream")
    return other if isinstance(other, str) else None


def _state(dataset: Dataset, stream: str) -> dict[str, Any]:
    """All that decides which clips a pack must hold; the journal is not read for it."""
    streams = dataset.manifest.streams
    other = _other(streams[stream].alignment)
    ids = hashlib.blake2b("\0".join(clip.id for clip in dataset.clips).encode(), digest_size=16)
    versions = {name: streams[name].version for name in (stream, other) if name and name in streams}
    state = {"journal": dataset.journal.fingerprint(), "clips": ids.hexdigest(), "versions": versions}
    chosen = dataset.choices(stream).digest
    return {**state, "chosen": chosen} if chosen else state


def state_path(path: Path) -> Path:
    """The JSON file that names the journal of a pack."""
    return path.with_name(f"{path.name.removesuffix('.h5')}.json")


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        return read_sealed(state_path(path))[0]
    except (OSError, ValueError):
        return {}
