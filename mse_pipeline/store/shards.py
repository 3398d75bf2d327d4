"""ShardView: the features of one stream version, read from its Parquet shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mse_pipeline.errors import MseError
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row
from mse_pipeline.store.parquet import read_shard


class ShardView(Mapping[str, Features]):
    """Clip id -> Features on the extractor's own clock.

    Args:
        folder: Where the shards lie.
        rows: The journal's rows of the clips that are done.
        order: The corpus's order of clip ids.
    """

    def __init__(self, folder: Path, rows: Mapping[str, Row], order: Sequence[str]) -> None:
        self.folder = folder
        self.rows = {clip: rows[clip] for clip in order if clip in rows}

    def __getitem__(self, clip: str) -> Features:
        row = self.rows[clip]
        for _, key, features in read_shard(self.folder / str(row.shard), {clip}):
            if key == row.key:
                return features
        raise MseError(f"The shard {row.shard} in {self.folder} lacks the clip {clip!r}. Run `mse extract` again.")

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

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
            yield clip, waiting.pop(clip)
