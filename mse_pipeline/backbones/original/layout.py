"""Layout: what an original checkpoint calls its sizes and weights, and what transformers calls them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError

LARGEST = {"layers": 1_000, "width": 262_144, "vocabulary": 4_194_304, "length": 16_777_216, "heads": 4_096}
"""Far beyond any model of these families; a configuration that asks for more is damaged or hostile."""

Plan = Mapping[str, tuple[str, ...]]
"""Name in the checkpoint -> names in transformers of the parameters that are stacked in it by rows, in this order."""


@dataclass(frozen=True)
class CheckpointLayout:
    """One family of original checkpoints.

    Attributes:
        model_type: As its config.json says.
        title: The family, for sentences.
        family: Model type that transformers has instead.
        model_class: Its class, that the weights go into.
        tokenizer_file: Name of the file that its tokenizer is made of.
        configure: The original configuration -> that of the class; raises UsageError for what the class cannot do.
        plan: Configuration of the class -> where each tensor goes.
        skipped: Ends of names that hold nothing but constants.
        tokenizer: Folder -> fast tokenizer.
    """

    model_type: str
    title: str
    family: str
    model_class: str
    tokenizer_file: str
    configure: Callable[[ConfigSection], Any]
    plan: Callable[[Any], Plan]
    skipped: tuple[str, ...]
    tokenizer: Callable[[Path], Any]


class ConfigSection:
    """A configuration from a stranger: each value is checked as it is read.

    Args:
        path: The file, for sentences.
        values: What it holds.
    """

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values

    def whole(self, key: str, kind: str, default: int | None = None) -> int:
        """A whole number from 1 to the largest of its kind.

        Raises:
            UsageError: It is absent, or none.
        """
        value = self._values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST[kind]:
            raise UsageError(
                f"{self.path} says {key} = {value!r}, which should be a whole number from 1 to {LARGEST[kind]}: "
                "download it again."
            )
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number above zero.

        Raises:
            UsageError: It is absent, or none.
        """
        value = self._values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
            raise UsageError(
                f"{self.path} says {key} = {value!r}, which should be a number above 0: download it again."
            )
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Yes or no; what is absent is the default."""
        return bool(self._values.get(key, default))

    def require(self, why: str, **expected: Any) -> None:
        """Refuse a variant of the family that transformers' class does not compute.

        Args:
            why: Ends the sentence: what this variant would need.
            expected: The value that each key must have, where it is there at all.

        Raises:
            UsageError: A key says otherwise.
        """
        for key, value in expected.items():
            found = self._values.get(key)
            if found is not None and found != value:
                raise UsageError(f"{self.path} says {key} = {found!r}, and mse reads {value!r} only: {why}.")


def last_merge(parts: list[Any], cost: Mapping[Any, float]) -> tuple[Any, Any] | None:
    """The two parts that byte-pair encoding (Sennrich et al. 2016) joins last to make a token of its letters.

    Args:
        parts: The letters; consumed.
        cost: Of each token; the cheapest pair is joined first.

    Examples:
        >>> last_merge(["a", "b", "c"], {"ab": 1, "bc": 0, "abc": 2})
        ('a', 'bc')
    """
    while len(parts) > 2:
        joint = [cost.get(left + right) for left, right in itertools.pairwise(parts)]
        known = [value for value in joint if value is not None]
        if not known:
            return None
        at = joint.index(min(known))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None
