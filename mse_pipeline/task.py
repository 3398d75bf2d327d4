"""What is to be predicted: one of several classes, or a number in a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Classification:
    """One of several classes; a class's index is its place in `classes`.

    Attributes:
        classes: Their names.
        metrics: Family of the reported metrics, see `mse_pipeline.metrics`; empty for those usual for the dataset.

    Examples:
        >>> Classification(("neutral", "joy")).index("joy")
        1
    """

    classes: tuple[str, ...]
    metrics: str = field(default="", kw_only=True, repr=False)

    def index(self, label: object) -> int:
        """Index of a label.

        Raises:
            ValueError: The label is not one of the classes.
        """
        try:
            return self.classes.index(str(label))
        except ValueError:
            raise ValueError(f"Label {label!r} is none of the classes {', '.join(self.classes)}.") from None


@dataclass(frozen=True)
class Regression:
    """A number between `low` and `high`, both included; `metrics` as in `Classification`."""

    low: float
    high: float
    metrics: str = field(default="", kw_only=True, repr=False)


Task = Classification | Regression


def to_plain(task: Task) -> dict[str, Any]:
    """A task as plain JSON values.

    Examples:
        >>> from_plain(to_plain(Regression(-1.0, 1.0)))
        Regression(low=-1.0, high=1.0)
    """
    chosen = {"metrics": task.metrics} if task.metrics else {}
    if isinstance(task, Classification):
        return {"kind": "classification", "classes": list(task.classes), **chosen}
    return {"kind": "regression", "low": task.low, "high": task.high, **chosen}


def from_plain(value: Mapping[str, Any]) -> Task:
    """The task that `to_plain` wrote.

    Raises:
        KeyError, TypeError, ValueError: It wrote something else.
    """
    chosen = str(value.get("metrics") or "")
    if value["kind"] == "classification":
        return Classification(tuple(map(str, value["classes"])), metrics=chosen)
    return Regression(float(value["low"]), float(value["high"]), metrics=chosen)


def describe(task: Task) -> str:
    """A task in a few words.

    Examples:
        >>> describe(Classification(("joy", "anger"))), describe(Regression(-3, 3))
        ('the classes joy, anger', 'numbers from -3 to 3')
    """
    if isinstance(task, Classification):
        return f"the classes {', '.join(task.classes)}"
    return f"numbers from {task.low:g} to {task.high:g}"
