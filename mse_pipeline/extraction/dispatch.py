"""Dispatch: clips become tasks, tasks go to an engine's workers, and what a lost worker held is given out again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from mse_pipeline.errors import MseError
from mse_pipeline.extraction.batches import cut
from mse_pipeline.extraction.engine import cores, crew
from mse_pipeline.extraction.task import Outcome, Task, Todo

_FRUITLESS = 3


@dataclass(frozen=True)
class Where:
    """Where tasks run.

    Attributes:
        engine: ``local``, ``dask`` or ``ray``.
        address: Of the engine's scheduler; None for one on this machine.
        workers: How many; None for one a core, or all that the scheduler has.
    """

    engine: str = "local"
    address: str | None = None
    workers: int | None = None


def dispatch(todo: Sequence[Todo], task: Task, where: Where = Where()) -> Iterator[tuple[Outcome, ...]]:
    """Have clips processed, and give each task's outcomes as it ends.

    Args:
        todo: The clips.
        task: What all tasks have in common; each gets its own clips and its share of the cores.
        where: The engine and its workers.

    Raises:
        MseError: A model cannot be loaded, another run has begun meanwhile, or workers die again and again.
    """
    if not todo:
        return
    workers = where.workers if where.address else where.workers or cores()
    if workers is not None:
        workers = min(workers, len(todo))  # one without a clip would only load its models
    with crew(where.engine, where.address, workers) as hands:
        common = replace(task, threads=hands.threads, parent=hands.parent)
        batches = cut(todo, hands.size)
        waiting = {n: replace(common, number=n, todo=batch) for n, batch in enumerate(batches)}
        fruitless = 0
        while waiting:
            before = len(waiting)
            try:
                with closing(hands.work(list(waiting.values()))) as results:
                    for result in results:
                        if result.problem is not None:
                            raise MseError(result.problem)
                        if waiting.pop(result.number, None) is not None:
                            yield result.outcomes
            except hands.lost as error:
                fruitless = fruitless + 1 if len(waiting) == before else 0
                if fruitless == _FRUITLESS:
                    raise MseError(
                        f"Workers die without having done anything ({type(error).__name__}: {error}). What was done "
                        "before is kept: run the same command again, with fewer --workers if memory was short."
                    ) from error
