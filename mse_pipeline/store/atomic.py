"""Files that are whole or absent: written aside, flushed, renamed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ASIDE = ".aside-"
"""Names of unfinished files begin so; whatever bears this name after a kill may be removed."""


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; on leaving, flush it to disk and rename it to `path`.

    If the block raises, the unfinished file is removed and `path` stays as it was.
    """
    temporary = write_aside_name(path)
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_aside_name(path: Path) -> Path:
    """A fresh name in the folder of `path`, which is made if need be, for an unfinished file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{ASIDE}{uuid.uuid4().hex[:12]}-{path.name}")


def flush(path: Path) -> None:
    """Have the operating system put the file on disk."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def remove_unfinished(folder: Path) -> int:
    """Remove unfinished files below a folder; returns how many there were."""
    found = [path for path in folder.rglob(f"{ASIDE}*") if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
