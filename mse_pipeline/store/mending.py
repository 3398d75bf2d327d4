"""Mending: what a damaged dataset still holds is put in order, as far as its checksums prove that it is right.

Nothing is made anew here. A text in which one bit was flipped is told by its checksum what it was; rows that the
journal lost are found again in the shards; and what is whole of a damaged shard moves to a new one, with those of its
clips that the pack has as they were written.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import write_text
from mse_pipeline.store.checksum import DamagedError, mended, of_features, unseal
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.integrity import Damage, by_shard, intact
from mse_pipeline.store.journal import Row, read_row
from mse_pipeline.store.local_copy import local_copy
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.parquet import read_shard
from mse_pipeline.store.storage import names

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
