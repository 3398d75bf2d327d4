"""What a worker does: it has a task's clips made one after the other, and commits them.

A worker is light. The code that touches files and models runs in its host, a process of its own, so that no file can
end a worker, which an engine would take for the end of the pool or blame on the task.
"""

from __future__ import annotations

import functools
import os
import threading
import time

from mse_pipeline import __version__
from mse_pipeline.errors import MseError, explain, goes_on
from mse_pipeline.extraction.supervisor import Supervisor, supervisor
from mse_pipeline.extraction.task import Outcome, Result, Task

_SHARD_BYTES = 64 << 20  # no more than this is held before it is written


def run_task(task: Task) -> Result:
    """Have a task's clips made and commit them."""
    if task.made_by != __version__:
        problem = (
            f"A worker has mse-pipeline {__version__}, but the command has {task.made_by}. "
            "Install the same version where the workers run."
        )
        return Result(task.number, problem=problem)
    if task.parent is not None:
        _leave_with(task.parent)
    try:
        with supervisor(task) as one:
            return _make(task, one)
    except MseError as error:
        return Result(task.number, problem=str(error))
    except OSError as error:
        return Result(task.number, problem=goes_on(explain(error, task.dataset)))


def _make(task: Task, one: Supervisor) -> Result:
    from mse_pipeline.store.commit import Commit  # while the host loads its models
    from mse_pipeline.store.dataset import Dataset

    dataset = Dataset(task.dataset)
    commit = Commit(dataset, task.run, guarded=True)
    outcomes = []
    held = 0
    for todo in task.todo:
        try:
            made = one.make(todo)
        except MseError:
            commit.write()  # what was made before is not lost
            raise
        for row, features in made:
            commit.add(row, features)
            held += 0 if features is None else features.values.nbytes + features.intervals.nbytes
        outcomes.append(Outcome(todo.clip.id, tuple(row for row, _ in made)))
        last = todo is task.todo[-1]
        if last or held > _SHARD_BYTES:
            if not commit.write():
                raise MseError("Another extraction of this dataset has begun; this one ends here.")
            commit, held = Commit(dataset, task.run, guarded=True), 0
    return Result(task.number, tuple(outcomes))


@functools.cache
def _leave_with(parent: int) -> None:
    """End this process soon after `parent` has ended, however it ended: joblib's workers would stay for good."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="leave-with-parent").start()
