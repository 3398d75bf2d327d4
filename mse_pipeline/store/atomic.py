"""Files that are whole or absent: written aside, flushed, renamed; on object storage, put there when they are whole."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mse_pipeline.os_errors import writing
from mse_pipeline.places import is_local
from mse_pipeline.store.storage import put, upload

ASIDE = ".aside-"
"""Names of unfinished files begin so; whatever bears this name after a kill may be removed."""


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Give a local name to write to; on leaving, what was written there becomes `path`.

    On disk the name lies beside `path`, and is flushed and renamed, with the mode that the umask says, whichever
    library wrote it; for object storage it lies in a temporary folder, and is uploaded. If the block raises, the
    unfinished file is removed and `path` stays as it was.

    Raises:
        OSError: It could not be written; the error names `path`.
    """
    if not is_local(path):
        with tempfile.TemporaryDirectory(prefix="mse-") as folder:
            made = Path(folder) / path.name
            with writing(made):
                yield made
            upload(made, path)
        return
    temporary = write_aside_name(path)
    try:
        with writing(path):
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            if (
                stat.S_IMODE(temporary.stat().st_mode) != mode
            ):  # some libraries write into a private file, and rename it
                temporary.chmod(mode)
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
    if not is_local(path):
        put(path, text.encode())
        return
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def remove_unfinished(folder: Path) -> int:
    """Remove unfinished files below a folder; returns how many there were. Object storage has none."""
    if not is_local(folder):
        return 0
    found = [path for path in folder.rglob(f"{ASIDE}*") if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
