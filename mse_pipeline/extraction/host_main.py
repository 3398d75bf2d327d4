"""The program of a host: it loads the models once, and works on one clip after the other until it is let go or dies.

A broken file may make a codec crash, hang or eat all memory. That is why this process does nothing else: what it dies
of costs one clip, and `mse_pipeline.extraction.host.Host`, which started it, tells which.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from mse_pipeline.errors import MseError
from mse_pipeline.extraction.task import Task, Todo

IDLE_SECONDS = 60.0
"""A host that is given nothing for so long ends: an engine's workers may outlive the run that they worked for."""


def main(channel: int, lifeline: int) -> None:
    """Load the models that the first message asks for, then answer each clip with what was made of it.

    Args:
        channel: File descriptor of the socket to the supervisor.
        lifeline: File descriptor of a pipe whose other end only the supervisor holds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_supervisor(lifeline)
    _die_before_others()
    connection = Connection(channel)
    task = connection.recv()
    try:
        extractors = _load(task)
    except Exception as error:
        told = str(error) if isinstance(error, MseError) else f"{type(error).__name__}: {error}"
        connection.send(told)
        return
    connection.send("")
    from mse_pipeline.extraction.clip_run import ClipRun

    while connection.poll(IDLE_SECONDS):
        try:
            task, todo = _received(connection)
        except EOFError:
            return
        run = ClipRun(todo, task, connection.send)
        try:
            connection.send(run.make({stream: extractors[stream] for stream in todo.streams}))
        except MseError as error:
            connection.send(str(error))
        del run, todo
        _return_memory()


def _received(connection: Connection) -> tuple[Task, Todo]:
    task, todo = connection.recv()
    return task, todo


def _load(task: Task) -> dict[str, Any]:
    """The recipe's extractors with their models."""
    from mse_pipeline.extractors.registry import create

    extractors = {spec.stream: create(spec.stream, spec.options) for spec in task.specs}
    for extractor in extractors.values():
        extractor.load(task.device)
    if "torch" in sys.modules:  # its import takes seconds, which sound alone does not need
        sys.modules["torch"].set_num_threads(task.threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(task.threads)
    return extractors


def _end_with_supervisor(lifeline: int) -> None:
    """Have the kernel end this process when the supervisor has ended, however it ended and whatever is done here.

    A thread that watches could not run while a decoder holds the interpreter's lock; the signal of a pipe that is
    closed comes at once, and nobody handles it, which ends the process.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        sys.exit(1)  # it ended before


def _die_before_others() -> None:
    """Where memory ends, let the kernel take this process and not the supervisor or an engine's scheduler."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        return


def _return_memory() -> None:
    """Give freed memory back to the system, where the C library has a call for it: long clips leave large holes."""
    if _TRIM is not None:
        _TRIM(0)


_TRIM: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
