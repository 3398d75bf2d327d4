"""Cells of a table -> values, the rows that are wrong gathered so that all are told at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mse_pipeline.clip import Label, Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression, Task

_SPLITS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "dev": Split.VALID,
    "val": Split.VALID,
    "valid": Split.VALID,
    "validation": Split.VALID,
    "test": Split.TEST,
    "testing": Split.TEST,
}
_MAX_CLASSES = 200


@dataclass
class Complaints:
    """What is wrong with a table: sentence -> the rows that it is about."""

    source: str
    found: dict[str, list[int]] = field(default_factory=dict)

    def add(self, what: str, row: int) -> None:
        """Note a row."""
        self.found.setdefault(what, []).append(row)

    def settle(self) -> None:
        """Tell all that was noted.

        Raises:
            UsageError: Something was.
        """
        if not self.found:
            return
        if len(self.found) == 1:
            ((what, rows),) = self.found.items()
            where = f"{'row' if len(rows) == 1 else 'rows'} {enumerate_some(rows)}"
            raise UsageError(f"Table {self.source} has an error, its header being row 1: {what} ({where}).")
        lines = [
            f"  {what} ({'row' if len(rows) == 1 else 'rows'} {enumerate_some(rows)})"
            for what, rows in list(self.found.items())[:20]
        ]
        more = [f"  and {len(self.found) - 20:,} more kinds of errors"] if len(self.found) > 20 else []
        raise UsageError("\n".join([f"Table {self.source} has errors; its header is row 1:", *lines, *more]))


def split_of(value: str, own: Mapping[str, Split]) -> Split | None:
    """The split that a cell names.

    Args:
        value: The cell.
        own: The user's names, which come first.

    Examples:
        >>> split_of("Dev", {}), split_of("fold0", {"fold0": Split.TEST})
        (<Split.VALID: 'valid'>, <Split.TEST: 'test'>)
    """
    name = value.strip()
    return own.get(name) or _SPLITS.get(name.lower())


def number_of(value: str) -> float | None:
    """A finite number, or None.

    Examples:
        >>> number_of(" 1.5 "), number_of("joy"), number_of("nan")
        (1.5, None, None)
    """
    try:
        number = float(value)
    except ValueError:
        return None
    # float() also reads 1_000 and other scripts' digits, which nobody means in a table.
    return number if math.isfinite(number) and value.isascii() and "_" not in value else None


def infer_task(labels: Sequence[str], column: str) -> tuple[Task, str]:
    """What the labels of a table are, where the recipe does not tell.

    Numbers are a regression on the range from the least to the greatest, rounded outward to whole numbers; texts are
    classes in alphabetical order.

    Returns:
        The task, and a sentence that tells the choice.

    Raises:
        UsageError: There are no labels, or too many different ones to be classes.

    Examples:
        >>> infer_task(["joy", "anger", "joy"], "label")[0]
        Classification(classes=('anger', 'joy'))
        >>> infer_task(["-2.4", "1"], "label")[0]
        Regression(low=-3.0, high=1.0)
    """
    given = [label for label in labels if label]
    distinct = sorted(set(given))
    if not given:
        raise UsageError(f"Column {column} has no label at all; name the column of the labels with columns.label.")
    numbers = [number_of(label) for label in distinct]
    if all(number is not None for number in numbers):
        values = [number for number in numbers if number is not None]
        low, high = float(math.floor(min(values))), float(math.ceil(max(values)))
        range_ = Regression(low, high if high > low else low + 1)
        tail = "write task into the recipe for another range, or for classes."
        return range_, f"The labels are numbers: a regression from {range_.low:g} to {range_.high:g}; {tail}"
    if len(distinct) > _MAX_CLASSES:
        raise UsageError(
            f"Column {column} holds {len(distinct):,} different texts, too many for classes, as in {distinct[0]!r}. "
            "Name the column of the labels with columns.label, or write task into the recipe."
        )
    if len(distinct) == 1:
        raise UsageError(f"Column {column} holds one class only, {distinct[0]!r}; there is nothing to tell apart.")
    return Classification(tuple(distinct)), (
        f"The labels are texts: {len(distinct)} classes in alphabetical order, {', '.join(distinct)}; "
        "write task into the recipe for another order."
    )


def label_of(value: str, task: Task) -> Label | None:
    """The label in a cell, or None if it is none of the task's.

    Examples:
        >>> label_of("joy", Classification(("joy", "anger"))), label_of("4", Regression(-3, 3))
        ('joy', None)
    """
    if isinstance(task, Classification):
        return value if value in task.classes else None
    number = number_of(value)
    return number if number is not None and task.low <= number <= task.high else None
