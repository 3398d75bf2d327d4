"""Word times in lines: NIST's CTM, GRID's .align, and tables with a header."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from mse_pipeline.cells import is_missing, number_of
from mse_pipeline.extractors.text.word_checks import CONFIDENCE, Given, Recordings, checked, read_text, unreadable

GRID_RATE = 25_000.0
"""Units a second of GRID's .align files (Cooke et al. 2006)."""

_COLUMNS = {
    "word": ("word", "label", "text", "token", "mark"),
    "start": ("start", "begin", "start_time", "xmin", "tmin", "onset"),
    "end": ("end", "stop", "end_time", "xmax", "tmax", "offset"),
    "duration": ("duration", "dur"),
    "confidence": CONFIDENCE,
    "recording": ("clip", "id", "recording", "file", "utterance", "utt", "name", "video"),
    "type": ("type", "tier"),
    "speaker": ("speaker",),
}

_NUMBERS = {"start", "end", "duration", "confidence"}


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
        if len(cells) == 3:
            words.append(Given(cells[2], cells[0], cells[1], line=line))
        elif cells:
            words.append(_short("begin, end and word", text, line))
    return checked({"": words}, path.name, scale)


def read_ctm(path: Path, scale: float = 1.0, tier: str | None = None) -> Recordings:
    """NIST's ``recording channel begin duration word [confidence]``, a word a line.

    Args:
        path: The file.
        scale: Units of time in a second.
        tier: Which channel is read; None for the only one.

    Raises:
        ClipError: `alignment_failed`, with the line: no word can be used, or a recording has several channels.
    """
    recordings: dict[str, list[Given]] = defaultdict(list)
    channels: dict[str, dict[str, None]] = defaultdict(dict)
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        cells = text.split()
        if not cells or cells[0].startswith(";;"):
            continue
        if len(cells) < 5:
            last = next(reversed(recordings), cells[0])
            name = cells[0] if cells[0] in recordings else last
            recordings[name].append(_short("recording, channel, begin, duration and word", text, line))
            continue
        channels[cells[0]][cells[1]] = None
        if cells[1] != (tier or cells[1]):
            continue
        confidence = cells[5] if len(cells) > 5 and not is_missing(cells[5]) else None
        end = _after(cells[2], cells[3])
        recordings[cells[0]].append(Given(cells[4], cells[2], end, confidence, line))
    for name, labels in channels.items():
        if tier is None and len(labels) > 1:
            recordings[name] = [_several("channels", list(labels))]
    return checked(recordings, path.name, scale)


def read_table(path: Path, scale: float = 1.0, tier: str | None = None) -> Recordings:
    """A table with a header: a word, its begin, and its end or duration, a row each.

    The columns may be called as usual (``word`` or ``label``, ``start`` or ``begin``, ...); ``clip``, ``id`` or
    ``file`` tells the recording. Of the Montreal Forced Aligner's tables the rows of type ``words`` are read.

    Args:
        path: The file; tabs part its cells if it ends in .tsv, else commas, or semicolons as in most of Europe.
        scale: Units of time in a second.
        tier: Which rows are read, where a column ``type`` or ``tier`` tells; None for ``words``. Where there are
            several speakers too, ``ann - words``.

    Raises:
        ClipError: `alignment_failed`, with the line.
    """
    text = read_text(path)
    header_line = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    recordings: dict[str, list[Given]] = defaultdict(list)
    speakers: dict[str, dict[str, None]] = defaultdict(dict)
    wanted = (tier or "words").casefold()
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        columns = _columns(header, path.name)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                fault = f"{len(cells)} cells under {len(header)} columns"
                recordings[next(reversed(recordings), "")].append(Given(fault=fault, line=reader.line_num))
                continue
            row = {name: cells[column].strip() for name, column in columns.items()}
            # Where semicolons part the cells, a comma is a decimal sign.
            commas = {name: row[name] for name in _NUMBERS & row.keys() if "," in row[name]}
            row |= {
                name: str(number) for name, cell in commas.items() if (number := number_of(cell, delimiter)) is not None
            }
            kind, speaker = row.get("type", wanted).casefold(), row.get("speaker", "")
            of_speaker = f"{speaker} - {kind}".casefold() == wanted  # as a TextGrid of the same aligner calls it
            if kind != wanted and not of_speaker:
                continue
            name = row.get("recording", "")
            if "type" in row and not of_speaker:
                speakers[name][f"{speaker} - {kind}"] = None
            end = row["end"] if "end" in row else _after(row["start"], row["duration"])
            sure = row.get("confidence", "")
            confidence = None if is_missing(sure) else sure
            recordings[name].append(Given(row["word"], row["start"], end, confidence, reader.line_num))
    except csv.Error as error:
        raise unreadable(path.name, f"is no sound table: {error}.", reader.line_num) from None
    for name, labels in speakers.items():
        if len(labels) > 1:
            recordings[name] = [_several("speakers' tiers", list(labels))]
    return checked(recordings, path.name, scale)


def _columns(header: list[str], file: str) -> dict[str, int]:
    columns = {
        what: next(header.index(name) for name in names if name in header)
        for what, names in _COLUMNS.items()
        if any(name in header for name in names)
    }
    twice = [header[place] for place in columns.values() if header.count(header[place]) > 1]
    if twice:
        raise unreadable(file, f"there are several columns called {twice[0][:50]!r}. Give them different names.", 1)
    missing = [what for what in ("word", "start") if what not in columns]
    if "end" not in columns and "duration" not in columns:
        missing.append("end")
    if missing:
        heads = ", ".join(repr(name[:30]) for name in header[:10]) or "none"
        raise unreadable(file, f"there is no column {' and no column '.join(missing)}; there are {heads}.", 1)
    return columns


def _short(expected: str, text: str, line: int) -> Given:
    return Given(fault=f"{expected} are expected, but this is {text[:50]!r}", line=line)


def _several(what: str, names: list[str]) -> Given:
    there = ", ".join(repr(name[:50]) for name in names[:10])
    return Given(fault=f"there are several {what} of one recording ({there}). Name one with the option tier")


def _after(begin: str, duration: str) -> float | str:
    """The end, or the duration as it is written where there is no number: the word's check tells."""
    try:
        return float(begin) + float(duration)
    except ValueError:
        return duration
