"""Cells of a table -> values and the task. All rows that are wrong are collected and reported in one error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mse_pipeline.cells import is_like_a_number, is_missing, is_unsaid, number_of
from mse_pipeline.clip import Label, Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.text import REPLACED
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
SAID = ("text", "speaker")
"""Columns of what people say and are called: of these a missing value is one as programs write it, no other."""

_MAX_CLASSES = 200
_MAX_CODES = 12  # so few different whole numbers may well be numbers of classes


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
            ((problem, rows),) = self.found.items()
            where = f"{'row' if len(rows) == 1 else 'rows'} {enumerate_some(rows)}"
            raise UsageError(f"Table {self.source} has an error, its header being row 1: {problem} ({where}).")
        lines = [
            f"  {problem} ({'row' if len(rows) == 1 else 'rows'} {enumerate_some(rows)})"
            for problem, rows in list(self.found.items())[:20]
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


Kind = Literal["numbers", "texts", "mixed"]


def kind_of(values: Iterable[str], delimiter: str = ",") -> Kind:
    """What the cells of a column are: numbers or texts, where at most half as many are of the other kind, else mixed.

    A few of the other kind are slips, as a 0.5 among words or a "?" among numbers. Missing values do not count.

    Args:
        values: The cells.
        delimiter: Of the table, see `mse_pipeline.cells.number_of`.

    Examples:
        >>> kind_of(["joy", "anger", "0.5"]), kind_of(["1", "2.5", "", "?"]), kind_of(["1", "joy"])
        ('texts', 'numbers', 'mixed')
    """
    sound = [value for value in values if is_sound(value)]
    numbers = sum(number_of(value, delimiter) is not None for value in sound)
    texts = len(sound) - numbers
    if 2 * min(numbers, texts) > max(numbers, texts):
        return "mixed"
    return "numbers" if numbers > texts else "texts"


def is_sound(cell: str) -> bool:
    """Whether a cell holds a value, and no byte of it is damaged."""
    return not is_missing(cell) and REPLACED not in cell


def infer_task(labels: Sequence[str], column: str, delimiter: str = ",") -> tuple[Task, str]:
    """What the labels of a table are, where the recipe does not tell.

    Numbers are a regression on the range from the least to the greatest, rounded outward to whole numbers; texts are
    classes in alphabetical order. Slips, see `kind_of`, are neither: they are told, and the clips get no label.

    Args:
        labels: The cells.
        column: Their column's name, for what is told.
        delimiter: Of the table, see `mse_pipeline.cells.number_of`.

    Returns:
        The task, and sentences that tell the choice.

    Raises:
        UsageError: There are no labels, they are of both kinds, read like numbers of another notation, or are too many
            different ones to be classes.

    Examples:
        >>> infer_task(["joy", "anger", "joy", "nan"], "label")[0]
        Classification(classes=('anger', 'joy'))
        >>> infer_task(["-2.4", "1", "NA"], "label")[0]
        Regression(low=-3.0, high=1.0)
    """
    sound = [label.strip() for label in labels if is_sound(label)]
    if not sound:
        raise UsageError(f"Column {column} has no label at all; name the column of the labels with columns.label.")
    numbers = {label: number for label in sound if (number := number_of(label, delimiter)) is not None}
    alike = [label for label in sound if label not in numbers and is_like_a_number(label)]
    count = sum(label in numbers for label in sound)
    if 2 * len(alike) > count and 2 * (len(alike) + count) > len(sound):
        raise UsageError(
            f"Column {column} holds {alike[0]!r}, which reads like a number with a decimal comma or with thousands "
            "parted. Write numbers with a decimal point and nothing else, as in 1234.5, or part the cells with "
            "semicolons, where a comma is a decimal sign."
        )
    kind = kind_of(sound, delimiter)
    texts = sorted({label for label in sound if label not in numbers})
    if kind == "mixed":
        raise UsageError(
            f"Column {column} holds numbers, as {next(iter(numbers))!r}, and words, as {texts[0]!r}, and many of both. "
            "Write task into the recipe with the classes or the range, or name another column with columns.label."
        )
    if kind == "numbers":
        return _range(sorted(set(numbers.values())), sound, texts)
    return _classes(texts, sound, list(numbers), column)


def told_missing(columns: Mapping[str, Sequence[str]], classes: Sequence[str] = ()) -> list[str]:
    """Which words of cells were taken for missing values, so that nobody's None is lost without a word.

    Args:
        columns: Name -> cells.
        classes: Of the task, which are no missing values whatever they are called.

    Examples:
        >>> told_missing({"label": ["1", "nan", "nan", ""], "text": ["None", "none"]})
        ["Read as absent values: 'nan' in column label (2 cells), 'None' in column text (1 cell). ..."]
    """
    notes = []
    for name, cells in columns.items():
        absent = is_unsaid if name in SAID else is_missing
        words = Counter(cell.strip() for cell in cells if absent(cell))
        kept = {"", *(classes if name == "label" else ())}
        notes += [
            f"{word!r} in column {name} ({count:,} cell{'s' * (count > 1)})"
            for word, count in words.items()
            if word not in kept
        ]
    if not notes:
        return []
    tail = "A class of such a name is kept where the recipe's task names it; a text where it ends with a full stop."
    return [f"Read as absent values: {enumerate_some(notes)}. {tail}"]


def _range(values: Sequence[float], given: Sequence[str], strays: Sequence[str]) -> tuple[Task, str]:
    low, high = float(math.floor(values[0])), float(math.ceil(values[-1]))
    range_ = Regression(low, high if high > low else low + 1)
    description = f"a regression from {range_.low:g} to {range_.high:g}"
    if len(values) <= _MAX_CODES and all(value.is_integer() for value in values):
        codes = ", ".join(f"{value:g}" for value in values)
        quoted = ", ".join(f'"{value:g}"' for value in values)
        note = (
            f"The labels are whole numbers ({codes}): they are taken as {description}. If they stand for classes, "
            f"write task: {{kind: classification, classes: [{quoted}]}} into the recipe; write task "
            "for another range, too."
        )
    else:
        note = f"The labels are numbers: {description}; write task into the recipe for another range, or for classes."
    return range_, note + _told_strays(strays, given, "are not numbers")


def _classes(
    classes: Sequence[str], given: Sequence[str], strays: Sequence[str], column: str
) -> tuple[Classification, str]:
    if len(classes) > _MAX_CLASSES:
        raise UsageError(
            f"Column {column} holds {len(classes):,} different texts, too many for classes, as in {classes[0]!r}. "
            "Name the column of the labels with columns.label, or write task into the recipe."
        )
    if len(classes) == 1:
        raise UsageError(
            f"Column {column} holds one class only, {classes[0]!r}; there is nothing to tell apart. Cells that are "
            "empty, or hold nan, NA, None or the like, are no class unless the recipe's task names it."
        )
    return Classification(tuple(classes)), (
        f"The labels are texts: {len(classes)} classes in alphabetical order, {', '.join(classes)}; "
        "write task into the recipe for another order." + _told_strays(strays, given, "are numbers among words")
    )


def _told_strays(strays: Sequence[str], given: Sequence[str], what: str) -> str:
    if not strays:
        return ""
    count = sum(label in set(strays) for label in given)
    return f" {count:,} labels {what}, as {strays[0]!r}: their clips have no label."


def label_of(value: str, task: Task, delimiter: str = ",") -> Label | None:
    """The label in a cell, or None if it is none of the task's.

    Of classes that are whole numbers the cell may be written as another number of the same value: pandas makes 1.0 of
    1 where a column has absent values.

    Examples:
        >>> label_of("joy", Classification(("joy", "anger"))), label_of("4", Regression(-3, 3))
        ('joy', None)
        >>> label_of("1.0", Classification(("0", "1")))
        '1'
    """
    number = number_of(value, delimiter)
    if isinstance(task, Classification):
        if value in task.classes:
            return value
        return next((name for name in task.classes if number is not None and number_of(name) == number), None)
    return number if number is not None and task.low <= number <= task.high else None
