"""A user's own dataset: a table with the columns id, media, split, text and label, beside the media that it names.

Each row of the table becomes a clip, and what is wrong with it becomes defects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from mse_pipeline.cells import is_like_a_number, is_missing, number_of, said
from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import Corpus, Facts, ReaderOptions, enumerate_some
from mse_pipeline.corpora.files import inside, list_files, open_root
from mse_pipeline.corpora.overview import foreign_texts
from mse_pipeline.corpora.table_cells import Complaints, infer_task, is_sound, kind_of, label_of, split_of, told_missing
from mse_pipeline.corpora.table_file import SUFFIXES, TextTable, read_table, refuse_others, refuse_unread
from mse_pipeline.corpora.table_paths import find_media, find_table
from mse_pipeline.corpora.table_votes import (
    FORMS,
    RowVotes,
    is_of_votes,
    most_voted,
    notes_on_votes,
    read_votes,
    voted_classes,
)
from mse_pipeline.corpora.text import REPLACED, check_encoding, is_damaged, repair
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.places import is_local, place
from mse_pipeline.task import Classification, Task

REQUIRED = ("id", "media", "split", "text", "label")
OPTIONAL = ("start", "end", "speaker", "dialogue", "turn", "language")
FURTHER = "label_"
"""Begin of the names of columns with further annotations."""

# Damage in one of these columns loses the row; in the others it loses only the cell.
_VITAL = ("id", "split", "start", "end", "turn")
_SPOKEN = ("text", "speaker", "dialogue")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_ID = 200


@dataclass(frozen=True)
class Cells:
    """What the rows hold.

    Attributes:
        rows: Number of each row in the file.
        columns: Our column name -> cells; with all of `REQUIRED`, perhaps with some of `OPTIONAL`. Without a column
            ``label``, the label is the class with the most votes, see `mse_pipeline.corpora.table_votes`.
        media: Path below the root of each row's file, or None.
        splits: The table's split name -> ours.
        language: Where there is no column for it.
        delimiter: Of the table, see `mse_pipeline.cells.number_of`.
        source: Path of the table, for defects without a clip.
        reasons: Row -> why its file is not read, if it is not simply missing, as
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
    """A clip for each row, except for rows that damaged bytes make unreadable.

    Args:
        cells: See `Cells`.
        task: Labels that do not belong to it become None, with a defect.
        complaints: Receives the rows with errors; if there are any, the clips must not be used.
    """
    blank = [""] * len(cells.rows)
    columns = {name: cells.columns.get(name, blank) for name in (*REQUIRED, *OPTIONAL)}
    further = {
        name.removeprefix(FURTHER): (column, kind_of(column, cells.delimiter))
        for name, column in cells.columns.items()
        if name.startswith(FURTHER)
    }
    votes = read_votes(cells.columns, task, len(cells.rows), cells.delimiter)
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
            allowed = "train, valid (also dev, val) or test; the option splits maps other names"
            complaints.add(f"split {cell['split']!r} is not one of {allowed}", row)
        start, end = _span(cell["start"], cell["end"], row, cells.delimiter, complaints)
        label, label_defects = _label(written["label"].strip(), row, task, cells.delimiter, name)
        label_defects += _wrong_votes(votes[index], row, name)
        values = {kind: (column[index].strip(), holds) for kind, (column, holds) in further.items()}
        labels, further_defects = _further_labels(values, row, cells.delimiter, name)
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
                label=label if "label" in cells.columns else most_voted(votes[index].distribution),
                labels=labels,
                distribution=votes[index].distribution,
            )
        )
        if cells.media[index] is None:
            reason = cells.reasons.get(row, "which is not there")
            message = f"Row {row} names {cell['media']}, {reason}." if cell["media"] else f"Row {row} names no media."
            defects.append(Defect(code="missing_media", message=message, clip=name))
        if start is not None and start < 0:
            message = f"Row {row} begins at {start:g} s; the clip begins with the file instead."
            defects.append(Defect(code="negative_start", message=message, clip=name))
        defects += [*label_defects, *further_defects]
        damaged = [name for name in _SPOKEN if is_damaged(written[name])]
        if damaged:
            defects.append(_damage(row, damaged, written, name))
    return clips, defects


