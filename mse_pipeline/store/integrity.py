"""Integrity: compare every file of a dataset with its checksums, name the damage with its clips, and repair it.

`verify` changes nothing. Files from before there were checksums are read as far as their format allows, and are
counted as unchecked.

`mend_texts` and `save_clips` restore what the checksums prove to be right; nothing is extracted here. A text with one
flipped bit is restored by its checksum. Rows that the journal lost are found in the shards. The intact clips of a
damaged shard move to a new one, together with those that the pack still has as they were written.
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
from mse_pipeline.store.journal import JournalRow, lines, read_row
from mse_pipeline.store.keys import ID
from mse_pipeline.store.manifest import UNCHECKED, read_clips, read_columns, read_manifest
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.shards import UNREADABLE, read_shard
from mse_pipeline.store.storage import ASIDE, StoredFile, files, local_copy, names, present_copy, read_many, write_text

Kind = Literal["manifest", "clips", "defects", "journal", "shard", "pack", "copy", "identity", "state", "choices"]

_DOCUMENTS: dict[str, Kind] = {"stream.json": "identity", FILE: "choices"}
_CLIP = re.compile(rb'"clip": "([^"\\]+)"')
_STREAM = re.compile(rb'"stream": "([^"\\]+)"')
_ATTEMPTS = 3  # a run that commits at the same time removes and adds files


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written.

    Attributes:
        path: The file.
        kind: What it holds: ``copy`` is the local copy of a pack on object storage, ``identity`` the settings that a
            version of a stream was made with, ``state`` the journal that a pack belongs to, ``choices`` the faces that
            count.
        problem: The error or the difference.
        stream: The stream of the file; empty if it holds all streams.
        version: The stream's version.
        clips: The clips with damaged features or journal rows; empty if all values are there.
    """

    path: Path
    kind: Kind
    problem: str
    stream: str = ""
    version: str = ""
    clips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        dataset: Name of the dataset.
        files: How many files were looked at.
        bytes: How many bytes they are.
        features: How many features were compared with their checksum: one for each clip and stream, in shards and
            again in packs.
        unchecked: By kind, how many files have no checksums, or only some.
        damages: The damaged files.
    """

    dataset: str
    files: int
    bytes: int
    features: int
    unchecked: Mapping[str, int]
    damages: tuple[Damage, ...]


@dataclass
class _Results:
    """The results so far, and the function that is called with the next file."""

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
        on_file: Called with each file before it is read.
    """
    for _ in range(_ATTEMPTS):
        before = dataset.journal.fingerprint()
        results = _Results(on_file)
        _verify(dataset.path, results)
        if not results.damages or dataset.journal.fingerprint() == before:
            break
    return Verified(
        dataset.name, results.files, results.bytes, results.features, dict(results.unchecked), tuple(results.damages)
    )


def _verify(home: Path, results: _Results) -> None:
    listed = [file for file in files(home) if not file.path.name.startswith(ASIDE)]
    parts = [file for file in listed if file.path.parent == home / "journal" and file.path.suffix == ".jsonl"]
    rows = _journal(parts, results)
    for file in listed:
        folder, name = file.path.parent, file.path.name
        if file.path == home / "dataset.json":
            _count(file, results)
            _manifest(file.path, results)
        elif file.path == home / "clips.parquet":
            _count(file, results)
            _clips(file.path, results)
        elif file.path == home / "defects.jsonl":
            _count(file, results)
            _defects(file.path, results)
        elif folder.parent.parent == home / "streams" and name.endswith(".json"):
            _count(file, results)
            kind = _DOCUMENTS.get(name, "state")
            _document(file.path, kind, results, (folder.parent.name, folder.name))
        elif folder.parent.parent == home / "streams" and name.startswith("pack-") and name.endswith(".h5"):
            _count(file, results)
            _packs(file.path, results, (folder.parent.name, folder.name))
    sizes = {file.path: file for file in listed}
    for path, live in by_shard(home, rows).items():
        _count(sizes.get(path, StoredFile(path, 0, 0.0)), results)
        _shard(path, live, results)


