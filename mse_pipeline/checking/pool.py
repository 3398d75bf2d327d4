"""pool: the same small work on many items, on worker processes that may die of an item, or hang on it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

from mse_pipeline.errors import MseError

Item = TypeVar("Item")
Result = TypeVar("Result")
Loss = Literal["worker_died", "timeout"]

_ITEMS_PER_PART = 8  # sent at a time, so that no worker waits for the next one
_SMALL = 64  # so few items are done by one worker before others have started
_READY = "ready"


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    lost: Callable[[Item, Loss], Result],
    workers: int | None = None,
    limit: float | None = None,
) -> Iterator[list[Result]]:
    """Do the work on each item, and give results by the handful, in the order in which they come.

    A worker that dies, as a broken codec makes it, costs the one item that it died of; so does one that hangs.

    Args:
        work: A function that worker processes can import, or a partial of one.
        items: What it is given, one at a time.
        lost: The result for an item that ends its worker, and how.
        workers: Processes; None for one a core, or for a single one where there are few items.
        limit: Seconds that an item may take; None for no limit. One worker without a limit works in this process.

    Raises:
        MseError: Worker processes cannot be started.

    Examples:
        >>> sorted(result for part in each(abs, [-2, 1], lost=lambda item, how: 0, workers=1) for result in part)
        [1, 2]
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(workers or (1 if len(items) < _SMALL else cores), len(items)))
    if workers == 1 and limit is None:
        yield from ([work(item)] for item in items)
        return
    queue = deque(items)
    crew: list[_Worker[Item, Result]] = []
    try:
        while queue or any(worker.waiting for worker in crew):
            while queue and len(crew) < workers:
                crew.append(_Worker(work, limit))
            for worker in crew:
                if queue and not worker.waiting:
                    worker.give([queue.popleft() for _ in range(min(_ITEMS_PER_PART, len(queue)))])
            busy = [worker for worker in crew if worker.waiting]
            wait([worker.connection for worker in busy], max(0.0, min(worker.remaining() for worker in busy)))
            results: list[Result] = []
            for worker in busy:
                results += worker.take()
                loss = worker.loss()
                if loss is not None:
                    crew.remove(worker)
                    results.append(lost(worker.waiting.popleft(), loss))
                    queue.extendleft(reversed(worker.waiting))
                    worker.end()
            if results:
                yield results
    finally:
        for worker in crew:
            worker.end()


class _Worker(Generic[Item, Result]):
    """A worker process, what it was given, and since when it has been at the first of it."""

    def __init__(self, work: Callable[[Item], Result], limit: float | None) -> None:
        # Loky's processes need no `if __name__ == "__main__"` in the program that starts them.
        from joblib.externals.loky.backend import get_context

        context = get_context("loky")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()
        self.waiting: deque[Item] = deque()
        self._limit = limit
        self._began: float | None = None  # not before the worker is ready: its imports are not the item's time
        self._ready = self._gone = False

    def give(self, part: Sequence[Item]) -> None:
        """Hand over items."""
        self.waiting.extend(part)
        self._began = time.monotonic() if self._ready else None
        try:
            self.connection.send(list(part))
        except OSError:
            self._gone = True

    def take(self) -> list[Result]:
        """The results that have come."""
        results: list[Result] = []
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if self._ready:
                    results.append(message)
                    self.waiting.popleft()
                self._ready = True
                self._began = time.monotonic()
        except (EOFError, OSError):
            self._gone = True
        return results

    def remaining(self) -> float:
        """Seconds until there is something to be looked at, whatever comes."""
        if self._limit is None or self._began is None:
            return 3600.0
        return self._began + self._limit - time.monotonic()

    def loss(self) -> Loss | None:
        """How the item that the worker is at was lost; None if it was not.

        Raises:
            MseError: The worker never was ready.
        """
        if self._gone and not self._ready:
            self._process.join()
            raise MseError(f"A worker process ended with {self._process.exitcode} before it could begin.")
        if not self.waiting:
            return None
        if self._gone:
            return "worker_died"
        return "timeout" if self.remaining() <= 0.0 else None

    def end(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.exitcode is None:
            os.kill(self._process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Any], Any], parent: int) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    connection.send(_READY)
    while True:
        try:
            part = connection.recv()
        except EOFError:
            return
        for item in part:
            connection.send(work(item))


def _leave_with(parent: int) -> None:
    """End this process soon after its parent: one that hangs in a codec would stay for good."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
