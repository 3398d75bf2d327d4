"""MELD (Poria et al. 2019): dialogues of the series Friends, seven emotions, English.

In the order of this file: the faults of the official archive that are known from the issues of declare-lab/MELD (they
do not hold for other data in MELD's layout); where media and label files lie, in any of the known layouts; the label
files and which of them is used for a split; clips and defects.

The counts are those of declare-lab/MELD. Clips are never cut by the label files' StartTime and EndTime: those are times
in the episode, and some are wrong by minutes.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import (
    Corpus,
    Facts,
    ReaderOptions,
    compare_counts,
    enumerate_some,
    read_bytes,
    read_heads,
)
from mse_pipeline.corpora.files import Listing, read_folder
from mse_pipeline.corpora.text import REPLACED, c1_controls, decode, is_damaged, repair
from mse_pipeline.errors import UsageError
from mse_pipeline.places import is_local
from mse_pipeline.task import Classification, Task

_WRONG_CUT = "the cut is minutes long instead of seconds (declare-lab/MELD issue 20)"
_NOISE = "the sound is noise over an oversized file (declare-lab/MELD issue 9)"
_OFF_BY_ONE = "picture and text are off by one utterance (declare-lab/MELD issue 9)"

CLIPS: dict[str, str] = {
    "train/dia125_utt3": "the file lacks its index (moov atom) and cannot be decoded (declare-lab/MELD issue 39)",
    "test/dia220_utt0": _WRONG_CUT,
    "test/dia38_utt4": _WRONG_CUT,
    "train/dia309_utt0": "the text is a stage direction and the cut is wrong, 41 s (declare-lab/MELD issue 20)",
    "train/dia793_utt0": _NOISE,
    "train/dia164_utt5": _NOISE,
    "train/dia682_utt1": _NOISE,
    "train/dia529_utt2": _NOISE,
    "train/dia1029_utt1": _NOISE,
    "train/dia1008_utt1": _NOISE,
    "train/dia757_utt7": _OFF_BY_ONE,
    "train/dia485_utt0": _OFF_BY_ONE,
}
"""Clip id -> what is wrong with its file."""

# The issue names the dialogue without its split; all the others that it names are of the training split.
DIALOGUES: dict[str, str] = {"train/dia241": _OFF_BY_ONE}
"""Dialogue id -> what is wrong with all of its files."""

MISSING: dict[str, str] = {
    "dev/dia110_utt7": "the official archive lacks it (declare-lab/MELD issue 22)",
}
"""Annotated clips that the official archive does not hold."""

UNLABELLED: frozenset[str] = frozenset(
    {"dev/dia49_utt4", "dev/dia49_utt5", "dev/dia66_utt9", "dev/dia66_utt10"}
    | {"test/dia93_utt5", "test/dia93_utt6", "test/dia93_utt7", "test/dia108_utt1", "test/dia108_utt2"}
)
"""Clips of the official archive that nobody annotated (declare-lab/MELD issue 22)."""


def known_fault(clip: str) -> str | None:
    """What is known to be wrong with a clip's file.

    Examples:
        >>> known_fault("train/dia241_utt2")
        'picture and text are off by one utterance (declare-lab/MELD issue 9)'
        >>> known_fault("train/dia0_utt0") is None
        True
    """
    return CLIPS.get(clip) or DIALOGUES.get(re.sub(r"_utt\d+$", "", clip))


FOLDER = {Split.TRAIN: "train", Split.VALID: "dev", Split.TEST: "test"}
"""Split -> the word that MELD uses for it; clip ids begin with it."""

_WORDS = {
    "train": Split.TRAIN,
    "dev": Split.VALID,
    "val": Split.VALID,
    "valid": Split.VALID,
    "validation": Split.VALID,
    "test": Split.TEST,
}
# Whole names only: a folder `test_run_3` around the data says nothing about a clip.
_TELLING = re.compile(
    r"(?:meld[._-])?(train|dev|val|valid|validation|test)(?:[._-](?:splits?|videos?|clips?|complete|raw|set|data))*",
    re.I,
)
_REPEATED = re.compile(r"output_repeated_splits_(train|dev|val|test)", re.I)
_MEDIA = re.compile(r"(?P<fixed>final_videos_test)?dia(?P<d>\d{1,6})_utt(?P<u>\d{1,6})\.mp4", re.I)
_LABELS = re.compile(r"(?:.*[._-])?(train|dev|val|valid|validation|test)(?:[._-].*)?\.csv", re.I)
_ARCHIVE = re.compile(r"(?:meld.*|train|dev|test)\.(?:tar\.gz|tgz|tar)", re.I)

Key = tuple[Split, int, int]
"""Split, dialogue, utterance."""


@dataclass(frozen=True, order=True)
class MeldMedia:
    """One file of a clip. They sort by which is to be preferred.

    Attributes:
        superseded: False for the corrected cuts that MELD's authors put beside wrong ones, ``final_videos_test...``.
        depth: Folders above it.
        path: Below the root.
    """

    superseded: bool
    depth: int
    path: str


@dataclass(frozen=True)
class MeldLayout:
    """What was found below a root, by names alone.

    Attributes:
        media: Clip -> its files, the one to use first.
        stray: Files named like clips whose folders do not tell a split.
        tables: CSV files.
        archives: Archives that are still packed.
        refused: Entries that were ignored, with reasons.
    """

    media: dict[Key, list[MeldMedia]] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    refused: tuple[str, ...] = ()


def survey(root: Path, listing: Listing) -> MeldLayout:
    """Sort a listing into media, tables and archives.

    Args:
        root: Its own name tells the split of what lies directly in it.
        listing: Of the root.
    """
    layout = MeldLayout(refused=listing.refused)
    for path in listing.files:
        folder, name = posixpath.split(path)
        if match := _MEDIA.fullmatch(name):
            split = Split.TEST if match["fixed"] else split_of_folders([root.name, *folder.split("/")])
            if split is None:
                layout.stray.append(path)
                continue
            key = split, int(match["d"]), int(match["u"])
            file = MeldMedia(superseded=not match["fixed"], depth=path.count("/"), path=path)
            layout.media.setdefault(key, []).append(file)
        elif name.lower().endswith(".csv"):
            layout.tables.append(path)
        elif _ARCHIVE.fullmatch(name):
            layout.archives.append(path)
    for files in layout.media.values():
        files.sort()
    return layout


def split_of_folders(folders: Iterable[str]) -> Split | None:
    """The split that the nearest telling folder names.

    Args:
        folders: From the root inwards.

    Examples:
        >>> split_of_folders(["MELD.Raw", "test", "output_repeated_splits_test"])
        <Split.TEST: 'test'>
        >>> split_of_folders(["train", "dev_splits_complete"])
        <Split.VALID: 'valid'>
        >>> split_of_folders(["test_run_3", "clips"]) is None
        True
    """
    for name in reversed(list(folders)):
        if match := _REPEATED.fullmatch(name) or _TELLING.fullmatch(name):
            return _WORDS[match[1].lower()]
    return None


def split_of_table(root: Path, path: str) -> Split | None:
    """The split that a label file is about, by its name or its folders.

    Examples:
        >>> split_of_table(Path("/data"), "MELD.Raw/dev_sent_emo.csv")
        <Split.VALID: 'valid'>
    """
    folder, name = posixpath.split(path)
    if match := _LABELS.fullmatch(name):
        return _WORDS[match[1].lower()]
    return split_of_folders([root.name, *folder.split("/")])


def unpacking(root: Path, archives: Iterable[str]) -> str:
    """The command that unpacks archives where they lie; on a remote storage, what is to be done instead."""
    if not is_local(root):
        return f"fetch {', '.join(archives)} from {root}, unpack, and upload what was in them"
    folders: dict[str, list[str]] = {}
    for path in archives:
        folder, name = posixpath.split(path)
        folders.setdefault(folder, []).append(name)
    return "; ".join(
        f"(cd {shlex.quote(str(root / folder))} && for a in {shlex.join(names)}; do tar xf $a; done)"
        for folder, names in folders.items()
    )


COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_DYADIC = "Old_Dialogue_ID"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class MeldRow:
    """One annotated utterance.

    Attributes:
        number: Of the row in the file, the header being row 1.
        dialogue: `Dialogue_ID`.
        utterance: `Utterance_ID`.
        text: Cleaned.
        speaker: Cleaned.
        emotion: As written, lower case.
        sentiment: As written, lower case.
        repaired: Whether text or speaker held encoding damage.
    """

    number: int
    dialogue: int
    utterance: int
    text: str
    speaker: str
    emotion: str
    sentiment: str
    repaired: bool


@dataclass(frozen=True)
class MeldLabels:
    """A label file: its path below the root, the damaged characters in it, its rows."""

    path: str
    damage: int
    rows: tuple[MeldRow, ...]


def read_labels(root: Path, layout: MeldLayout) -> tuple[dict[Split, MeldLabels], list[str]]:
    """The label file of each split, and notes on those that were ignored.

    Of several files for a split the one without encoding damage is taken, then the one nearest to the root: copies of
    2018 hold the same labels as today's, with damaged text.

    Raises:
        UsageError: A label file has rows that cannot be read.
    """
    candidates: dict[Split, list[MeldLabels]] = {}
    notes: list[str] = []
    # Label files are told by their content; what cannot be opened is none, and its absence is told.
    for path, head in read_heads(root, layout.tables, 4096):
        header = _header(head)
        if not {"Dialogue_ID", "Utterance_ID"} <= set(header):
            continue
        missing = [name for name in COLUMNS if name not in header]
        split = split_of_table(root, path)
        if _DYADIC in header:
            notes.append(f"{path} is ignored: it is of MELD's dyadic selection, whose dialogues have other numbers.")
        elif missing:
            notes.append(f"{path} is ignored: it has no column {', '.join(missing)}.")
        elif split is None:
            notes.append(f"{path} is ignored: neither its name nor its folders tell train, dev or test.")
        else:
            candidates.setdefault(split, []).append(_read_labels(root, path))
    chosen = {}
    for split in Split:
        files = sorted(candidates.get(split, []), key=lambda file: (file.damage > 0, file.path.count("/"), file.path))
        if files:
            chosen[split] = files[0]
            notes += [_comparison(FOLDER[split], files[0], other) for other in files[1:]]
    return chosen, notes


def _header(head: bytes) -> list[str]:
    """Column names of a CSV file that begins with these bytes."""
    text = head.partition(b"\n")[0].decode("utf-8-sig", errors="replace").strip()
    return [name.strip() for name in next(csv.reader([text]), [])]


def _read_labels(root: Path, path: str) -> MeldLabels:
    source = f"Label file {path}"
    text, _ = decode(read_bytes(root / path, source, _MAX_BYTES), source)
    rows, bad = [], []
    try:
        for number, record in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), start=2):
            row = _row(number, record)
            if row is None:
                bad.append(number)
            else:
                rows.append(row)
    except csv.Error as error:
        raise UsageError(f"Label file {path} is not valid CSV: {error}. Download it again.") from None
    if bad:
        raise UsageError(
            f"Label file {path} has rows with missing cells, or with ids that are not numbers: rows "
            f"{enumerate_some(bad)}. Download it again, or correct these rows."
        )
    return MeldLabels(path, c1_controls(text) + text.count(REPLACED), tuple(rows))


def _row(number: int, record: Mapping[str | None, str | None]) -> MeldRow | None:
    cells = {str(name).strip(): value for name, value in record.items() if name is not None}
    values = [cells[name] for name in COLUMNS]
    if any(value is None for value in values):
        return None
    text, speaker, emotion, sentiment, dialogue, utterance = (str(value) for value in values)
    dialogue, utterance = dialogue.strip(), utterance.strip()
    if not all(value.isascii() and value.isdecimal() and len(value) <= 6 for value in (dialogue, utterance)):
        return None
    return MeldRow(
        number=number,
        dialogue=int(dialogue),
        utterance=int(utterance),
        text=repair(said(text)),
        speaker=repair(said(speaker)),
        emotion=emotion.strip().lower(),
        sentiment=sentiment.strip().lower(),
        repaired=is_damaged(text) or is_damaged(speaker),
    )


def _comparison(split: str, used: MeldLabels, other: MeldLabels) -> str:
    """How a label file that is ignored differs from the one in use."""

    def labels(file: MeldLabels) -> dict[tuple[int, int], tuple[str, str]]:
        return {(row.dialogue, row.utterance): (row.emotion, row.sentiment) for row in file.rows}

    ours, theirs = labels(used), labels(other)
    differing = sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys())
    damage = f" and {other.damage:,} damaged characters" if other.damage else ""
    return f"{other.path} is ignored, {used.path} is used ({split}): it has {differing or 'no'} other labels{damage}."


EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
SENTIMENTS = ("neutral", "positive", "negative")
OFFICIAL = {Split.TRAIN: 9989, Split.VALID: 1109, Split.TEST: 2610}
OFFICIAL_EMOTIONS = {  # in the order of EMOTIONS
    Split.TRAIN: (4710, 1205, 268, 683, 1743, 271, 1109),
    Split.VALID: (470, 150, 40, 111, 163, 22, 153),
    Split.TEST: (1256, 281, 50, 208, 402, 68, 345),
}
URL = "https://huggingface.co/datasets/declare-lab/MELD/resolve/main/MELD.Raw.tar.gz"
SHA256 = "a56b4407d574195cbce470d86f9c9d72fcfea59b0e34502ecd4babee4a5c613e"

FACTS = Facts(
    title="MELD: dialogues of the series Friends (Poria et al. 2019)",
    task=f"classification, {len(EMOTIONS)} emotions (or {len(SENTIMENTS)} sentiments)",
    predicts=Classification(EMOTIONS),
    language="en",
    labels=", ".join(EMOTIONS),
    splits=OFFICIAL,
    splits_from="the label files of declare-lab/MELD",
    licence="GPL-3.0 (declare-lab/MELD); the clips are of a television series, for research",
    source=f"{URL} (10.9 GB; three archives within it must be unpacked as well)",
    layouts=(
        "*_sent_emo.csv + train_splits, dev_splits_complete, output_repeated_splits_test, at any depth",
        "one folder a split named train, dev (val, valid), test, with or without _splits",
    ),
    defects=(
        "dev/dia110_utt7 is annotated but absent; train/dia125_utt3 cannot be decoded",
        "132 test utterances have two files, of which final_videos_test… is right",
        "9 clips are there that nobody annotated; some clips are minutes long, noisy or off by one utterance",
        "label files of 2018 hold damaged quotes and dashes, which are repaired",
    ),
)


class OptionsModel(ReaderOptions):
    """Options of the MELD reader.

    Attributes:
        target: Which annotation is the label; the other one goes into the clip's `labels`.
        official: Whether this is MELD itself, whose counts are known and whose bad clips are listed. False for other
            data in MELD's layout.
    """

    target: Literal["emotion", "sentiment"] = "emotion"
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List MELD's clips.

    Args:
        root: Folder of the unpacked archive, or one around or in it; label files and clips are found by content.
        options: See `OptionsModel`.
        task: Other classes, or another order of them, than MELD's own.

    Raises:
        UsageError: There is no folder, no label file, or the inner archives are still packed.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    layout = survey(folder, listing)
    files, notes = read_labels(folder, layout)
    if not files:
        raise UsageError(_no_labels(folder, layout, notes))
    packed = f"Archives are still packed; unpack them with: {unpacking(folder, layout.archives)}"
    if layout.archives and not layout.media:
        raise UsageError(f"Under {folder} there are MELD's label files but no clips. {packed}")
    task = task or Classification(EMOTIONS if options.target == "emotion" else SENTIMENTS)
    if not isinstance(task, Classification):
        raise UsageError(
            "MELD's labels are classes, but the task is not a classification. "
            "Write a classification into the recipe, or leave task out."
        )
    splits_with_media = {key[0] for key in layout.media}
    if layout.archives and len(splits_with_media) < len(files):
        notes.append(packed)
    notes += [f"Ignored: {reason}" for reason in layout.refused]
    clips: list[Clip] = []
    defects: list[Defect] = []
    for split, file in files.items():
        split_clips, split_defects = _clips(split, file, layout, options, task)
        clips += split_clips
        defects += split_defects
    defects += _without_label(layout, {clip.id for clip in clips}, options)
    if options.official:
        defects += _official_counts(files)
    return Corpus(
        name="meld",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=tuple(defects),
        expected=OFFICIAL if options.official else {},
        sources=tuple(file.path for file in files.values()),
        notes=tuple(notes),
    )


def _clips(
    split: Split, file: MeldLabels, layout: MeldLayout, options: OptionsModel, task: Classification
) -> tuple[list[Clip], list[Defect]]:
    """The clips of one label file, and their defects."""
    clips: dict[str, Clip] = {}
    defects: list[Defect] = []
    for row in file.rows:
        dialogue = f"{FOLDER[split]}/dia{row.dialogue}"
        name = f"{dialogue}_utt{row.utterance}"
        if name in clips:
            message = f"Row {row.number} of {file.path} annotates {name} again; the first row counts."
            defects.append(Defect(code="duplicate", message=message, clip=name, path=file.path))
            continue
        media = layout.media.get((split, row.dialogue, row.utterance), [])
        label, labels, problems = _labels(row, name, file.path, options, task)
        clips[name] = Clip(
            id=name,
            split=split,
            media=media[0].path if media else None,
            text=row.text,
            speaker=row.speaker or None,
            dialogue=dialogue,
            turn=row.utterance,
            label=label,
            labels=labels,
        )
        defects += problems
        if row.repaired:
            where = f"row {row.number} of {file.path}"
            message = f"Text or speaker in {where} held encoding damage, which is repaired where it can be."
            defects.append(Defect(code="text_repaired", message=message, clip=name, path=file.path))
        defects += _media_defects(name, [item.path for item in media], options)
    return list(clips.values()), defects


def _labels(
    row: MeldRow, clip: str, source: str, options: OptionsModel, task: Classification
) -> tuple[Label | None, dict[str, Label], list[Defect]]:
    """The label, the further labels, and a defect for each that is unknown."""
    labels: dict[str, Label] = {}
    problems = []
    for kind, value, own in (("emotion", row.emotion, EMOTIONS), ("sentiment", row.sentiment, SENTIMENTS)):
        classes = task.classes if kind == options.target else own
        if value in classes:
            labels[kind] = value
            continue
        message = f"Row {row.number} of {source} has the {kind} {value!r}; known are {', '.join(classes)}."
        problems.append(Defect(code="label_out_of_range", message=message, clip=clip, path=source))
    return labels.pop(options.target, None), labels, problems


def _media_defects(clip: str, paths: list[str], options: OptionsModel) -> Iterator[Defect]:
    if not paths:
        known = MISSING.get(clip) if options.official else None
        tail = f"; {known}" if known else ""
        message = f"{clip} is annotated, but its file is missing{tail}."
        yield Defect(code="missing_media", message=message, clip=clip)
        return
    for path in paths[1:]:
        message = f"{path} is ignored: {clip} has another file, {paths[0]}, that is preferred."
        yield Defect(code="duplicate", message=message, clip=clip, path=path)
    if options.official and (reason := known_fault(clip)):
        yield Defect(code="known_bad", message=f"Known of {clip}: {reason}.", clip=clip, path=paths[0])


def _without_label(layout: MeldLayout, annotated: set[str], options: OptionsModel) -> Iterator[Defect]:
    """Files that no row is about."""
    for key, files in sorted(layout.media.items(), key=_place):
        split, dialogue, utterance = key
        name = f"{FOLDER[split]}/dia{dialogue}_utt{utterance}"
        if name in annotated:
            continue
        note = "; nobody annotated it" if options.official and name in UNLABELLED else ""
        for file in files:
            message = f"{file.path} is ignored: no label row is about {name}{note}."
            yield Defect(code="unlabelled_media", message=message, path=file.path)
    for path in layout.stray:
        message = f"{path} is ignored: no folder above it is named after a split (train, dev, test)."
        yield Defect(code="unlabelled_media", message=message, path=path)


def _place(item: tuple[Key, object]) -> tuple[int, int, int]:
    (split, dialogue, utterance), _ = item
    return list(Split).index(split), dialogue, utterance


def _official_counts(files: Mapping[Split, MeldLabels]) -> Iterator[Defect]:
    rows = {split: {(row.dialogue, row.utterance): row for row in file.rows} for split, file in files.items()}
    yield from compare_counts("clips of split", OFFICIAL, {split: len(part) for split, part in rows.items()})
    for split, part in rows.items():
        counts = Counter(row.emotion for row in part.values())
        expected = dict(zip(EMOTIONS, OFFICIAL_EMOTIONS[split], strict=True))
        yield from compare_counts(f"{FOLDER[split]} clips with emotion", expected, counts)


def _no_labels(root: Path, layout: MeldLayout, notes: list[str]) -> str:
    sentences = [
        f"Under {root} there is no label file of MELD: CSV files with the columns {', '.join(COLUMNS)} were looked "
        "for, as train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv have them."
    ]
    around = list(root.parents)[:3] if is_local(root) else []
    above = [folder for folder in around if any(folder.glob("*_sent_emo.csv"))]
    clips = sum(map(len, layout.media.values()))
    if above:
        sentences.append(f"There are some in {above[0]}; give that folder with --root.")
    elif layout.archives:
        sentences.append(f"Archives are still packed; unpack them with: {unpacking(root, layout.archives)}")
    elif clips:
        sentences.append(f"Clips are there ({clips:,} files); put the label files beside them.")
    else:
        sentences.append(f"The archive is at {URL} (10,878,146,150 bytes, sha256 {SHA256}).")
    sentences += [f"Seen: {note}" for note in notes]
    if layout.refused:
        sentences.append(f"Ignored: {enumerate_some(layout.refused, 3)}")
    return " ".join(sentences)