def _count(file: StoredFile, results: _Results) -> None:
    results.on_file(file.path)
    results.files += 1
    results.bytes += file.size


def by_shard(home: Path, rows: Collection[JournalRow]) -> dict[Path, dict[str, JournalRow]]:
    """The rows that are done, by the shard that holds them and by clip.

    A row that names a path outside of the dataset, as a stranger's journal may, is left out.
    """
    live: dict[Path, dict[str, JournalRow]] = defaultdict(dict)
    for row in rows:
        inside = ID.fullmatch(row.version) and PurePath(row.stream).name == row.stream != ".."
        if inside and row.status == "done" and row.shard:
            live[home / "streams" / row.stream / row.version / row.shard][row.clip] = row
    return live


def _journal(parts: Sequence[StoredFile], results: _Results) -> Collection[JournalRow]:
    rows: dict[tuple[str, str], JournalRow] = {}
    parts = sorted(parts, key=lambda file: file.path.stem)
    for file, content in zip(parts, read_many([file.path for file in parts]), strict=True):
        _count(file, results)
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
        results.unchecked["journal"] += unchecked
        if bad:
            clips = tuple(dict.fromkeys(_named(_CLIP, line) for line, _ in bad))
            streams = {_named(_STREAM, line) for line, _ in bad}
            problem = f"{len(bad)} of its lines: {bad[0][1]}"
            results.damages.append(Damage(file.path, "journal", problem, ", ".join(sorted(streams)), "", clips))
    results.unchecked += Counter()  # removes kinds with the count 0
    return rows.values()


def _named(pattern: re.Pattern[bytes], line: bytes) -> str:
    """The clip or stream that a damaged line seems to name."""
    match = pattern.search(line)
    return match[1].decode(errors="replace") if match else "?"


def _manifest(path: Path, results: _Results) -> None:
    try:
        read_manifest(path)
        results.unchecked += Counter(manifest=int(read_sealed(path)[0].get("format") == UNCHECKED))
    except DamagedError as error:
        results.damages.append(Damage(path, "manifest", str(error.__cause__)))


def _clips(path: Path, results: _Results) -> None:
    try:
        read_clips(path)
        results.unchecked += Counter(clips=int(not read_columns(path)[1]))
    except DamagedError as error:
        results.damages.append(Damage(path, "clips", str(error.__cause__)))


def _defects(path: Path, results: _Results) -> None:
    try:
        checked = [unseal(line.decode("utf-8"))[1] for line in lines(path.read_bytes())]
        results.unchecked += Counter(defects=int(not all(checked)))
    except (OSError, ValueError) as error:
        results.damages.append(Damage(path, "defects", str(error)))


def _document(path: Path, kind: Kind, results: _Results, version: tuple[str, str]) -> None:
    try:
        results.unchecked += Counter({kind: int(not read_sealed(path)[1])})
    except (OSError, ValueError) as error:
        results.damages.append(Damage(path, kind, str(error), *version))


def _packs(path: Path, results: _Results, version: tuple[str, str]) -> None:
    """Check a pack; on object storage both the stored file and the local copy that is read."""
    if is_local(path):
        _pack(path, path, "pack", results, version)
        return
    with tempfile.TemporaryDirectory(prefix="mse-") as folder:
        fetched = Path(folder) / path.name
        filesystem(path).get_file(address(path), str(fetched))
        _pack(fetched, path, "pack", results, version)
    copy = present_copy(path)
    if copy is not None:
        _pack(copy, copy, "copy", results, version)


