"""Rows of a table -> clips and their defects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from mse_pipeline.cells import is_like_a_number, is_missing, number_of, said
from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.encodings import REPLACED
from mse_pipeline.corpora.table_cells import Complaints, is_sound, kind_of, label_of, split_of
from mse_pipeline.corpora.text import is_damaged, repair
from mse_pipeline.errors import did_you_mean
from mse_pipeline.task import Classification, Task

REQUIRED = ("id", "media", "split", "text", "label")
OPTIONAL = ("start", "end", "speaker", "dialogue", "turn", "language")
FURTHER = "label_"
"""Begin of the names of columns with further annotations."""

# Without these nobody knows which clip a row is of; in the others damage costs that cell.
_VITAL = ("id", "split", "start", "end", "turn")
_SPOKEN = ("text", "speaker", "dialogue")
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
        delimiter: Of the table, see `mse_pipeline.cells.number_of`.
        source: Path of the table, for defects without a clip.
        reasons: Row -> why its file is not read, where more is known than that it is not there, as
            ``which is a symbolic link out of the root``.
    """

    rows: Sequence[int]
    columns: Mapping[str, list[str]]
    media: Sequence[str | None]
    splits: Mapping[str, Split]
    language: str
    delimiter: str = ","
    source: str | None = None
    reasons: Mapping[int, str] = field(default_factory=dict)


def make_clips(cells: Cells, task: Task, complaints: Complaints) -> tuple[list[Clip], list[Defect]]:
    """A clip for each row, but for those of which damaged bytes leave none.

    Args:
        cells: See `Cells`.
        task: Labels that are none of its own become None, with a defect.
        complaints: Where rows that cannot be read are noted; if there are any, the clips are not to be used.
    """
    blank = [""] * len(cells.rows)
    columns = {name: cells.columns.get(name, blank) for name in (*REQUIRED, *OPTIONAL)}
    further = {
        name.removeprefix(FURTHER): (column, kind_of(column, cells.delimiter))
        for name, column in cells.columns.items()
        if name.startswith(FURTHER)
    }
    first_row: dict[str, int] = {}
    clips: list[Clip] = []
    defects: list[Defect] = []
    for index, row in enumerate(cells.rows):
        written = {name: column[index] for name, column in columns.items()}
        lost = [name for name in _VITAL if REPLACED in written[name]]
        if lost:
            defects.append(lost_row(row, f"its {' and '.join(lost)}", cells.source))
            continue
        cell = {name: "" if is_missing(value) else value.strip() for name, value in written.items()}
        # Any word may be a name, as the None of a video's author.
        name = written["id"].strip()
        _check_id(name, row, first_row, complaints)
        split = split_of(cell["split"], cells.splits)
        if split is None:
            known = "train, valid (also dev, val) or test; the option splits maps other names"
            complaints.add(f"split {cell['split']!r} is none of {known}", row)
        start, end = _span(cell["start"], cell["end"], row, cells.delimiter, complaints)
        label, wrong = _label(written["label"].strip(), row, task, cells.delimiter, name)
        labels: dict[str, Label] = {}
        for kind, (column, holds) in further.items():
            value = column[index].strip()
            if is_missing(value):
                continue
            number = number_of(value, cells.delimiter)
            if holds == "mixed" or (is_sound(value) and (number is None) == (holds == "texts")):
                labels[kind] = number if number is not None and holds == "numbers" else value
            else:
                message = f"Row {row} has {FURTHER}{kind} {value!r}; the other rows hold {holds}."
                wrong.append(Defect(code="label_out_of_range", message=message, clip=name))
        clips.append(
            Clip(
                id=name,
                split=split or Split.TRAIN,
                media=cells.media[index],
                start=None if start is None else max(start, 0.0),
                end=end,
                text=repair(said(written["text"])),
                language=cell["language"] or cells.language,
                speaker=repair(said(written["speaker"])).strip() or None,
                dialogue=cell["dialogue"] or None,
                turn=_turn(cell["turn"], row, cells.delimiter, complaints),
                label=label,
                labels=labels,
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
        defects += wrong
        damaged = [name for name in _SPOKEN if is_damaged(written[name])]
        if damaged:
            defects.append(_damage(row, damaged, written, name))
    return clips, defects


def lost_row(row: int, what: str, source: str | None) -> Defect:
    """The defect of a row of which damaged bytes leave no clip."""
    message = f"Row {row} is left out: {what} held damaged bytes, so that it tells no clip. Mend it in the table."
    return Defect(code="undecodable", message=message, path=source)


def _damage(row: int, names: Sequence[str], written: Mapping[str, str], clip: str) -> Defect:
    which = " and ".join(names).capitalize()
    if any(REPLACED in written[name] for name in names):
        told = f"{which} in row {row} held damaged bytes, in whose place U+FFFD stands; mend the row in the table."
    else:
        told = f"{which} in row {row} held encoding damage, which is repaired."
    return Defect(code="text_repaired", message=told, clip=clip)


def _check_id(name: str, row: int, first_row: dict[str, int], complaints: Complaints) -> None:
    if not name or len(name) > _MAX_ID or _CONTROL.search(name):
        complaints.add(f"an id must have 1 to {_MAX_ID} characters and no control characters", row)
    elif name in first_row:
        complaints.add(f"id {name} is there already in row {first_row[name]}; ids are unique", row)
    first_row.setdefault(name, row)


def _span(start: str, end: str, row: int, delimiter: str, complaints: Complaints) -> tuple[float | None, float | None]:
    """Start, as it is written, and end, in seconds."""
    values: list[float | None] = []
    for name, value in (("start", start), ("end", end)):
        number = number_of(value, delimiter) if value else None
        if value and number is None:
            complaints.add(f"{name} {value!r} is no number of seconds{_notation(value)}", row)
        values.append(number)
    begin, finish = values
    if finish is not None and finish <= max(begin or 0.0, 0.0):
        complaints.add("end must be after start and after 0, both in seconds", row)
    return begin, finish


def _turn(value: str, row: int, delimiter: str, complaints: Complaints) -> int | None:
    number = number_of(value, delimiter) if value else None
    if value and (number is None or not number.is_integer()):
        complaints.add(f"turn {value!r} is no whole number", row)
        return None
    return None if number is None else int(number)


def _notation(value: str) -> str:
    return "; write it with a decimal point and nothing else, as in 1234.5" if is_like_a_number(value) else ""


def _label(value: str, row: int, task: Task, delimiter: str, clip: str) -> tuple[Label | None, list[Defect]]:
    """The label, and a defect if the cell holds none of the task's. A class that is called None is no missing value."""
    label = label_of(value, task, delimiter)
    wrong = label is None and not is_missing(value)
    return label, [_foreign_label(row, value, task, clip)] if wrong else []


def _foreign_label(row: int, value: str, task: Task, clip: str) -> Defect:
    if isinstance(task, Classification):
        rule = f"the classes are {', '.join(task.classes)}{_near(value, task.classes)}"
    else:
        rule = f"the range is {task.low:g} to {task.high:g}{_notation(value)}"
    return Defect(code="label_out_of_range", message=f"Row {row} has the label {value!r}; {rule}.", clip=clip)


@lru_cache(maxsize=1024)
def _near(value: str, classes: tuple[str, ...]) -> str:
    # One wrong spelling may be in very many rows.
    return did_you_mean(value, classes)
