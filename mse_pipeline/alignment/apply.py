"""Which alignments there are, and how a recipe's choice is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mse_pipeline.store.features import Features


def aligner(alignment: Mapping[str, Any]) -> Callable[[Features], Features]:
    """The function that puts Features on the clock that a recipe asks for.

    Args:
        alignment: ``{"kind": "none"}`` (own clock, true length) or ``{"kind": "grid", "step": seconds}``.

    Raises:
        ValueError: There is no such alignment.

    Examples:
        >>> aligner({"kind": "none"})(f := Features([[1.0]], [[0, 1]], [True], ["a"])) is f
        True
    """
    match alignment:
        case {"kind": "none"}:
            return lambda features: features
        case {"kind": "grid", "step": step}:
            from mse_pipeline.alignment.grid import to_grid

            return lambda features: to_grid(features, float(step))
        case _:
            raise ValueError(f"There is no alignment {dict(alignment)!r}; there are none and grid.")
