"""The two files that describe a dataset: its clip table, and its manifest.

The clip table is a Parquet file with one table row a clip; its metadata holds the checksum of the columns. The
manifest, dataset.json, says what the dataset is, and which version of each stream is current.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mse_pipeline.clip import Clip, Split
from mse_pipeline.store.checksum import damaged, of_text, read_sealed, write_sealed
from mse_pipeline.store.shards import UNREADABLE
from mse_pipeline.store.storage import aside, readable
from mse_pipeline.task import Task, from_plain, to_plain

_COLUMNS = {
    "id": pa.string(),
    "split": pa.string(),
    "media": pa.string(),
    "start": pa.float64(),
    "end": pa.float64(),
    "text": pa.string(),
    "language": pa.string(),
    "speaker": pa.string(),
    "dialogue": pa.string(),
    "turn": pa.int64(),
    "face": pa.int64(),
    "text_from": pa.string(),
}
_CHECKSUM = b"mse.checksum"
_LATER = ("face", "text_from", "distribution")
"""Columns that tables of earlier versions do not have; nor has one without votes the last."""

_PLAIN = tuple(name for name in _COLUMNS if name != "split")
_SPLITS = {split.value: split for split in Split}


def write_clips(path: Path, clips: Sequence[Clip]) -> None:
    """Write the clip table, completely or not at all. A label is a class in `label`, or a number in `label_value`."""
    columns = {name: pa.array([getattr(clip, name) for clip in clips], kind) for name, kind in _COLUMNS.items()}
    labels = [clip.label for clip in clips]
    columns["label"] = pa.array([x if isinstance(x, str) else None for x in labels], pa.string())
    columns["label_value"] = pa.array([None if isinstance(x, str) else x for x in labels], pa.float64())
    columns["labels"] = _mappings([clip.labels for clip in clips])
    if any(clip.distribution for clip in clips):  # tables without votes stay as they were before votes were kept
        columns["distribution"] = _mappings([clip.distribution for clip in clips])
    with aside(path) as temporary:
        table = pa.table(columns)
        table = table.replace_schema_metadata({_CHECKSUM: str(_checksum(table.to_pydict()))})
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _mappings(values: Sequence[Mapping[str, Any]]) -> pa.Array:
    return pa.array([json.dumps(dict(value), ensure_ascii=False) for value in values], pa.string())


def read_clips(path: Path) -> tuple[Clip, ...]:
    """Read the clip table.

    Raises:
        DamagedError: The file is missing or damaged.
    """
    try:
        columns = read_columns(path)[0]
        for name in _LATER:
            columns.setdefault(name, [None] * len(columns["id"]))
        plain = zip(*(columns[name] for name in _PLAIN), strict=True)
        more = zip(
            *(columns[name] for name in ("split", "label", "label_value", "labels", "distribution")), strict=True
        )
        return tuple(_clip(fields, *other) for fields, other in zip(plain, more, strict=True))
    except UNREADABLE as error:
        raise damaged(path, "The clip table", error) from error


def read_columns(path: Path) -> tuple[dict[str, list[Any]], bool]:
    """The columns of the clip table, and whether it has a checksum; tables of earlier versions have none.

    Raises:
        ValueError: The table is damaged; the other errors of `UNREADABLE` mean the same.
    """
    with readable(path) as source:
        # Not read_table: it imports pandas for folders of files, which takes a second.
        file = pq.ParquetFile(source, page_checksum_verification=True)
        table, rows, kept = file.read(), file.metadata.num_rows, file.schema_arrow.metadata or {}
    columns = table.to_pydict()
    checked = _CHECKSUM in kept
    if len(table) != rows or (checked and int(kept[_CHECKSUM]) != _checksum(columns)):
        raise ValueError("its checksum does not match")
    return columns, checked


def _checksum(columns: Mapping[str, Sequence[Any]]) -> int:
    return of_text(json.dumps(columns, ensure_ascii=False))


def _clip(  # noqa: PLR0917 - a row of the table
    plain: tuple[Any, ...], split: str, label: str | None, value: float | None, labels: str, distribution: str | None
) -> Clip:
    return Clip(
        **dict(zip(_PLAIN, plain, strict=True)),
        split=_SPLITS[split],
        label=label if label is not None else value,
        labels={} if labels == "{}" else json.loads(labels),
        distribution={} if distribution in {None, "{}"} else json.loads(str(distribution)),
    )


def count_clips(path: Path) -> int:
    """Number of clips in the table, without reading it.

    Raises:
        DamagedError: The file is missing or damaged.
    """
    try:
        with readable(path) as source:
            return int(pq.read_metadata(source).num_rows)
    except UNREADABLE as error:
        raise damaged(path, "The clip table", error) from error


FORMAT, UNCHECKED = 2, 1


@dataclass(frozen=True)
class StreamEntry:
    """The current version of a stream.

    Attributes:
        version: Its id, 12 hex digits.
        identity: What the id is the hash of: extractor, revision, configuration, model digest; or the origin of
            imported values.
        alignment: The clock of its pack, as in ``{"kind": "none"}`` or ``{"kind": "grid", "step": 0.1}``; the kind
            ``words`` names another stream, and the pack depends on the rows of that stream too.
    """

    version: str
    identity: Mapping[str, Any]
    alignment: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})


@dataclass(frozen=True)
class Manifest:
    """The content of dataset.json.

    Attributes:
        name: The dataset's name in the cache.
        task: What is predicted.
        streams: The current version of each stream, by name.
        recipe: The recipe as plain values; empty if there was none.
        source: The origin of clips and labels: corpus, label files, official counts.
    """

    name: str
    task: Task
    streams: Mapping[str, StreamEntry] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def with_stream(self, name: str, entry: StreamEntry) -> Manifest:
        """The same with one stream's current version set."""
        return replace(self, streams={**self.streams, name: entry})


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write dataset.json, completely or not at all."""
    value = asdict(manifest)
    value["task"] = to_plain(manifest.task)
    write_sealed(path, {"format": FORMAT, **value})


def read_manifest(path: Path) -> Manifest:
    """Read dataset.json; format 1, of earlier versions, has no checksum.

    Raises:
        DamagedError: The file is damaged or was written by a newer version.
    """
    try:
        value, sealed = read_sealed(path)
        if value.pop("format") != (FORMAT if sealed else UNCHECKED):
            raise ValueError(f"its format is not {FORMAT}; a newer mse may have written it")
        value["task"] = from_plain(value["task"])
        value["streams"] = {name: StreamEntry(**entry) for name, entry in value["streams"].items()}
        return Manifest(**value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "The dataset's manifest", error) from error
