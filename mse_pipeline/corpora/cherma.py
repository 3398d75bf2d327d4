"""CHERMA (Sun et al. 2023): 28,717 Chinese utterances from films and shows, seven emotions, also one a modality.

The media are not public: the reader takes a folder of those who have them. Everyone else has the features that the
authors released (LFMIM), which are imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import Corpus, Options, compare_counts, enumerate_some
from mse_pipeline.corpora.cherma_labels import FOLDER, KEYS, LabelFile, Row, read_labels
from mse_pipeline.corpora.cherma_media import SUFFIXES, Kind, MediaFolder
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.linked import read_folder
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Task

EMOTIONS = ("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇")
ENGLISH = {
    "anger": "愤怒",
    "disgust": "厌恶",
    "fear": "恐惧",
    "happy": "高兴",
    "neutral": "平静",
    "sad": "悲伤",
    "surprise": "惊奇",
}
"""The classes' names in copies that were translated."""
OFFICIAL_TOTAL = 28_717
NOT_PUBLIC = (
    "CHERMA's media are not public, only the features that its authors released (github.com/sunjunaimer/LFMIM); import "
    "these with: mse import lfmim PATH --name cherma"
)


class OptionsModel(Options):
    """Options of the CHERMA reader.

    Attributes:
        media: Which of a clip's two files is read. A video file gives sound and picture, if it has a sound track.
        official: Whether this is CHERMA itself, whose total is known. False for other data in its layout.
    """

    media: Literal["video", "audio"] = "video"
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List CHERMA's clips.

    Args:
        root: Folder with train.json, dev.json and test.json and, anywhere in it, the .wav and .mp4 files they name.
        options: See `OptionsModel`.
        task: Other classes, or another order of them, than `EMOTIONS`.

    Raises:
        UsageError: There is no folder or no label file, or a label file cannot be read.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    task = task or Classification(EMOTIONS)
    if not isinstance(task, Classification):
        raise UsageError("CHERMA has classes, no numbers: its task is a classification, or is left out of the recipe.")
    files, notes = read_labels(folder, listing)
    if not files:
        raise UsageError(
            f"Under {folder} there is no label file of CHERMA: train.json, dev.json and test.json were looked for, "
            f"lists of entries with {', '.join(KEYS)}. {' '.join(f'Seen: {note}' for note in notes)} {NOT_PUBLIC}."
        )
    media = MediaFolder(listing)
    clips: list[Clip] = []
    defects: list[Defect] = []
    for split, file in files.items():
        found, wrong = _clips(split, file, media, options, task)
        clips += found
        defects += wrong
    for path in media.unnamed():
        message = f"{path} is left aside: no label file names it."
        defects.append(Defect(code="unlabelled_media", message=message, path=path))
    if options.official:
        defects += compare_counts("clips of", {"all splits": OFFICIAL_TOTAL}, {"all splits": len(clips)})
    return Corpus(
        name="cherma",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=tuple(defects),
        sources=tuple(file.path for file in files.values()),
        notes=(*notes, *_notes(files, clips, media, options), *(f"Left aside: {why}" for why in listing.refused)),
    )


def _clips(
    split: Split, file: LabelFile, media: MediaFolder, options: OptionsModel, task: Classification
) -> tuple[list[Clip], list[Defect]]:
    """The clips of one label file, and their defects."""
    clips: dict[str, Clip] = {}
    defects: list[Defect] = []
    for row in file.rows:
        name = f"{FOLDER[split]}/{row.name}"
        if name in clips:
            message = f"Entry {row.number} of {file.path} annotates {name} again; the first entry counts."
            defects.append(Defect(code="duplicate", message=message, clip=name, path=file.path))
            continue
        paths = _media(row, split, media, options.media)
        label, labels, wrong = _labels(row, name, file.path, task)
        clips[name] = Clip(
            id=name,
            split=split,
            media=paths[0] if paths else None,
            text=row.text,
            language="zh",
            label=label,
            labels=labels,
        )
        defects += wrong
        if row.repaired:
            where = f"entry {row.number} of {file.path}"
            message = f"The text of {where} held encoding damage, which is repaired where it can be."
            defects.append(Defect(code="text_repaired", message=message, clip=name, path=file.path))
        if not paths:
            message = (
                f"{name} is annotated, but there is neither a file {row.video or row.name + '.mp4'} nor {row.audio}."
            )
            defects.append(Defect(code="missing_media", message=message, clip=name))
        for path in paths[1:]:
            message = f"{path} is left aside: {name} has another file, {paths[0]}, that is preferred."
            defects.append(Defect(code="duplicate", message=message, clip=name, path=path))
    return list(clips.values()), defects


def _media(row: Row, split: Split, media: MediaFolder, preferred: Kind) -> list[str]:
    """The clip's files of the preferred kind, or of the other one if there are none."""
    files: dict[Kind, list[str]] = {
        "video": media.find("video", row.video or f"{row.name}.mp4", split),
        "audio": media.find("audio", row.audio, split),
    }
    other: Kind = "audio" if preferred == "video" else "video"
    return files[preferred] or files[other]


def names_of(label: str) -> tuple[str, ...]:
    """The names that a label has: as it is written, then in the other language.

    Some copies number the classes in another order, so that names alone count.

    Examples:
        >>> names_of("happy"), names_of("高兴"), names_of("3")
        (('happy', '高兴'), ('高兴', 'happy'), ('3',))
    """
    both = {**ENGLISH, **{chinese: english for english, chinese in ENGLISH.items()}}
    other = both.get(label.lower())
    return (label, other) if other else (label,)


def _labels(
    row: Row, clip: str, source: str, task: Classification
) -> tuple[Label | None, dict[str, Label], list[Defect]]:
    """The label, those by modality, and a defect for each that is unknown."""
    known: dict[str, Label] = {}
    wrong = []
    for kind, value in {"": row.label, **row.modality_labels}.items():
        names = [name for name in names_of(value) if name in task.classes]
        if names:
            known[kind] = names[0]
            continue
        what = f"{kind} label" if kind else "label"
        message = (
            f"Entry {row.number} of {source} has the {what} {value!r}; known are {', '.join(task.classes)}."
            if value
            else f"Entry {row.number} of {source} has no {what}."
        )
        wrong.append(Defect(code="label_out_of_range", message=message, clip=clip, path=source))
    return known.pop("", None), known, wrong


def _notes(
    files: Mapping[Split, LabelFile], clips: list[Clip], media: MediaFolder, options: OptionsModel
) -> Iterator[str]:
    absent = [FOLDER[split] for split in Split if split not in files]
    if absent:
        yield f"There is no label file {enumerate_some(f'{name}.json' for name in absent)}."
    for file in files.values():
        if file.encoding != "utf-8":
            yield f"{file.path} was read as {file.encoding}."
    silent = [file.path for file in files.values() if not file.has_text]
    if silent:
        yield (
            f"{enumerate_some(silent)} hold no texts, as the released files do not: the clips' texts are empty. "
            "Entries with a key text, transcript or txt bring them."
        )
    if not len(media):
        yield f"No media were found. {NOT_PUBLIC}."
        return
    suffix = ".wav" if options.media == "audio" else ".mp4"
    other = sum(clip.media is not None and _kind(clip.media) != options.media for clip in clips)
    fallback = f"; {other:,} clips have only the other one" if other else ""
    yield f"Of a clip's two files the {suffix} file is read (option media: {options.media}){fallback}."


def _kind(path: str) -> Kind:
    return "video" if path.lower().endswith(SUFFIXES["video"]) else "audio"
