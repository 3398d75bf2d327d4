"""Child process: it does work that may crash, hang or use all memory; its parent reports how it ended.

`mse extract` extracts clips in children, and `mse datasets check` probes files in a pool of them (`each`). A child is
an interpreter of its own. It imports nothing of the program that starts it, so that program needs no
``if __name__ == "__main__"``. It communicates only through its three standard streams, which every system has, and
which it hides from the code that works: items come in, answers go out, and what libraries write to standard error is
kept for the message about its end. `multiprocessing` is not used: Dask's workers are daemons and may not start its
children, its children run the main module again, and a tracker process waits beside them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, Literal, TypeVar

from mse_pipeline import posix
from mse_pipeline.errors import MseError

Work = Callable[[Any, Callable[[Any], None]], Any]
"""What a child does with an item: it is given the item and a function that tells a step before it begins."""

IDLE_SECONDS = 60.0
"""A child that is given nothing for so long ends: an engine's workers may outlive the run that they worked for."""

_START_SECONDS = 1800.0
_START_ATTEMPTS = 3
_TRIES = 2
_LEAVE_SECONDS = 5.0
_LAST_WORDS = 2000
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mse_pipeline.child_process import serve; serve()"
)
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_SETTINGS = {
    # One core a child: how many threads share a sum decides its last digits, and values may not depend on that.
    **dict.fromkeys(_THREADS, "1"),
    # Threads that wait for the next loop sleep; by default they spin, on cores that other workers need.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENCV_THREAD_POOL_ACTIVE_WAIT_WORKER": "0",
    "OPENCV_THREAD_POOL_ACTIVE_WAIT_MAIN": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
    # Arenas of freed memory, one a thread, are what makes a decoding process grow without end.
    "MALLOC_ARENA_MAX": "2",
}
Item = TypeVar("Item")
Result = TypeVar("Result")
Loss = Literal["worker_died", "timeout"]

_SMALL = 64  # so few items are done by one worker before others have started
_Kind = Literal["ready", "refused", "begun", "step", "done", "failed", "end"]


class ChildLost(Exception):
    """A child is gone.

    Attributes:
        step: The last step that was told of the item.
        hung: Whether the child was stopped because the item took too long.
        how: What is known of the end, as the end of a sentence.
        begun: Whether the item was begun; if not, the child did not die of it.
    """

    def __init__(self, step: Any, how: str, *, hung: bool = False, begun: bool = True) -> None:
        super().__init__(how)
        self.step, self.how, self.hung, self.begun = step, how, hung, begun


class Child:
    """A process that does one kind of work. It is started at once; the first item waits until it is ready.

    Args:
        setup: Called once in the child; returns what is done with each item. It is pickled: a function of a module
            that the child can import, or a partial of one. Numerical libraries compute there with one thread.
    """

    def __init__(self, setup: Callable[[], Work]) -> None:
        # One thread starts all children of a process and lives as long as it does: see `posix.end_with_starter`.
        started: Future[subprocess.Popen[bytes]] = Future()
        _starter(os.getpid()).put(started)
        self._process = started.result()
        self._ready = self._stopped = False
        self._words = b""
        self._answers: queue.SimpleQueue[tuple[_Kind, Any]] = queue.SimpleQueue()
        self._listeners = [
            threading.Thread(target=listen, daemon=True, name=f"child-{listen.__name__.strip('_')}")
            for listen in (self._read_answers, self._read_words)
        ]
        for listener in self._listeners:
            listener.start()
        with contextlib.suppress(OSError):  # a child that is gone already is told of when its answer is waited for
            _send(self._pipe("stdin"), setup)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, item: Any, limit: float | None = None) -> Any:
        """Have an item worked on; returns what was made of it.

        Args:
            item: The item.
            limit: Seconds that it may take, not counted before the child is ready; None for no limit.

        Raises:
            ChildLost: The child died, or was stopped as the item took longer than `limit`.
            MseError: The child cannot be set up, or the work raised it: the machine is at fault, not the item.
        """
        self._wait_until_ready()
        self._words = b""
        step, begun = None, False
        end = None if limit is None else time.monotonic() + limit
        with contextlib.suppress(OSError):  # what is sent to a child that is gone; its end is told below
            _send(self._pipe("stdin"), item)
        while True:
            try:
                kind, value = self._answers.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except queue.Empty:
                self.stop()
                raise ChildLost(step, f"after {limit:g} s", hung=True) from None
            if kind == "done":
                return value
            if kind == "failed":
                raise MseError(value)
            if kind == "end":
                raise ChildLost(step, self._collect(), begun=begun)
            begun, step = True, value if kind == "step" else step

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            kind, value = self._answers.get(timeout=_START_SECONDS)
        except queue.Empty:
            self.stop()
            raise MseError(f"The models were not loaded within {_START_SECONDS / 60:g} minutes.") from None
        if kind == "end":
            how = self._collect()
            if self._process.returncode < 0:  # someone ended it; a fresh one may well begin
                raise ChildLost(None, how, begun=False)
            raise MseError(f"A worker process {how} That was before it could begin.")
        if kind == "refused":
            self.stop()
            raise MseError(value)
        self._ready = True

    def stop(self, patience: float = 0.0) -> None:
        """End the process.

        Args:
            patience: Seconds to wait for it to leave by itself, as it does when it has nothing to do.
        """
        if self._stopped:
            return
        self._stopped = True
        if patience:
            with contextlib.suppress(OSError):
                self._pipe("stdin").close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._pipe("stdin").close()
        for listener in self._listeners:
            listener.join(1.0)

    def _collect(self) -> str:
        """Collect a process that has died; returns how, as the end of a sentence."""
        try:
            self._process.wait(10.0)  # its end of the pipe is closed, so that it is about to end
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        self._listeners[-1].join(1.0)
        self.stop()
        return how_it_ended(code, self._words.decode("utf-8", "replace"))

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] = getattr(self._process, name)
        return pipe

    def _read_answers(self) -> None:
        with self._pipe("stdout") as pipe:
            try:
                while True:
                    self._answers.put(_receive(pipe))
            except (OSError, EOFError):
                self._answers.put(("end", None))

    def _read_words(self) -> None:
        """Keep the end of what the process says: decoders may say megabytes of one broken file."""
        with self._pipe("stderr") as pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._words = (self._words + chunk)[-_LAST_WORDS:]


