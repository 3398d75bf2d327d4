"""Compaction: many small shards become few large ones, and the journal one part.

Safe against a kill at any moment: the merged shards come first, and nothing names them; then one journal part makes
them count in the place of the old ones; then the old parts and shards go.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.checksum import damaged, dataset_of
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import Row
from mse_pipeline.store.parquet import UNREADABLE, WRITING, names_of, rows_of
from mse_pipeline.store.runs import commit_lock, run_lock
from mse_pipeline.store.shards import checked
from mse_pipeline.store.storage import files, names, readable, remove

_TARGET = 128 << 20  # bytes of a merged shard
_LARGE = 64 << 20  # bytes from which a shard stays as it is
_GROUP_ROWS, _GROUP_BYTES = 64, 16 << 20  # of a row group: what a single clip's reading costs


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        dataset: Name of the dataset.
        files_before: Shards and journal parts before.
        files_after: The same after.
        bytes_before: Their bytes before.
        bytes_after: Their bytes after.
    """

    dataset: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


@dataclass
class _Old:
    """A shard and the clips in it that still count, by id."""

    path: Path
    size: int
    live: dict[str, Row]


def compact(dataset: Dataset, *, target: int = _TARGET, large: int = _LARGE) -> Compacted:
    """Merge the shards and the journal of a dataset; its features, keys and packs stay as they are.

    Args:
        dataset: The dataset.
        target: Bytes that a merged shard is to have, about.
        large: Bytes from which a shard is left as it is, unless half of it no longer counts.

    Raises:
        filelock.Timeout: A run is at work on the dataset.
        MseError: A shard or the journal is damaged; nothing is changed then.
    """
    with run_lock(dataset.path):
        before = _measure(dataset)
        parts = dataset.journal.parts()
        rows = dict(dataset.journal.read())
        moved: dict[tuple[str, str], str] = {}
        replaced: list[Path] = []
        for (stream, version), held in _by_version(rows).items():
            folder = dataset.stream_folder(stream, version)
            for group in _groups(_shards(dataset, folder, held), target, large):
                merged = folder / f"shard-merged-{secrets.token_hex(8)}.parquet"
                _merge(group, merged)
                moved |= {(clip, version): merged.name for old in group for clip in old.live}
                replaced += [old.path for old in group]
        if moved or len(parts) > 1:
            with commit_lock(dataset.path):
                new = (replace(row, shard=moved.get(place, row.shard)) for place, row in rows.items())
                dataset.journal.merge(parts, new)
        for path in replaced:
            remove(path)
        after = _measure(dataset)
    return Compacted(dataset.name, before[0], after[0], before[1], after[1])


def _measure(dataset: Dataset) -> tuple[int, int]:
    found = [
        one.size
        for one in files(dataset.path)
        if one.path.name.startswith("shard-") or (one.path.parent.name == "journal" and one.path.suffix == ".jsonl")
    ]
    return len(found), sum(found)


def _by_version(rows: Mapping[tuple[str, str], Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows.values():
        if row.status == "done" and row.shard:
            found[row.stream, row.version].append(row)
    return found


def _shards(dataset: Dataset, folder: Path, held: Sequence[Row]) -> list[_Old]:
    """The shards that count, in the corpus's order of their first clips."""
    place = {clip.id: index for index, clip in enumerate(dataset.clips)}
    live: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in held:
        live[str(row.shard)][row.clip] = row
    there = set(names(folder))
    sizes = {one.path.name: one.size for one in files(folder)}
    shards = [_Old(folder / name, sizes.get(name, 0), rows) for name, rows in live.items() if name in there]
    return sorted(shards, key=lambda old: (min(place.get(clip, len(place)) for clip in old.live), old.path.name))


def _groups(shards: Sequence[_Old], target: int, large: int) -> Iterator[list[_Old]]:
    """Shards that are to become one."""
    group: list[_Old] = []
    size = 0
    for old in shards:
        if old.size >= large:
            continue
        if group and size + old.size > target:
            yield from [group] if len(group) > 1 else []
            group, size = [], 0
        group.append(old)
        size += old.size
    if len(group) > 1:
        yield group


def _merge(group: Sequence[_Old], merged: Path) -> None:
    """Write one shard of several, a row group at a time."""
    schema = _schema(group[0].path)
    with aside(merged) as temporary:
        found = 0
        with pq.ParquetWriter(temporary, schema, **WRITING) as writer:
            waiting: list[pa.Table] = []
            for table in (one for old in group for one in _live(old, schema)):
                found += len(table)
                waiting.append(table)
                if sum(map(len, waiting)) >= _GROUP_ROWS or sum(one.nbytes for one in waiting) >= _GROUP_BYTES:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
        wanted = sum(len(old.live) for old in group)
        if found != wanted:
            raise MseError(
                f"The shards of {merged.parent} hold {found} of the {wanted} clips that the journal says. Nothing was "
                f"changed. Run: mse cache verify {dataset_of(merged)} --repair"
            )


def _schema(path: Path) -> pa.Schema:
    try:
        with readable(path) as source:
            return pq.read_schema(source)
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _live(old: _Old, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a shard that still count, each clip once."""
    try:
        with readable(old.path) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            if file.schema_arrow.metadata != schema.metadata or file.schema_arrow != schema:
                raise ValueError("its dimensions are not those of the stream's other shards")
            wanted, names = dict(old.live), names_of(schema)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                pairs = zip(table["clip"].to_pylist(), table["key"].to_pylist(), strict=True)
                keep = [clip in wanted and wanted[clip].key == key and bool(wanted.pop(clip)) for clip, key in pairs]
                kept = table.filter(pc.fill_null(pa.array(keep, pa.bool_()), False))
                for clip, _, features in rows_of(kept, names):
                    checked(old.live[clip], features, old.path)
                yield kept
    except UNREADABLE as error:
        raise _damaged(old.path, error) from error


def _damaged(path: Path, error: Exception) -> MseError:
    return damaged(path, "Nothing was changed: the shard", error)
