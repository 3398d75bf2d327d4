"""Pruning: what no longer counts goes.

That is versions of streams that no recipe uses, unfinished files, shards that no journal names, and packs on clocks of
before.

Safe against a kill at any moment: the rows of the versions leave the journal first, and only then their files go, which
count no more. What a killed pruning left goes by the next one.

Compaction: many small shards become few large ones, and the journal one part.

Safe against a kill at any moment: the merged shards come first, and nothing names them; then one journal part makes
them count in the place of the old ones; then the old parts and shards go.
"""

from __future__ import annotations

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
from mse_pipeline.store.journal import Row
from mse_pipeline.store.keys import ID, differences
from mse_pipeline.store.shards import UNREADABLE, WRITING, checked, names_of, rows_of
from mse_pipeline.store.storage import ASIDE, Stored, aside, files, names, readable, remove

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


DAY = 86_400.0
_SHARD = re.compile(r"shard-.*\.parquet")
_BESIDE = {"stream.json", candidates.FILE}
_PACK = re.compile(r"pack-.*\.(h5|json)")

_Place = tuple[str, str]
"""A stream and one of its versions."""


@dataclass(frozen=True)
class Unused:
    """A version of a stream that the dataset's manifest does not name, so that no recipe uses it.

    Attributes:
        stream: Name of the stream.
        version: The version's id.
        done: How many clips have features of it.
        files: How many files it has.
        bytes: How many bytes they are.
        differs: What it was made with other than the current version, in words.
    """

    stream: str
    version: str
    done: int
    files: int
    bytes: int
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Pruned:
    """What a pruning removed, or would remove.

    Attributes:
        dataset: Name of the dataset.
        files: How many files, with those of the versions.
        bytes: How many bytes.
        versions: The versions of streams that went.
        left: The versions that no recipe uses and that stay, because on object storage a run may be about to.
    """

    dataset: str
    files: int
    bytes: int
    versions: tuple[Unused, ...] = ()
    left: tuple[Unused, ...] = ()


def prune(dataset: Dataset, *, older_than: float = DAY, keep_versions: bool = False, dry_run: bool = False) -> Pruned:
    """Remove what no longer counts; features of the streams' current versions stay.

    Args:
        dataset: The dataset.
        older_than: On object storage, where a run cannot be told from a dead one, only files of this age in seconds
            are removed: a younger one may be of a run that is about to name it. Versions stay there as long as one of
            their files, or the last run of the dataset, is younger.
        keep_versions: Leave the versions that no recipe uses.
        dry_run: Only find out.

    Raises:
        filelock.Timeout: A run is at work on the dataset.
        MseError: The manifest or the journal is damaged; nothing is removed then.
    """
    with run_lock(dataset.path):
        dataset = Dataset(dataset.path)  # a run may have changed the manifest since the caller read it
        limit = float("inf") if is_local(dataset.path) else time.time() - older_than
        listed = list(files(dataset.path))  # before the journal is read, so that what is committed meanwhile is named
        unused = {} if keep_versions else _unused(dataset, listed)
        calm = last_begun(dataset.path) <= limit
        going = {place for place, held in unused.items() if calm and all(one.modified <= limit for one in held)}
        told = {place: _describe(dataset, place, held) for place, held in unused.items()}
        old = [one for one in _orphans(dataset, listed, unused) if one.modified <= limit]
        old += [one for place in unused if place in going for one in unused[place]]
        if not dry_run:
            _forget(dataset, going)
            for one in old:
                remove(one.path)
            if going:
                _remove_empty(dataset)
    return Pruned(
        dataset.name,
        len(old),
        sum(one.size for one in old),
        tuple(told[place] for place in unused if place in going),
        tuple(told[place] for place in unused if place not in going),
    )


def _unused(dataset: Dataset, listed: Sequence[Stored]) -> dict[_Place, list[Stored]]:
    """The versions that the manifest does not name, with their files; some may have rows in the journal alone."""
    used = {(stream, entry.version) for stream, entry in dataset.manifest.streams.items()}
    places = {(row.stream, row.version) for row in dataset.journal.read().values()}
    found: dict[_Place, list[Stored]] = {place: [] for place in places - used}
    for one in listed:
        place = _place(dataset, one.path)
        if place is not None and place not in used and _is_ours(one.path.name):
            found.setdefault(place, []).append(one)
    return dict(sorted(found.items()))


def _place(dataset: Dataset, path: Path) -> _Place | None:
    """The version in whose folder a file lies; None elsewhere."""
    folder = path.parent
    if not ID.fullmatch(folder.name) or folder.parent.parent != dataset.path / "streams":
        return None
    return folder.parent.name, folder.name


def _is_ours(name: str) -> bool:
    """Whether the store makes files of that name beside shards; others are somebody's own, and stay."""
    return bool(name in _BESIDE or name.startswith(ASIDE) or _SHARD.fullmatch(name) or _PACK.fullmatch(name))


def _orphans(dataset: Dataset, listed: Sequence[Stored], unused: Mapping[_Place, Sequence[Stored]]) -> Iterator[Stored]:
    """Files that do not count, but for those of unused versions."""
    named = {(row.stream, row.version, row.shard) for row in dataset.journal.read().values()}
    packs = [dataset.pack_path(stream) for stream in dataset]
    current = {name for path in packs for name in (str(path), str(path.with_suffix(".json")))}
    for one in listed:
        if _place(dataset, one.path) in unused:
            continue
        folder = one.path.parent
        if (
            one.path.name.startswith(ASIDE)
            or (_SHARD.fullmatch(one.path.name) and (folder.parent.name, folder.name, one.path.name) not in named)
            or (_PACK.fullmatch(one.path.name) and str(one.path) not in current)
        ):
            yield one


def _describe(dataset: Dataset, place: _Place, held: Sequence[Stored]) -> Unused:
    stream, version = place
    done = sum(row.status == "done" and (row.stream, row.version) == place for row in dataset.journal.read().values())
    differs: tuple[str, ...] = ("the dataset no longer has this stream",)
    if stream in dataset:
        current, *others = dataset.versions(stream)
        identity = next((one.identity for one in others if one.id == version), {})
        differs = differences(identity, current.identity)
    return Unused(stream, version, done, len(held), sum(one.size for one in held), differs)


def _forget(dataset: Dataset, places: set[_Place]) -> None:
    """Take versions out of the journal, in one part that is there before the old ones go."""
    with commit_lock(dataset.path):
        parts = dataset.journal.parts()
        rows = dataset.journal.read()
        stay = [row for row in rows.values() if (row.stream, row.version) not in places]
        if parts and len(stay) < len(rows):
            dataset.journal.merge(parts, stay)


def _remove_empty(dataset: Dataset) -> None:
    """Remove folders of versions and streams in which nothing is left; object storage has no folders."""
    if is_local(dataset.path):
        streams = dataset.path / "streams"
        for folder in (*streams.glob("*/*"), *streams.glob("*")):
            with suppress(OSError):  # it is in use, or somebody's own file is in it
                folder.rmdir()
