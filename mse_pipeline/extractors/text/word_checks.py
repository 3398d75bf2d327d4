"""Words with times: read as text, checked, and turned into the rows of a word stream.

A word that cannot be used is left out with a remark; the others stay. Files may come from strangers: their size is
limited, and errors name the line. Silence between words has rows of its own.
"""

from __future__ import annotations

import codecs
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.text.spoken import folded, units
from mse_pipeline.file_kinds import kind_of_bytes
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
    text_units = units(text)
    pieces = [(number, folded(unit.text)) for number, word in enumerate(words) for unit in units(word.text)]
    matcher = difflib.SequenceMatcher(
        None, [piece for _, piece in pieces], [folded(unit.text) for unit in text_units], autojunk=False
    )
    by_digit: dict[int, list[int]] = {}
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            by_digit.setdefault(pieces[block.a + offset][0], []).append(block.b + offset)
    counts = np.bincount([number for number, _ in pieces], minlength=len(words))
    result = []
    for number, word in enumerate(words):
        places = by_digit.get(number, [])
        # A word of several units has a place only where all of them stand side by side.
        whole = bool(places) and len(places) == counts[number] and places[-1] - places[0] == len(places) - 1
        result.append(replace(word, span=(text_units[places[0]].start, text_units[places[-1]].end)) if whole else word)
    return result


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


SILENCE = ("", "sil", "sp", "<eps>", "<sil>", "!sil", "<p:>", "[sil]")
"""What aligners write where nobody speaks: Kaldi, P2FA, HTK, MAUS and the Montreal Forced Aligner."""

CONFIDENCE = (
    *("confidence", "conf", "score", "probability", "prob", "posterior"),
    *("avg_logprob", "logprob", "log_prob", "log_probability", "logp"),
)
"""What files call how sure a word is, as a probability, its logarithm, or percent."""

MEND = (
    "Give a file of words: Whisper writes them with word_timestamps=True, WhisperX after its alignment, and a TextGrid "
    "may have them in another tier; or have the stream text.ctc find them"
)
"""What helps where a file has sentences."""

_LATEST = 1e7  # seconds: no recording is of a hundred days
_NEGATIVE = -1.0  # seconds: rounding and early windows begin before 0, an hour before is no time
_ROUNDING = 0.05  # confidences of lattices may sum up to a little more than 1
_LEAST_PERCENT = 10.0  # a file whose best word has 9 % does not count in percent

_SOUND = re.compile(r"[\[<({].*[\])>}]", re.DOTALL)  # [laughter], <unk>, (noise in the background): no sentences
# Scripts without spaces. Four Han characters are an idiom and no more; kana after them are their ending; a new Han
# character or katakana after hiragana begins a word. Thai, Lao, Burmese and Khmer count their vowels and tones too.
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = re.compile(
    f"[{_HAN}]{{1,4}}[\u3041-\u309f]{{0,12}}|[\u3041-\u309f]{{1,12}}|[\u30a0-\u30ff]+"
    "|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]{1,15}"
)
_SIGNS = re.compile("[，。！？；、：…]")


class Words(list[TimedWord]):
    """The words of one recording.

    Attributes:
        remarks: What was left out or not understood, as sentences. Where they leave no word, they tell why.
    """

    def __init__(self, words: Iterable[TimedWord] = (), remarks: Iterable[str] = ()) -> None:
        super().__init__(words)
        self.remarks = tuple(remarks)


Recordings = dict[str, Words]
"""Words by the name of their recording, which is empty where a file holds one without a name."""


@dataclass(frozen=True)
class Given:
    """A word as a file has it, not checked yet.

    Attributes:
        text: The word.
        start: In the file's unit of time, as a number or as it is written.
        end: The same.
        confidence: A probability, its logarithm, or percent; None where none is given.
        line: Where it is in the file.
        fault: Why there is no word to be read here.
    """

    text: object = None
    start: object = None
    end: object = None
    confidence: object = None
    line: int | None = None
    fault: str | None = None


def checked(given: Mapping[str, Iterable[Given]], file: str, scale: float = 1.0) -> Recordings:
    """The words of a file's recordings, each checked.

    A word with unfit times is left out, and told. Confidences of one file are of one kind: probabilities, logarithms
    of them (none above 0), or percent; others are left out, and told. Of a recording of sentences no word is left.

    Args:
        given: By recording.
        file: Its name, for messages.
        scale: Units of time in a second.

    Raises:
        ClipError: `alignment_failed`: no recording of the file has a word that can be used.

    Examples:
        >>> given = [Given("so", 0.1, 0.4, -0.05), Given("k", 0.5, 0.48), Given("what", 0.6, 0.9, -2.3)]
        >>> words = checked({"": given}, "a.json")[""]
        >>> [(word.text, round(word.confidence, 2)) for word in words]
        [('so', 0.95), ('what', 0.1)]
        >>> words.remarks
        ("a.json: 1 of 3 words is left out: 'k' goes from 0.5 to 0.48 s; a word begins before it ends.",)
    """
    sifted = {name: _sift(list(words), file, scale) for name, words in given.items()}
    kind = _kind([value for words, _ in sifted.values() for _, value in words if value is not None])
    recordings: Recordings = {}
    for name, (words, told) in sifted.items():
        sentences = sentences_among([word.text for word, _ in words])
        if sentences:
            recordings[name] = Words((), [f"{file}: {sentences}"])
            continue
        if kind is None and any(value is not None for _, value in words):
            told.append(
                f"{file}: its confidences are neither probabilities, nor logarithms of them, nor percent; they are "
                "left out, and each word counts as sure."
            )
        recordings[name] = Words([replace(word, confidence=_probability(value, kind)) for word, value in words], told)
    if not any(recordings.values()):
        why = next((words.remarks[0] for words in recordings.values() if words.remarks), None)
        if why is not None:
            raise ClipError("alignment_failed", why)
    return recordings


