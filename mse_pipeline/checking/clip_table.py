"""The clip table as a file that the corpus `table` reads back to the same clips."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip, Label
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.table import FURTHER, OPTIONAL, REQUIRED, Cells, make_clips
from mse_pipeline.corpora.table_cells import Complaints
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.storage import aside
from mse_pipeline.task import Task

SUFFIXES = (".parquet", ".csv")
Column = Sequence[str | float | None]

# Half of a surrogate pair cannot be written as UTF-8, and a zero byte ends the reading of a CSV as text.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def export(path: Path, clips: Sequence[Clip], task: Task) -> list[str]:
    """Write clips as a table, whole or not at all.

    Media paths are those below the corpus's root, so the table belongs at that root, or anywhere below it.

    Args:
        path: Ends in .parquet or .csv.
        clips: Of one corpus.
        task: What is to be predicted; it is not written, the recipe holds it.

    Returns:
        Sentences about clips that do not come back quite the same.

    Raises:
        UsageError: The file's name ends otherwise.
        MseError: Clips cannot be told in a table: ids that it refuses, or texts that are no Unicode.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} must end in {' or '.join(SUFFIXES)}.")
    columns = to_columns(clips)
    notes = _differences(clips, columns, task)
    if path.suffix.lower() == ".csv":
        _write_csv(path, columns)
    else:
        _write_parquet(path, columns)
    return notes


def to_columns(clips: Sequence[Clip]) -> dict[str, Column]:
    """Column name -> a cell a clip, those of the table's format and one ``label_NAME`` for each further annotation.

    Examples:
        >>> from mse_pipeline.clip import Split
        >>> columns = to_columns([Clip(id="a", split=Split.TEST, label=1.5, labels={"text": -1.0})])
        >>> columns["split"], columns["label"], columns["label_text"]
        (['test'], [1.5], [-1.0])
    """
    plain = [name for name in (*REQUIRED, *OPTIONAL) if name != "label"]
    columns: dict[str, Column] = {name: [getattr(clip, name) for clip in clips] for name in plain}
    columns["split"] = [str(clip.split) for clip in clips]
    columns["label"] = _labels([clip.label for clip in clips])
    kinds = dict.fromkeys(kind for clip in clips for kind in clip.labels)
    return columns | {FURTHER + kind: _labels([clip.labels.get(kind) for clip in clips]) for kind in kinds}


def _labels(labels: Sequence[Label | None]) -> Column:
    """Numbers if all are, else texts: a Parquet column has one type."""
    if any(isinstance(label, str) for label in labels):
        return [None if label is None else _text(label) for label in labels]
    return [None if label is None else float(label) for label in labels]


def _text(value: object) -> str:
    """As the table reader takes it for the same value."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _differences(clips: Sequence[Clip], columns: dict[str, Column], task: Task) -> list[str]:
    """Have the table's own reader make clips of the cells, and tell where they are not what they were."""
    cells = {name: [_text(value) for value in column] for name, column in columns.items()}
    for name, column in cells.items():
        bad = [clip.id for clip, value in zip(clips, column, strict=True) if _UNWRITABLE.search(value)]
        if bad:
            raise MseError(
                f"Column {name} holds characters that no table can hold, in {enumerate_some(map(ascii, bad), 3)}."
            )
    complaints = Complaints("of the clips")
    rows = range(2, len(clips) + 2)
    media = [clip.media for clip in clips]
    written = Cells(rows=rows, columns=cells, media=media, splits={}, language="en")
    back, _ = make_clips(written, task, complaints)
    if complaints.found:
        message = "; ".join(
            f"{problem} ({clips[table_rows[0] - 2].id!r})" for problem, table_rows in complaints.found.items()
        )
        raise MseError(f"The clips cannot be written as a table: {message}.")
    notes = []
    for field in fields(Clip):
        pairs = [
            (one, getattr(one, field.name), getattr(two, field.name)) for one, two in zip(clips, back, strict=True)
        ]
        changed = [one.id for one, before, after in pairs if before != after]
        if changed:
            notes.append(f"The field {field.name} of {enumerate_some(changed, 3)} does not come back quite the same.")
    return notes


def _write_csv(path: Path, columns: dict[str, Column]) -> None:
    with aside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*([_text(value) for value in column] for column in columns.values()), strict=True))


def _write_parquet(path: Path, columns: dict[str, Column]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Any] = {"start": pa.float64(), "end": pa.float64(), "turn": pa.int64()}

    def kind(name: str) -> Any:
        # A column without any value has no type of its own; as text it is read as empty all the same.
        numeric = any(isinstance(value, float) for value in columns[name])
        return kinds.get(name, pa.float64() if numeric else pa.string())

    arrays = {name: pa.array(column, kind(name)) for name, column in columns.items()}
    with aside(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd")
