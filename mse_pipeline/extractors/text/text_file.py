"""Files of word times from anybody: bounded, decoded, and with errors that name the line."""

from __future__ import annotations

import codecs
from pathlib import Path

from mse_pipeline.errors import ClipError
from mse_pipeline.file_kinds import kind_of_bytes

_MOST_BYTES = 256 << 20


def unreadable(file: str, why: str, line: int | None = None) -> ClipError:
    """The error about a file that cannot be used."""
    return ClipError("alignment_failed", f"{file}{'' if line is None else f', line {line}'}: {why}")


def read_text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 with its mark as Praat writes it.

    Raises:
        ClipError: `alignment_failed`: the file is missing, too large, of another kind or of another encoding.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise unreadable(path.name, f"{size:,} bytes; at most {_MOST_BYTES:,} are read.")
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), f"cannot be read: {error.strerror or error}.") from None
    kind = kind_of_bytes(data[:4096]) if data else None
    if kind is not None and not kind.text:
        raise unreadable(path.name, f"has no word times: it is {kind}")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = None if wide else data[: error.start].count(b"\n") + 1
        raise unreadable(path.name, "is neither UTF-8 nor UTF-16 text. Save it as UTF-8.", line) from None
