"""MELD (Poria et al. 2019): dialogues of the series Friends, seven emotions, English.

The counts are those of declare-lab/MELD. Clips are never cut by the label files' StartTime and EndTime: those are times
in the episode, and some are wrong by minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora import meld_known_bad
from mse_pipeline.corpora.base import Corpus, Options, compare_counts, enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.linked import read_folder
from mse_pipeline.corpora.meld_labels import COLUMNS, LabelFile, Row, read_labels
from mse_pipeline.corpora.meld_layout import FOLDER, Key, Layout, survey, unpacking
from mse_pipeline.errors import UsageError
from mse_pipeline.places import is_local
from mse_pipeline.task import Classification, Task

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


class OptionsModel(Options):
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
        raise UsageError("MELD has classes, no numbers: its task is a classification, or is left out of the recipe.")
    splits_with_media = {key[0] for key in layout.media}
    if layout.archives and len(splits_with_media) < len(files):
        notes.append(packed)
    notes += [f"Left aside: {reason}" for reason in layout.refused]
    clips: list[Clip] = []
    defects: list[Defect] = []
    for split, file in files.items():
        found, wrong = _clips(split, file, layout, options, task)
        clips += found
        defects += wrong
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
    split: Split, file: LabelFile, layout: Layout, options: OptionsModel, task: Classification
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
        label, labels, wrong = _labels(row, name, file.path, options, task)
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
        defects += wrong
        if row.repaired:
            where = f"row {row.number} of {file.path}"
            message = f"Text or speaker in {where} held encoding damage, which is repaired where it can be."
            defects.append(Defect(code="text_repaired", message=message, clip=name, path=file.path))
        defects += _media_defects(name, [item.path for item in media], options)
    return list(clips.values()), defects


def _labels(
    row: Row, clip: str, source: str, options: OptionsModel, task: Classification
) -> tuple[Label | None, dict[str, Label], list[Defect]]:
    """The label, the further labels, and a defect for each that is unknown."""
    known: dict[str, Label] = {}
    wrong = []
    for kind, value, own in (("emotion", row.emotion, EMOTIONS), ("sentiment", row.sentiment, SENTIMENTS)):
        classes = task.classes if kind == options.target else own
        if value in classes:
            known[kind] = value
            continue
        message = f"Row {row.number} of {source} has the {kind} {value!r}; known are {', '.join(classes)}."
        wrong.append(Defect(code="label_out_of_range", message=message, clip=clip, path=source))
    return known.pop(options.target, None), known, wrong


def _media_defects(clip: str, paths: list[str], options: OptionsModel) -> Iterator[Defect]:
    if not paths:
        known = meld_known_bad.MISSING.get(clip) if options.official else None
        tail = f"; {known}" if known else ""
        message = f"{clip} is annotated, but there is no file of it{tail}."
        yield Defect(code="missing_media", message=message, clip=clip)
        return
    for path in paths[1:]:
        message = f"{path} is left aside: {clip} has another file, {paths[0]}, that is preferred."
        yield Defect(code="duplicate", message=message, clip=clip, path=path)
    if options.official and (reason := meld_known_bad.reason(clip)):
        yield Defect(code="known_bad", message=f"Known of {clip}: {reason}.", clip=clip, path=paths[0])


def _without_label(layout: Layout, annotated: set[str], options: OptionsModel) -> Iterator[Defect]:
    """Files that no row is about."""
    for key, files in sorted(layout.media.items(), key=_place):
        split, dialogue, utterance = key
        name = f"{FOLDER[split]}/dia{dialogue}_utt{utterance}"
        if name in annotated:
            continue
        known = "; nobody annotated it" if options.official and name in meld_known_bad.UNLABELLED else ""
        for file in files:
            message = f"{file.path} is left aside: no label row is about {name}{known}."
            yield Defect(code="unlabelled_media", message=message, path=file.path)
    for path in layout.stray:
        message = f"{path} is left aside: no folder above it is named after a split (train, dev, test)."
        yield Defect(code="unlabelled_media", message=message, path=path)


def _place(item: tuple[Key, object]) -> tuple[int, int, int]:
    (split, dialogue, utterance), _ = item
    return list(Split).index(split), dialogue, utterance


def _official_counts(files: Mapping[Split, LabelFile]) -> Iterator[Defect]:
    rows = {split: {(row.dialogue, row.utterance): row for row in file.rows} for split, file in files.items()}
    yield from compare_counts("clips of split", OFFICIAL, {split: len(part) for split, part in rows.items()})
    for split, part in rows.items():
        found = Counter(row.emotion for row in part.values())
        expected = dict(zip(EMOTIONS, OFFICIAL_EMOTIONS[split], strict=True))
        yield from compare_counts(f"{FOLDER[split]} clips with emotion", expected, found)


def _no_labels(root: Path, layout: Layout, notes: list[str]) -> str:
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
        sentences.append(f"Left aside: {enumerate_some(layout.refused, 3)}")
    return " ".join(sentences)
