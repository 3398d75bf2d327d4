"""The commands: parse, call, print. Heavy things are imported inside the commands.

The process of a command ends in order on a signal, and of several that torchrun started, only one prints.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def main() -> None:
    """Run `mse`: errors that a user may meet become one sentence and an exit code, see `mse_pipeline.errors`.

    Of several processes that torchrun or its like have started, one speaks: the main one, or the first to fail.
    """
    from mse_pipeline.cli.output import complain, settings

    try:
        from mse_pipeline.cli.app import app

        with stoppable(), one_voice():
            app(prog_name="mse")
    except Stopped as stop:
        complain(SENTENCE)
        sys.exit(stop.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as `mse report | head` does: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        words = None if settings.debug else _in_words(error)
        if words is None:
            raise
        sentence, exit_code = words
        complain(sentence)
        sys.exit(exit_code)


def _in_words(error: Exception) -> tuple[str, int] | None:
    """What to say of an error, and the exit code; None for a fault of this package, whose traceback is wanted."""
    from mse_pipeline.doctor import LIBRARIES
    from mse_pipeline.errors import MseError, explain, failed_import

    failed = failed_import(error)
    # Errors of our own about packages that are not always installed say themselves what to install.
    if failed is not None and (failed[0] in LIBRARIES or not isinstance(error, MseError)):
        name, why = failed
        doctor = "Run mse doctor: it tells what does not fit, and prints the line that mends it."
        return f"{name}, a library that mse stands on, cannot be imported ({why}). {doctor}", 1
    if isinstance(error, MseError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        return explain(error), 1
    return None


SENTENCE = "stopped. The results so far are kept; the same command continues from there."
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """A signal asked the process to end. Libraries do not catch it, as some catch KeyboardInterrupt.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """A context in which the first signal to end raises `Stopped`, and the second ends the process at once.

    Under nohup, SIGHUP stays ignored. SIGINT does not: a shell starts background jobs so that they ignore it, but who
    sends it to them on purpose wants them to end.
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
        if not asked:  # otherwise the signal's default could interrupt the cleaning up that follows
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def one_voice() -> Iterator[None]:
    """Only the main process prints; after a failure, only the process that failed first.

    The others fail as a consequence, with errors that do not name the cause, and print nothing.
    """
    from mse_pipeline.training.processes import first_to_fail, launched, leave

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
