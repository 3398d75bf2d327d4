"""Ratio: two ways of doing the same, timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


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
