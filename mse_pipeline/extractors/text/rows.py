"""Words with times -> the rows of a word stream, silence between them kept apart."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.text.units import folded, units
from mse_pipeline.store.features import Features

NAMES = ("confidence",)
"""The one value of a word's row."""

SHORTEST_SILENCE = 0.02
"""Seconds; what is shorter is rounding of the times, and no silence."""


@dataclass(frozen=True)
class TimedWord:
    """A word and when it is said.

    Attributes:
        start: Seconds.
        end: Seconds.
        text: The word; empty for silence.
        confidence: How sure its time is, from 0 to 1.
        span: Where it stands in the clip's text, in characters; None where it does not.
    """

    start: float
    end: float
    text: str
    confidence: float = 1.0
    span: tuple[int, int] | None = None


def word_features(words: Sequence[TimedWord], clip: Clip, end: float | None = None, remark: str = "") -> Features:
    """The rows of a word stream: words in the order of time, and a row of silence wherever nobody speaks.

    Args:
        words: Words of the clip, times in seconds from the clip's start; silences among them tell how far it goes.
        clip: The clip; its text is kept, so that words can be expanded to sub-tokens.
        end: Where the clip ends, in seconds; None where the last word or silence ends.
        remark: What was left out, as sentences; empty if nothing was.

    Returns:
        (T, 1) features: each word's confidence; rows of silence are zero and not valid. Notes: ``words``, a text a
        row, empty for silence; ``spans``, each word's place in the clip's text or None; ``text``, the clip's text;
        ``remark``, where there is one, under the code `word_times_repaired`.

    Raises:
        ClipError: `alignment_failed` where there is no word.
    """
    spoken = sorted((word for word in words if word.text), key=lambda word: (word.start, word.end))
    if not spoken:
        raise ClipError("alignment_failed", f"{clip.id} has no word with a time. {remark}".rstrip())
    rows: list[TimedWord] = []
    now = 0.0
    for word in spoken:
        if word.start - now >= SHORTEST_SILENCE:
            rows.append(TimedWord(now, word.start, "", 0.0))
        rows.append(word)
        now = max(now, word.end)
    last = max(word.end for word in words) if end is None else end
    if last - now >= SHORTEST_SILENCE:
        rows.append(TimedWord(now, last, "", 0.0))
    return Features(
        np.array([[row.confidence] for row in rows]),
        np.array([(row.start, row.end) for row in rows]),
        np.array([bool(row.text) for row in rows]),
        NAMES,
        {
            "words": [row.text for row in rows],
            "spans": [None if row.span is None else list(row.span) for row in rows],
            "text": clip.text,
            **({"remark": {"code": "word_times_repaired", "message": remark}} if remark else {}),
        },
    )


def cut(words: Sequence[TimedWord], start: float, end: float | None) -> list[TimedWord]:
    """The words of a part of a file, on the part's own clock. A word belongs where its middle is.

    Args:
        words: Times in seconds from the file's start.
        start: Where the part begins.
        end: Where it ends; None for the file's end.

    Examples:
        >>> cut([TimedWord(0.0, 1.0, "a"), TimedWord(0.9, 2.0, "b")], 0.75, None)
        [TimedWord(start=0.15..., end=1.25, text='b', confidence=1.0, span=None)]
    """
    last = math.inf if end is None else end
    inside = [word for word in words if start <= (word.start + word.end) / 2 < last]
    return [replace(word, start=max(word.start, start) - start, end=min(word.end, last) - start) for word in inside]


def placed(words: Sequence[TimedWord], text: str) -> list[TimedWord]:
    """Find each word in the text, whatever its case and punctuation.

    Words that differ (``gonna`` for ``going to``) stay without a place, and those around them keep theirs.

    Args:
        words: In the order in which they are said.
        text: The clip's text.

    Examples:
        >>> [word.span for word in placed([TimedWord(0, 1, "SO"), TimedWord(1, 2, "WHAT")], "So, what?")]
        [(0, 2), (4, 8)]
    """
    there = units(text)
    pieces = [(number, folded(unit.text)) for number, word in enumerate(words) for unit in units(word.text)]
    matcher = difflib.SequenceMatcher(
        None, [piece for _, piece in pieces], [folded(unit.text) for unit in there], autojunk=False
    )
    found: dict[int, list[int]] = {}
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            found.setdefault(pieces[block.a + offset][0], []).append(block.b + offset)
    counts = np.bincount([number for number, _ in pieces], minlength=len(words))
    result = []
    for number, word in enumerate(words):
        places = found.get(number, [])
        # A word of several units has a place only where all of them stand side by side.
        whole = bool(places) and len(places) == counts[number] and places[-1] - places[0] == len(places) - 1
        result.append(replace(word, span=(there[places[0]].start, there[places[-1]].end)) if whole else word)
    return result
