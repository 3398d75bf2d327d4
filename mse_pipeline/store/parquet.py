"""Parquet shards: what extraction writes. A row is a clip; sequences are flat lists beside their length.

Pages carry checksums, which are looked at in reading. What they do not cover, as names and numbers of rows, the
checksum in a clip's row of the journal does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline.store.checksum import damaged
from mse_pipeline.store.features import Features
from mse_pipeline.store.storage import readable

_SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("key", pa.string()),
        ("length", pa.int64()),
        ("values", pa.large_list(pa.float32())),
        ("intervals", pa.large_list(pa.float64())),
        ("valid", pa.large_list(pa.bool_())),
        ("notes", pa.string()),
    ]
)

WRITING = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
"""How every shard is written."""

UNREADABLE = (OSError, KeyError, ValueError, TypeError, IndexError, OverflowError, MemoryError, pa.ArrowException)
"""What a damaged Parquet file raises."""


def write_shard(path: Path, stream: str, rows: Iterable[tuple[str, str, Features]]) -> None:
    """Write clips' features as one Parquet file, straight to `path`.

    Args:
        path: The file; the caller sees to writing aside and renaming.
        stream: As in ``acoustic.egemaps``.
        rows: Clip id, key and features of each; all have the same dimension names.
    """
    rows = list(rows)
    names = rows[0][2].names
    if any(features.names != names for _, _, features in rows):
        raise ValueError(f"Clips of one shard of {stream} must have the same dimensions.")
    columns = [
        pa.array([clip for clip, _, _ in rows], pa.string()),
        pa.array([key for _, key, _ in rows], pa.string()),
        pa.array([len(features) for _, _, features in rows], pa.int64()),
        _flat([features.values for _, _, features in rows], pa.float32()),
        _flat([features.intervals for _, _, features in rows], pa.float64()),
        _flat([features.valid for _, _, features in rows], pa.bool_()),
        pa.array([json.dumps(dict(features.notes), ensure_ascii=False) for _, _, features in rows], pa.string()),
    ]
    metadata = {
        "mse.format": "1",
        "mse.stream": stream,
        "mse.names": json.dumps(list(names), ensure_ascii=False),
    }
    table = pa.Table.from_arrays(columns, schema=_SCHEMA.with_metadata(metadata))
    pq.write_table(table, path, row_group_size=64, **WRITING)


def _flat(arrays: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays])]).astype(np.int64)
    return pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()), pa.array(np.concatenate([array.reshape(-1) for array in arrays]), kind)
    )


def read_shard(
    path: Path, clips: Collection[str] | None = None, *, trusting: bool = False
) -> Iterator[tuple[str, str, Features]]:
    """Read clip id, key and features of the clips asked for, or of all, a row group at a time.

    Row groups without a clip that is asked for are passed over, so that one clip of a large shard is read soon.

    Args:
        path: The file.
        clips: Ids of the clips that are wanted; None for all.
        trusting: Read what can be read, whatever the pages' checksums say, and pass over the rest: for a caller who
            compares each clip with its checksum in the journal.

    Raises:
        DamagedError: The file is missing, damaged or not a shard.
    """
    try:
        with readable(path) as source, pq.ParquetFile(source, page_checksum_verification=not trusting) as file:
            names = names_of(file.schema_arrow)
            for group in range(file.num_row_groups):
                try:
                    if clips is None or not set(clips).isdisjoint(
                        file.read_row_group(group, ["clip"])["clip"].to_pylist()
                    ):
                        yield from rows_of(file.read_row_group(group), names, clips)
                except UNREADABLE:
                    if not trusting:
                        raise
    except UNREADABLE as error:
        clip = f" of the clip {min(clips)!r}" if clips else ""
        raise damaged(path, f"{path.parent.parent.name}{clip} in the shard", error) from error


def read_notes(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Read clip id, key and notes of all clips, without their values.

    Raises:
        DamagedError: The file is missing, damaged or not a shard.
    """
    try:
        with readable(path) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            table = file.read(["clip", "key", "notes"])
        columns = (table[name].to_pylist() for name in ("clip", "key", "notes"))
        found = [(clip, key, json.loads(notes)) for clip, key, notes in zip(*columns, strict=True)]
    except UNREADABLE as error:
        raise damaged(path, f"{path.parent.parent.name} in the shard", error) from error
    yield from found


def names_of(schema: pa.Schema) -> tuple[str, ...]:
    """The dimensions' names of a shard."""
    return tuple(json.loads((schema.metadata or {})[b"mse.names"]))


def rows_of(
    table: pa.Table, names: tuple[str, ...], clips: Collection[str] | None = None
) -> Iterator[tuple[str, str, Features]]:
    """Clip id, key and features of the rows of a shard."""
    columns = {
        name: table.column(name).combine_chunks() for name in ("values", "intervals", "valid", "length", "notes", "key")
    }
    for index, clip in enumerate(table.column("clip").to_pylist()):
        if clips is not None and clip not in clips:
            continue
        length = columns["length"][index].as_py()
        yield (
            clip,
            columns["key"][index].as_py(),
            Features(
                columns["values"][index].values.to_numpy(zero_copy_only=False).reshape(length, len(names)),
                columns["intervals"][index].values.to_numpy(zero_copy_only=False).reshape(length, 2),
                columns["valid"][index].values.to_numpy(zero_copy_only=False),
                names,
                json.loads(columns["notes"][index].as_py()),
            ),
        )
