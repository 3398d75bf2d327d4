"""Which split a clip is of, for formats that do not tell: from a user's list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mmsa_table import is_label_table, read_label_table
from mse_pipeline.corpora.table_cells import split_of
from mse_pipeline.corpora.table_file import SUFFIXES, read_table, refuse_others, refuse_unread
from mse_pipeline.corpora.text import decode
from mse_pipeline.errors import UsageError

HELP = (
    "MMSA's label.csv, a table with the columns id and split, or a JSON file "
    '{"train": [ids], "valid": [ids], "test": [ids]}; ids of videos or of clips'
)
_ID_COLUMNS = ("id", "video_id", "vid", "name")
_SPLIT_COLUMNS = ("split", "mode")
_MAX_BYTES = 256 << 20


def read_splits(path: Path) -> dict[str, Split]:
    """Split by id of a video or a clip.

    Args:
        path: A file as `HELP` tells.

    Raises:
        UsageError: There is no such file, it has another form, or one id has two splits.
    """
    if not path.is_file():
        raise UsageError(f"There is no list of splits {path}; it is {HELP}.")
    refuse_others(str(path))
    if path.suffix.lower() == ".json":
        pairs = _json_pairs(path)
    elif is_label_table(path):
        pairs = [(row.video_id, row.mode) for row in read_label_table(path)]
    elif path.suffix.lower() in SUFFIXES:
        table = read_table(path.parent, path.name)
        refuse_unread(table, (*_ID_COLUMNS, *_SPLIT_COLUMNS))
        ids = next((table.columns[name] for name in _ID_COLUMNS if name in table.columns), None)
        splits = next((table.columns[name] for name in _SPLIT_COLUMNS if name in table.columns), None)
        if ids is None or splits is None:
            raise UsageError(f"{path} has the columns {', '.join(table.columns)}; a list of splits is {HELP}.")
        pairs = list(zip(ids, splits, strict=True))
    else:
        raise UsageError(f"{path} is no list of splits; it is {HELP}.")
    return _mapping(path, pairs)


def split_for(clip: str, video: str, splits: Mapping[str, Split]) -> Split | None:
    """The split of a clip: by its own id, else by its video's.

    Examples:
        >>> split_for("a[0]", "a", {"a": Split.TEST})
        <Split.TEST: 'test'>
    """
    return splits.get(clip) or splits.get(video)


def _json_pairs(path: Path) -> list[tuple[str, str]]:
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"{path} has more than {_MAX_BYTES:,} bytes; a list of splits is {HELP}.")
    text, _ = decode(path.read_bytes(), str(path))
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON ({error}); a list of splits is {HELP}.") from None
    if not isinstance(value, dict) or not all(isinstance(ids, list) for ids in value.values()):
        raise UsageError(f"{path} does not map splits to lists of ids; a list of splits is {HELP}.")
    return [(str(one), name) for name, ids in value.items() for one in ids]


def _mapping(path: Path, pairs: list[tuple[str, str]]) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    unknown: list[str] = []
    twice: list[str] = []
    for written, name in pairs:
        one, split = written.strip(), split_of(name, {})
        if split is None:
            unknown.append(f"{name!r} of {one}")
        elif splits.setdefault(one, split) != split:
            twice.append(one)
    if unknown:
        raise UsageError(f"{path} names splits other than train, valid and test: {enumerate_some(unknown, 5)}.")
    if twice:
        raise UsageError(f"{path} puts ids into two splits: {enumerate_some(dict.fromkeys(twice), 5)}.")
    if not splits:
        raise UsageError(f"{path} names no id; a list of splits is {HELP}.")
    return splits