class Supervised:
    """Has one item after the other worked on, by a fresh child where one was lost.

    An item that its child dies of is tried once more, alone in a fresh child: where memory was short because of others,
    or a kill was meant for another, it passes. An item that takes too long is not tried again.

    Args:
        start: Gives a child.
    """

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Start the child ahead of the first item."""
        self._current()

    def ask(self, item: Any, limit: float | None = None) -> Any:
        """Have an item worked on, as `Child.ask` does.

        Raises:
            ChildLost: The item ended two children, or took too long.
            MseError: No child can be started or set up, the work raised it, or it was ended meanwhile.
        """
        deaths = unbegun = 0
        while True:
            try:
                return self._current().ask(item, limit)
            except ChildLost as lost:
                self._child = None
                if lost.begun:
                    deaths += 1
                else:  # it had left for want of work, or was ended by someone; the item has no part in it
                    unbegun += 1
                if lost.hung or deaths == _TRIES:
                    raise
                if unbegun == _START_ATTEMPTS:
                    raise MseError(f"The process that does the work {lost.how}") from lost

    def _current(self) -> Child:
        with self._lock:
            if self._ended:
                raise MseError("The work was broken off.")
            if self._child is None:
                self._child = self._start()
            return self._child

    def release(self) -> Child | None:
        """Let go of the child, which is between two items, so that others can use it."""
        with self._lock:
            child, self._child, self._ended = self._child, None, True
        return child

    def end(self) -> None:
        """End the child, whatever it is doing, and start no other; any thread may call this."""
        child = self.release()
        if child is not None:
            child.stop()


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    lost: Callable[[Item, Loss], Result],
    workers: int | None = None,
    limit: float | None = None,
) -> Iterator[list[Result]]:
    """Do the work on each item, and give lists of results in the order in which they are ready.

    If a worker dies at an item, for example in a broken codec, the item is tried once more by a new worker. No other
    item is lost, neither by a death nor by an item that hangs.

    Args:
        work: A function that worker processes can import, or a partial of one.
        items: The items, which the work receives one at a time.
        lost: Gives the result for an item that ended its workers or hung.
        workers: Processes; None for one per core, or for a single one if there are few items.
        limit: Seconds that an item may take; None for no limit. One worker without a limit works in this process.

    Raises:
        MseError: Worker processes cannot be started.

    Examples:
        >>> sorted(result for part in each(abs, [-2, 1], lost=lambda item, how: 0, workers=1) for result in part)
        [1, 2]
    """
    workers = max(1, min(workers or (1 if len(items) < _SMALL else posix.cores()), len(items)))
    if not items or (workers == 1 and limit is None):
        yield from ([work(item)] for item in items)
        return
    import joblib

    crew = [Supervised(functools.partial(Child, functools.partial(_setup_plain, work))) for _ in range(workers)]
    free: queue.SimpleQueue[Supervised] = queue.SimpleQueue()
    for supervised in crew:
        free.put(supervised)

    def ask(item: Item) -> Result:
        worker = free.get()
        try:
            result: Result = worker.ask(item, limit)
            return result
        except ChildLost as loss:
            return lost(item, "timeout" if loss.hung else "worker_died")
        finally:
            free.put(worker)

    parallel = joblib.Parallel(workers, backend="threading", return_as="generator_unordered", batch_size=1)
    with contextlib.closing(parallel(joblib.delayed(ask)(item) for item in items)) as results:
        try:
            for result in results:
                yield [result]
        finally:  # first of all, so that no thread waits for one
            for supervised in crew:
                supervised.end()


def _setup_plain(work: Callable[[Any], Any]) -> Work:
    return functools.partial(_work_plain, work)


def _work_plain(work: Callable[[Any], Any], item: Any, tell: Callable[[Any], None]) -> Any:
    return work(item)


@functools.cache
def _starter(process: int) -> queue.SimpleQueue[Future[subprocess.Popen[bytes]]]:
    """What the thread that starts children is asked; `process` tells a process from those that were forked of it.

    It is no pool of threads: a signal that ends the process while a pool starts its thread leaves that thread unknown
    to the pool, and the process waits for it forever.
    """
    asked: queue.SimpleQueue[Future[subprocess.Popen[bytes]]] = queue.SimpleQueue()
    threading.Thread(target=_start_each, args=(asked,), daemon=True, name="child-starter").start()
    return asked


def _start_each(asked: queue.SimpleQueue[Future[subprocess.Popen[bytes]]]) -> None:
    while True:
        started = asked.get()
        try:
            started.set_result(_start())
        except BaseException as error:  # whoever asked is told
            started.set_exception(error)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_SETTINGS},
        # What the terminal sends to the command is not meant for its children.
        process_group=0,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _send(pipe: IO[bytes], message: Any) -> None:
    content = bytes(ForkingPickler.dumps(message))
    pipe.write(len(content).to_bytes(8, "big"))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next message of the process at the other end, which is this package's own.

    Raises:
        EOFError: The other end is closed.
    """
    length = int.from_bytes(_exactly(pipe, 8), "big")
    return ForkingPickler.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def how_it_ended(code: int, words: str) -> str:
    """The end of a sentence on a process that died.

    Args:
        code: Its exit code; negative for a signal.
        words: The end of what it said on its standard error.

    Examples:
        >>> how_it_ended(-11, "[h264 @ 0x5581] no frame!")
        'was ended by SIGSEGV. It said last: [h264] no frame!'
        >>> how_it_ended(3, "")
        'ended with exit code 3.'
    """
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        told = f"was ended by {name}."
        if name == "SIGKILL":
            told += " The system does so where memory is short; fewer --workers leave more for each."
    else:
        told = f"ended with exit code {code}."
    lines = [line for line in re.sub(r" @ 0x[0-9a-f]+", "", words).splitlines() if line.strip()]
    return f"{told} It said last: {lines[-1].strip()[-300:]}" if lines else told


