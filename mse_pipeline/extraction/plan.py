"""Plan: which streams of which clips are missing, and how they are cut into batches of about equal work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from mse_pipeline.clip import Clip, Split
from mse_pipeline.extraction.task import StreamSpec, Todo
from mse_pipeline.media.fetching import Stamp, Stamps
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import JournalRow

Share = tuple[int, int]
"""Which of how many shares, as in (1, 8)."""

MOST_CLIPS = 16
"""What a shard holds at most, and what a kill can cost."""

_BATCHES_PER_WORKER = 16
_BYTES_PER_SECOND = 100_000


def missing(
    dataset: Dataset,
    clips: Iterable[Clip],
    specs: Sequence[StreamSpec],
    *,
    root: Path,
    max_seconds: float | None,
    retry_failed: bool,
) -> list[Todo]:
    """The clips that lack a stream.

    A stream is there if the journal has it for the same content and span of the media; whether the content is the
    same is told by the file's size and time, without reading it. Failures are not tried again unless asked for or
    unless their file has changed.
    """
    journal = dataset.rows_with_shards()
    stamps = Stamps(root)
    todo = []
    for clip in clips:
        rows = {spec.stream: row for spec in specs if (row := journal.get((clip.id, spec.version)))}
        stamp = stamps.of(clip.media)

        def holds(spec: StreamSpec, row: JournalRow | None, clip: Clip = clip, stamp: Stamp = stamp) -> bool:
            if row is None or (row.status == "failed" and retry_failed):
                return False
            same_file = not spec.reads_media or (row.size, row.mtime_ns) == stamp
            return same_file and row.key == spec.key(clip, row.digest, max_seconds)

        lacking = tuple(spec.stream for spec in specs if not holds(spec, rows.get(spec.stream)))
        if lacking:
            held = {name: rows[name] for name in lacking if name in rows}
            todo.append(Todo(clip, lacking, held, _cost(clip, stamp, max_seconds)))
    return todo


def _cost(clip: Clip, stamp: Stamp, max_seconds: float | None) -> float:
    """About how many seconds a clip lasts: its span, or else a guess by the file's size."""
    size = stamp[0] or 0
    seconds = size / _BYTES_PER_SECOND if clip.end is None else clip.end - (clip.start or 0.0)
    return max(0.1, seconds if max_seconds is None else min(seconds, max_seconds))


def share_of(clips: Sequence[Clip], share: Share | None) -> list[Clip]:
    """The clips of one share: by their ids alone, so that machines that know nothing of each other agree.

    Examples:
        >>> clips = [Clip(id=f"c{n}", split=Split.TRAIN) for n in range(9)]
        >>> [[clip.id for clip in share_of(clips, (number, 2))] for number in (1, 2)]
        [['c1', 'c3', 'c4', 'c5', 'c6'], ['c0', 'c2', 'c7', 'c8']]
    """
    if share is None:
        return list(clips)
    number, count = share
    return [clip for clip in clips if _lot(clip.id) % count == number - 1]


def _lot(clip: str) -> int:
    return int.from_bytes(hashlib.blake2b(clip.encode(), digest_size=8).digest())


def spread(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """At most `limit` clips, taken from the splits in turn, so that a trial has all of them.

    Examples:
        >>> clips = [Clip(id=f"{s}/{i}", split=s) for s in Split for i in range(9)]
        >>> [clip.id for clip in spread(clips, 4)]
        ['train/0', 'train/1', 'valid/0', 'test/0']
    """
    if limit is None or limit >= len(clips):
        return list(clips)
    turns = zip_longest(*([clip for clip in clips if clip.split == split] for split in Split))
    taken = {clip.id for clip in list(filter(None, chain.from_iterable(turns)))[:limit]}
    return [clip for clip in clips if clip.id in taken]


def cut(todo: Sequence[Todo], workers: int) -> list[tuple[Todo, ...]]:
    """Cut clips into batches.

    A batch holds neighbours of the corpus's order: they share long files, whose content is then read and hashed once,
    and packing, which goes in that order, needs few shards in memory at a time. A worker that is free takes the next
    batch; as the costliest come first, what is left for the end is small, and all workers end together.

    Args:
        todo: The clips, in the corpus's order.
        workers: How many will work at the same time.

    Examples:
        >>> from mse_pipeline.clip import Clip, Split
        >>> todo = [Todo(Clip(id=str(n), split=Split.TRAIN), (), cost=cost) for n, cost in enumerate([1, 1, 1, 9, 1])]
        >>> [[one.clip.id for one in batch] for batch in cut(todo, workers=1)]
        [['3'], ['0'], ['1'], ['2'], ['4']]
    """
    bound = sum(clip.cost for clip in todo) / (_BATCHES_PER_WORKER * workers)
    return sorted(_neighbours(todo, bound), key=lambda batch: -sum(clip.cost for clip in batch))


def _neighbours(todo: Sequence[Todo], bound: float) -> Iterator[tuple[Todo, ...]]:
    """Batches in order, each of at most `MOST_CLIPS` clips and, if of more than one, of no more cost than `bound`."""
    batch: list[Todo] = []
    cost = 0.0
    for clip in todo:
        if batch and (len(batch) == MOST_CLIPS or cost + clip.cost > bound):
            yield tuple(batch)
            batch, cost = [], 0.0
        batch.append(clip)
        cost += clip.cost
    if batch:
        yield tuple(batch)
