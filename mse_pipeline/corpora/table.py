"""Anyone's dataset: a table with the columns id, media, split, text and label beside the media it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from mse_pipeline.cells import is_missing
from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import Corpus, Options, enumerate_some
from mse_pipeline.corpora.encodings import REPLACED, check_encoding
from mse_pipeline.corpora.files import inside, list_files, open_root
from mse_pipeline.corpora.overview import foreign_texts
from mse_pipeline.corpora.table_cells import Complaints, infer_task, told_missing
from mse_pipeline.corpora.table_clips import FURTHER, OPTIONAL, REQUIRED, Cells, lost_row, make_clips
from mse_pipeline.corpora.table_file import SUFFIXES, Table, read_table, refuse_others, refuse_unread
from mse_pipeline.corpora.table_paths import find_media, find_table
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.places import is_local, place
from mse_pipeline.task import Classification, Task


class OptionsModel(Options):
    """Options of the table reader.

    Attributes:
        table: Path of the table, below the root or anywhere; None for the only clips.csv, clips.tsv or clips.parquet
            below the root.
        media_root: Folder that media paths start from, below the root or anywhere: absolute paths below it may then be
            read as well. None for the root, then the table's folder.
        columns: Our column name -> the table's, as in ``{"label": "Emotion"}``.
        splits: The table's split name -> ours.
        language: Of the text, where the table has no column for it.
        encoding: Of a CSV or TSV file, as in ``euc-kr``; None to find it out.
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
        UsageError: There is no such table, columns are missing, or rows cannot be read; all that is wrong is told.
    """
    options = options or OptionsModel()
    given = place(root)
    if is_local(given):
        given = given.expanduser()
    if given.suffix and given.is_file():  # a folder on a storage is not asked what it is
        refuse_others(str(root))
    if options.table is None and given.suffix.lower() in SUFFIXES and given.is_file():
        options = options.model_copy(update={"table": named_table(given)})
        root = given.parent
    folder = open_root(root)
    home, path = _find(folder, options)
    table = read_table(home, path, options.encoding)
    cells = _columns(table, options.columns)
    labels = [value.strip() for value in cells["label"]]
    notes = list(table.notes)
    if task is None:
        task, note = _task_of(table, labels, options.columns.get("label", "label"))
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
    given_cells = Cells(
        rows=table.rows,
        columns=cells,
        media=media.paths,
        splits={name: Split(ours) for name, ours in options.splits.items()},
        language=options.language,
        delimiter=table.delimiter,
        source=table.path,
        reasons=media.reasons,
    )
    clips, defects = make_clips(given_cells, task, complaints)
    complaints.settle()
    defects += [lost_row(row, "another number of cells is in it, which", table.path) for row in table.lost]
    classes = task.classes if isinstance(task, Classification) else ()
    absent = [is_missing(label) and label not in classes for label in labels]
    if any(absent):
        notes.append(f"{sum(absent):,} of {len(labels):,} rows have no label.")
    notes += told_missing(cells, classes)
    notes += foreign_texts(clips)
    if not all(absent) and all(clip.label is None for clip in clips):
        known = ", ".join(task.classes) if isinstance(task, Classification) else f"{task.low:g} to {task.high:g}"
        first = next(label for label, missing in zip(labels, absent, strict=True) if not missing)
        raise UsageError(
            f"No label in table {table.path} fits the task ({known}), as in {first!r}. "
            "Mend the recipe's task, or name the column of the labels with columns.label."
        )
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


def _task_of(table: Table, labels: list[str], column: str) -> tuple[Task, str]:
    """As `infer_task`; where damage may be why there is no task, it is told."""
    try:
        return infer_task(labels, column, table.delimiter)
    except UsageError as error:
        damaged = [row for row, label in zip(table.rows, labels, strict=True) if REPLACED in label]
        rows = enumerate_some(sorted([*damaged, *table.lost]))
        raise UsageError(f"{error} Damaged bytes have cost labels (rows {rows}).") if rows else error from None


def _find(folder: Path, options: OptionsModel) -> tuple[Path, str]:
    """The folder that the table's path starts from, and the path.

    Raises:
        UsageError: There is none, or several; of a spreadsheet in its place it is told how to save it.
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
    """What the option `table` says of a table that the user named with the folder that it lies in: he may name a link.

    Args:
        file: The table.
    """
    # A link of a cache leads to a file that is called by its digest, and whose neighbours are not the table's.
    if not is_local(file) or not file.is_symlink() or inside(file.parent, file.name):
        return file.name
    return str(file.resolve())


def _columns(table: Table, renamed: Mapping[str, str]) -> dict[str, list[str]]:
    """Our column name -> cells.

    Raises:
        UsageError: Columns are missing, or the option `columns` names what is not there; all are told.
    """
    ours = (*REQUIRED, *OPTIONAL)
    further = [name for name in table.unread if re.fullmatch(FURTHER + r"\w+", name)]
    refuse_unread(table, [*renamed.values(), *(name for name in (*ours, *further) if name not in renamed)])
    wrong = []
    for name, theirs in renamed.items():
        if name not in ours and not re.fullmatch(FURTHER + r"\w+", name):
            near = did_you_mean(name, ours)
            wrong.append(f"option columns: {name} is none of {', '.join(ours)} and label_NAME{near}")
        if theirs not in table.columns:
            wrong.append(f"option columns: the table has no column {theirs}{did_you_mean(theirs, table.columns)}")
    for name in REQUIRED:
        if name not in renamed and name not in table.columns:
            wrong.append(f"there is no column {name}{did_you_mean(name, table.columns)}")
    if wrong:
        told = "\n".join(f"  {sentence}" for sentence in wrong)
        raise UsageError(
            f"Table {table.path} does not fit:\n{told}\nIts columns are {', '.join(table.columns)}. Rename them, or "
            "write columns: {id: THEIRS, ...} into the options of the recipe's corpus."
        )
    cells = {
        name: column for name, column in table.columns.items() if name in ours or re.fullmatch(FURTHER + r"\w+", name)
    }
    return cells | {name: table.columns[theirs] for name, theirs in renamed.items()}
