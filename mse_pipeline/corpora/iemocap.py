"""IEMOCAP (Busso et al. 2008): acted dialogues of ten speakers, six emotions, English.

The raters' other codes (surprise, fear, disgust, other, no agreement) are no labels here, as the field's six-way task
has it; their clips are kept without one.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mse_pipeline.cells import is_missing
from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import Corpus, Options, compare_counts, enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.iemocap_dialogues import DIALOGUE, Utterance, find, read_contents, read_dialogue
from mse_pipeline.corpora.iemocap_split import Validation, split_of_dialogues
from mse_pipeline.corpora.linked import read_folder
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression, Task

EMOTIONS = ("hap", "sad", "neu", "ang", "exc", "fru")
OTHER = frozenset({"sur", "fea", "dis", "oth", "xxx"})
"""Codes that are no class of the six-way task; ``xxx`` is written where the raters did not agree."""
OFFICIAL = {"sessions 1 to 4": 7869, "session 5": 2170}
OFFICIAL_SIX = {"sessions 1 to 4": 5810, "session 5": 1623}
WHERE = "https://sail.usc.edu/iemocap"
_VIDEO = (".avi", ".mp4", ".mkv", ".mov")
_AUDIO = (".wav", ".flac")


class OptionsModel(Options):
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
    splits, told = split_of_dialogues(list(pairs), options.test_session, options.valid)
    clips, defects = _clips(utterances, splits, Media(listing), options, task)
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
        notes=(told, *files.notes, *_notes(utterances, clips, options), *(f"Left aside: {x}" for x in listing.refused)),
    )


class Media:
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
    utterances: Sequence[Utterance], splits: dict[str, Split], media: Media, options: OptionsModel, task: Task
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
                message = f"{path} is left aside: {name} has another file, {files[0]}, that is preferred."
                defects.append(Defect(code="duplicate", message=message, clip=name, path=path))
    defects += _left_over(media, clips, {utterance.dialogue for utterance in utterances})
    return list(clips.values()), defects


def _labels(
    utterance: Utterance, options: OptionsModel, task: Task
) -> tuple[Label | None, dict[str, Label], list[Defect]]:
    """The label, the other annotations, and defects for those that cannot be."""
    ratings = {kind: getattr(utterance, kind) for kind in ("valence", "activation", "dominance")}
    given: dict[str, Label] = {kind: value for kind, value in ratings.items() if value is not None}
    if not is_missing(utterance.emotion):
        given = {"emotion": utterance.emotion, **given}
    defects = []
    if utterance.emotion not in {*EMOTIONS, *OTHER, *(task.classes if isinstance(task, Classification) else ())}:
        known = ", ".join([*EMOTIONS, *sorted(OTHER)])
        message = f"{utterance.source} has the emotion {utterance.emotion!r} for {utterance.name}; known are {known}."
        defects.append(Defect(code="label_out_of_range", message=message, clip=utterance.name, path=utterance.source))
    value = given.get(options.target)
    if isinstance(task, Classification):
        fits = value in task.classes
    else:
        fits = isinstance(value, float) and task.low <= value <= task.high
        if not fits:
            message = f"{utterance.source} has the {options.target} {value} for {utterance.name}; it goes without it."
            defects.append(Defect(code="label_out_of_range", message=message, clip=utterance.name))
    if not fits or value is None:
        return None, given, defects
    del given[options.target]
    return value, given, defects


def _left_over(media: Media, clips: dict[str, Clip], dialogues: set[str]) -> Iterator[Defect]:
    """Files that no line is about."""
    for stem, paths in [*media.sentences.items(), *media.videos.items()]:
        if stem not in clips and stem not in dialogues:
            for path in paths:
                message = f"{path} is left aside: no label file is about {stem}."
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
        told = ", ".join(f"{code} {number:,}" for code, number in others.most_common())
        yield f"{others.total():,} of {len(utterances):,} utterances are of no class of the six-way task: {told}."
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
