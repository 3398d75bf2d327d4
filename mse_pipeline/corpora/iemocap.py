"""IEMOCAP (Busso et al. 2008): acted dialogues of ten speakers, six emotions, English.

The raters' other codes (surprise, fear, disgust, other, no agreement) are not labels here, as in the field's six-way
task; their clips are kept without a label. This file reads the label file and the transcription of each dialogue,
chooses the splits, and makes clips and defects. IEMOCAP has no splits of its own: whole sessions are the test split, so
that the model has not seen their two speakers.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mse_pipeline.cells import is_missing, number_of, said
from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import Corpus, Facts, ReaderOptions, compare_counts, enumerate_some, read_each
from mse_pipeline.corpora.files import Listing, read_folder
from mse_pipeline.corpora.text import decode, is_damaged, repair
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression, Task

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
    """Label files and transcriptions by dialogue, and what was ignored, as sentences."""

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
    notes = (f"Ignored, as others are nearer to the root: {enumerate_some(twins, 3)}.",) if twins else ()
    return Files(kinds["emoevaluation"], kinds["transcriptions"], notes)


Contents = Mapping[str, bytes | UsageError | None]
"""Path -> what `mse_pipeline.corpora.base.read_each` gives of it."""


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


Validation = Literal["dialogues", "session", "none"]


def split_of_dialogues(
    dialogues: Sequence[tuple[int, str]], test_session: int, validation: Validation
) -> tuple[dict[str, Split], str]:
    """The split of each dialogue.

    Emotion recognition in conversation tests on session 5 and trains on the other 120 dialogues (as DialogueRNN and
    its successors do). They take a random tenth of these for validation, differently in each repository; here the
    choice is fixed.

    Args:
        dialogues: Session and name of each.
        test_session: Whose dialogues are the test.
        validation: ``dialogues``: the last tenth of each other session's dialogues by name, at least one.
            ``session``: the whole session before the test's (after 1 comes 5). ``none``: nothing, as in papers that
            stop at the best test epoch.

    Returns:
        Dialogue -> split, and a sentence that tells the choice.

    Examples:
        >>> split_of_dialogues([(1, "Ses01F_impro01"), (1, "Ses01F_impro02"), (5, "Ses05F_impro01")], 5, "dialogues")[0]
        {'Ses01F_impro01': <Split.TRAIN: 'train'>, 'Ses01F_impro02': <Split.VALID: 'valid'>, \
'Ses05F_impro01': <Split.TEST: 'test'>}
    """
    before = (test_session - 2) % 5 + 1
    chosen = {name: Split.TEST if session == test_session else Split.TRAIN for session, name in dialogues}
    if validation == "session":
        chosen |= {name: Split.VALID for session, name in dialogues if session == before}
        description = f"session {before} is valid"
    elif validation == "dialogues":
        for session in {session for session, _ in dialogues} - {test_session}:
            names = sorted(name for own, name in dialogues if own == session)
            chosen |= dict.fromkeys(names[-max(1, len(names) // 10) :] if len(names) > 1 else [], Split.VALID)
        description = "the last tenth of each other session's dialogues is valid"
    else:
        description = "nothing is valid"
    return (
        chosen,
        f"Session {test_session} is the test, {description}, and the rest is train (options test_session, valid).",
    )


EMOTIONS = ("hap", "sad", "neu", "ang", "exc", "fru")
OTHER = frozenset({"sur", "fea", "dis", "oth", "xxx"})
"""Codes without a class of the six-way task; ``xxx`` is written where the raters did not agree."""
OFFICIAL = {"sessions 1 to 4": 7869, "session 5": 2170}
OFFICIAL_SIX = {"sessions 1 to 4": 5810, "session 5": 1623}
WHERE = "https://sail.usc.edu/iemocap"
_VIDEO = (".avi", ".mp4", ".mkv", ".mov")
_AUDIO = (".wav", ".flac")

FACTS = Facts(
    title="IEMOCAP: acted dialogues of pairs (Busso et al. 2008)",
    task=f"classification, {len(EMOTIONS)} emotions",
    predicts=Classification(EMOTIONS),
    language="en",
    labels=f"{', '.join(EMOTIONS)}; also valence, activation and dominance 1 to 5",
    splits_from="there are none; usual is session 5 as test, with {:,} and {:,} utterances of six classes".format(
        *OFFICIAL_SIX.values()
    ),
    licence="signed agreement with the University of Southern California",
    source=f"{WHERE}/ on request",
    layouts=("Session1 to Session5 with dialog/EmoEvaluation, dialog/transcriptions, dialog/avi, sentences/wav",),
    defects=("pictures show both speakers side by side", "2,507 of 10,039 utterances have no majority (xxx)"),
)


class OptionsModel(ReaderOptions):
    """Options of the IEMOCAP reader.

    Attributes:
        media: ``dialogue``: the dialogue's video with the utterance's start and end, for sound and picture; both
            speakers are in the picture, side by side. ``sentence``: the utterance's own sound file.
        target: What the label is; everything else goes into the clip's `labels`.
        test_session: The session that is the test.
        valid: Where the validation comes from, see `iemocap_split.split_of_dialogues`.
        official: Whether this is IEMOCAP itself, whose counts are known. False for other data in its layout.
    """

    media: Literal["dialogue", "sentence"] = "dialogue"
    target: Literal["emotion", "valence", "activation", "dominance"] = "emotion"
    test_session: Annotated[int, Field(ge=1, le=5)] = 5
    valid: Validation = "dialogues"
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List IEMOCAP's clips.

    Args:
        root: Folder of the sessions, ``Session1`` to ``Session5``, or one around it.
        options: See `OptionsModel`.
        task: Other classes, or another order of them, than `EMOTIONS`; another range than 1 to 5.

    Raises:
        UsageError: There is no folder, no label file, or a label file cannot be read.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    task = _task(options, task)
    files = find(listing)
    if not files.labels:
        raise UsageError(
            f"Under {folder} there is no label file of IEMOCAP: Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and "
            f"its like were looked for. {WHERE} tells how to obtain the corpus."
        )
    contents = read_contents(folder, files)
    utterances = [
        utterance
        for dialogue in sorted(files.labels)
        for utterance in read_dialogue(contents, files.labels[dialogue], files.transcriptions.get(dialogue))
    ]
    pairs = dict.fromkeys((utterance.session, utterance.dialogue) for utterance in utterances)
    splits, description = split_of_dialogues(list(pairs), options.test_session, options.valid)
    clips, defects = _clips(utterances, splits, IemocapMedia(listing), options, task)
    if options.official:
        defects += _official_counts(utterances)
    return Corpus(
        name="iemocap",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=tuple(defects),
        expected=_expected(options),
        sources=tuple(path for path in files.labels.values()),
        notes=(
            description,
            *files.notes,
            *_notes(utterances, clips, options),
            *(f"Ignored: {x}" for x in listing.refused),
        ),
    )


class IemocapMedia:
    """The media files of a listing: videos by dialogue, sound files by utterance.

    Args:
        listing: Of the root.
    """

    def __init__(self, listing: Listing) -> None:
        self.videos: dict[str, list[str]] = {}
        self.sentences: dict[str, list[str]] = {}
        for path in listing.files:
            stem, suffix = posixpath.splitext(posixpath.basename(path))
            if suffix.lower() in _VIDEO and DIALOGUE.fullmatch(stem):
                self.videos.setdefault(stem, []).append(path)
            elif suffix.lower() in _AUDIO and DIALOGUE.match(stem) and not DIALOGUE.fullmatch(stem):
                self.sentences.setdefault(stem, []).append(path)

    def find(self, utterance: Utterance, preferred: str) -> tuple[list[str], bool]:
        """Files of an utterance, the one to use first, and whether they are of its whole dialogue."""
        dialogue = self.videos.get(utterance.dialogue, [])
        sentence = self.sentences.get(utterance.name, [])
        whole = bool(dialogue) if preferred == "dialogue" else not sentence and bool(dialogue)
        return (dialogue if whole else sentence), whole


def _task(options: OptionsModel, task: Task | None) -> Task:
    if options.target == "emotion":
        task = task or Classification(EMOTIONS)
        if isinstance(task, Classification):
            return task
        raise UsageError("IEMOCAP's emotions are classes: the task is a classification, or option target is another.")
    task = task or Regression(1.0, 5.0)
    if isinstance(task, Regression):
        return task
    raise UsageError(f"IEMOCAP's {options.target} is a number from 1 to 5: the task is a regression.")


def _clips(
    utterances: Sequence[Utterance], splits: dict[str, Split], media: IemocapMedia, options: OptionsModel, task: Task
) -> tuple[list[Clip], list[Defect]]:
    clips: dict[str, Clip] = {}
    defects: list[Defect] = []
    for utterance in utterances:
        name = utterance.name
        if name in clips:
            message = f"{utterance.source} annotates {name} again; the first line counts."
            defects.append(Defect(code="duplicate", message=message, clip=name, path=utterance.source))
            continue
        files, whole = media.find(utterance, options.media)
        label, labels, wrong = _labels(utterance, options, task)
        clips[name] = Clip(
            id=name,
            split=splits[utterance.dialogue],
            media=files[0] if files else None,
            start=utterance.start if whole else None,
            end=utterance.end if whole else None,
            text=utterance.text,
            speaker=utterance.speaker,
            dialogue=utterance.dialogue,
            turn=utterance.turn,
            label=label,
            labels=labels,
        )
        defects += wrong
        if utterance.repaired:
            message = f"The transcription of {name} held encoding damage, which is repaired where it can be."
            defects.append(Defect(code="text_repaired", message=message, clip=name))
        if not files:
            message = f"{name} is annotated, but there is neither {utterance.dialogue}.avi nor {name}.wav."
            defects.append(Defect(code="missing_media", message=message, clip=name))
        if not whole:
            for path in files[1:]:
                message = f"{path} is ignored: {name} has another file, {files[0]}, that is preferred."
                defects.append(Defect(code="duplicate", message=message, clip=name, path=path))
    defects += _left_over(media, clips, {utterance.dialogue for utterance in utterances})
    return list(clips.values()), defects


def _labels(
    utterance: Utterance, options: OptionsModel, task: Task
) -> tuple[Label | None, dict[str, Label], list[Defect]]:
    """The label, the other annotations, and defects for those that cannot be."""
    ratings = {kind: getattr(utterance, kind) for kind in ("valence", "activation", "dominance")}
    labels: dict[str, Label] = {kind: value for kind, value in ratings.items() if value is not None}
    if not is_missing(utterance.emotion):
        labels = {"emotion": utterance.emotion, **labels}
    defects = []
    if utterance.emotion not in {*EMOTIONS, *OTHER, *(task.classes if isinstance(task, Classification) else ())}:
        names = ", ".join([*EMOTIONS, *sorted(OTHER)])
        message = f"{utterance.source} has the emotion {utterance.emotion!r} for {utterance.name}; known are {names}."
        defects.append(Defect(code="label_out_of_range", message=message, clip=utterance.name, path=utterance.source))
    value = labels.get(options.target)
    if isinstance(task, Classification):
        fits = value in task.classes
    else:
        fits = isinstance(value, float) and task.low <= value <= task.high
        if not fits:
            message = f"{utterance.source} has the {options.target} {value} for {utterance.name}; it goes without it."
            defects.append(Defect(code="label_out_of_range", message=message, clip=utterance.name))
    if not fits or value is None:
        return None, labels, defects
    del labels[options.target]
    return value, labels, defects


def _left_over(media: IemocapMedia, clips: dict[str, Clip], dialogues: set[str]) -> Iterator[Defect]:
    """Files that no line is about."""
    for stem, paths in [*media.sentences.items(), *media.videos.items()]:
        if stem not in clips and stem not in dialogues:
            for path in paths:
                message = f"{path} is ignored: no label file is about {stem}."
                yield Defect(code="unlabelled_media", message=message, path=path)


def _expected(options: OptionsModel) -> dict[Split, int]:
    """Official number of clips a split, where whole sessions are the splits of which the numbers are known."""
    if options.official and (options.test_session, options.valid) == (5, "none"):
        return {Split.TRAIN: OFFICIAL["sessions 1 to 4"], Split.VALID: 0, Split.TEST: OFFICIAL["session 5"]}
    return {}


def _official_counts(utterances: Sequence[Utterance]) -> Iterator[Defect]:
    def part(utterance: Utterance) -> str:
        return "session 5" if utterance.session == 5 else "sessions 1 to 4"

    names = {utterance.name: utterance for utterance in utterances}.values()
    yield from compare_counts("utterances of", OFFICIAL, Counter(map(part, names)))
    six = Counter(part(utterance) for utterance in names if utterance.emotion in EMOTIONS)
    yield from compare_counts("utterances with one of the six emotions of", OFFICIAL_SIX, six)


def _notes(utterances: Sequence[Utterance], clips: Sequence[Clip], options: OptionsModel) -> Iterator[str]:
    others = Counter(utterance.emotion for utterance in utterances if utterance.emotion in OTHER)
    if others and options.target == "emotion":
        codes = ", ".join(f"{code} {number:,}" for code, number in others.most_common())
        yield f"{others.total():,} of {len(utterances):,} utterances are of no class of the six-way task: {codes}."
    silent = [clip.id for clip in clips if not clip.text]
    if silent:
        yield f"{len(silent):,} utterances have no transcription: {enumerate_some(silent, 3)}."
    spans = sum(clip.start is not None for clip in clips)
    if spans:
        yield (
            f"{spans:,} clips are spans of their dialogue's video, in which both speakers are seen side by side; the "
            "option media: sentence reads the utterances' own sound files instead."
        )
    files = sum(clip.media is not None for clip in clips) - spans
    if files and options.media == "dialogue":
        yield f"{files:,} clips have no video and are read from their own sound files."
