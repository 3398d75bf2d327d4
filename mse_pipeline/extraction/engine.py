"""Engine: clips become tasks, and tasks run through joblib on this machine, or on a Dask or Ray cluster's scheduler.

On this machine threads of the command drive the hosts; they hand over what was made, and the command itself commits it.
Elsewhere the task travels to a worker, which drives a host of its own and commits there. The plan, the tasks and what
is done with a clip are the same everywhere.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from mse_pipeline import __version__
from mse_pipeline.errors import MseError, UsageError, did_you_mean, explain, goes_on
from mse_pipeline.extraction.hosts import Host, dismiss, start
from mse_pipeline.extraction.plan import MOST_CLIPS, Outcome, Result, Task, Todo, cut
from mse_pipeline.posix import cores, without_interrupts

if TYPE_CHECKING:
    from mse_pipeline.extraction.clip_run import Made

_FRUITLESS = 3
_SHARD_BYTES = 64 << 20  # no more than this is held before it is written
_AHEAD = 2  # tasks a worker: one that is made, and one that waits for being written


@dataclass(frozen=True)
class Where:
    """Where tasks run.

    Attributes:
        engine: ``local``, ``dask`` or ``ray``.
        address: Of the engine's scheduler; None for one on this machine.
        workers: How many; None for one per core, or all that the scheduler has.
    """

    engine: str = "local"
    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Crew:
    """Workers that stand ready.

    Attributes:
        size: How many tasks are done at the same time.
        work: Has tasks done and gives their results in the order in which they end.
        lost: What `work` raises when a worker was lost with its task; the others may be begun anew.
    """

    size: int
    work: Callable[[Sequence[Task]], Generator[Result, None, None]]
    lost: tuple[type[Exception], ...] = ()


def dispatch(todo: Sequence[Todo], task: Task, where: Where = Where()) -> Iterator[tuple[Outcome, ...]]:
    """Have clips processed, and give outcomes as tasks end; what a lost worker held is given out again.

    Args:
        todo: The clips.
        task: What all tasks have in common; each gets its own clips.
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
        batches = cut(todo, hands.size)
        waiting = {n: replace(task, number=n, todo=batch) for n, batch in enumerate(batches)}
        fruitless = 0
        while waiting:
            before = len(waiting)
            try:
                with closing(hands.work(list(waiting.values()))) as results:
                    for result in results:
                        if result.problem is not None:
                            raise MseError(result.problem)
                        if waiting.pop(result.number, None) is not None:
                            if result.left:
                                waiting[result.number] = replace(task, number=result.number, todo=result.left)
                            yield result.outcomes
            except hands.lost as error:
                fruitless = fruitless + 1 if len(waiting) == before else 0
                if fruitless == _FRUITLESS:
                    raise MseError(
                        f"Workers end before they finish a task ({type(error).__name__}: {error}). What was extracted "
                        "is kept: run the same command again, with fewer --workers if memory is short."
                    ) from error


@contextmanager
def started_ahead(clips: int, task: Task, where: Where) -> Iterator[None]:
    """This machine's hosts load their models while it is found out within what so many clips lack."""
    if where.engine == "local" and clips:
        start(task, min(where.workers or cores(), clips))
    try:
        yield
    except BaseException:
        dismiss()
        raise


@dataclass(frozen=True)
class _Batch:
    """What was made of a task's clips: all of them, or as many as one holds.

    Attributes:
        task: The task.
        made: For each clip its rows and features.
        problem: Why it went no further, as a sentence; None where nothing went wrong.
    """

    task: Task
    made: tuple[Made, ...]
    problem: str | None = None

    @property
    def left(self) -> tuple[Todo, ...]:
        """The clips that are not through."""
        return self.task.todo[len(self.made) :]

    @property
    def size(self) -> int:
        """Bytes of the features."""
        return sum(map(_size, self.made))


def _size(made: Made) -> int:
    return sum(features.values.nbytes + features.intervals.nbytes for _, features in made if features is not None)


def _make(task: Task, host: Host) -> _Batch:
    """Have a task's clips made, until there is as much as one may hold."""
    made: list[Made] = []
    held = 0
    try:
        for todo in task.todo:
            made.append(host.make(todo))
            held += _size(made[-1])
            if held > _SHARD_BYTES:
                break
    except MseError as error:
        host.end()
        return _Batch(task, tuple(made), str(error))
    except OSError as error:
        host.end()
        return _Batch(task, tuple(made), goes_on(explain(error, task.dataset)))
    host.leave()
    return _Batch(task, tuple(made))


