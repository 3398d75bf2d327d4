"""Ratio: two ways of doing the same, timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both ways, and how well their results agree."""

    what: str
    straightforward: float
    ours: float
    agreement: str

    @property
    def faster(self) -> float:
        return self.straightforward / self.ours

    def cells(self) -> list[str]:
        return [self.what, f"{self.straightforward:.3f} s", f"{self.ours:.3f} s", f"{self.faster:.1f}", self.agreement]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "faster": self.faster}


def in_turn(one: Callable[[], Any], other: Callable[[], Any], rounds: int = 3) -> tuple[float, float, Any, Any]:
    """Median seconds of both, after a warm-up of each, and their last results. In turn, so that drift hits both."""
    one(), other()
    seconds: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    for _ in range(rounds):
        for place, call in enumerate((one, other)):
            begun = time.perf_counter()
            results[place] = call()
            seconds[place].append(time.perf_counter() - begun)
    return statistics.median(seconds[0]), statistics.median(seconds[1]), *results
