"""Files of word times from anybody: bounded, decoded, and with errors that name the line."""

from __future__ import annotations

import codecs
import math
from pathlib import Path

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.text.rows import TimedWord

_MOST_BYTES = 256 << 20
_LATEST = 1e7  # seconds: no recording is of a hundred days
_NEGATIVE = -1.0  # seconds: rounding and early windows begin before 0, an hour before is no time


def unreadable(file: str, why: str, line: int | None = None) -> ClipError:
    """The error about a file that cannot be used."""
    return ClipError("alignment_failed", f"{file}{'' if line is None else f', line {line}'}: {why}")


def read_text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 with its mark as Praat writes it.

    Raises:
        ClipError: `alignment_failed`: the file is missing, too large or of another encoding.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise unreadable(path.name, f"{size:,} bytes; at most {_MOST_BYTES:,} are read.")
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), f"cannot be read: {error.strerror or error}.") from None
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = None if wide else data[: error.start].count(b"\n") + 1
        raise unreadable(path.name, "is neither UTF-8 nor UTF-16 text. Save it as UTF-8.", line) from None


def word_at(text: str, start: object, end: object, confidence: object, where: tuple[str, int | None]) -> TimedWord:
    """A word with its times checked.

    Args:
        text: The word.
        start: Seconds, as a number or as it is written.
        end: Seconds.
        confidence: From 0 to 1; None where none is given.
        where: File and line, for the error.

    Raises:
        ClipError: `alignment_failed`: no numbers, or no times of a recording.
    """
    file, line = where
    try:
        begin, stop = float(start), float(end)  # type: ignore[arg-type]
        sure = 1.0 if confidence is None else float(confidence)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise unreadable(file, f"{text[:50]!r} has times {start!r} and {end!r}, which are no numbers.", line) from None
    if not (_NEGATIVE <= begin <= stop <= _LATEST):
        raise unreadable(file, f"{text[:50]!r} goes from {begin:g} to {stop:g} s; a word begins before it ends.", line)
    if not math.isfinite(sure):
        raise unreadable(file, f"{text[:50]!r} has the confidence {sure}, which is no number.", line)
    return TimedWord(max(begin, 0.0), max(stop, 0.0), text.strip(), min(max(sure, 0.0), 1.0))
