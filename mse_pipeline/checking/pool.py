"""pool: the same small work on many items, on worker processes that may die of an item."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_TASK = 32
_SMALL = 64  # so few items are done here before workers have started


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    lost: Callable[[Item], Result],
    workers: int | None = None,
) -> Iterator[list[Result]]:
    """Do the work on each item, and give results by the handful, in the order in which they come.

    A worker that dies, as a broken codec makes it, costs the one item that it died of.

    Args:
        work: A function that worker processes can import, or a partial of one.
        items: What it is given, one at a time.
        lost: The result for an item that kills its worker.
        workers: Processes; None for one a core. With 1, or with few items and None, all is done in this process.

    Examples:
        >>> sorted(result for part in each(abs, [-2, 1], lost=abs, workers=1) for result in part)
        [1, 2]
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(workers or (1 if len(items) < _SMALL else cores), len(items)))
    size = max(1, min(_ITEMS_PER_TASK, len(items) // (4 * workers)))
    parts = [list(items[place : place + size]) for place in range(0, len(items), size)]
    if workers == 1:
        for part in parts:
            yield _do(work, part)
        return
    while parts:
        unfinished: list[list[Item]] = []
        yield from _together(work, parts, workers, unfinished)
        # Parts are begun in their order, so that the deadly item is in one of the first that are left.
        suspects, parts = unfinished[: workers + 1], unfinished[workers + 1 :]
        yield from _one_by_one(work, [item for part in suspects for item in part], lost)


def _do(work: Callable[[Item], Result], part: list[Item]) -> list[Result]:
    return [work(item) for item in part]


def _together(
    work: Callable[[Item], Result], parts: Sequence[list[Item]], workers: int, unfinished: list[list[Item]]
) -> Iterator[list[Result]]:
    """Results of the parts as they end; those that were not done when a worker died go into `unfinished`."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor = ProcessPoolExecutor(max_workers=workers)
    try:
        running: dict[Future[Any], int] = {executor.submit(_do, work, part): n for n, part in enumerate(parts)}
        left: list[int] = []
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number = running.pop(future)
                try:
                    results = future.result()
                except BrokenProcessPool:
                    left.append(number)
                    continue
                yield results
        unfinished += [parts[number] for number in sorted(left)]
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _one_by_one(
    work: Callable[[Item], Result], items: Sequence[Item], lost: Callable[[Item], Result]
) -> Iterator[list[Result]]:
    """Results of items that a worker does one after the other: of which one it dies is plain then."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor = None
    try:
        for item in items:
            executor = executor or ProcessPoolExecutor(max_workers=1)
            try:
                yield [executor.submit(work, item).result()]
            except BrokenProcessPool:
                executor.shutdown(wait=True, kill_workers=True)
                executor = None
                yield [lost(item)]
    finally:
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)
