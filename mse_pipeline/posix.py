"""posix: what some operating systems have and others have not; where it is missing, each function does without it.

Only this file may use modules and functions of single systems: `tests/test_architecture.py` checks it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int | None:
    """Most bytes of memory that this process has had at once; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status", encoding="ascii") as file:
        # Linux's ru_maxrss begins with what the process had that started this one.
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor_flags() -> frozenset[str]:
    """What the processor can do by Linux's names, as in ``avx512_bf16``; none where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def user() -> int | None:
    """Number of the user whose process this is; None where users have none."""
    return os.getuid() if hasattr(os, "getuid") else None


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started within do not hear the terminal's Ctrl-C: this one ends them in order."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would hear interrupts again once it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_starter() -> None:
    """Have Linux kill this process when the thread that started it has ended, whatever is done here meanwhile.

    A thread that watches the parent, which every system has, cannot run while a decoder holds the interpreter's lock.
    """
    if sys.platform == "linux":
        _call("prctl", _SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)


def die_before_others() -> None:
    """Where memory ends, let Linux take this process and not its parent or an engine's scheduler."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        return


def return_memory() -> None:
    """Give freed memory back to the system, where the C library has a call for it: long clips leave large holes."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library, where it has it."""
    try:
        function: Any = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return
    function(*arguments)
