"""CMU's segment transcripts: which part of a video a clip is, and what is said in it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.cells import number_of, said
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.reading import read_each
from mse_pipeline.corpora.text import decode, is_damaged, repair
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName

# `video___clip___start___end___text`. A video id may end in underscores and a text may hold some, so that the numbers
# between them are what the line is told by.
_LINE = re.compile(
    r"(?P<video>[^\s/\\]{1,100}?)___(?P<clip>\d{1,6})___(?P<start>-?[\d.]+(?:[eE][+-]?\d+)?)"
    r"___(?P<end>-?[\d.]+(?:[eE][+-]?\d+)?)___(?P<text>.*)"
)
_ANNOTATED = re.compile(r"(?P<clip>\d{1,6})_DELIM_(?P<text>.*)")
_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Spoken:
    """One segment of a transcript.

    Attributes:
        path: Of the transcript, below the root.
        start: In the full video, in seconds, as written: it may be negative. None where transcripts tell no times.
        end: The same.
        text: Cleaned of encoding damage.
        repaired: Whether the text held any.
    """

    path: str
    start: float | None
    end: float | None
    text: str
    repaired: bool


Transcripts = dict[tuple[str, str], Spoken]
"""(video, clip) -> segment."""


def read_transcripts(root: Path, paths: Iterable[str]) -> tuple[Transcripts, list[str]]:
    """The segments of all transcripts below a root.

    A text file is a transcript if its first line reads ``video___clip___start___end___text`` (CMU-MOSEI), or if it is
    called ``<video>.annotprocessed`` (CMU-MOSI, whose lines read ``clip_DELIM_text``); others are none.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Text files below the root. Of two segments of one clip the first counts.

    Returns:
        The segments, and notes on lines and files that were left aside.
    """
    found: Transcripts = {}
    files, odd, differing, unread = 0, [], 0, []
    for path, content in read_each(root, tuple(paths), _MAX_BYTES):
        try:
            text = _text(path, content)
        except UsageError as error:
            unread.append(str(error))
            continue
        lines = list(_lines(path, text)) if text is not None else []
        files += bool(lines)
        for number, key, spoken in lines:
            if key is None or spoken is None:
                odd.append(f"{path} line {number}")
                continue
            first = found.setdefault(key, spoken)
            differing += (first.start, first.end, first.text) != (spoken.start, spoken.end, spoken.text)
    notes = [f"Transcripts: {len(found):,} segments in {files:,} files."] if found else []
    if odd:
        notes.append(f"Lines of transcripts that tell no segment are left aside: {enumerate_some(odd, 5)}.")
    if differing:
        notes.append(f"{differing:,} segments are in several transcripts that differ; the first one counts.")
    return ByName(found), notes + unread


def _text(path: str, content: bytes | UsageError | None) -> str | None:
    """Text of a file that may be a transcript; None if it cannot be one."""
    if isinstance(content, UsageError):
        raise content
    if content is None:
        return None
    if not path.lower().endswith(".annotprocessed") and b"___" not in content.split(b"\n", 1)[0]:
        return None
    return decode(content, path)[0]


def _lines(path: str, text: str) -> Iterator[tuple[int, tuple[str, str] | None, Spoken | None]]:
    """(line number, (video, clip), segment); the latter two None where a line tells none."""
    stem, suffix = posixpath.splitext(posixpath.basename(path))
    processed = suffix.lower() == ".annotprocessed"
    # Not splitlines(): a C1 control that encoding damage left, U+0085, is no line's end.
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if not processed and not _LINE.fullmatch(lines[0]):
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = (_ANNOTATED if processed else _LINE).fullmatch(line)
        times = [number_of(match[name]) for name in ("start", "end")] if match and not processed else [None, None]
        if match is None or (not processed and None in times):
            yield number, None, None
            continue
        text = repair(said(match["text"])).strip()
        spoken = Spoken(path, times[0], times[1], text, is_damaged(match["text"]))
        yield number, (stem if processed else match["video"], match["clip"]), spoken
