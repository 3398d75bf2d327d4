"""What a worker does: a task's clips one after the other, and one commit for all of them."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time

from mse_pipeline.extraction.clip_run import ClipRun
from mse_pipeline.extraction.task import Outcome, StreamSpec, Task
from mse_pipeline.extractors.base import Extractor
from mse_pipeline.extractors.registry import create
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.dataset import Dataset

_LOADED: dict[tuple[tuple[str, ...], str], dict[str, Extractor]] = {}


def run_task(task: Task) -> list[Outcome]:
    """Process a task's clips and commit them; an empty list means that another run has begun meanwhile."""
    if task.parent is not None:
        _leave_with(task.parent)
    extractors = _extractors(task.specs, task.device)
    if "torch" in sys.modules:  # its import takes seconds, which sound alone does not need
        sys.modules["torch"].set_num_threads(task.threads)
    commit = Commit(Dataset(task.dataset), task.run, guarded=True)
    outcomes = []
    for todo in task.todo:
        made = ClipRun(todo, task).make({stream: extractors[stream] for stream in todo.streams})
        for row, features in made:
            commit.add(row, features)
        outcomes.append(Outcome(todo.clip.id, tuple(row for row, _ in made)))
    return outcomes if commit.write() else []


def _extractors(specs: tuple[StreamSpec, ...], device: str) -> dict[str, Extractor]:
    """The recipe's extractors; their models are loaded once in a worker's life."""
    key = (tuple(spec.version for spec in specs), device)
    if key not in _LOADED:
        made = {spec.stream: create(spec.stream, spec.options) for spec in specs}
        for extractor in made.values():
            extractor.load(device)
        _LOADED[key] = made
    return _LOADED[key]


@functools.cache
def _leave_with(parent: int) -> None:
    """End this process soon after `parent` has ended, however it ended: joblib's workers would stay for good."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="leave-with-parent").start()
