"""Rows of a table -> clips and their defects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.table_cells import Complaints, label_of, number_of, split_of
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import did_you_mean
from mse_pipeline.task import Classification, Task

REQUIRED = ("id", "media", "split", "text", "label")
OPTIONAL = ("start", "end", "speaker", "dialogue", "turn", "language")
FURTHER = "label_"
"""Begin of the names of columns with further annotations."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_ID = 200


@dataclass(frozen=True)
class Cells:
    """What the rows hold.

    Attributes:
        rows: Number of each row in the file.
        columns: Our column name -> cells; those of `REQUIRED` are there, those of `OPTIONAL` may be.
        media: Path below the root of each row's file, or None.
        splits: The table's split name -> ours.
        language: Where there is no column for it.
        reasons: Row -> why its file is not read, where more is known than that it is not there, as
            ``which is a symbolic link out of the root``.
    """

    rows: Sequence[int]
    columns: Mapping[str, list[str]]
    media: Sequence[str | None]
    splits: Mapping[str, Split]
    language: str
    reasons: Mapping[int, str] = field(default_factory=dict)


def make_clips(cells: Cells, task: Task, complaints: Complaints) -> tuple[list[Clip], list[Defect]]:
    """A clip for each row.

    Args:
        cells: See `Cells`.
        task: Labels that are none of its own become None, with a defect.
        complaints: Where rows that cannot be read are noted; if there are any, the clips are not to be used.
    """
    blank = [""] * len(cells.rows)
    columns = {name: cells.columns.get(name, blank) for name in (*REQUIRED, *OPTIONAL)}
    further = _further_labels(cells.columns)
    first_row: dict[str, int] = {}
    clips: list[Clip] = []
    defects: list[Defect] = []
    for index, row in enumerate(cells.rows):
        cell = {name: column[index].strip() for name, column in columns.items()}
        name, label_text = cell["id"], cell["label"]
        _check_id(name, row, first_row, complaints)
        split = split_of(cell["split"], cells.splits)
        if split is None:
            known = "train, valid (also dev, val) or test; the option splits maps other names"
            complaints.add(f"split {cell['split']!r} is none of {known}", row)
        start, end = _span(cell["start"], cell["end"], row, complaints)
        text, speaker = columns["text"][index], columns["speaker"][index]
        label = label_of(label_text, task) if label_text else None
        clips.append(
            Clip(
                id=name,
                split=split or Split.TRAIN,
                media=cells.media[index],
                start=None if start is None else max(start, 0.0),
                end=end,
                text=repair(text),
                language=cell["language"] or cells.language,
                speaker=repair(speaker).strip() or None,
                dialogue=cell["dialogue"] or None,
                turn=_turn(cell["turn"], row, complaints),
                label=label,
                labels={kind: value for kind, values in further.items() if (value := values[index]) is not None},
            )
        )
        if cells.media[index] is None:
            message = (
                f"Row {row} names {cell['media']}, {cells.reasons.get(row, 'which is not there')}."
                if cell["media"]
                else f"Row {row} names no media."
            )
            defects.append(Defect(code="missing_media", message=message, clip=name))
        if start is not None and start < 0:
            message = f"Row {row} begins at {start:g} s; the clip begins with the file instead."
            defects.append(Defect(code="negative_start", message=message, clip=name))
        if label_text and label is None:
            defects.append(_foreign_label(row, label_text, task, name))
        if (repair(text), repair(speaker)) != (text, speaker):
            message = f"Text or speaker in row {row} held encoding damage, which is repaired."
            defects.append(Defect(code="text_repaired", message=message, clip=name))
    return clips, defects


def _check_id(name: str, row: int, first_row: dict[str, int], complaints: Complaints) -> None:
    if not name or len(name) > _MAX_ID or _CONTROL.search(name):
        complaints.add(f"an id must have 1 to {_MAX_ID} characters and no control characters", row)
    elif name in first_row:
        complaints.add(f"id {name} is there already in row {first_row[name]}; ids are unique", row)
    first_row.setdefault(name, row)


def _span(start: str, end: str, row: int, complaints: Complaints) -> tuple[float | None, float | None]:
    """Start, as it is written, and end, in seconds."""
    values: list[float | None] = []
    for name, value in (("start", start), ("end", end)):
        number = number_of(value) if value else None
        if value and number is None:
            complaints.add(f"{name} {value!r} is no number of seconds", row)
        values.append(number)
    begin, finish = values
    if finish is not None and finish <= max(begin or 0.0, 0.0):
        complaints.add("end must be after start and after 0, both in seconds", row)
    return begin, finish


def _turn(value: str, row: int, complaints: Complaints) -> int | None:
    number = number_of(value) if value else None
    if value and (number is None or not number.is_integer()):
        complaints.add(f"turn {value!r} is no whole number", row)
        return None
    return None if number is None else int(number)


def _foreign_label(row: int, value: str, task: Task, clip: str) -> Defect:
    if isinstance(task, Classification):
        rule = f"the classes are {', '.join(task.classes)}{_near(value, task.classes)}"
    else:
        rule = f"the range is {task.low:g} to {task.high:g}"
    return Defect(code="label_out_of_range", message=f"Row {row} has the label {value!r}; {rule}.", clip=clip)


@lru_cache(maxsize=1024)
def _near(value: str, classes: tuple[str, ...]) -> str:
    # One wrong spelling may be in very many rows.
    return did_you_mean(value, classes)


def _further_labels(columns: Mapping[str, list[str]]) -> dict[str, list[Label | None]]:
    """`label_NAME` columns by NAME: numbers if all of a column are, else texts; None where a cell is empty."""
    further: dict[str, list[Label | None]] = {}
    for name, column in columns.items():
        if not name.startswith(FURTHER):
            continue
        values = [value.strip() for value in column]
        numbers = [number_of(value) if value else None for value in values]
        numeric = all(number is not None for number, value in zip(numbers, values, strict=True) if value)
        further[name.removeprefix(FURTHER)] = list(numbers) if numeric else [value or None for value in values]
    return further
