"""Word times in lines: NIST's CTM, GRID's .align, and tables with a header."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from mse_pipeline.cells import is_missing
from mse_pipeline.extractors.text.rows import TimedWord
from mse_pipeline.extractors.text.text_file import read_text, unreadable, word_at

Recordings = dict[str, list[TimedWord]]
"""Words by the name of their recording, which is empty where a file holds one without a name."""

GRID_RATE = 25_000.0
"""Units a second of GRID's .align files (Cooke et al. 2006)."""

_COLUMNS = {
    "word": ("word", "label", "text", "token", "mark"),
    "start": ("start", "begin", "start_time", "xmin", "tmin", "onset"),
    "end": ("end", "stop", "end_time", "xmax", "tmax", "offset"),
    "duration": ("duration", "dur"),
    "confidence": ("confidence", "conf", "score", "probability"),
    "recording": ("clip", "id", "recording", "file", "utterance", "utt", "name", "video"),
    "type": ("type", "tier"),
}


def read_align(path: Path, scale: float = GRID_RATE) -> Recordings:
    """GRID's ``begin end word``, a word a line.

    Args:
        path: The file.
        scale: Units of time in a second.

    Raises:
        ClipError: `alignment_failed`, with the line.
    """
    words = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        cells = text.split(None, 2)
        if cells and len(cells) != 3:
            raise unreadable(path.name, f"begin, end and word are expected, but this is {text[:50]!r}.", line)
        if cells:
            words.append(word_at(cells[2], *_seconds(cells[0], cells[1], scale), None, (path.name, line)))
    return {"": words}


def read_ctm(path: Path, scale: float = 1.0) -> Recordings:
    """NIST's ``recording channel begin duration word [confidence]``, a word a line.

    Args:
        path: The file.
        scale: Units of time in a second.

    Raises:
        ClipError: `alignment_failed`, with the line.
    """
    recordings: Recordings = defaultdict(list)
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        cells = text.split()
        if not cells or cells[0].startswith(";;"):
            continue
        if len(cells) < 5:
            raise unreadable(
                path.name,
                f"recording, channel, begin, duration and word are expected, but this is {text[:50]!r}.",
                line,
            )
        begin, duration = _seconds(cells[2], cells[3], scale)
        end = begin + duration if isinstance(begin, float) and isinstance(duration, float) else duration
        confidence = cells[5] if len(cells) > 5 and not is_missing(cells[5]) else None
        recordings[cells[0]].append(word_at(cells[4], begin, end, confidence, (path.name, line)))
    return dict(recordings)


def read_table(path: Path, scale: float = 1.0, tier: str | None = None) -> Recordings:
    """A table with a header: a word, its begin, and its end or duration, a row each.

    The columns may be called as usual (``word`` or ``label``, ``start`` or ``begin``, ...); ``clip``, ``id`` or
    ``file`` tells the recording. Of the Montreal Forced Aligner's tables the rows of type ``words`` are read.

    Args:
        path: The file; tabs part its cells if it ends in .tsv.
        scale: Units of time in a second.
        tier: Which rows are read, where a column ``type`` or ``tier`` tells; None for ``words``.

    Raises:
        ClipError: `alignment_failed`, with the line.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    recordings: Recordings = defaultdict(list)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        columns = _columns(header, path.name)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise unreadable(path.name, f"{len(cells)} cells under {len(header)} columns.", reader.line_num)
            row = {name: cells[place] for name, place in columns.items()}
            if row.get("type", tier or "words").lower() != (tier or "words").lower():
                continue
            begin, end = _seconds(row["start"], row.get("end", row.get("duration", "")), scale)
            if "end" not in row and isinstance(begin, float) and isinstance(end, float):
                end += begin
            sure = row.get("confidence", "")
            confidence = None if is_missing(sure) else sure
            word = word_at(row["word"], begin, end, confidence, (path.name, reader.line_num))
            recordings[row.get("recording", "").strip()].append(word)
    except csv.Error as error:
        raise unreadable(path.name, f"is no sound table: {error}.", reader.line_num) from None
    return dict(recordings)


def _columns(header: list[str], file: str) -> dict[str, int]:
    found = {
        what: next(header.index(name) for name in names if name in header)
        for what, names in _COLUMNS.items()
        if any(name in header for name in names)
    }
    missing = [what for what in ("word", "start") if what not in found]
    if "end" not in found and "duration" not in found:
        missing.append("end")
    if missing:
        there = ", ".join(repr(name[:30]) for name in header[:10]) or "none"
        raise unreadable(file, f"there is no column {' and no column '.join(missing)}; there are {there}.", 1)
    return found


def _seconds(begin: str, end: str, scale: float) -> tuple[float | str, float | str]:
    """Times as numbers of seconds, or as they are written where they are none: the word's check tells."""
    try:
        return float(begin) / scale, float(end) / scale
    except ValueError:
        return begin, end