def lost_row(row: int, what: str, source: str | None) -> Defect:
    """The defect of a row that damaged bytes make unreadable."""
    message = f"Row {row} is left out: {what} held damaged bytes. Correct the row in the table."
    return Defect(code="undecodable", message=message, path=source)


def _damage(row: int, names: Sequence[str], written: Mapping[str, str], clip: str) -> Defect:
    which = " and ".join(names).capitalize()
    if any(REPLACED in written[name] for name in names):
        message = (
            f"{which} in row {row} held damaged bytes, which were replaced by U+FFFD. Correct the row in the table."
        )
    else:
        message = f"{which} in row {row} held encoding damage, which was repaired."
    return Defect(code="text_repaired", message=message, clip=clip)


def _check_id(name: str, row: int, first_row: dict[str, int], complaints: Complaints) -> None:
    if not name or len(name) > _MAX_ID or _CONTROL.search(name):
        complaints.add(f"an id must have 1 to {_MAX_ID} characters and no control characters", row)
    elif name in first_row:
        complaints.add(f"id {name} is used already in row {first_row[name]}; ids must be unique", row)
    first_row.setdefault(name, row)


def _span(start: str, end: str, row: int, delimiter: str, complaints: Complaints) -> tuple[float | None, float | None]:
    """Start, as it is written, and end, in seconds."""
    values: list[float | None] = []
    for name, value in (("start", start), ("end", end)):
        number = number_of(value, delimiter) if value else None
        if value and number is None:
            complaints.add(f"{name} {value!r} is not a number of seconds{_notation(value)}", row)
        values.append(number)
    begin, finish = values
    if finish is not None and finish <= max(begin or 0.0, 0.0):
        complaints.add("end must be after start and after 0, both in seconds", row)
    return begin, finish


def _turn(value: str, row: int, delimiter: str, complaints: Complaints) -> int | None:
    number = number_of(value, delimiter) if value else None
    if value and (number is None or not number.is_integer()):
        complaints.add(f"turn {value!r} is not a whole number", row)
        return None
    return None if number is None else int(number)


def _notation(value: str) -> str:
    return "; write it with a decimal point and nothing else, as in 1234.5" if is_like_a_number(value) else ""


def _label(value: str, row: int, task: Task, delimiter: str, clip: str) -> tuple[Label | None, list[Defect]]:
    """The label, and a defect if it does not belong to the task. A class may be called None."""
    label = label_of(value, task, delimiter)
    unreadable = label is None and not is_missing(value)
    return label, [_foreign_label(row, value, task, clip)] if unreadable else []


def _wrong_votes(votes: RowVotes, row: int, clip: str) -> list[Defect]:
    if not votes.wrong:
        return []
    reason = votes.wrong if votes.wrong.endswith("?") else f"{votes.wrong}."
    message = f"Row {row} has the votes {votes.written[:80]!r}; {reason} The clip is read without votes."
    return [Defect(code="label_out_of_range", message=message, clip=clip)]


def _further_labels(
    values: Mapping[str, tuple[str, str]], row: int, delimiter: str, clip: str
) -> tuple[dict[str, Label], list[Defect]]:
    """The labels of a row's further columns, and a defect for each that does not fit its column.

    Args:
        values: By name of the label its cell, and what the column holds: ``numbers``, ``texts`` or ``mixed``.
        row: Number of the row in the file.
        delimiter: Of the table.
        clip: The row's clip.
    """
    labels: dict[str, Label] = {}
    defects = []
    for kind, (value, holds) in values.items():
        if is_missing(value):
            continue
        number = number_of(value, delimiter)
        if holds == "mixed" or (is_sound(value) and (number is None) == (holds == "texts")):
            labels[kind] = number if number is not None and holds == "numbers" else value
        else:
            message = f"Row {row} has {FURTHER}{kind} {value!r}; the other rows hold {holds}."
            defects.append(Defect(code="label_out_of_range", message=message, clip=clip))
    return labels, defects


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


FACTS = Facts(
    title="Anyone's data: a table beside the media that it names",
    task="what its labels are",
    labels="texts are classes, numbers a regression",
    licence="yours",
    source="made by hand, or by mse datasets export",
    layouts=(f"clips.csv, clips.tsv or clips.parquet with the columns {', '.join(REQUIRED)}",),
)


