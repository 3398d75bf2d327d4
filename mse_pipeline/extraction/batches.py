"""Batches: the clips are cut into pieces of about equal work, the long ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mse_pipeline.extraction.task import Todo

MOST_CLIPS = 16
"""What a shard holds at most, and what a kill can cost."""

_BATCHES_PER_WORKER = 16


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
    bound = sum(one.cost for one in todo) / (_BATCHES_PER_WORKER * workers)
    return sorted(_neighbours(todo, bound), key=lambda batch: -sum(one.cost for one in batch))


def _neighbours(todo: Sequence[Todo], bound: float) -> Iterator[tuple[Todo, ...]]:
    """Batches in order, each of at most `MOST_CLIPS` clips and, if of more than one, of no more cost than `bound`."""
    batch: list[Todo] = []
    cost = 0.0
    for one in todo:
        if batch and (len(batch) == MOST_CLIPS or cost + one.cost > bound):
            yield tuple(batch)
            batch, cost = [], 0.0
        batch.append(one)
        cost += one.cost
    if batch:
        yield tuple(batch)
