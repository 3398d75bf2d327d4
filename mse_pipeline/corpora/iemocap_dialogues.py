"""IEMOCAP's dialogues: the label file and the transcription of each, line by line."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.cells import is_missing, number_of, said
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.reading import read_each
from mse_pipeline.corpora.text import decode, is_damaged, repair
from mse_pipeline.errors import UsageError

DIALOGUE = re.compile(r"Ses0([1-5])[FM]_(?:impro|script)\d\d(?:_\d)?[a-z]?", re.I)
"""Name of a dialogue: its session, whose of the two actors wore the markers, and its script."""

_UTTERANCE = re.compile(r"(?P<dialogue>Ses0[1-5][FM]_\w+?)_(?P<speaker>[FM])(?P<turn>[A-Z0-9]{3,})")
_NUMBER = r"\s*(-?\d{1,6}(?:\.\d+)?)\s*"
_RATING = r"\s*(-?\d{1,6}(?:\.\d+)?|[^\s,\]]*)\s*"
_LABEL = re.compile(rf"\[{_NUMBER}-{_NUMBER}\]\t(\S+)\t(\S+)\t\[{_RATING},{_RATING},{_RATING}\]\s*")
_SAID = re.compile(r"(Ses0[1-5]\w+)\s+\[[\d.\s-]+\]:\s?(.*)")
_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Utterance:
    """One annotated utterance.

    Attributes:
        name: As in ``Ses01F_impro01_F000``.
        session: 1 to 5.
        dialogue: As in ``Ses01F_impro01``.
        speaker: The session and ``F`` or ``M``, as in ``Ses01F``: ten actors in all.
        turn: Its place in the dialogue by time, from 0.
        start: In the dialogue's files, in seconds.
        end: The same.
        emotion: Three letters, as written: ``hap``, ``xxx`` where the raters did not agree.
        valence: 1 to 5, mean over the raters, as are the next two; None where a copy has lost it.
        activation: 1 to 5.
        dominance: 1 to 5.
        text: Cleaned; empty if no transcription has the utterance.
        repaired: Whether the text held encoding damage.
        source: The label file.
    """

    name: str
    session: int
    dialogue: str
    speaker: str
    turn: int
    start: float
    end: float
    emotion: str
    valence: float | None
    activation: float | None
    dominance: float | None
    text: str
    repaired: bool
    source: str


@dataclass(frozen=True)
class Files:
    """Label files and transcriptions by dialogue, and what was left aside, as sentences."""

    labels: dict[str, str]
    transcriptions: dict[str, str]
    notes: tuple[str, ...]


def find(listing: Listing) -> Files:
    """Label files and transcriptions, the ones nearest to the root.

    They have the same names and are told by their folders, EmoEvaluation and transcriptions; the raters' own files lie
    deeper and are named otherwise.
    """
    kinds: dict[str, dict[str, str]] = {"emoevaluation": {}, "transcriptions": {}}
    twins = []
    for path in listing.files:
        folder, name = posixpath.split(path)
        stem, suffix = posixpath.splitext(name)
        kind = kinds.get(posixpath.basename(folder).lower())
        if kind is None or suffix.lower() != ".txt" or not DIALOGUE.fullmatch(stem):
            continue
        if kind.setdefault(stem, path) != path:
            twins.append(path)
    notes = (f"Left aside, as others are nearer to the root: {enumerate_some(twins, 3)}.",) if twins else ()
    return Files(kinds["emoevaluation"], kinds["transcriptions"], notes)


Contents = Mapping[str, bytes | UsageError | None]
"""Path -> what `mse_pipeline.corpora.reading.read_each` gives of it."""


def read_contents(root: Path, files: Files) -> Contents:
    """The contents of all label files and transcriptions."""
    return dict(read_each(root, [*files.labels.values(), *files.transcriptions.values()], _MAX_BYTES))


def read_dialogue(contents: Contents, labels: str, transcription: str | None) -> list[Utterance]:
    """The utterances of a dialogue by time.

    Args:
        contents: As `read_contents` gives them.
        labels: Path of the label file.
        transcription: Path of the transcription, if there is one.

    Raises:
        UsageError: A file cannot be read, or a line of the label file is not in the form
            ``[start - end]<tab>name<tab>emotion<tab>[valence, activation, dominance]``.
    """
    texts = _said(contents, transcription) if transcription else {}
    found, bad = [], []
    for number, line in enumerate(_lines(contents, labels), start=1):
        # Lines of single raters begin with C- or A-, the heading with %.
        if not line.startswith("["):
            continue
        match = _LABEL.fullmatch(line)
        name = _UTTERANCE.fullmatch(match[3]) if match else None
        if (
            not match
            or not name
            or not float(match[1]) < float(match[2])
            or not all(map(_is_rating, match.groups()[4:]))
        ):
            bad.append(number)
        else:
            found.append((match, name))
    if bad:
        raise UsageError(
            f"Label file {labels} has lines that are not in IEMOCAP's form, [start - end], utterance, emotion, "
            f"[valence, activation, dominance] with tabs between: lines {enumerate_some(bad)}."
        )
    found.sort(key=lambda pair: (float(pair[0][1]), pair[0][3]))
    utterances = []
    for turn, (match, name) in enumerate(found):
        text = texts.get(match[3], "")
        utterances.append(
            Utterance(
                name=match[3],
                session=int(match[3][4]),
                dialogue=name["dialogue"],
                speaker=f"{match[3][:5]}{name['speaker']}",
                turn=turn,
                start=float(match[1]),
                end=float(match[2]),
                emotion=match[4].lower(),
                valence=number_of(match[5]),
                activation=number_of(match[6]),
                dominance=number_of(match[7]),
                text=repair(said(text)),
                repaired=is_damaged(text),
                source=labels,
            )
        )
    return utterances


def _is_rating(cell: str) -> bool:
    return number_of(cell) is not None or is_missing(cell)


def _said(contents: Contents, path: str) -> dict[str, str]:
    """Utterance -> what is said. Lines without an utterance's name are the transcribers' remarks."""
    matches: Iterable[re.Match[str]] = filter(None, map(_SAID.fullmatch, _lines(contents, path)))
    return {match[1]: match[2].strip() for match in matches}


def _lines(contents: Contents, path: str) -> list[str]:
    content = contents[path]
    if isinstance(content, UsageError):
        raise content
    if content is None:
        raise UsageError(f"{path} is too large for a dialogue's text file, which has at most {_MAX_BYTES:,} bytes.")
    text, _ = decode(content, path)
    return text.replace("\r\n", "\n").split("\n")
