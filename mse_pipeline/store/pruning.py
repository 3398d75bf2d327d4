"""Compaction and pruning: make a dataset's files fewer, and remove those that no longer count.

`compact` merges many small shards into few large ones, and the journal into one part. A kill at any moment does no
harm: the merged shards are written first, and nothing names them yet; then one journal part replaces the old shards by
the new ones; then the old parts and shards are removed.

`prune` removes versions of streams that no recipe uses, unfinished files, shards that no journal names, and packs of
earlier alignments. A kill at any moment does no harm: the rows of a version leave the journal first, and its files,
which no longer count, are removed after that. The next pruning removes what a killed one left.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mse_pipeline.errors import MseError
from mse_pipeline.places import is_local
from mse_pipeline.store import candidates
from mse_pipeline.store.checksum import damaged, dataset_of
from mse_pipeline.store.commit import commit_lock, last_begun, run_lock
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import ID, differences
from mse_pipeline.store.shards import UNREADABLE, WRITING, checked, names_of, rows_of
from mse_pipeline.store.storage import ASIDE, StoredFile, aside, files, names, readable, remove

_TARGET = 128 << 20  # bytes of a merged shard
_LARGE = 64 << 20  # bytes; a shard of this size stays as it is
_GROUP_ROWS, _GROUP_BYTES = 64, 16 << 20  # of a row group: reading a single clip costs one


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction.

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
    live: dict[str, JournalRow]


def compact(dataset: Dataset, *, target: int = _TARGET, large: int = _LARGE) -> Compacted:
    """Merge the shards and the journal of a dataset; its features, keys and packs stay as they are.

    Args:
        dataset: The dataset.
        target: Size of a merged shard, about, in bytes.
        large: Size in bytes from which a shard is left as it is.

    Raises:
        filelock.Timeout: A run is working on the dataset.
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
                new = (replace(row, shard=moved.get(key, row.shard)) for key, row in rows.items())
                dataset.journal.merge(parts, new)
        for path in replaced:
            remove(path)
        after = _measure(dataset)
    return Compacted(dataset.name, before[0], after[0], before[1], after[1])


def _measure(dataset: Dataset) -> tuple[int, int]:
    sizes = [
        file.size
        for file in files(dataset.path)
        if file.path.name.startswith("shard-") or (file.path.parent.name == "journal" and file.path.suffix == ".jsonl")
    ]
    return len(sizes), sum(sizes)


def _by_version(rows: Mapping[tuple[str, str], JournalRow]) -> dict[tuple[str, str], list[JournalRow]]:
    grouped: dict[tuple[str, str], list[JournalRow]] = defaultdict(list)
    for row in rows.values():
        if row.status == "done" and row.shard:
            grouped[row.stream, row.version].append(row)
    return grouped


def _shards(dataset: Dataset, folder: Path, held: Sequence[JournalRow]) -> list[_Old]:
    """The shards that count, in the corpus's order of their first clips."""
    order = {clip.id: index for index, clip in enumerate(dataset.clips)}
    live: dict[str, dict[str, JournalRow]] = defaultdict(dict)
    for row in held:
        live[str(row.shard)][row.clip] = row
    present = set(names(folder))
    sizes = {file.path.name: file.size for file in files(folder)}
    shards = [_Old(folder / name, sizes.get(name, 0), rows) for name, rows in live.items() if name in present]
    return sorted(shards, key=lambda old: (min(order.get(clip, len(order)) for clip in old.live), old.path.name))


