"""Hosts: the child processes that hold the models and extract clips.

A broken file may make a codec crash, hang or use all memory. Then the host ends, and one clip, or one of its streams,
is lost. Hosts are kept from task to task, so that the models are loaded once in a run.

A host computes with one thread. The last digits of a sum depend on the number of threads that share it, so with more
threads the features would depend on the machine and on the number of workers.
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
from mse_pipeline.extraction.plan import Step, Task, Todo
from mse_pipeline.store.journal import JournalRow

if TYPE_CHECKING:
    from mse_pipeline.extraction.clip_run import Made
    from mse_pipeline.extractors.base import Extractor

_DOING = {"find": "while it read", "decode": "while it decoded", "extract": "while it made"}

_free: dict[tuple[object, ...], list[Child]] = {}
_lock = threading.Lock()
_keepers = 0


class Host:
    """Extracts clips one after the other in a child process.

    A clip that takes longer than the task's `clip_timeout` is stopped. If the process dies, the clip is tried again
    once. If it dies or hangs at one stream, only that stream is lost; the clip's others are still extracted.

    Args:
        task: What all clips have in common.
    """

    def __init__(self, task: Task) -> None:
        self._task = replace(task, todo=())
        self._supervised = Supervised(functools.partial(_take, self._task))
        self._supervised.start()

    def make(self, todo: Todo) -> Made:
        """The clip's journal rows, each with its features if they were extracted.

        Raises:
            MseError: The models cannot be loaded, no process can be started, the machine has an error (a full disk, for
                example), or the host was ended.
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
        subject = stream if step.stream is not None else todo.clip.media
        code: DefectCode = "timeout" if lost.hung else "worker_died"
        if lost.hung:
            message = f"Stopped {lost.how}, {_DOING[step.stage]} {subject}. A longer --clip-timeout may be enough."
        else:
            message = f"Tried twice, the second time alone: {_DOING[step.stage]} {subject}, the process {lost.how}"
        (spec,) = (spec for spec in self._task.specs if spec.stream == stream)
        outcome = {"status": "failed", "code": code, "stage": step.stage, "message": message}
        return spec.row(todo.clip, step.media, self._task.max_seconds, **outcome)

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
    """A context in which hosts are kept from run to run, so that several small extractions load their models once.

    A host that has nothing to do for a minute still ends.
    """
    global _keepers  # noqa: PLW0603
    _keepers += 1
    try:
        yield
    finally:
        _keepers -= 1
        dismiss()


def start(task: Task, count: int) -> None:
    """Start hosts before the work begins, so that their models are loaded by then."""
    hosts = [Host(task) for _ in range(count)]
    for host in hosts:
        host.leave()


def dismiss(*, all_of_them: bool = False) -> None:
    """End the hosts that this process keeps.

    Args:
        all_of_them: Also those of `kept_hosts`, for example because the environment has changed since their start.
    """
    with _lock:
        if _keepers and not all_of_them:
            return
        children = [child for hosts in _free.values() for child in hosts]
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
