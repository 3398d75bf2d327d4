"""Clip, Label, Split, Defect: one utterance, where its media is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, get_args

Label = str | float
"""What annotators said of a clip: a class name, or a number on the dataset's scale."""


class Split(StrEnum):
    """The part of a dataset that a clip belongs to."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


DefectCode = Literal[
    "missing_media",
    "name_form",
    "undecodable",
    "no_audio",
    "no_video",
    "no_face",
    "silent_audio",
    "non_finite_audio",
    "cancelled_audio",
    "clipped_audio",
    "damaged",
    "no_speaker",
    "unsure_speaker",
    "no_text",
    "no_speech",
    "repeated_text",
    "too_short",
    "too_long",
    "negative_start",
    "duplicate",
    "unlabelled_media",
    "text_repaired",
    "label_out_of_range",
    "split_count_mismatch",
    "known_bad",
    "timeout",
    "worker_died",
    "extractor_failed",
    "alignment_failed",
    "word_times_repaired",
]
DEFECT_CODES: tuple[str, ...] = get_args(DefectCode)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance of a dataset.

    Attributes:
        id: Unique in its dataset, as in ``train/dia0_utt0``.
        split: Train, valid or test.
        media: Path of the media file below the dataset's root, with forward slashes; None if there is none.
        start: Where the clip begins in the media file, in seconds; None for its beginning.
        end: Where it ends, in seconds; None for the end of the file.
        text: What is said, cleaned of encoding damage.
        text_from: Stream of speech recognition that the text is from, as in ``text.asr``; None for the corpus's own.
        language: ISO 639-1 code of the text, as in ``en`` or ``zh``.
        speaker: Who speaks, where the dataset tells.
        dialogue: The conversation that the clip belongs to.
        turn: Its place in the conversation.
        face: Number of the face that is to be followed, where someone has chosen; None for the policy's choice.
        label: The annotation that is to be predicted; None if there is none.
        labels: Further annotations by name: ``sentiment``, or one per modality (``text``, ``acoustic``, ``visual``).
        distribution: Share of each class among the annotators' votes, which sum to 1; classes without a vote may be
            left out. Empty where votes are not known.

    Examples:
        >>> clip = Clip(id="train/dia0_utt0", split=Split.TRAIN, media="train_splits/dia0_utt0.mp4", label="joy")
        >>> clip.label, clip.start
        ('joy', None)
    """

    id: str
    split: Split
    media: str | None = None
    start: float | None = None
    end: float | None = None
    text: str = ""
    text_from: str | None = None
    language: str = "en"
    speaker: str | None = None
    dialogue: str | None = None
    turn: int | None = None
    face: int | None = None
    label: Label | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    distribution: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What is wrong with a clip, a file or a dataset.

    Attributes:
        code: One of `DEFECT_CODES`.
        message: What was found, and what is done about it, as a sentence.
        clip: Id of the clip; None if it concerns a file without a clip, or the whole dataset.
        path: The file below the dataset's root, if it is about one.
    """

    code: DefectCode
    message: str
    clip: str | None = None
    path: str | None = None