def _commit(batches: Sequence[_Batch]) -> list[Result]:
    """Enter what was made into the cache, all of it or nothing; also what was made before a problem is not lost.

    Args:
        batches: Of tasks of one run.

    Returns:
        The result of each.
    """
    from mse_pipeline.store.commit import Commit  # while the hosts load their models
    from mse_pipeline.store.dataset import Dataset

    task = batches[0].task
    commit = Commit(Dataset(task.dataset), task.run, guarded=True)
    for batch in batches:
        for row, features in chain.from_iterable(batch.made):
            commit.add(row, features)
    problem: str | None = None
    try:
        if not commit.write():
            problem = "Another extraction of this dataset has started, so this one stops."
    except MseError as error:
        problem = str(error)
    except OSError as error:
        problem = goes_on(explain(error, task.dataset))
    return [_result(batch, batch.problem or problem) for batch in batches]


def _result(batch: _Batch, problem: str | None) -> Result:
    if problem is not None:
        return Result(batch.task.number, problem=problem)
    made = zip(batch.task.todo, batch.made, strict=False)
    outcomes = (Outcome(todo.clip.id, tuple(row for row, _ in rows)) for todo, rows in made)
    return Result(batch.task.number, tuple(outcomes), batch.left)


def _waiting(finished: deque[_Batch]) -> list[_Batch]:
    """Take the batches that are finished, from the first on, no more than one shard holds; none where there is none."""
    taken: list[_Batch] = []
    clips = size = 0
    while finished and (not taken or (clips + len(finished[0].made) <= MOST_CLIPS and size <= _SHARD_BYTES)):
        taken.append(finished.popleft())
        clips, size = clips + len(taken[-1].made), size + taken[-1].size
    return taken


def run_task(task: Task) -> Result:
    """What a worker of a cluster does: it has a task's clips made by a host of its own, and commits them."""
    if task.made_by != __version__:
        problem = (
            f"A worker has mse-pipeline {__version__}, but the command has {task.made_by}. "
            "Install the same version where the workers run."
        )
        return Result(task.number, problem=problem)
    outcomes: list[Outcome] = []
    while True:
        host = Host(task)
        try:
            (result,) = _commit([_make(task, host)])
        finally:
            host.end()
        if result.problem is not None:
            return result
        outcomes += result.outcomes
        if not result.left:
            return Result(task.number, tuple(outcomes))
        task = replace(task, todo=result.left)


def crew(engine: str, address: str | None, workers: int | None) -> AbstractContextManager[Crew]:
    """The workers of an engine.

    Args:
        engine: One of `ENGINES`.
        address: Of a scheduler that runs already; without one, Dask and Ray start their own on this machine.
        workers: How many; None for one per core of the machine, or all that the scheduler has.

    Raises:
        UsageError: Unknown engine, an address that it has no use for or at which nobody answers, or a package that
            is not installed.
    """
    if engine not in ENGINES:
        names = ", ".join(ENGINES)
        raise UsageError(f"There is no engine {engine!r}{did_you_mean(engine, ENGINES)}; available are {names}.")
    if engine == "local" and address is not None:
        raise UsageError(f"--engine local takes no --address, got {address!r}; did you mean --engine dask or ray?")
    return ENGINES[engine](address, workers)


@contextmanager
def _local(address: str | None, workers: int | None) -> Iterator[Crew]:
    """Hosts of this machine, each driven by a thread of this process; one alone is driven by the main thread."""
    size = workers or cores()
    try:
        yield Crew(size, _Driven(size))
    finally:
        dismiss()


class _Driven:
    """Has tasks made by hosts that threads drive, and commits in the thread that asks for the results.

    The threads commit nothing: what they have made waits until it is written, and they begin nothing more before. What
    several of them have finished during one commit, the next enters together.

    Args:
        size: How many hosts.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        """The results of tasks."""
        import joblib

        room = threading.Semaphore(_AHEAD * self._size)
        hosts: set[Host] = set()
        finished: deque[_Batch] = deque()
        ended = False

        def drive(task: Task) -> None:
            room.acquire()
            host = Host(task)
            hosts.add(host)
            try:
                finished.append(_Batch(task, (), "The work was broken off.") if ended else _make(task, host))
            finally:
                hosts.discard(host)
                if ended:
                    host.end()

        parallel = joblib.Parallel(self._size, backend="threading", pre_dispatch=self._size, **_STREAMED)
        with closing(parallel(joblib.delayed(drive)(task) for task in tasks)) as ends:
            try:
                for _ in ends:
                    # Nothing waits for others; but what was finished during the last commit is entered by one.
                    while batches := _waiting(finished):
                        results, count = _commit(batches), len(batches)
                        del batches  # their features, which may be many
                        room.release(count)
                        yield from results
            finally:  # first of all, so that no thread waits for a host or for room
                ended = True
                room.release(len(tasks))
                for host in tuple(hosts):
                    host.end()


@contextmanager
def _dask(address: str | None, workers: int | None) -> Iterator[Crew]:
    """The workers of a Dask scheduler."""
    try:
        from distributed import Client, LocalCluster
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise _not_installed("dask", "Dask") from error
    import joblib
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's own, which says nothing of a task that Dask gives up: its results would be waited for for ever."""

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)

            def tell(done: Any) -> None:
                if callback is not None and done.exception() is not None:
                    callback(done.exception())

            future.add_done_callback(tell)
            return future

    joblib.register_parallel_backend("mse-dask", Backend)

    with contextlib.ExitStack() as stack:
        if address is None:
            settings = {"n_workers": workers or cores(), "threads_per_worker": 1, "dashboard_address": None}
            try:
                with without_interrupts():
                    address = stack.enter_context(
                        LocalCluster(**settings, silence_logs=logging.CRITICAL)
                    ).scheduler_address
            except (OSError, RuntimeError, ValueError) as error:
                raise _no_start("Dask cluster", error) from error
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise _no_answer("Dask scheduler", address, error) from error
        _compare_versions(client)
        size = workers or max(1, sum(client.ncores().values()))

        def work(tasks: Sequence[Task]) -> Generator[Result, None, None]:
            with joblib.parallel_config("mse-dask", client=client, wait_for_workers_timeout=_CONNECT_SECONDS):
                # As many tasks are out as there are workers: Dask holds what it has not begun on workers that may die.
                yield from _stream(joblib.Parallel(pre_dispatch=workers or 2 * size, **_STREAMED), tasks)

        try:
            yield Crew(size, work, (KilledWorker,))
        finally:
            with contextlib.suppress(Exception):  # of workers that have gone; hosts end by themselves when idle
                client.run(dismiss)


