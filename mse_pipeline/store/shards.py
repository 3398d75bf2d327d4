"""ShardView: the features of one stream version, read from its Parquet shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.errors import MseError
from mse_pipeline.store.candidates import NONE, Choices, pick
from mse_pipeline.store.checksum import damaged, of_features
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row
from mse_pipeline.store.parquet import read_notes, read_shard


class ShardView(Mapping[str, Features]):
    """Clip id -> Features on the extractor's own clock.

    Args:
        folder: Where the shards lie.
        rows: The journal's rows of the clips that are done.
        order: The corpus's order of clip ids.
        choices: Which of several faces count, where that is chosen for the whole corpus.
    """

    def __init__(self, folder: Path, rows: Mapping[str, Row], order: Sequence[str], choices: Choices = NONE) -> None:
        self.folder = folder
        self.choices = choices
        self.rows = {clip: rows[clip] for clip in order if clip in rows}

    def __getitem__(self, clip: str) -> Features:
        row = self.rows[clip]
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
        """What a clip's features depend on, as a hash: their key, and the faces that were chosen."""
        return self.choices.key(self.rows[clip])

    def notes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The notes of all clips, shard by shard, as the extractor gave them: before any choice."""
        for shard in dict.fromkeys(str(row.shard) for row in self.rows.values()):
            for clip, key, notes in read_notes(self.folder / shard):
                row = self.rows.get(clip)
                if row is not None and (row.shard, row.key) == (shard, key):
                    yield clip, notes

    def in_order(self, only: Collection[str] | None = None) -> Iterator[tuple[str, Features]]:
        """Clips in the corpus's order, each shard read once, those that wait for their turn held.

        Args:
            only: Ids of the clips that are wanted; shards without any of them are not opened. None for all.
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


def checked(row: Row, features: Features, path: Path) -> Features:
    """Features as they were read from a shard, if they are what was written.

    Raises:
        DamagedError: They are not what the row says.
    """
    if row.checksum is not None and row.checksum != of_features(features):
        raise damaged(
            path, f"{row.stream} of the clip {row.clip!r} in the shard", "it has another checksum than in the journal"
        )
    return features


def lacking(path: Path, clip: str) -> MseError:
    """The error of a shard without a clip that the journal says is there."""
    return damaged(path, f"{path.parent.parent.name} of the clip {clip!r} in the shard", "it lacks the clip")