def _groups(shards: Sequence[_Old], target: int, large: int) -> Iterator[list[_Old]]:
    """Groups of shards; each group becomes one shard."""
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
        count = 0
        with pq.ParquetWriter(temporary, schema, **WRITING) as writer:
            waiting: list[pa.Table] = []
            for table in itertools.chain.from_iterable(_live(old, schema) for old in group):
                count += len(table)
                waiting.append(table)
                if sum(map(len, waiting)) >= _GROUP_ROWS or sum(part.nbytes for part in waiting) >= _GROUP_BYTES:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
        wanted = sum(len(old.live) for old in group)
        if count != wanted:
            raise MseError(
                f"The shards of {merged.parent} hold {count} of the {wanted} clips that the journal lists. Nothing was "
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
                raise ValueError("its dimensions differ from those of the stream's other shards")
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


DAY = 86_400.0
_SHARD = re.compile(r"shard-.*\.parquet")
_BESIDE = {"stream.json", candidates.FILE}
_PACK = re.compile(r"pack-.*\.(h5|json)")

_Version = tuple[str, str]
"""A stream and the id of one of its versions."""


@dataclass(frozen=True)
class Unused:
    """A version of a stream that the dataset's manifest does not name, so that no recipe uses it.

    Attributes:
        stream: Name of the stream.
        version: The version's id.
        done: How many clips have features of it.
        files: How many files it has.
        bytes: How many bytes they are.
        differs: How its settings differ from the current version's, in words.
    """

    stream: str
    version: str
    done: int
    files: int
    bytes: int
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Pruned:
    """The result of a pruning, or of a dry run.

    Attributes:
        dataset: Name of the dataset.
        files: How many files, with those of the versions.
        bytes: How many bytes.
        versions: The removed versions of streams.
        left: Versions that no recipe uses, but that stay: on object storage a run may be about to use them.
    """

    dataset: str
    files: int
    bytes: int
    versions: tuple[Unused, ...] = ()
    left: tuple[Unused, ...] = ()


def prune(dataset: Dataset, *, older_than: float = DAY, keep_versions: bool = False, dry_run: bool = False) -> Pruned:
    """Remove files that no longer count; features of the streams' current versions stay.

    Args:
        dataset: The dataset.
        older_than: Age in seconds, for object storage, where a live run looks like a dead one: only files of this age
            are removed, since a run may be about to name a younger one. Versions stay there as long as one of their
            files, or the last run of the dataset, is younger.
        keep_versions: Leave the versions that no recipe uses.
        dry_run: Remove nothing, only report.

    Raises:
        filelock.Timeout: A run is working on the dataset.
        MseError: The manifest or the journal is damaged; nothing is removed then.
    """
    with run_lock(dataset.path):
        dataset = Dataset(dataset.path)  # a run may have changed the manifest since the caller read it
        limit = float("inf") if is_local(dataset.path) else time.time() - older_than
        listed = list(
            files(dataset.path)
        )  # before the journal is read, so that the journal names files that are committed meanwhile
        unused = {} if keep_versions else _unused(dataset, listed)
        calm = last_begun(dataset.path) <= limit
        removable = {
            version for version, held in unused.items() if calm and all(file.modified <= limit for file in held)
        }
        described = {version: _describe(dataset, version, held) for version, held in unused.items()}
        old = [file for file in _orphans(dataset, listed, unused) if file.modified <= limit]
        old += [file for version in unused if version in removable for file in unused[version]]
        if not dry_run:
            _forget(dataset, removable)
            for file in old:
                remove(file.path)
            if removable:
                _remove_empty(dataset)
    return Pruned(
        dataset.name,
        len(old),
        sum(file.size for file in old),
        tuple(described[version] for version in unused if version in removable),
        tuple(described[version] for version in unused if version not in removable),
    )


def _unused(dataset: Dataset, listed: Sequence[StoredFile]) -> dict[_Version, list[StoredFile]]:
    """The versions that the manifest does not name, with their files; some may have only rows in the journal."""
    used = {(stream, entry.version) for stream, entry in dataset.manifest.streams.items()}
    streams = {(row.stream, row.version) for row in dataset.journal.read().values()}
    unused: dict[_Version, list[StoredFile]] = {version: [] for version in streams - used}
    for file in listed:
        version = _version(dataset, file.path)
        if version is not None and version not in used and _is_ours(file.path.name):
            unused.setdefault(version, []).append(file)
    return dict(sorted(unused.items()))


def _version(dataset: Dataset, path: Path) -> _Version | None:
    """The version that a file belongs to by its folder; None outside of the versions' folders."""
    folder = path.parent
    if not ID.fullmatch(folder.name) or folder.parent.parent != dataset.path / "streams":
        return None
    return folder.parent.name, folder.name


def _is_ours(name: str) -> bool:
    """Whether the store makes files of that name beside shards; other files belong to the user, and stay."""
    return bool(name in _BESIDE or name.startswith(ASIDE) or _SHARD.fullmatch(name) or _PACK.fullmatch(name))


def _orphans(
    dataset: Dataset, listed: Sequence[StoredFile], unused: Mapping[_Version, Sequence[StoredFile]]
) -> Iterator[StoredFile]:
    """Files that do not count, without those of unused versions."""
    named = {(row.stream, row.version, row.shard) for row in dataset.journal.read().values()}
    packs = [dataset.pack_path(stream) for stream in dataset]
    current = {name for path in packs for name in (str(path), str(path.with_suffix(".json")))}
    for file in listed:
        if _version(dataset, file.path) in unused:
            continue
        folder, name = file.path.parent, file.path.name
        if (
            name.startswith(ASIDE)
            or (_SHARD.fullmatch(name) and (folder.parent.name, folder.name, name) not in named)
            or (_PACK.fullmatch(name) and str(file.path) not in current)
        ):
            yield file


def _describe(dataset: Dataset, of: _Version, held: Sequence[StoredFile]) -> Unused:
    stream, version = of
    done = sum(row.status == "done" and (row.stream, row.version) == of for row in dataset.journal.read().values())
    differs: tuple[str, ...] = ("the dataset no longer has this stream",)
    if stream in dataset:
        current, *others = dataset.versions(stream)
        identity = next((other.identity for other in others if other.id == version), {})
        differs = differences(identity, current.identity)
    return Unused(stream, version, done, len(held), sum(file.size for file in held), differs)


def _forget(dataset: Dataset, versions: set[_Version]) -> None:
    """Remove versions from the journal by one new part, which is written before the old parts are removed."""
    with commit_lock(dataset.path):
        parts = dataset.journal.parts()
        rows = dataset.journal.read()
        stay = [row for row in rows.values() if (row.stream, row.version) not in versions]
        if parts and len(stay) < len(rows):
            dataset.journal.merge(parts, stay)


def _remove_empty(dataset: Dataset) -> None:
    """Remove empty folders of versions and streams; object storage has no folders."""
    if is_local(dataset.path):
        streams = dataset.path / "streams"
        for folder in (*streams.glob("*/*"), *streams.glob("*")):
            with suppress(OSError):  # it is in use, or holds a file of the user
                folder.rmdir()
