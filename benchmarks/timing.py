"""Ratio: two ways of doing the same, timed in turn; and what a process and all that it starts spend."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both ways, and how well their results agree.

    Attributes:
        what: What was done.
        straightforward: Seconds of the way that it is compared with.
        ours: Seconds of ours.
        agreement: How well the results agree, or what else is to be told, in words.
        details: The same as figures.
    """

    what: str
    straightforward: float
    ours: float
    agreement: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def faster(self) -> float:
        return self.straightforward / self.ours

    def cells(self) -> list[str]:
        return [self.what, f"{self.straightforward:.3f} s", f"{self.ours:.3f} s", f"{self.faster:.2f}", self.agreement]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "faster": self.faster}


def in_turn(
    one: Callable[[], Any],
    other: Callable[[], Any],
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = True,
) -> tuple[float, float, Any, Any]:
    """Median seconds of both, and their last results. In turn, so that drift hits both.

    Args:
        one: A way.
        other: The other way.
        rounds: How often each is timed.
        clock: Seconds on it are counted; `time.process_time` counts the processor's, which a busy machine alters less.
        warm: Whether each is called once before.
    """
    if warm:
        one(), other()
    seconds: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    for _ in range(rounds):
        for place, call in enumerate((one, other)):
            begun = clock()
            results[place] = call()
            seconds[place].append(clock() - begun)
    return statistics.median(seconds[0]), statistics.median(seconds[1]), *results


@dataclass(frozen=True)
class Spent:
    """What a process and all that it started spent.

    Attributes:
        cpu: CPU seconds.
        seconds: From start to end.
        peak: Bytes of memory of the largest of them; no less than this process held when it started it.
        printed: What it printed.
    """

    cpu: float
    seconds: float
    peak: int
    printed: str = ""


def spent(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Spent:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        printed = process.stdout.read() if process.stdout is not None else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    return Spent(used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss * 1024, printed)


def machine() -> dict[str, str]:
    """What the figures were taken on, and how busy it was with other work."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "load": f"{psutil.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    }
