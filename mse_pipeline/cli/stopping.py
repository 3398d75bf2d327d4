"""Stopping: a signal that asks a command to end lets it put away what it holds, and say that it can go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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