def serve() -> None:
    """What a child does: it is set up by the first message, then answers each item until it is let go or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    posix.end_with_starter()
    posix.die_before_others()
    incoming, outgoing = _own_pipes()
    items: queue.SimpleQueue[tuple[Any] | None] = queue.SimpleQueue()
    busy = threading.Event()
    busy.set()

    def tell(kind: _Kind, value: Any = None) -> None:
        try:
            _send(outgoing, (kind, value))
        except OSError:
            os._exit(1)  # the parent is gone

    try:
        work: Work = _receive(incoming)()
    except EOFError:
        return
    except Exception as error:
        tell("refused", str(error) if isinstance(error, MseError) else f"{type(error).__name__}: {error}")
        return
    threading.Thread(target=_read_items, args=(incoming, items, busy), daemon=True).start()
    busy.clear()
    tell("ready")
    while True:
        try:
            item = items.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return
        if item is None:
            return
        busy.set()
        tell("begun")
        try:
            tell("done", work(item[0], functools.partial(tell, "step")))
        except MseError as error:
            tell("failed", str(error))
        busy.clear()
        del item
        posix.return_memory()


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes from and to the parent, under descriptors that no library knows."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb")


def _read_items(incoming: IO[bytes], items: queue.SimpleQueue[tuple[Any] | None], busy: threading.Event) -> None:
    """Read items until the parent has closed its end, which it does at its end, too, however that comes."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            items.put((_receive(incoming),))
    items.put(None)
    if not busy.is_set():
        time.sleep(_LEAVE_SECONDS)
    os._exit(1)