def _version() -> str:
    return __version__


def _compare_versions(client: Any) -> None:
    """Raises UsageError where Dask's workers have another mse-pipeline, or none."""
    try:
        versions = client.run(_version)
    except Exception as error:
        raise UsageError(
            f"The Dask workers cannot import mse_pipeline ({type(error).__name__}: {error}). "
            f"Install mse-pipeline {__version__} where they run."
        ) from error
    others = sorted({version for version in versions.values() if version != __version__})
    if others:
        raise UsageError(
            f"Dask workers have mse-pipeline {', '.join(others)}, but this command has {__version__}. "
            "Install the same version where they run."
        )


@contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[Crew]:
    """The workers of a Ray cluster."""
    try:
        import ray
        from ray.util.joblib import ray_backend
    except ImportError as error:
        raise _not_installed("ray", "Ray") from error
    import joblib

    class Backend(ray_backend.RayBackend):
        """Ray's own, which hands results over as they come but does not say so."""

        supports_return_generator = True

    joblib.register_parallel_backend("mse-ray", Backend)
    own = not ray.is_initialized()
    if own:
        here: dict[str, Any] = {"num_cpus": workers or cores(), "include_dashboard": False}
        try:
            with _own_end():
                ray.init(
                    **({"address": address} if address else here), log_to_driver=False, logging_level=logging.ERROR
                )
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            if address is None:
                raise _no_start("Ray cluster", error) from error
            raise _no_answer("Ray cluster", address, error) from error
    size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    # An actor that dies comes back, and what it was doing is done again: a task that is committed twice does no harm.
    surviving = {"max_restarts": -1, "max_task_retries": -1}

    def work(tasks: Sequence[Task]) -> Generator[Result, None, None]:
        with joblib.parallel_config("mse-ray", ray_remote_args=surviving):
            yield from _stream(joblib.Parallel(n_jobs=size, pre_dispatch=2 * size, **_STREAMED), tasks)

    try:
        yield Crew(size, work, (ray.exceptions.RayError,))
    finally:
        if own:
            ray.shutdown()


@contextmanager
def _own_end() -> Iterator[None]:
    """Keep this process's own way of ending on SIGTERM, which Ray would replace by one that ends without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # Ray's own way, while it starts
        if callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


_CONNECT_SECONDS = 30
_STREAMED: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1}
ENGINES: dict[str, Callable[[str | None, int | None], AbstractContextManager[Crew]]] = {
    "local": _local,
    "dask": _dask,
    "ray": _ray,
}


def _stream(parallel: Any, tasks: Sequence[Task]) -> Generator[Result, None, None]:
    import joblib

    # A tuple, for joblib would put a larger object into the memory of one Dask worker, which may die with it.
    results = parallel(joblib.delayed(_run_sent)((task,)) for task in tasks)
    try:
        yield from results
    finally:
        results.close()


def _run_sent(sent: tuple[Task]) -> Result:
    return run_task(sent[0])


def _not_installed(extra: str, name: str) -> UsageError:
    return UsageError(f"--engine {extra} needs {name}, which is not installed: pip install 'mse-pipeline[{extra}]'")


def _no_start(cluster: str, error: Exception) -> MseError:
    reason = explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}".rstrip(".")
    return MseError(
        f"The {cluster} did not start on this machine ({reason}). Check free disk space, memory and `ulimit -a`, or "
        "use --engine local, which needs no cluster."
    )


def _no_answer(server: str, address: str, error: Exception) -> UsageError:
    return UsageError(
        f"No {server} answers at {address} ({error}). Start it first, or leave out --address to start one here."
    )
