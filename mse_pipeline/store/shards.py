"""ShardView: the features of one stream version, read from its Parquet shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.errors import MseError
from mse_pipeline.store.candidates import NONE, Choices, pick
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
        for _, key, features in read_shard(self.folder / str(row.shard), {clip}):
            if key == row.key:
                return pick(features, self.choices.of(row))
        raise MseError(f"The shard {row.shard} in {self.folder} lacks the clip {clip!r}. Run `mse extract` again.")

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
            if clip not in waiting:
                for other, key, features in read_shard(self.folder / str(row.shard), by_shard[str(row.shard)]):
                    if key == rows[other].key:
                        waiting[other] = features
            if clip not in waiting:
                raise MseError(
                    f"The shard {row.shard} in {self.folder} lacks the clip {clip!r}. Run `mse extract` again."
                )
            yield clip, pick(waiting.pop(clip), self.choices.of(row))
