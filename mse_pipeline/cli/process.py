"""The process of a command: a signal ends it with nothing lost, and of many that torchrun has started one speaks."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mse_pipeline.training.processes import first_to_fail, launched, leave

SENTENCE = "stopped; what was done is kept, and the same command goes on from there."
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """A signal asked for the end. No library takes it for an error of its own, as some do with KeyboardInterrupt.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it, the first signal that asks for an end raises `Stopped`, and the second ends at once.

    Below nohup the end of the terminal stays ignored. An interrupt does not: a shell has the jobs in its background
    ignore it, but whoever sends one to them means it.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        raise Stopped(number)

    before: dict[int, Any] = {}
    for number in _SIGNALS if threading.current_thread() is threading.main_thread() else ():
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        if not asked:  # else what is still to be put away may not be broken off by the signal's own way
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let the main process alone print; when something fails, let the process speak that failed first.

    The others fail as a consequence, with errors that say nothing of the cause, and end without a word.
    """
    if not launched():
        yield
        return
    voices = sys.stdout, sys.stderr
    if os.environ.get("RANK") != "0":
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the process's end
    try:
        yield
    except SystemExit:  # of a wrong command line, which is wrong in all of them
        raise
    except BaseException:
        if not first_to_fail():
            sys.exit(1)
        sys.stdout, sys.stderr = voices
        raise
    leave()
