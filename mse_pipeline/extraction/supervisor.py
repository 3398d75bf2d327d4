"""Supervisor: has clips made by a host, and turns its death or silence into a row of the journal.

Hosts outlive tasks: a worker process keeps those that are free, so that models are loaded once in its life.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mse_pipeline.clip import DefectCode
from mse_pipeline.errors import MseError
from mse_pipeline.extraction.host import Host, HostLost
from mse_pipeline.extraction.task import Step, Task, Todo
from mse_pipeline.store.journal import Row

if TYPE_CHECKING:
    from mse_pipeline.extraction.clip_run import Made

_START_ATTEMPTS = 3
_DOING = {"find": "while it read", "decode": "while it decoded", "extract": "while it made"}

_free: dict[tuple[object, ...], list[Host]] = {}
_lock = threading.Lock()
_keepers = 0


class Supervisor:
    """Has one clip after the other made.

    A clip that takes longer than the task's `clip_timeout` is given up. One that its host dies of is tried once more,
    alone in a fresh host: where memory was short because of others, or a kill was meant for another, it passes.
    Whoever dies or hangs while one stream is made costs that stream; the clip's other streams are made without it.

    Args:
        task: What all clips have in common.
    """

    def __init__(self, task: Task) -> None:
        self._task = replace(task, todo=())
        self._host: Host | None = _take(task) or Host(task)

    def make(self, todo: Todo) -> Made:
        """The clip's rows, each with its features where they were made.

        Raises:
            MseError: The models cannot be loaded, or no host can be started.
        """
        made: Made = []
        left = todo.streams
        while left:
            found, lost = self._attempt(replace(todo, streams=left))
            if lost is None:
                return made + found
            step = lost.step or Step("find")
            stopped = (step.stream,) if step.stream is not None else left
            made += [(self._failure(todo, stream, step, lost), None) for stream in stopped]
            left = tuple(stream for stream in left if stream not in stopped)
        return made

    def _attempt(self, todo: Todo) -> tuple[Made, HostLost | None]:
        """What a host makes of a clip, or how the last one was lost."""
        deaths = unbegun = 0
        while True:
            host = self._host if self._host is not None else Host(self._task)
            self._host = None
            try:
                made = host.make(todo, self._task)
            except HostLost as lost:
                if lost.step is None:
                    # It had left for want of work, or was ended by someone; the clip has no part in it.
                    unbegun += 1
                    if unbegun == _START_ATTEMPTS:
                        raise MseError(f"The process that works on clips {lost.how}") from lost
                    continue
                deaths += 1
                if lost.hung or deaths == 2:
                    return [], lost
                continue
            self._host = host
            return made, None

    def _failure(self, todo: Todo, stream: str, step: Step, lost: HostLost) -> Row:
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
        """Keep the host for the next task."""
        if self._host is not None:
            with _lock:
                _free.setdefault(_settings(self._task), []).append(self._host)
            self._host = None


@contextmanager
def supervisor(task: Task) -> Iterator[Supervisor]:
    """A supervisor for a task, whose host is kept for the next one, or stopped if the work is broken off."""
    one = Supervisor(task)
    try:
        yield one
    except BaseException:
        if one._host is not None:
            one._host.stop()
        raise
    one.leave()


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


def dismiss(*, all_of_them: bool = False) -> None:
    """Let the hosts that this process keeps go.

    Args:
        all_of_them: Also those that are to outlive the run, as where the environment that they began in has changed.
    """
    with _lock:
        if _keepers and not all_of_them:
            return
        hosts = [host for some in _free.values() for host in some]
        _free.clear()
    for host in hosts:
        host.stop(patience=5.0)


def _take(task: Task) -> Host | None:
    """A host that is free and was started with the same settings."""
    with _lock:
        hosts = _free.get(_settings(task), [])
        while hosts:
            host = hosts.pop()
            if host.alive:
                return host
            host.stop()
    return None


def _settings(task: Task) -> tuple[object, ...]:
    return tuple(spec.version for spec in task.specs), task.device, task.threads
