"""Integrity: every file of a dataset compared with its checksums, and what is damaged named with its clips.

What was written before there were checksums is read as far as its format tells, and counted as unchecked.

Mending: what a damaged dataset still holds is put in order, as far as its checksums prove that it is right.

Nothing is made anew here. A text in which one bit was flipped is told by its checksum what it was; rows that the
journal lost are found again in the shards; and what is whole of a damaged shard moves to a new one, with those of its
clips that the pack has as they were written.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from mse_pipeline.errors import MseError
from mse_pipeline.places import address, filesystem, is_local
from mse_pipeline.store.candidates import FILE
from mse_pipeline.store.checksum import DamagedError, mended, of_features, read_sealed, unseal
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row, lines, read_row
from mse_pipeline.store.keys import ID
from mse_pipeline.store.manifest import UNCHECKED, read_clips, read_columns, read_manifest
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.shards import UNREADABLE, read_shard
from mse_pipeline.store.storage import ASIDE, Stored, files, local_copy, names, present_copy, read_many, write_text

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


_RUN = "repair"
_LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")


def mend_texts(dataset: Dataset, damages: Iterable[Damage]) -> None:
    """Set flipped bits of JSON files back, and give the journal the rows again that it lost otherwise.

    A row that was found in a shard does not know its media file: the next extraction looks at that file again.
    """
    lost = False
    for damage in damages:
        if damage.kind in {"manifest", "identity", "state", "choices"}:
            fixed = mended(damage.path.read_bytes())
            if fixed is not None:
                write_text(damage.path, fixed.decode())
        elif damage.kind in {"journal", "defects"}:
            kept, count = _mended_lines(damage.path.read_bytes(), read_row if damage.kind == "journal" else _read)
            write_text(damage.path, kept.decode())
            lost |= count > 0 and damage.kind == "journal"
    if lost:
        _find_rows(Dataset(dataset.path))


def _read(line: bytes) -> object:
    return unseal(line.decode())


def _mended_lines(content: bytes, read: Callable[[bytes], object]) -> tuple[bytes, int]:
    """The lines that are whole or can be mended, and how many are lost."""

    def is_whole(line: bytes) -> bool:
        try:
            read(line)
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        return line.endswith(b"\n")

    kept: list[bytes] = []
    lost = 0
    for whole, group in itertools.groupby(_LINE.findall(content), is_whole):
        found = list(group)
        if whole:
            kept += found
            continue
        together = mended(b"".join(found))  # a flipped end of a line makes one of two, or two of one
        for fixed in [together] if together is not None else [mended(line) for line in found]:
            kept += [] if fixed is None else [fixed]
            lost += fixed is None
    return b"".join(kept), lost


def _find_rows(dataset: Dataset) -> None:
    """Give the journal rows for the clips of the shards that it knows nothing of, where the shards leave no choice."""
    known = dataset.journal.read().keys()
    ids = {clip.id for clip in dataset.clips}
    found: dict[tuple[str, str], list[Row]] = {}
    for stream in names(dataset.path / "streams"):
        for version in names(dataset.path / "streams" / stream):
            wanted = {clip for clip in ids if (clip, version) not in known}
            folder = dataset.stream_folder(stream, version)
            for shard in (name for name in names(folder) if name.startswith("shard-")):
                for row in _rows_of(folder / shard, wanted, stream, version):
                    found.setdefault((row.clip, version), []).append(row)
    rows = [held[-1] for held in found.values() if len({row.key for row in held}) == 1]
    if rows:
        dataset.journal.commit(dataset.journal.next_name(_RUN), rows)


def _rows_of(path: Path, clips: set[str], stream: str, version: str) -> Iterator[Row]:
    try:
        for clip, key, features in read_shard(path, clips):
            yield Row(
                clip=clip,
                stream=stream,
                version=version,
                status="done",
                key=key,
                shard=path.name,
                rows=len(features),
                valid=int(features.valid.sum()),
                checksum=of_features(features),
            )
    except DamagedError:
        return


def save_clips(dataset: Dataset, damages: Iterable[Damage]) -> list[Row]:
    """Move what is whole out of damaged shards; returns the rows whose features are lost."""
    lost: list[Row] = []
    live = by_shard(dataset.path, dataset.journal.read().values())
    for damage in damages:
        if damage.kind == "shard":
            rows = live.get(damage.path, {})
            commit = Commit(dataset, _RUN)
            left = dict(rows)
            for row, features in intact(damage.path, rows):
                commit.add(left.pop(row.clip), features)
            for row, features in _in_pack(dataset, list(left.values())):
                commit.add(left.pop(row.clip), features)
            commit.write()
            lost += left.values()
    return lost


def _in_pack(dataset: Dataset, rows: Sequence[Row]) -> Iterator[tuple[Row, Features]]:
    """What the pack has of some clips, where their checksums in the journal prove that it is what the shard had."""
    stream = rows[0].stream if rows else ""
    if stream not in dataset or dataset.manifest.streams[stream].version != rows[0].version:
        return
    path = dataset.pack_path(stream)
    try:
        with Pack(local_copy(path), path) as pack:
            for row in rows:
                place = pack.place(row.clip)
                if place is not None and pack.clip_keys[place] == row.key and pack.rows_intact(place):
                    features = pack[row.clip]
                    if of_features(features) == row.checksum:
                        yield row, features
    except (OSError, MseError):
        return
