"""Split lists of CMU-MOSEI: from MMSA's label table, or from a file of video ids such as the SDK's standard folds."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some, read_bytes
from mse_pipeline.corpora.files import Folders, RefusedPath, relative
from mse_pipeline.corpora.mmsa_table import LabelRow, read_label_table
from mse_pipeline.corpora.table_cells import split_of
from mse_pipeline.corpora.text import decode
from mse_pipeline.errors import UsageError

_MAX_BYTES = 16 << 20
_WORD = re.compile(r"train|valid|val|dev|test", re.I)
_FORMS = (
    "a .py file with lists such as standard_train_fold = [...] (the SDK's cmu_mosei_std_folds.py; it is read, never "
    'run), a .json file {"train": [...], "valid": [...], "test": [...]}, or a .csv file with the columns video_id and '
    "split"
)


def choose_table(root: Path, tables: list[str], corpus: str) -> tuple[str, list[LabelRow], list[str]] | None:
    """The label table to use, its rows, and notes on tables that are ignored; None if there is no table.

    A path that names the corpus comes first, as in ``MOSEI/label.csv`` beside ``MOSI/label.csv``; then the one nearest
    to the root.

    Raises:
        UsageError: The table has rows that cannot be read.
    """
    if not tables:
        return None
    named = re.compile(rf"(?<![a-z]){corpus}(?![a-z])", re.I)
    ranked = sorted(tables, key=lambda path: (not named.search(path), path.count("/"), path))
    path, *others = ranked
    notes = [f"Label tables {enumerate_some(others, 3)} are ignored: {path} is used."] if others else []
    return path, read_label_table(root / path, path), notes


def splits_of_table(rows: Sequence[LabelRow], table: str) -> tuple[dict[str, Split], list[str]]:
    """Split by video from the column mode of MMSA's label table, where the first row of a video counts; notes.

    Raises:
        UsageError: The column names other splits than train, valid and test.
    """
    odd = [f"{row.mode!r} in row {row.number}" for row in rows if row.split is None]
    if odd:
        raise UsageError(f"Column mode of {table} must be train, valid or test; found {enumerate_some(odd, 5)}.")
    splits: dict[str, Split] = {}
    leaks: dict[str, None] = {}
    for row in rows:
        if row.split is not None and splits.setdefault(row.video_id, row.split) != row.split:
            leaks[row.video_id] = None
    notes = [f"Splits: MMSA's list, column mode of {table}."]
    if leaks:
        notes.append(f"Videos are in several splits, which lets speakers leak: {enumerate_some(leaks, 5)}.")
    return splits, notes


def choose_folds(root: Path, option: str | None, found: list[str], follow_links: bool = False) -> str:
    """Path of the file of folds below the root.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        option: What the option `std_folds` says.
        found: Files below the root that are called so.
        follow_links: Whether the user said that all links may be followed.

    Raises:
        UsageError: There is none, or several, or it lies outside of the root.
    """
    if option is None:
        if len(found) == 1:
            return found[0]
        candidates = f"several are there: {enumerate_some(found)}" if found else "none is there"
        raise UsageError(
            f"Splits std_folds need a file of video ids, and {candidates}. Name it with std_folds: {_FORMS}."
        )
    try:
        path = relative(root, "", option)
    except ValueError as error:
        raise UsageError(f"Option std_folds: {error}; it must lie below {root}.") from None
    try:
        file = Folders(root, follow_links).find(path)
    except RefusedPath as error:
        raise UsageError(f"Option std_folds: {error}.") from None
    if file is None:
        raise UsageError(f"Option std_folds: there is no file {option} below {root}. It is {_FORMS}.")
    return file


def read_folds(root: Path, path: str) -> dict[str, Split]:
    """Split by video from a file of folds.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        path: Below the root.

    Raises:
        UsageError: It is none of the forms, lacks a split, or has a video in two.
    """
    source = f"File of folds {path}"
    text, _ = decode(read_bytes(root / path, source, _MAX_BYTES), source)
    lists = _lists(path, text)
    absent = [split for split in Split if not lists.get(split)]
    if absent:
        raise UsageError(f"File of folds {path} has no list for {', '.join(absent)}. It is {_FORMS}.")
    splits: dict[str, Split] = {}
    twice = []
    for split, videos in lists.items():
        for video in videos:
            if splits.setdefault(video, split) != split:
                twice.append(video)
    if twice:
        raise UsageError(f"File of folds {path} has videos in several splits: {enumerate_some(twice)}.")
    return splits


def _lists(path: str, text: str) -> dict[Split, list[str]]:
    """Videos by split.

    Raises:
        UsageError: The file is none of the forms.
    """
    lower = path.lower()
    try:
        if lower.endswith(".py"):
            named = _assignments(text)
        elif lower.endswith(".json"):
            named = json.loads(text)
        else:
            return _table(path, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"File of folds {path} cannot be read: {error}. It is {_FORMS}.") from None
    if not isinstance(named, Mapping):
        raise UsageError(f"File of folds {path} holds no lists by split. It is {_FORMS}.")
    lists: dict[Split, list[str]] = {}
    for name, videos in named.items():
        word = _WORD.search(name)
        if word is None:
            continue
        if not isinstance(videos, list | tuple) or not all(isinstance(video, str) for video in videos):
            raise UsageError(f"In file of folds {path}, {name} is not a list of video ids in quotes.")
        split = split_of(word[0], {})
        if split in lists:
            raise UsageError(f"File of folds {path} has two lists for {split}; keep one.")
        if split is not None:
            lists[split] = [video.strip() for video in videos]
    return lists


def _assignments(text: str) -> dict[str, object]:
    """Names and the literal values that a Python file assigns to them; nothing of it runs."""
    lists: dict[str, object] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List):
            lists[node.targets[0].id] = ast.literal_eval(node.value)
    return lists


def _table(path: str, text: str) -> dict[Split, list[str]]:
    lists: dict[Split, list[str]] = {}
    records = csv.DictReader(io.StringIO(text, newline=""))
    columns = [name.strip().lower() for name in records.fieldnames or []]
    if not {"video_id", "split"} <= set(columns):
        raise UsageError(f"File of folds {path} has no columns video_id and split. It is {_FORMS}.")
    for number, cells in enumerate(records, start=2):
        record = dict(zip(columns, cells.values(), strict=False))
        split = split_of(str(record["split"]), {})
        if split is None or not record["video_id"]:
            raise UsageError(f"Row {number} of file of folds {path} has no video id, or the split {record['split']!r}.")
        lists.setdefault(split, []).append(str(record["video_id"]).strip())
    return lists
