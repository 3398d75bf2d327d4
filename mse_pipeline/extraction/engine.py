"""engine: where tasks run, through joblib: on this machine's cores, or on the scheduler of a Dask or Ray cluster.

An engine is a context manager that gives a `Crew`. The plan, the tasks and the workers' code are the same everywhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from mse_pipeline import __version__
from mse_pipeline.errors import MseError, UsageError, did_you_mean, explain
from mse_pipeline.extraction.task import Result, Task
from mse_pipeline.extraction.worker import run_task


@dataclass(frozen=True)
class Crew:
    """Workers that stand ready.

    Attributes:
        size: How many tasks are done at the same time.
        threads: Threads that each may use.
        parent: Process that workers must not outlive; None where the engine sees to them.
        work: Has tasks done and gives their results in the order in which they end.
        lost: What `work` raises when a worker was lost with its task; the others may be begun anew.
    """

    size: int
    threads: int
    parent: int | None
    work: Callable[[Sequence[Task]], Generator[Result, None, None]]
    lost: tuple[type[Exception], ...] = ()


def crew(engine: str, address: str | None, workers: int | None) -> AbstractContextManager[Crew]:
    """The workers of an engine.

    Args:
        engine: One of `ENGINES`.
        address: Of a scheduler that runs already; without one, Dask and Ray start their own on this machine.
        workers: How many; None for one a core of the machine, or all that the scheduler has.

    Raises:
        UsageError: Unknown engine, an address that it has no use for or at which nobody answers, or a package that
            is not installed.
    """
    if engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise UsageError(f"There is no engine {engine!r}{did_you_mean(engine, ENGINES)}; there is {known}.")
    if engine == "local" and address is not None:
        raise UsageError(f"--engine local takes no --address, got {address!r}; did you mean --engine dask or ray?")
    return ENGINES[engine](address, workers)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _local(address: str | None, workers: int | None) -> Iterator[Crew]:
    """Processes of this machine, by joblib's loky; one worker needs no process beside this one."""
    size = workers or cores()
    threads = max(1, cores() // size)
    if size == 1:
        from mse_pipeline.extraction.supervisor import dismiss

        try:
            yield Crew(1, threads, None, _one_by_one)
        finally:
            dismiss()
        return
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    def work(tasks: Sequence[Task]) -> Generator[Result, None, None]:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield from _stream(joblib.Parallel(n_jobs=size, pre_dispatch=2 * size, **_STREAMED), tasks)

    try:
        yield Crew(size, threads, os.getpid(), work, (BrokenProcessPool,))
    finally:
        # Idle workers would keep their hosts, and these their models.
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


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
            asked = {"n_workers": workers or cores(), "threads_per_worker": 1, "dashboard_address": None}
            try:
                with _deaf_to_interrupts():
                    address = stack.enter_context(
                        LocalCluster(**asked, silence_logs=logging.CRITICAL)
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
            yield Crew(size, 1, None, work, (KilledWorker,))
        finally:
            with contextlib.suppress(Exception):  # of workers that have gone; hosts end by themselves when idle
                client.run(_dismiss)


def _one_by_one(tasks: Sequence[Task]) -> Generator[Result, None, None]:
    yield from map(run_task, tasks)


def _dismiss() -> None:
    from mse_pipeline.extraction.supervisor import dismiss

    dismiss()


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
        yield Crew(size, 1, None, work, (ray.exceptions.RayError,))
    finally:
        if own:
            ray.shutdown()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started within do not hear the terminal's Ctrl-C: this one ends them in order."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would hear interrupts again once it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _no_start(what: str, error: Exception) -> MseError:
    told = explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}".rstrip(".")
    return MseError(
        f"The {what} did not start on this machine ({told}). See the disk and memory that are free and `ulimit -a`; "
        "--engine local needs no cluster."
    )


def _no_answer(what: str, address: str, error: Exception) -> UsageError:
    return UsageError(f"No {what} answers at {address} ({error}). Start it first, or leave out --address for one here.")
