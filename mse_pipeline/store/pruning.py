"""Pruning: what no longer counts goes.

That is versions of streams that no recipe uses, unfinished files, shards that no journal names, and packs on clocks of
before.

Safe against a kill at any moment: the rows of the versions leave the journal first, and only then their files go, which
count no more. What a killed pruning left goes by the next one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.places import is_local
from mse_pipeline.store import candidates
from mse_pipeline.store.atomic import ASIDE
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.runs import commit_lock, last_begun, run_lock
from mse_pipeline.store.storage import Stored, files, remove
from mse_pipeline.store.versions import ID, differences

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
