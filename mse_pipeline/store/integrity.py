"""Integrity: every file of a dataset compared with its checksums, and what is damaged named with its clips.

What was written before there were checksums is read as far as its format tells, and counted as unchecked.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from mse_pipeline.places import address, filesystem, is_local
from mse_pipeline.store.atomic import ASIDE
from mse_pipeline.store.candidates import FILE
from mse_pipeline.store.checksum import DamagedError, of_features, read_sealed, unseal
from mse_pipeline.store.clips import read_clips, read_columns
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row, lines, read_row
from mse_pipeline.store.local_copy import present_copy
from mse_pipeline.store.manifest import UNCHECKED, read_manifest
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.parquet import UNREADABLE, read_shard
from mse_pipeline.store.storage import Stored, files, read_many
from mse_pipeline.store.versions import ID

Kind = Literal["manifest", "clips", "defects", "journal", "shard", "pack", "copy", "identity", "state", "choices"]

_DOCUMENTS: dict[str, Kind] = {"stream.json": "identity", FILE: "choices"}
_CLIP = re.compile(rb'"clip": "([^"\\]+)"')
_STREAM = re.compile(rb'"stream": "([^"\\]+)"')
_ATTEMPTS = 3  # a run that commits meanwhile removes and adds files


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written.

    Attributes:
        path: The file.
        kind: What it is: a ``copy`` is this machine's of a pack on object storage, an ``identity`` what a version of a
            stream was made with, a ``state`` which journal a pack belongs to, ``choices`` which faces count.
        problem: What was found.
        stream: The stream that it is about; empty where it is about all of them.
        version: The stream's version.
        clips: The clips whose features, or rows of the journal, are damaged; none where the values are all there.
    """

    path: Path
    kind: Kind
    problem: str
    stream: str = ""
    version: str = ""
    clips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    Attributes:
        dataset: Name of the dataset.
        files: How many files were looked at.
        bytes: How many bytes they are.
        features: How many clips' features were compared with their checksum, in shards and packs.
        unchecked: Numbers of files that are wholly or partly without checksums, by kind.
        damages: What is damaged.
    """

    dataset: str
    files: int
    bytes: int
    features: int
    unchecked: Mapping[str, int]
    damages: tuple[Damage, ...]


@dataclass
class _Found:
    """What was found so far, and who is told which file is next."""

    on_file: Callable[[Path], None]
    files: int = 0
    bytes: int = 0
    features: int = 0
    unchecked: Counter[str] = field(default_factory=Counter)
    damages: list[Damage] = field(default_factory=list)


def verify(dataset: Dataset, on_file: Callable[[Path], None] = lambda path: None) -> Verified:
    """Compare a dataset's files with their checksums. Nothing is changed.

    Args:
        dataset: The dataset in the cache.
        on_file: Told which file is next.
    """
    for _ in range(_ATTEMPTS):
        before = dataset.journal.fingerprint()
        found = _Found(on_file)
        _verify(dataset.path, found)
        if not found.damages or dataset.journal.fingerprint() == before:
            break
    return Verified(dataset.name, found.files, found.bytes, found.features, dict(found.unchecked), tuple(found.damages))


def _verify(home: Path, found: _Found) -> None:
    listed = [one for one in files(home) if not one.path.name.startswith(ASIDE)]
    parts = [one for one in listed if one.path.parent == home / "journal" and one.path.suffix == ".jsonl"]
    rows = _journal(parts, found)
    for one in listed:
        folder, name = one.path.parent, one.path.name
        if one.path == home / "dataset.json":
            _count(one, found)
            _manifest(one.path, found)
        elif one.path == home / "clips.parquet":
            _count(one, found)
            _clips(one.path, found)
        elif one.path == home / "defects.jsonl":
            _count(one, found)
            _defects(one.path, found)
        elif folder.parent.parent == home / "streams" and name.endswith(".json"):
            _count(one, found)
            kind = _DOCUMENTS.get(name, "state")
            _document(one.path, kind, found, (folder.parent.name, folder.name))
        elif folder.parent.parent == home / "streams" and name.startswith("pack-") and name.endswith(".h5"):
            _count(one, found)
            _packs(one.path, found, (folder.parent.name, folder.name))
    sizes = {one.path: one for one in listed}
    for path, live in by_shard(home, rows).items():
        _count(sizes.get(path, Stored(path, 0, 0.0)), found)
        _shard(path, live, found)


def _count(one: Stored, found: _Found) -> None:
    found.on_file(one.path)
    found.files += 1
    found.bytes += one.size


def by_shard(home: Path, rows: Collection[Row]) -> dict[Path, dict[str, Row]]:
    """The rows that are done, by the shard that holds them and by clip.

    A row of a stranger's journal that names a place outside of the dataset is left out.
    """
    live: dict[Path, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        inside = ID.fullmatch(row.version) and PurePath(row.stream).name == row.stream != ".."
        if inside and row.status == "done" and row.shard:
            live[home / "streams" / row.stream / row.version / row.shard][row.clip] = row
    return live


def _journal(parts: Sequence[Stored], found: _Found) -> Collection[Row]:
    rows: dict[tuple[str, str], Row] = {}
    parts = sorted(parts, key=lambda one: one.path.stem)
    for one, content in zip(parts, read_many([one.path for one in parts]), strict=True):
        _count(one, found)
        bad: list[tuple[bytes, Exception]] = []
        unchecked = False
        for line in lines(content):
            try:
                row, checked = read_row(line)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                bad.append((line, error))
                continue
            unchecked |= not checked
            rows[row.clip, row.version] = row
        found.unchecked["journal"] += unchecked
        if bad:
            clips = tuple(dict.fromkeys(_told(_CLIP, line) for line, _ in bad))
            streams = {_told(_STREAM, line) for line, _ in bad}
            problem = f"{len(bad)} of its lines: {bad[0][1]}"
            found.damages.append(Damage(one.path, "journal", problem, ", ".join(sorted(streams)), "", clips))
    found.unchecked += Counter()  # without kinds of which there are none
    return rows.values()


def _told(pattern: re.Pattern[bytes], line: bytes) -> str:
    """What a damaged line seems to be about."""
    match = pattern.search(line)
    return match[1].decode(errors="replace") if match else "?"


def _manifest(path: Path, found: _Found) -> None:
    try:
        read_manifest(path)
        found.unchecked += Counter(manifest=int(read_sealed(path)[0].get("format") == UNCHECKED))
    except DamagedError as error:
        found.damages.append(Damage(path, "manifest", str(error.__cause__)))


def _clips(path: Path, found: _Found) -> None:
    try:
        read_clips(path)
        found.unchecked += Counter(clips=int(not read_columns(path)[1]))
    except DamagedError as error:
        found.damages.append(Damage(path, "clips", str(error.__cause__)))


def _defects(path: Path, found: _Found) -> None:
    try:
        checked = [unseal(line.decode("utf-8"))[1] for line in lines(path.read_bytes())]
        found.unchecked += Counter(defects=int(not all(checked)))
    except (OSError, ValueError) as error:
        found.damages.append(Damage(path, "defects", str(error)))


def _document(path: Path, kind: Kind, found: _Found, place: tuple[str, str]) -> None:
    try:
        found.unchecked += Counter({kind: int(not read_sealed(path)[1])})
    except (OSError, ValueError) as error:
        found.damages.append(Damage(path, kind, str(error), *place))


def _packs(path: Path, found: _Found, place: tuple[str, str]) -> None:
    """A pack; on object storage what lies there, and beside it this machine's copy, from which it is read."""
    if is_local(path):
        _pack(path, path, "pack", found, place)
        return
    with tempfile.TemporaryDirectory(prefix="mse-") as folder:
        fetched = Path(folder) / path.name
        filesystem(path).get_file(address(path), str(fetched))
        _pack(fetched, path, "pack", found, place)
    copy = present_copy(path)
    if copy is not None:
        _pack(copy, copy, "copy", found, place)