def _pack(path: Path, home: Path, kind: Kind, results: _Results, version: tuple[str, str]) -> None:
    try:
        with Pack(path, home) as pack:
            bad = [
                clip
                for index, clip in enumerate(pack)
                if not (pack.rows_intact(index) and pack.statistics_intact(index))
            ]
            results.features += len(pack) if pack.checked else 0
            results.unchecked += Counter({kind: int(not pack.checked)})
    except DamagedError as error:
        results.damages.append(Damage(home, kind, str(error.__cause__ or error), *version))
        return
    if bad:
        results.damages.append(Damage(home, kind, _OTHER, *version, tuple(bad)))


_OTHER = "their checksum does not match"


def _shard(path: Path, live: Mapping[str, JournalRow], results: _Results) -> None:
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
    results.features += sum(row.checksum is not None for row in live.values())
    results.unchecked += Counter(shard=int(any(row.checksum is None for row in live.values())))
    if problem or bad:
        row = next(iter(live.values()))
        results.damages.append(Damage(path, "shard", problem or _OTHER, row.stream, row.version, bad))


def intact(path: Path, live: Mapping[str, JournalRow]) -> Iterator[tuple[JournalRow, Features]]:
    """The clips of a damaged shard that can be read and match their checksum in the journal.

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
    """Set flipped bits of JSON files back, and restore other lost rows of the journal from the shards.

    A row that comes from a shard does not know its media file: the next extraction reads that file again.
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
    """The lines that are intact or can be mended, and how many are lost."""

    def is_whole(line: bytes) -> bool:
        try:
            read(line)
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        return line.endswith(b"\n")

    kept: list[bytes] = []
    lost = 0
    for whole, group in itertools.groupby(_LINE.findall(content), is_whole):
        group_lines = list(group)
        if whole:
            kept += group_lines
            continue
        together = mended(b"".join(group_lines))  # a flipped line end joins two lines, or splits one
        for fixed in [together] if together is not None else [mended(line) for line in group_lines]:
            kept += [] if fixed is None else [fixed]
            lost += fixed is None
    return b"".join(kept), lost


def _find_rows(dataset: Dataset) -> None:
    """Add journal rows for clips that only the shards know, if all their shards have the same key."""
    keys = dataset.journal.read().keys()
    ids = {clip.id for clip in dataset.clips}
    candidates: dict[tuple[str, str], list[JournalRow]] = {}
    for stream in names(dataset.path / "streams"):
        for version in names(dataset.path / "streams" / stream):
            wanted = {clip for clip in ids if (clip, version) not in keys}
            folder = dataset.stream_folder(stream, version)
            for shard in (name for name in names(folder) if name.startswith("shard-")):
                for row in _rows_of(folder / shard, wanted, stream, version):
                    candidates.setdefault((row.clip, version), []).append(row)
    rows = [held[-1] for held in candidates.values() if len({row.key for row in held}) == 1]
    if rows:
        dataset.journal.commit(dataset.journal.next_name(_RUN), rows)


def _rows_of(path: Path, clips: set[str], stream: str, version: str) -> Iterator[JournalRow]:
    try:
        for clip, key, features in read_shard(path, clips):
            yield JournalRow(
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


def save_clips(dataset: Dataset, damages: Iterable[Damage]) -> list[JournalRow]:
    """Move the intact clips out of damaged shards; returns the rows of the clips that are lost."""
    lost: list[JournalRow] = []
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


def _in_pack(dataset: Dataset, rows: Sequence[JournalRow]) -> Iterator[tuple[JournalRow, Features]]:
    """The features of these clips in the pack, if they match the checksums of the shard in the journal."""
    stream = rows[0].stream if rows else ""
    if stream not in dataset or dataset.manifest.streams[stream].version != rows[0].version:
        return
    path = dataset.pack_path(stream)
    try:
        with Pack(local_copy(path), path) as pack:
            for row in rows:
                index = pack.place(row.clip)
                if index is not None and pack.clip_keys[index] == row.key and pack.rows_intact(index):
                    features = pack[row.clip]
                    if of_features(features) == row.checksum:
                        yield row, features
    except (OSError, MseError):
        return