def sentences_among(texts: Sequence[str]) -> str | None:
    """Why entries are no words but sentences; None where they are words.

    A few words of several parts (``New York``) are among words; where over half of the entries are such, or an entry
    has two words on average, they are sentences. Silence and sounds in brackets do not count.

    Examples:
        >>> sentences_among(["I", "love", "New York", "at", "5 a.m."])
        >>> sentences_among(["Bin red by k.", "So?"])
        "its entries are sentences, no words: 1 of 2 has several words, as 'Bin red by k.'. Give a file of words:..."
    """
    words = [text for text in texts if text.casefold() not in SILENCE and not _SOUND.fullmatch(text)]
    counts = [_words_in(text) for text in words]
    several = [text for text, count in zip(words, counts, strict=True) if count > 1]
    if not several or (2 * len(several) <= len(words) and sum(counts) < 2 * len(words)):
        return None
    have = "has" if len(several) == 1 else "have"
    return (
        f"its entries are sentences, no words: {len(several):,} of {len(words):,} {have} several words, as "
        f"{several[0][:50]!r}. {MEND}."
    )


def _words_in(text: str) -> int:
    """How many words a text has at least, whatever its script."""
    parts = [part for part in _SIGNS.sub(" ", text).split() if any(map(str.isalnum, part))]
    return sum(max(1, len(_UNSPACED.findall(part))) for part in parts)


def _sift(given: Sequence[Given], file: str, scale: float) -> tuple[list[tuple[TimedWord, float | None]], list[str]]:
    """The words of a recording that have times, with their confidence as it is given, and what was left out."""
    words: list[tuple[TimedWord, float | None]] = []
    faults: list[tuple[int | None, str]] = []
    unsure = 0
    for item in given:
        try:
            word = _timed(item, scale)
        except ValueError as error:
            faults.append((item.line, str(error)))
            continue
        value = _confidence(item.confidence)
        unsure += value is None and item.confidence is not None
        words.append((word, value))
    notes = []
    if faults:
        line, why = faults[0]
        if len(faults) == len(given):
            location = file if line is None else f"{file}, line {line}"
            end = "" if len(given) == 1 else f" None of its {len(given):,} words can be used."
            return [], [f"{location}: {why}.{end}"]
        are = "is left out" if len(faults) == 1 else "are left out, the first"
        where = "" if line is None else f"line {line}: "
        notes.append(f"{file}: {len(faults):,} of {len(given):,} words {are}: {where}{why}.")
    if unsure:
        notes.append(f"{file}: {unsure:,} confidences are no numbers, and count as none given.")
    return words, notes


def _timed(given: Given, scale: float) -> TimedWord:
    """A word with its times in seconds.

    Raises:
        ValueError: It is none; the message ends a sentence.
    """
    if given.fault is not None:
        raise ValueError(given.fault)
    if not isinstance(given.text, str):
        raise ValueError(f"a word is a text, but this is {str(given.text)[:50]!r}")
    text = given.text.strip()
    name = repr(text[:50])
    if given.start is None or given.end is None:
        raise ValueError(f"{name} has no times")
    start, end = _seconds(given.start, name, scale), _seconds(given.end, name, scale)
    if not (_NEGATIVE <= start <= end <= _LATEST):
        raise ValueError(f"{name} goes from {start:g} to {end:g} s; a word begins before it ends")
    if end < 0:
        raise ValueError(f"{name} goes from {start:g} to {end:g} s, before the recording begins")
    return TimedWord(max(start, 0.0), end, text)


def _seconds(time: object, name: str, scale: float) -> float:
    try:
        if isinstance(time, bool) or (isinstance(time, str) and "_" in time):
            raise ValueError
        return float(time) / scale  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError(f"{name} has the time {str(time)[:50]}, no time of a recording") from None
    except (TypeError, ValueError):
        raise ValueError(f"{name} has the time {str(time)[:50]!r}, which is no number") from None


def _confidence(given: object) -> float | None:
    """The number that is given, percent signs taken; None where there is none."""
    if given is None or isinstance(given, bool):
        return None
    percent = isinstance(given, str) and given.strip().endswith("%")
    try:
        value = float(given.strip().removesuffix("%")) if isinstance(given, str) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    value /= 100.0 if percent else 1.0
    return None if math.isnan(value) or value == math.inf else value


_Kind = Literal["probability", "logarithm", "percent"]


def _kind(given: Sequence[float]) -> _Kind | None:
    """What the confidences of a file are; None where they are of no kind, or of several."""
    low, high = min(given, default=0.0), max(given, default=0.0)
    # Nobody writes words that cannot be: zeros alone are the logarithm of 1, or stand for nothing.
    if low >= 0.0 and 0.0 < high <= 1.0 + _ROUNDING:
        return "probability"
    if high <= 0.0:
        return "logarithm"
    if low >= 0.0 and _LEAST_PERCENT <= high <= 100.0 and not any(0.0 < value < 1.0 for value in given):
        return "percent"
    return None


def _probability(value: float | None, kind: _Kind | None) -> float:
    if value is None or kind is None:
        return 1.0
    if kind == "logarithm":
        return math.exp(value)
    return min(value / 100.0 if kind == "percent" else value, 1.0)
