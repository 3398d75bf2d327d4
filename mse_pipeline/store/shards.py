"""Parquet shards, the files that extraction writes, and `ShardView`, which reads a stream version from its shards.

A table row is a clip; sequences are flat lists with their length. Pages have checksums, which are checked in reading.
Names and numbers of rows are covered by the checksum in the clip's row of the journal.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline.errors import MseError
from mse_pipeline.store.candidates import NONE, Choices, pick
from mse_pipeline.store.checksum import damaged, of_features
from mse_pipeline.store.features import ClipMissing, Features
from mse_pipeline.store.journal import JournalRow
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
"""The errors that a damaged Parquet file raises."""


def write_shard(path: Path, stream: str, rows: Iterable[tuple[str, str, Features]]) -> None:
    """Write clips' features as one Parquet file, straight to `path`.

    Args:
        path: The file; the caller writes to a temporary name and renames it.
        stream: As in ``acoustic.egemaps``.
        rows: Clip id, key and features of each; all have the same dimension names.
    """
    rows = list(rows)
    names = rows[0][2].names
    if any(features.names != names for _, _, features in rows):
        raise ValueError(f"All clips of one shard of {stream} must have the same names of dimensions.")
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
    """Read clip id, key and features of some clips, or of all, a row group at a time.

    Row groups without a wanted clip are skipped, so that one clip of a large shard is read quickly.

    Args:
        path: The file.
        clips: Ids of the clips that are wanted; None for all.
        trusting: Ignore the pages' checksums, and skip what cannot be read: for a caller that compares each clip with
            its checksum in the journal.

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
        clips = [(clip, key, json.loads(notes)) for clip, key, notes in zip(*columns, strict=True)]
    except UNREADABLE as error:
        raise damaged(path, f"{path.parent.parent.name} in the shard", error) from error
    yield from clips


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


class ShardView(Mapping[str, Features]):
    """Clip id -> Features on the extractor's own clock.

    Args:
        folder: Where the shards lie.
        rows: The journal's rows of the clips that are done.
        order: The corpus's order of clip ids.
        choices: Which of several faces count, if that is chosen for the whole corpus.
    """

    def __init__(
        self, folder: Path, rows: Mapping[str, JournalRow], order: Sequence[str], choices: Choices = NONE
    ) -> None:
        self.folder = folder
        self.choices = choices
        self.rows = {clip: rows[clip] for clip in order if clip in rows}

    def __getitem__(self, clip: str) -> Features:
        row = self._row(clip)
        path = self.folder / str(row.shard)
        for _, key, features in read_shard(path, {clip}):
            if key == row.key:
                return pick(checked(row, features, path), self.choices.of(row))
        raise lacking(path, clip)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, clip: str) -> str:
        """The key of a clip's features, with the chosen faces if there are any."""
        return self.choices.key(self._row(clip))

    def _row(self, clip: str) -> JournalRow:
        if clip not in self.rows:
            raise ClipMissing(clip, self.rows, self.folder.parent.name)
        return self.rows[clip]

    def __contains__(self, clip: object) -> bool:
        return clip in self.rows

    def __repr__(self) -> str:
        return f"{self.folder.parent.name} of {len(self):,} clips on its own clock, in {self.folder}"

    def notes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The notes of all clips, shard by shard, as the extractor made them, before any choice."""
        for shard in dict.fromkeys(str(row.shard) for row in self.rows.values()):
            for clip, key, notes in read_notes(self.folder / shard):
                row = self.rows.get(clip)
                if row is not None and (row.shard, row.key) == (shard, key):
                    yield clip, notes

    def in_order(self, only: Collection[str] | None = None) -> Iterator[tuple[str, Features]]:
        """Clips in the corpus's order; each shard is read once, and clips wait in memory for their turn.

        Args:
            only: Ids of the wanted clips; shards without any of them are not opened. None for all.
        """
        rows = self.rows if only is None else {clip: row for clip, row in self.rows.items() if clip in only}
        waiting: dict[str, Features] = {}
        by_shard: dict[str, set[str]] = defaultdict(set)
        for clip, row in rows.items():
            by_shard[str(row.shard)].add(clip)
        for clip, row in rows.items():
            path = self.folder / str(row.shard)
            if clip not in waiting:
                for other, key, features in read_shard(path, by_shard[str(row.shard)]):
                    if key == rows[other].key:
                        waiting[other] = checked(rows[other], features, path)
            if clip not in waiting:
                raise lacking(path, clip)
            yield clip, pick(waiting.pop(clip), self.choices.of(row))


def checked(row: JournalRow, features: Features, path: Path) -> Features:
    """Features as read from a shard, if they match their checksum.

    Raises:
        DamagedError: They do not match the checksum of the journal's row.
    """
    if row.checksum is not None and row.checksum != of_features(features):
        raise damaged(
            path, f"{row.stream} of the clip {row.clip!r} in the shard", "its checksum does not match the journal"
        )
    return features


def lacking(path: Path, clip: str) -> MseError:
    """The error for a shard that lacks a clip that the journal names."""
    return damaged(path, f"{path.parent.parent.name} of the clip {clip!r} in the shard", "it lacks the clip")
