"""engine: tasks run on this machine's cores through joblib."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mse_pipeline.errors import MseError
from mse_pipeline.extraction.task import Outcome, Task, Todo

_CLIPS_PER_TASK = 16  # what a shard holds at most, and what a kill can cost


def run(todo: Sequence[Todo], task: Task, workers: int | None = None) -> Iterator[list[Outcome]]:
    """Process clips on worker processes, and give each task's outcomes as it ends.

    Args:
        todo: The clips.
        task: What all tasks have in common; each gets its own clips and its share of the cores.
        workers: Processes; None for one a core.

    Raises:
        MseError: A worker died, or another run has begun meanwhile.
    """
    if not todo:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(workers or cores, len(todo)))
    threads = max(1, cores // workers)
    # Large enough for a shard, small enough that all workers end together.
    size = max(1, min(_CLIPS_PER_TASK, len(todo) // (16 * workers)))
    parent = os.getpid() if workers > 1 else None
    tasks = [
        replace(task, todo=tuple(todo[place : place + size]), threads=threads, parent=parent)
        for place in range(0, len(todo), size)
    ]
    for outcomes in _results(tasks, workers):
        if not outcomes:
            raise MseError("Another extraction of this dataset has begun; this one ends here.")
        yield outcomes


def _results(tasks: Sequence[Task], workers: int) -> Iterator[list[Outcome]]:
    from mse_pipeline.extraction.worker import run_task

    if workers == 1:
        yield from map(run_task, tasks)
        return
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with joblib.parallel_config("loky", inner_max_num_threads=tasks[0].threads):
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch=2 * workers)
        try:
            yield from parallel(joblib.delayed(run_task)(task) for task in tasks)
        except TerminatedWorkerError as error:
            raise MseError(
                "A worker process died, as a broken codec or too little memory makes it. What was done is kept: "
                "run the same command again, with fewer --workers if memory was short."
            ) from error
        finally:
            # Idle workers would keep their models in memory, and loky restarts one that later grows.
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
