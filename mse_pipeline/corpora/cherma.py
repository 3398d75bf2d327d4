"""CHERMA (Sun et al. 2023): 28,717 Chinese utterances from films and shows, seven emotions, also one a modality.

The media are not public: the reader takes a folder of those who have them. Everyone else imports the features that the
authors released (LFMIM). This file reads the label files (train.json, dev.json and test.json, as in the released
features), finds the wav and mp4 files by their names, and makes clips and defects of both.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mse_pipeline.cells import is_missing, said
from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import Corpus, Facts, ReaderOptions, compare_counts, enumerate_some, read_bytes
from mse_pipeline.corpora.files import Listing, read_folder, relative
from mse_pipeline.corpora.meld import split_of_folders
from mse_pipeline.corpora.table_cells import Complaints, split_of
from mse_pipeline.corpora.text import decode, is_damaged, repair
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName, composed
from mse_pipeline.task import Classification, Task

KEYS = ("audio_file", "video_file", "txt_label", "audio_label", "visual_label", "video_label")
MODALITY = {"txt_label": "text", "audio_label": "acoustic", "visual_label": "visual"}
"""Key -> name of the modality that it annotates, as `Clip.labels` has it."""
TEXT_KEYS = ("text", "transcript", "txt")
"""Keys that may hold what is said. The released files have none of them."""

FOLDER = {Split.TRAIN: "train", Split.VALID: "dev", Split.TEST: "test"}
"""Split -> the word that CHERMA's files use for it; clip ids begin with it, as the released features' folders do."""

_NAME = re.compile(r"(?:.*[._-])?(train|dev|val|valid|validation|test)(?:[._-].*)?\.json", re.I)
_MAX_BYTES = 256 << 20
_MAX_ID = 150
_ID = re.compile(r"(?!\.)[^\x00-\x1f\x7f-\x9f/\\]+")


@dataclass(frozen=True)
class ChermaRow:
    """One annotated utterance.

    Attributes:
        number: Of the entry in the file, from 1.
        name: `audio_file` without folders and ``.wav``; the released features go by this name.
        audio: `audio_file` below the root.
        video: `video_file` below the root; empty if the entry has none.
        text: Cleaned; empty if no key has it.
        label: `video_label`, the label of all modalities together, as written; empty if there is none.
        modality_labels: ``text``, ``acoustic``, ``visual`` -> label as written.
        repaired: Whether the text held encoding damage.
    """

    number: int
    name: str
    audio: str
    video: str
    text: str
    label: str
    modality_labels: Mapping[str, str]
    repaired: bool


@dataclass(frozen=True)
class ChermaLabels:
    """A label file.

    Attributes:
        path: Below the root.
        encoding: That it was in.
        has_text: Whether any entry has a text.
        rows: Of all its entries.
    """

    path: str
    encoding: str
    has_text: bool
    rows: tuple[ChermaRow, ...]


def read_labels(root: Path, listing: Listing) -> tuple[dict[Split, ChermaLabels], list[str]]:
    """The label file of each split, the one nearest to the root, and notes on the others.

    Raises:
        UsageError: A label file has entries that cannot be read.
    """
    candidates: dict[Split, ChermaLabels] = {}
    notes = []
    for path in listing.files:
        match = _NAME.fullmatch(posixpath.basename(path))
        split = split_of(match[1], {}) if match else None
        if split is None:
            continue
        entries, encoding = _entries(root / path, path)
        if entries is None:
            notes.append(f"{path} is ignored: it is not a list of entries with {KEYS[0]} and {KEYS[-1]}.")
        elif split in candidates:
            notes.append(f"{path} is ignored: {candidates[split].path} is nearer to the root.")
        else:
            rows = _rows(root, path, entries)
            candidates[split] = ChermaLabels(path, encoding, any(row.text for row in rows), rows)
    return {split: candidates[split] for split in Split if split in candidates}, notes


def _entries(file: Path, path: str) -> tuple[list[Mapping[str, Any]] | None, str]:
    """The entries of a label file and its encoding; None for a file of another kind.

    Raises:
        UsageError: It cannot be read, or is not JSON.
    """
    source = f"Label file {path}"
    text, encoding = decode(read_bytes(file, source, _MAX_BYTES), source)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise UsageError(f"Label file {path} is not valid JSON: {reason}. Download it again.") from None
    known = {"audio_file", "video_label"}
    if not isinstance(content, list) or not any(isinstance(entry, dict) and known <= entry.keys() for entry in content):
        return None, encoding
    return content, encoding


def _rows(root: Path, path: str, entries: list[Mapping[str, Any]]) -> tuple[ChermaRow, ...]:
    complaints = Complaints(path)
    rows = []
    for number, entry in enumerate(entries, start=1):
        row = _row(root, number, entry, complaints)
        if row is not None:
            rows.append(row)
    if complaints.found:
        errors = "\n".join(
            f"  {problem} ({'entry' if len(numbers) == 1 else 'entries'} {enumerate_some(numbers)})"
            for problem, numbers in list(complaints.found.items())[:20]
        )
        raise UsageError(f"Label file {path} has errors; its entries are counted from 1:\n{errors}")
    return tuple(rows)


def _row(root: Path, number: int, entry: object, complaints: Complaints) -> ChermaRow | None:
    if not isinstance(entry, dict):
        complaints.add("the entry is no mapping", number)
        return None
    cells = {}
    for key in (*KEYS, *TEXT_KEYS):
        value = entry.get(key)
        if value is not None and not isinstance(value, str):
            complaints.add(f"{key} is not text", number)
        cells[key] = value if isinstance(value, str) else ""
    paths = {}
    for key in ("audio_file", "video_file"):
        written = cells[key].strip()
        try:
            paths[key] = relative(root, "", written) if written else ""
        except ValueError as error:
            complaints.add(f"{key}: {error}", number)
            paths[key] = ""
    name = re.sub(r"\.wav$", "", posixpath.basename(paths["audio_file"]), flags=re.I)
    if not _ID.fullmatch(name) or len(name) > _MAX_ID:
        complaints.add(f"audio_file {cells['audio_file'][:_MAX_ID]!r} is not a name of a .wav file", number)
    text = next((cells[key] for key in TEXT_KEYS if said(cells[key])), "")
    return ChermaRow(
        number=number,
        name=name,
        audio=paths["audio_file"],
        video=paths["video_file"],
        text=repair(text),
        label="" if is_missing(cells["video_label"]) else cells["video_label"].strip(),
        modality_labels={name: cells[key].strip() for key, name in MODALITY.items() if not is_missing(cells[key])},
        repaired=is_damaged(text),
    )


Kind = Literal["video", "audio"]
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "video": (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv"),
    "audio": (".wav", ".flac", ".mp3", ".m4a", ".ogg"),
}


class MediaFolder:
    """Files by name, whatever folders they lie in.

    Args:
        listing: Of the root.
    """

    def __init__(self, listing: Listing) -> None:
        by_stem: dict[tuple[str, str], list[str]] = {}
        self._named: set[str] = set()
        for path in listing.files:
            stem, suffix = posixpath.splitext(posixpath.basename(path))
            for kind, suffixes in SUFFIXES.items():
                if suffix.lower() in suffixes:
                    by_stem.setdefault((kind, stem), []).append(path)
        self._by_stem: ByName[tuple[str, str], list[str]] = ByName(by_stem)

    def __len__(self) -> int:
        """Number of media files."""
        return sum(map(len, self._by_stem.values()))

    def find(self, kind: Kind, written: str, split: Split) -> list[str]:
        """The files that a label file names, the one to use first.

        Files in a folder that is named after another split are another clip's. Of the others, a file at the written
        path comes first, then one in a folder of the split, then one with the written suffix, then the one nearest to
        the root: media may have been converted (``.flac`` for ``.wav``).

        Args:
            kind: Whether the file has a picture.
            written: As the label file has it, with or without folders.
            split: Of the clip.
        """
        stem, suffix = posixpath.splitext(posixpath.basename(written))
        ranked = []
        for path in self._by_stem.get((kind, stem), ()):
            folder = split_of_folders(posixpath.dirname(path).split("/"))
            if folder in (split, None):
                as_written = f"/{composed(path)}".endswith(f"/{composed(written)}")
                same = path.lower().endswith(suffix.lower())
                ranked.append((not as_written, folder is None, not same, path.count("/"), path))
        paths = [path for *_, path in sorted(ranked)]
        self._named.update(paths)
        return paths

    def unnamed(self) -> Iterator[str]:
        """Files that no call of `find` gave."""
        for paths in self._by_stem.values():
            yield from (path for path in paths if path not in self._named)


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

FACTS = Facts(
    title="CHERMA: Chinese emotion recognition with modality annotations (Sun et al. 2023)",
    task=f"classification, {len(EMOTIONS)} emotions",
    predicts=Classification(EMOTIONS),
    language="zh",
    labels=", ".join(f"{own} {english}" for english, own in ENGLISH.items())
    + "; also of text, sound and picture alone",
    splits_from=f"the paper tells {OFFICIAL_TOTAL:,} utterances, 6:2:2; no official count a split is published",
    licence="none stated",
    source="features and label files: https://pan.baidu.com/s/10PoJcXMDhRg4fzsq96A7rQ (CHER); the raw media are not "
    "public",
    layouts=("train.json, dev.json, test.json + a folder of the media", "CHERMA0723 with text, audio and visual"),
    defects=("forks number the classes in another order: labels are read by name",),
)


class OptionsModel(ReaderOptions):
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
        raise UsageError(
            "CHERMA's labels are classes, but the task is not a classification. "
            "Write a classification into the recipe, or leave task out."
        )
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
        split_clips, split_defects = _clips(split, file, media, options, task)
        clips += split_clips
        defects += split_defects
    for path in media.unnamed():
        message = f"{path} is ignored: no label file names it."
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
        notes=(*notes, *_notes(files, clips, media, options), *(f"Ignored: {why}" for why in listing.refused)),
    )


def _clips(
    split: Split, file: ChermaLabels, media: MediaFolder, options: OptionsModel, task: Classification
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
            message = f"{path} is ignored: {name} has another file, {paths[0]}, that is preferred."
            defects.append(Defect(code="duplicate", message=message, clip=name, path=path))
    return list(clips.values()), defects


def _media(row: ChermaRow, split: Split, media: MediaFolder, preferred: Kind) -> list[str]:
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
    row: ChermaRow, clip: str, source: str, task: Classification
) -> tuple[Label | None, dict[str, Label], list[Defect]]:
    """The label, those by modality, and a defect for each that is unknown."""
    labels: dict[str, Label] = {}
    problems = []
    for kind, value in {"": row.label, **row.modality_labels}.items():
        names = [name for name in names_of(value) if name in task.classes]
        if names:
            labels[kind] = names[0]
            continue
        label_name = f"{kind} label" if kind else "label"
        message = (
            f"Entry {row.number} of {source} has the {label_name} {value!r}; known are {', '.join(task.classes)}."
            if value
            else f"Entry {row.number} of {source} has no {label_name}."
        )
        problems.append(Defect(code="label_out_of_range", message=message, clip=clip, path=source))
    return labels.pop("", None), labels, problems


def _notes(
    files: Mapping[Split, ChermaLabels], clips: list[Clip], media: MediaFolder, options: OptionsModel
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