class OptionsModel(ReaderOptions):
    """Options of the table reader.

    Attributes:
        table: Path of the table, below the root or anywhere; None for the only clips.csv, clips.tsv or clips.parquet
            below the root.
        media_root: Folder that media paths start from, below the root or anywhere: absolute paths below it may then be
            read as well. None for the root, then the table's folder.
        columns: Our column name -> the table's, as in ``{"label": "Emotion"}``.
        splits: The table's split name -> ours.
        language: Of the text, where the table has no column for it.
        encoding: Of a CSV or TSV file, as in ``euc-kr``; None to detect it.
    """

    table: str | None = None
    media_root: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    splits: dict[str, Literal["train", "valid", "test"]] = Field(default_factory=dict)
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}$")
    encoding: str | None = None

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str | None) -> str | None:
        return None if encoding is None else check_encoding(encoding)


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List the clips of a table.

    Args:
        root: Folder of the table and the media, or the table itself.
        options: See `OptionsModel`.
        task: What is to be predicted; None to take it from the labels (see `table_cells.infer_task`).

    Raises:
        UsageError: There is no such table, columns are missing, or rows have errors; the error lists all of them.
    """
    options = options or OptionsModel()
    location = place(root)
    if is_local(location):
        location = location.expanduser()
    if location.suffix and location.is_file():  # a folder on a storage is not asked what it is
        refuse_others(str(root))
    if options.table is None and location.suffix.lower() in SUFFIXES and location.is_file():
        options = options.model_copy(update={"table": named_table(location)})
        root = location.parent
    folder = open_root(root)
    home, path = _find(folder, options)
    table = read_table(home, path, options.encoding)
    cells = _columns(table, options.columns)
    labels = [value.strip() for value in cells.get("label", ())]
    notes = list(table.notes)
    if task is None:
        task, note = _task_of(table, labels, options.columns.get("label", "label"), voted_classes(cells))
        notes.append(note)
    complaints = Complaints(table.path)
    media = find_media(
        folder,
        home,
        table,
        ["" if is_missing(path) else path for path in cells["media"]],
        complaints,
        media_root=options.media_root,
        follow_links=options.follow_links,
    )
    notes += media.notes
    rows = Cells(
        rows=table.rows,
        columns=cells,
        media=media.paths,
        splits={name: Split(ours) for name, ours in options.splits.items()},
        language=options.language,
        delimiter=table.delimiter,
        source=table.path,
        reasons=media.reasons,
    )
    clips, defects = make_clips(rows, task, complaints)
    complaints.settle()
    defects += [lost_row(row, "another number of cells is in it, which", table.path) for row in table.lost]
    classes = task.classes if isinstance(task, Classification) else ()
    absent = [is_missing(label) and label not in classes for label in labels]
    if any(absent):
        notes.append(f"{sum(absent):,} of {len(labels):,} rows have no label.")
    notes += [*told_missing(cells, classes), *notes_on_votes(cells, task, clips), *foreign_texts(clips)]
    if "label" not in cells and not any(clip.distribution for clip in clips):
        raise UsageError(
            f"Table {table.path} has no column label, and no votes for the task ({_allowed(task)}) in its place. Votes "
            f"are {FORMS}.{f' {defects[0].message}' if defects else ''}"
        )
    if not all(absent) and all(clip.label is None for clip in clips):
        first = next(label for label, missing in zip(labels, absent, strict=True) if not missing)
        raise _no_label_fits(table, task, first)
    return Corpus(
        name="table",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=(*defects, *media.defects),
        sources=(table.path if home == folder else str(home / table.path),),
        notes=tuple(notes),
        media_root=None if media.folder == folder else media.folder,
    )


def _no_label_fits(table: TextTable, task: Task, example: str) -> UsageError:
    return UsageError(
        f"No label in table {table.path} fits the task ({_allowed(task)}), as in {example!r}. "
        "Correct the recipe's task, or name the column of the labels with columns.label."
    )


def _allowed(task: Task) -> str:
    return ", ".join(task.classes) if isinstance(task, Classification) else f"{task.low:g} to {task.high:g}"


def _task_of(table: TextTable, labels: list[str], column: str, voted: tuple[str, ...]) -> tuple[Task, str]:
    """As `infer_task`, where all classes with votes are classes; the error also names damaged rows."""
    of_votes, sound = Classification(voted), [label for label in labels if is_sound(label)]
    if len(voted) > 1 and all(label_of(label, of_votes, table.delimiter) is not None for label in sound):
        told = f"The votes are for {len(voted)} classes in alphabetical order, {', '.join(voted)}"
        return of_votes, f"{told}; write task into the recipe for another order."
    if not labels:
        named = f"one class only, {voted[0]!r}" if voted else "no class"
        raise UsageError(f"Table {table.path} has no column label, and its votes name {named}. Votes are {FORMS}.")
    try:
        task, note = infer_task(labels, column, table.delimiter)
        if not isinstance(task, Classification) or not set(voted) & set(task.classes):
            return task, note
        beside = sorted(set(voted) - set(task.classes))
        more = f" Votes alone are for {', '.join(beside)}, which are classes too." if beside else ""
        return Classification(tuple(sorted({*task.classes, *voted}))), note + more
    except UsageError as error:
        damaged = [row for row, label in zip(table.rows, labels, strict=True) if REPLACED in label]
        rows = enumerate_some(sorted([*damaged, *table.lost]))
        raise UsageError(f"{error} Labels were lost by damaged bytes (rows {rows}).") if rows else error from None


def _find(folder: Path, options: OptionsModel) -> tuple[Path, str]:
    """The folder that the table's path starts from, and the path.

    Raises:
        UsageError: There is no table, or there are several. For a spreadsheet, the error says how to save it.
    """
    table = options.table
    if table is not None:
        refuse_others(table)
    try:
        return find_table(folder, table, REQUIRED, options.follow_links)
    except UsageError:
        named = (path for path in list_files(folder).files if Path(path).stem.lower() == "clips")
        for path in named if table is None else ():
            if not path.lower().endswith(SUFFIXES):
                refuse_others(path)
        raise


def named_table(file: Path) -> str:
    """The value of the option `table` for a file that the user gave, which may be a link: its name, or its target.

    Args:
        file: The table.
    """
    # A link of a cache leads to a file that is named by its digest, in a folder without the table's other files.
    if not is_local(file) or not file.is_symlink() or inside(file.parent, file.name):
        return file.name
    return str(file.resolve())


def _columns(table: TextTable, renamed: Mapping[str, str]) -> dict[str, list[str]]:
    """Our column name -> cells.

    Raises:
        UsageError: Columns are missing, or the option `columns` names unknown ones; the error lists all of them.
    """
    ours = (*REQUIRED, *OPTIONAL)
    further = [name for name in table.unread if _is_further(name)]
    refuse_unread(table, [*renamed.values(), *(name for name in (*ours, *further) if name not in renamed)])
    problems = []
    for name, theirs in renamed.items():
        if name not in ours and not _is_further(name):
            near = did_you_mean(name, (*ours, "votes"))
            known = f"{', '.join(ours)}, label_NAME, votes and votes_CLASS"
            problems.append(f"option columns: {name} is not one of {known}{near}")
        if theirs not in table.columns:
            problems.append(f"option columns: the table has no column {theirs}{did_you_mean(theirs, table.columns)}")
    voted = any(map(is_of_votes, (*renamed, *table.columns)))
    for name in REQUIRED:
        if name not in renamed and name not in table.columns and not (name == "label" and voted):
            problems.append(f"there is no column {name}{did_you_mean(name, table.columns)}")
    if problems:
        lines = "\n".join(f"  {sentence}" for sentence in problems)
        raise UsageError(
            f"Table {table.path} does not fit:\n{lines}\nIts columns are {', '.join(table.columns)}. Add what it "
            "lacks, rename columns, or write columns: {id: THEIRS, ...} into the options of the recipe's corpus."
        )
    cells = {name: column for name, column in table.columns.items() if name in ours or _is_further(name)}
    return cells | {name: table.columns[theirs] for name, theirs in renamed.items()}


def _is_further(column: str) -> bool:
    """Whether a column holds further annotations, or annotators' votes."""
    return bool(re.fullmatch(FURTHER + r"\w+", column)) or is_of_votes(column)
