"""pool: the same small work on many items, in child processes that may die of an item, or hang on it."""

from __future__ import annotations

import functools
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, TypeVar

from mse_pipeline.child_process import Child, ChildLost, Supervised, Work
from mse_pipeline.posix import cores

Item = TypeVar("Item")
Result = TypeVar("Result")
Loss = Literal["worker_died", "timeout"]

_SMALL = 64  # so few items are done by one worker before others have started


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    lost: Callable[[Item, Loss], Result],
    workers: int | None = None,
    limit: float | None = None,
) -> Iterator[list[Result]]:
    """Do the work on each item, and give results by the handful, in the order in which they come.

    An item that a worker dies of, as a broken codec makes it, is tried once more in a fresh one; it costs no other
    item. Neither does one that hangs.

    Args:
        work: A function that worker processes can import, or a partial of one.
        items: What it is given, one at a time.
        lost: The result for an item that ends its workers, and how.
        workers: Processes; None for one a core, or for a single one where there are few items.
        limit: Seconds that an item may take; None for no limit. One worker without a limit works in this process.

    Raises:
        MseError: Worker processes cannot be started.

    Examples:
        >>> sorted(result for part in each(abs, [-2, 1], lost=lambda item, how: 0, workers=1) for result in part)
        [1, 2]
    """
    workers = max(1, min(workers or (1 if len(items) < _SMALL else cores()), len(items)))
    if not items or (workers == 1 and limit is None):
        yield from ([work(item)] for item in items)
        return
    import joblib

    crew = [Supervised(functools.partial(Child, functools.partial(_setup, work))) for _ in range(workers)]
    free: queue.SimpleQueue[Supervised] = queue.SimpleQueue()
    for worker in crew:
        free.put(worker)

    def ask(item: Item) -> Result:
        one = free.get()
        try:
            result: Result = one.ask(item, limit)
            return result
        except ChildLost as loss:
            return lost(item, "timeout" if loss.hung else "worker_died")
        finally:
            free.put(one)

    parallel = joblib.Parallel(workers, backend="threading", return_as="generator_unordered", batch_size=1)
    with closing(parallel(joblib.delayed(ask)(item) for item in items)) as results:
        try:
            for result in results:
                yield [result]
        finally:  # first of all, so that no thread waits for one
            for worker in crew:
                worker.end()


def _setup(work: Callable[[Any], Any]) -> Work:
    return functools.partial(_work, work)


def _work(work: Callable[[Any], Any], item: Any, tell: Callable[[Any], None]) -> Any:
    return work(item)
