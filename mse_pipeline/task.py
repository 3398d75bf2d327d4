"""What is to be predicted: one of several classes, or a number in a range."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Classification:
    """One of several classes; a class's index is its place in `classes`.

    Examples:
        >>> Classification(("neutral", "joy")).index("joy")
        1
    """

    classes: tuple[str, ...]

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
    """A number between `low` and `high`, both included."""

    low: float
    high: float


Task = Classification | Regression
