"""Hosts: the child processes that have the models and work on clips, and what their death or silence costs.

A broken file may make a codec crash, hang or eat all memory. What a host dies of costs one clip, or one of its streams.
Hosts outlive tasks: a process keeps those that are free, so that models are loaded once in a run.

A host computes on one core. Sums that threads share differ in their last digits with the number of threads, which would
be another one on each machine and for each number of workers.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mse_pipeline.child_process import Child, ChildLost, Supervised
from mse_pipeline.clip import DefectCode
from mse_pipeline.extraction.task import Step, Task, Todo
from mse_pipeline.store.journal import JournalRow

if TYPE_CHECKING:
    from mse_pipeline.extraction.clip_run import Made
    from mse_pipeline.extractors.base import Extractor

_DOING = {"find": "while it read", "decode": "while it decoded", "extract": "while it made"}

_free: dict[tuple[object, ...], list[Child]] = {}
_lock = threading.Lock()
_keepers = 0


class Host:
    """Has one clip after the other made, in a child process.

    A clip that takes longer than the task's `clip_timeout` is given up; one that its host dies of is tried once more.
    Whoever dies or hangs while one stream is made costs that stream; the clip's other streams are made without it.

    Args:
        task: What all clips have in common.
    """

    def __init__(self, task: Task) -> None:
        self._task = replace(task, todo=())
        self._supervised = Supervised(functools.partial(_take, self._task))
        self._supervised.start()

    def make(self, todo: Todo) -> Made:
        """The clip's rows, each with its features where they were made.

        Raises:
            MseError: The models cannot be loaded, no host can be started, the machine is at fault, not the clip (its
                disk is full, say), or the host was ended.
        """
        made: Made = []
        left = todo.streams
        while left:
            try:
                made += self._supervised.ask((self._task, replace(todo, streams=left)), self._task.clip_timeout)
                break
            except ChildLost as lost:
                step = lost.step or Step("find")
                stopped = (step.stream,) if step.stream is not None else left
                made += [(self._failure(todo, stream, step, lost), None) for stream in stopped]
                left = tuple(stream for stream in left if stream not in stopped)
        return made

    def _failure(self, todo: Todo, stream: str, step: Step, lost: ChildLost) -> JournalRow:
        what = stream if step.stream is not None else todo.clip.media
        code: DefectCode = "timeout" if lost.hung else "worker_died"
        if lost.hung:
            message = f"Given up {lost.how}, {_DOING[step.stage]} {what}. A longer --clip-timeout may be enough for it."
        else:
            message = f"Tried twice, the second time alone: {_DOING[step.stage]} {what}, the process {lost.how}"
        (spec,) = (spec for spec in self._task.specs if spec.stream == stream)
        told = {"status": "failed", "code": code, "stage": step.stage, "message": message}
        return spec.row(todo.clip, step.media, self._task.max_seconds, **told)

    def leave(self) -> None:
        """Keep the process for the next task."""
        child = self._supervised.release()
        if child is not None:
            with _lock:
                _free.setdefault(_settings(self._task), []).append(child)

    def end(self) -> None:
        """End the process, whatever it is doing; any thread may call this."""
        self._supervised.end()


@contextmanager
def kept_hosts() -> Iterator[None]:
    """Within it, hosts outlive runs: several small extractions in one process load their models once.

    A host that nobody needs for a minute ends all the same.
    """
    global _keepers  # noqa: PLW0603
    _keepers += 1
    try:
        yield
    finally:
        _keepers -= 1
        dismiss()


def start(task: Task, count: int) -> None:
    """Start hosts ahead of the work, which find their models loaded when it begins."""
    hosts = [Host(task) for _ in range(count)]
    for host in hosts:
        host.leave()


def dismiss(*, all_of_them: bool = False) -> None:
    """Let the hosts that this process keeps go.

    Args:
        all_of_them: Also those that are to outlive the run, as where the environment that they began in has changed.
    """
    with _lock:
        if _keepers and not all_of_them:
            return
        children = [child for some in _free.values() for child in some]
        _free.clear()
    for child in children:
        child.stop(patience=5.0)


def _take(task: Task) -> Child:
    """A process that is free and was started with the same settings, or a new one."""
    with _lock:
        children = _free.get(_settings(task), [])
        while children:
            child = children.pop()
            if child.alive:
                return child
            child.stop()
    return Child(functools.partial(_load, task))


def _settings(task: Task) -> tuple[object, ...]:
    return tuple(spec.version for spec in task.specs), task.device


def _load(task: Task) -> Callable[[tuple[Task, Todo], Callable[[Step], None]], Made]:
    """In the child: the models of the recipe's streams are loaded once, for all clips."""
    from mse_pipeline.extractors.registry import create

    extractors = {spec.stream: create(spec.stream, spec.options) for spec in task.specs}
    for extractor in extractors.values():
        extractor.load(task.device)
    if "torch" in sys.modules:  # its import takes seconds, which sound alone does not need
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    return functools.partial(_make, extractors)


def _make(extractors: Mapping[str, Extractor[Any]], item: tuple[Task, Todo], tell: Callable[[Step], None]) -> Made:
    from mse_pipeline.extraction.clip_run import ClipRun

    task, todo = item
    return ClipRun(todo, task, tell).make({stream: extractors[stream] for stream in todo.streams})