def _pack(path: Path, home: Path, kind: Kind, found: _Found, place: tuple[str, str]) -> None:
    try:
        with Pack(path, home) as pack:
            bad = [
                clip
                for index, clip in enumerate(pack)
                if not (pack.rows_intact(index) and pack.statistics_intact(index))
            ]
            found.features += len(pack) if pack.checked else 0
            found.unchecked += Counter({kind: int(not pack.checked)})
    except DamagedError as error:
        found.damages.append(Damage(home, kind, str(error.__cause__ or error), *place))
        return
    if bad:
        found.damages.append(Damage(home, kind, _OTHER, *place, tuple(bad)))


_OTHER = "their checksum is another than was written"


def _shard(path: Path, live: Mapping[str, Row], found: _Found) -> None:
    problem = ""
    good: set[str] = set()
    try:
        for clip, key, features in read_shard(path, live):
            row = live[clip]
            if row.key == key and row.checksum in {None, of_features(features)}:
                good.add(clip)
    except DamagedError as error:
        problem = str(error.__cause__ or error)
        good = {row.clip for row, _ in intact(path, live)}
    bad = tuple(clip for clip in live if clip not in good)
    found.features += sum(row.checksum is not None for row in live.values())
    found.unchecked += Counter(shard=int(any(row.checksum is None for row in live.values())))
    if problem or bad:
        row = next(iter(live.values()))
        found.damages.append(Damage(path, "shard", problem or _OTHER, row.stream, row.version, bad))


def intact(path: Path, live: Mapping[str, Row]) -> Iterator[tuple[Row, Features]]:
    """What can still be read of a damaged shard, and is proved by its checksum in the journal to be what was written.

    Args:
        path: The shard.
        live: By clip, the rows of the journal that name it.
    """
    done: set[str] = set()
    try:
        for clip, key, features in read_shard(path, live, trusting=True):
            row = live[clip]
            if clip not in done and row.key == key and row.checksum == of_features(features):
                done.add(clip)
                yield row, features
    except (DamagedError, *UNREADABLE):
        return
