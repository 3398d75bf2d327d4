"""CMU-MOSEI (Zadeh et al. 2018): monologues from YouTube, sentiment and six emotions, English.

It is read as CMU's archive (``Raw/Videos``, ``Raw/Transcript``, ``Raw/Labels``) and in MMSA's layout (``label.csv``,
``Raw/<video>/<clip>.mp4``). The counts are those of MMSA's table, which publications compare with.

In the order of this file: where the files of CMU-MOSEI and CMU-MOSI lie, found by content; the faults of the media that
are known from the issues of CMU-MultimodalSDK and of MMSA (they do not hold for other data in these layouts); segments
and media -> clips and defects; the reader.
"""

from __future__ import annotations

import csv
import math
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import RESEARCH, Corpus, Facts, ReaderOptions, compare_counts, enumerate_some, read_heads
from mse_pipeline.corpora.files import Listing, read_folder
from mse_pipeline.corpora.mmsa_table import HEAD, LAYOUT, begins_as_label_table, clip_files
from mse_pipeline.corpora.mosei_files import (
    EMOTIONS,
    Annotations,
    Segment,
    Source,
    find_labels,
    list_segments,
    read_dumps,
    read_transcripts,
    videos_and_clips,
)
from mse_pipeline.corpora.mosei_files import read_labels as read_csd
from mse_pipeline.corpora.mosei_splits import choose_folds, choose_table, read_folds, splits_of_table
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName
from mse_pipeline.task import Classification, Regression, Task

_VIDEO = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".mpg")
_ARCHIVE = re.compile(r".*mose?i.*\.(?:zip|tar|tar\.gz|tgz)", re.I)
_DUMP = {"Input.VIDEO_ID", "Input.CLIP", "Answer.sentiment"}
_SPLIT_WORDS = {"full": "full", "segmented": "segmented"}


class MoseiMedia:
    """The video files below a root, by what they can be of.

    CMU's tree has ``<video>_<clip>.mp4`` for a segment and ``<video>.mp4`` for a full video, and video ids may end in
    ``_7`` themselves; MMSA's layout has ``<video>/<clip>.mp4``. So files are looked up by the names that known clips
    would have, and no name is ever taken apart.

    Args:
        paths: Below the root, those nearest to it first.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = [path for path in paths if path.lower().endswith(_VIDEO)]
        self._nested = clip_files(self.paths)
        flat: dict[str, list[str]] = {}
        for path in self.paths:
            flat.setdefault(posixpath.splitext(posixpath.basename(path))[0], []).append(path)
        self._flat = ByName(flat)

    def segments(self, video: str, clip: str) -> list[str]:
        """Files that hold one clip alone, the one to use first."""
        flat = [path for path in self._flat.get(f"{video}_{clip}", []) if _kind(path) != "full"]
        return flat + self.nested(video, clip)

    def nested(self, video: str, clip: str) -> list[str]:
        """Files of one clip in MMSA's layout."""
        return self._nested.get((video, clip), [])

    def any_segments(self, clips: Iterable[tuple[str, str]]) -> bool:
        """Whether one of the clips (video, clip) at least has a file of its own."""
        return any(self.segments(video, clip) for video, clip in clips)

    def full(self, video: str) -> list[str]:
        """Files that hold a full video, the one to use first."""
        return [path for path in self._flat.get(video, []) if _kind(path) != "segmented"]

    def others(self, clips: Iterable[tuple[str, str]], videos: Collection[str]) -> Iterator[str]:
        """Files that are of none of the clips (video, clip), nor full videos of any of the videos."""
        paths = {path for video, clip in clips for path in self.segments(video, clip)}
        paths.update(path for video in videos for path in self.full(video))
        return (path for path in self.paths if path not in paths)


def _kind(path: str) -> str | None:
    """Whether the nearest telling folder says full or segmented."""
    for folder in reversed(path.split("/")[:-1]):
        if kind := _SPLIT_WORDS.get(folder.lower()):
            return kind
    return None


@dataclass(frozen=True)
class MoseiLayout:
    """What was found below a root.

    Attributes:
        media: Video files.
        tables: MMSA's label tables.
        transcripts: Files that may hold a video's segments and texts.
        dumps: Results of Amazon Mechanical Turk.
        csd: Computational sequences, of any content.
        folds: Files that may hold the standard folds, by their name.
        archives: Archives that are still packed.
        refused: Entries that were ignored, with reasons.
    """

    media: MoseiMedia
    tables: list[str] = field(default_factory=list)
    transcripts: list[str] = field(default_factory=list)
    dumps: list[str] = field(default_factory=list)
    csd: list[str] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    refused: tuple[str, ...] = ()


def survey(root: Path, listing: Listing) -> MoseiLayout:
    """Sort a listing by what the files are.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        listing: Of the root.
    """
    layout = MoseiLayout(media=MoseiMedia(listing.files), refused=listing.refused)
    csv_files = []
    for path in listing.files:
        lower = path.lower()
        if "std_folds" in posixpath.basename(lower):
            layout.folds.append(path)
        elif lower.endswith(".csv"):
            csv_files.append(path)
        elif lower.endswith((".txt", ".annotprocessed")):
            layout.transcripts.append(path)
        elif lower.endswith(".csd"):
            layout.csd.append(path)
        elif _ARCHIVE.fullmatch(posixpath.basename(path)):
            layout.archives.append(path)
    # Tables are told by their content; what cannot be opened is none, and the absence of labels is told.
    for path, head in read_heads(root, csv_files, 1 << 16):
        if begins_as_label_table(head[:HEAD]):
            layout.tables.append(path)
        elif begins_as_dump(head):
            layout.dumps.append(path)
    return layout


def begins_as_dump(head: bytes) -> bool:
    """Whether the first bytes of a CSV file are those of results of Mechanical Turk on CMU's segments."""
    line = head.partition(b"\n")[0]
    try:
        return set(next(csv.reader([line.decode("utf-8-sig", errors="replace").strip()]), [])) >= _DUMP
    except csv.Error:
        return False


def unpacking(layout: MoseiLayout) -> str:
    """The end of an error where archives are still packed."""
    return f" Archives are still packed: {enumerate_some(layout.archives, 3)}; unpack them." if layout.archives else ""


_PAIRING = "text and video are of different segments (MMSA issue 66)"

MMSA_CUT: dict[str, str] = {"-mJ2ud6oKI8": _PAIRING, "0BVed2nBq1g": _PAIRING}
"""Video -> what is wrong with its clips as MMSA cut them (``<video>/<clip>.mp4``)."""

SEGMENTED: dict[str, str] = {"ZzL2sHtTWRc": "frames are black (issues of CMU-MultimodalSDK)"}
"""Video -> what is wrong with its segments in CMU's archive."""

MISSING: dict[str, str] = {
    "Y7qkyMyanjU": "MMSA's archive lacks the folder, 4 clips (MMSA issue 61)",
    "hh04W3xXa5s": "CMU's archive lacks its segments (issues of CMU-MultimodalSDK)",
}
"""Video -> why it has no segment files."""

CUT_FROM_FULL = (
    "CMU's archive has no segment of it, and of such videos 37 in 60 that were looked at have wrong times "
    "(CMU-MultimodalSDK issue 227)"
)
"""What is known of clips that only the full video has."""


SENTIMENT = (-3.0, 3.0)
EMOTION = (0.0, 3.0)
POLARITIES = ("negative", "neutral", "positive")
PRESENCE = ("absent", "present")


@dataclass(frozen=True)
class Wanted:
    """What clips are to be made of segments.

    Attributes:
        target: ``sentiment``, ``polarity``, or an emotion: the clip's label. The others go into its `labels`.
        presence: Whether emotions are ``absent`` or ``present`` (over zero) instead of intensities.
        ranges: Least and greatest value of ``sentiment`` and of emotions, of the target as the task has it.
        full: Whether clips are cut from full videos.
        fill: Whether clips without a file of their own are.
        official: Whether known-bad media are told.
    """

    target: str
    presence: bool
    ranges: Mapping[str, tuple[float, float]]
    full: bool
    fill: bool
    official: bool


@dataclass(frozen=True)
class MoseiPlace:
    """Where a clip's media is: path below the root or None, span in it, and what is wrong with it."""

    path: str | None
    start: float | None = None
    end: float | None = None
    defects: tuple[Defect, ...] = ()


def make_clips(
    segments: list[Segment], splits: Mapping[str, Split] | None, media: MoseiMedia, wanted: Wanted
) -> tuple[list[Clip], list[Defect], list[str]]:
    """A clip for each segment that has a split.

    Args:
        segments: In the order of the clips.
        splits: Split by video; None to take each segment's own.
        media: Of the root.
        wanted: See `Wanted`.

    Returns:
        Clips, defects and notes.
    """
    clips: dict[str, Clip] = {}
    defects: list[Defect] = []
    homeless: list[str] = []
    for segment in segments:
        split = segment.split if splits is None else splits.get(segment.video)
        if split is None:
            homeless.append(segment.id)
            continue
        if segment.id in clips:
            message = f"{segment.source} labels {segment.id} again; the first row counts."
            defects.append(Defect(code="duplicate", message=message, clip=segment.id))
            continue
        labels, problems = _labels(segment, wanted)
        place = find_place(segment, media, wanted)
        clips[segment.id] = Clip(
            id=segment.id,
            split=split,
            media=place.path,
            start=place.start,
            end=place.end,
            text=segment.text,
            dialogue=segment.video,
            turn=int(segment.clip) if segment.clip and segment.clip.isdecimal() else None,
            label=labels.pop(wanted.target, None),
            labels=labels,
        )
        defects += [*problems, *place.defects]
        if segment.repaired:
            message = f"The text of {segment.id} held encoding damage, which is repaired where it can be."
            defects.append(Defect(code="text_repaired", message=message, clip=segment.id))
    defects += _not_of_clips(segments, media, wanted)
    notes = [f"Segments of videos in no split are ignored: {enumerate_some(homeless, 5)}."] if homeless else []
    silent = sum(not clip.text.strip() for clip in clips.values())
    if silent:
        notes.append(f"Of {len(clips):,} clips {silent:,} have no text: neither labels nor transcripts tell it.")
    return list(clips.values()), defects, notes


def find_place(segment: Segment, media: MoseiMedia, wanted: Wanted) -> MoseiPlace:
    """Where a segment's media is, and what is wrong with it."""
    own = media.segments(segment.video, segment.clip) if segment.clip is not None else []
    whole = media.full(segment.video)
    if own and not wanted.full:
        return _own_file(segment, own, media, wanted)
    spanned = segment.start is not None and segment.end is not None
    if whole and spanned and (wanted.full or wanted.fill):
        return _part_of_full(segment, whole[0], wanted)
    reason = MISSING.get(segment.video) if wanted.official and not wanted.full else None
    tail = f"; {reason}" if reason else ""
    if wanted.full and whole:
        tail = "; nobody tells its times; transcripts or a .csd have them"
    elif wanted.full:
        tail = "; its full video is not there"
    elif whole and spanned:
        tail += "; the full video is there, and fill_from_full would cut it from that"
    message = f"{segment.id} is labelled, but there is no media of it{tail}."
    return MoseiPlace(None, defects=(Defect(code="missing_media", message=message, clip=segment.id),))


def _own_file(segment: Segment, paths: list[str], media: MoseiMedia, wanted: Wanted) -> MoseiPlace:
    path, *others = paths
    defects = [
        Defect(
            code="duplicate",
            message=f"{other} is ignored: {segment.id} has another file, {path}, that is preferred.",
            clip=segment.id,
            path=other,
        )
        for other in others
    ]
    cut_by_mmsa = path in media.nested(segment.video, segment.clip or "")
    reason = (MMSA_CUT if cut_by_mmsa else SEGMENTED).get(segment.video)
    if wanted.official and reason:
        defects.append(_known_bad(segment, reason, path))
    return MoseiPlace(path, defects=tuple(defects))


def _part_of_full(segment: Segment, path: str, wanted: Wanted) -> MoseiPlace:
    start, end = float(segment.start or 0.0), float(segment.end or 0.0)
    defects = []
    if start < 0:
        message = f"{segment.id} begins at {start:g} s of {path}; it begins with the file instead."
        defects.append(Defect(code="negative_start", message=message, clip=segment.id, path=path))
        start = 0.0
    if not (math.isfinite(start) and math.isfinite(end) and end > start):
        message = f"{segment.id} would end at {end:g} s of {path}, which is not after its start, {start:g} s."
        defects.append(Defect(code="too_short", message=message, clip=segment.id, path=path))
        return MoseiPlace(None, defects=tuple(defects))
    if wanted.official and not wanted.full:
        defects.append(_known_bad(segment, CUT_FROM_FULL, path))
    return MoseiPlace(path, start, end, tuple(defects))


def _known_bad(segment: Segment, reason: str, path: str) -> Defect:
    return Defect(code="known_bad", message=f"Known of {segment.id}: {reason}.", clip=segment.id, path=path)


def _labels(segment: Segment, wanted: Wanted) -> tuple[dict[str, Label], list[Defect]]:
    """Labels by name, and a defect for each that is out of its range."""
    labels: dict[str, Label] = {}
    defects = []
    for kind, value in segment.labels.items():
        low, high = wanted.ranges[kind]
        if not low <= value <= high:
            message = f"{segment.source} has the {kind} {value:g} for {segment.id}; the range is {low:g} to {high:g}."
            defects.append(Defect(code="label_out_of_range", message=message, clip=segment.id))
        elif kind == "sentiment":
            labels[kind] = value
            labels["polarity"] = POLARITIES[int(value > 0) - int(value < 0) + 1]
        else:
            labels[kind] = PRESENCE[value > 0] if wanted.presence else value
    if wanted.target != "polarity":
        # It says no more than the sentiment does.
        labels.pop("polarity", None)
    return labels, defects


def _not_of_clips(segments: list[Segment], media: MoseiMedia, wanted: Wanted) -> Iterator[Defect]:
    """Files that no label is about, and further copies of full videos."""
    videos = {segment.video: None for segment in segments}
    for path in media.others(videos_and_clips(segments), videos):
        message = f"{path} is ignored: no label is about it."
        yield Defect(code="unlabelled_media", message=message, path=path)
    for video in videos if wanted.full else ():
        first, *others = media.full(video) or [""]
        for other in others:
            message = f"{other} is ignored: of video {video} there is another file, {first}, that is preferred."
            yield Defect(code="duplicate", message=message, path=other)


OFFICIAL = {Split.TRAIN: 16326, Split.VALID: 1871, Split.TEST: 4659}
LABELS = {
    "mmsa": "MMSA's label.csv (columns video_id, clip_id, text, label, mode)",
    "csd": "CMU_MOSEI_Labels.csd",
    "mturk": "the Mechanical Turk dumps of Raw/Labels (columns Input.VIDEO_ID, Input.CLIP, Answer.sentiment)",
}

FACTS = Facts(
    title="CMU-MOSEI: monologues from YouTube (Zadeh et al. 2018)",
    task="regression, sentiment -3 to 3",
    predicts=Regression(*SENTIMENT),
    language="en",
    labels="sentiment -3 to 3, a multiple of 1/3; happy, sad, anger, surprise, disgust, fear 0 to 3",
    splits=OFFICIAL,
    splits_from=f"MMSA's label.csv ({sum(OFFICIAL.values()):,} clips); the .csd labels hold 23,259 segments, the paper "
    "tells 23,453",
    licence=RESEARCH,
    source="CMU-MultimodalSDK (the old CMU_MOSEI.zip is no longer offered); MMSA's copy on Google Drive, folder "
    "1A2S4pqCHryGmiqnNSPLv7rEg63WvjCSk, or Baidu 1a1bDX5htPsZjsRyHcvCKHw (qq0b)",
    layouts=(
        LAYOUT,
        "Raw/Videos/Segmented/Combined/VIDEO_N.mp4 + Raw/Transcript + labels",
        "Raw/Videos/Full/Combined/VIDEO.mp4 + Raw/Transcript, cut by the transcripts' spans",
    ),
    defects=(
        "some segments begin before their video, others overlap",
        "hundreds of segmented files are missing from the old archive, and some videos are wrongly timed",
    ),
)


class OptionsModel(ReaderOptions):
    """Options of the MOSEI reader.

    Attributes:
        media: Segmented files, or spans of full videos; auto takes segmented files if there are any.
        fill_from_full: Whether clips whose segmented file is missing are cut from the full video. Off, since most of
            those have wrong times.
        labels: Where labels are from; auto takes the first that is there of mmsa, csd, mturk.
        target: Which annotation is the label; the others go into the clip's `labels`. Polarity is the sentiment's sign.
        emotions: Emotions as intensities in 0 to 3, or as absent and present (intensity over 0).
        splits: By the column mode of MMSA's label.csv, or by a file of video ids.
        std_folds: Path of that file below the root, which then tells the splits; None for the only one that is called
            so.
        official: Whether this is MOSEI itself, whose counts are known and whose bad media are listed. False for other
            data in its layouts.
    """

    media: Literal["auto", "segmented", "full"] = "auto"
    fill_from_full: bool = False
    labels: Literal["auto", "mmsa", "csd", "mturk"] = "auto"
    target: Literal["sentiment", "polarity", "happiness", "sadness", "anger", "surprise", "disgust", "fear"] = (
        "sentiment"
    )
    emotions: Literal["intensity", "presence"] = "intensity"
    splits: Literal["mmsa", "std_folds"] = "mmsa"
    std_folds: str | None = None
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List MOSEI's clips.

    Args:
        root: Folder of the unpacked archive, or one around it; labels, transcripts and media are found by content.
        options: See `OptionsModel`.
        task: Another range of the target than MOSEI's own, or another order of its classes.

    Raises:
        UsageError: There is no folder, no label source, no split list, or nothing that the options ask for.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    layout = survey(folder, listing)
    annotations, notes = _annotations(folder, layout, options)
    source = annotations.choose(options.labels)
    if source is None:
        raise UsageError(_no_labels(folder, layout, options, notes))
    task = _task(options, task)
    segments, messages = list_segments(source, annotations)
    notes += messages
    if options.target in EMOTIONS and not any(options.target in segment.labels for segment in segments):
        raise UsageError(
            f"Target {options.target}: there are no emotions. {LABELS['mmsa']} has the sentiment alone; put "
            f"{LABELS['csd']} or {LABELS['mturk']} below {folder}."
        )
    splits, split_source, messages = _splits(folder, layout, annotations, source, options)
    notes += messages
    full = options.media == "full" or (options.media == "auto" and _only_full(segments, layout))
    clips, defects, messages = make_clips(segments, splits, layout.media, _wanted(options, task, full))
    notes += messages
    labelled_by = {"mmsa": annotations.table, "csd": annotations.csd, "mturk": enumerate_some(annotations.dumps)}[
        source
    ]
    notes += [
        f"Labels: {LABELS[source]}, read from {labelled_by}.",
        f"Media: {'spans of full videos' if full else 'segmented files'}{_filled(options, full)}.",
        *(f"Ignored: {reason}" for reason in layout.refused),
    ]
    expected = OFFICIAL if options.official and source == "mmsa" else {}
    if options.official and not expected:
        notes.append("Counts are not compared: official are those of MMSA's label.csv, 16,326, 1,871 and 4,659 clips.")
    found_counts = {split: sum(clip.split == split for clip in clips) for split in Split}
    return Corpus(
        name="mosei",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=(*defects, *compare_counts("clips of split", expected, found_counts)),
        expected=expected,
        sources=tuple(dict.fromkeys(path for path in (*_paths(annotations), split_source) if path)),
        notes=tuple(notes),
    )


def _annotations(root: Path, layout: MoseiLayout, options: OptionsModel) -> tuple[Annotations, list[str]]:
    """All label sources below a root; dumps and sequences also tell the emotions that MMSA's table lacks."""
    transcripts, notes = read_transcripts(root, layout.transcripts)
    path, rows, messages = choose_table(root, layout.tables, "mosei") or (None, [], [])
    notes += messages
    csd, messages = find_labels(root, layout.csd) if layout.csd else (None, [])
    notes += messages
    ratings, dumps, messages = read_dumps(root, layout.dumps)
    notes += messages
    annotations = Annotations(
        rows=rows,
        table=path,
        sequences=read_csd(root, csd) if csd else {},
        csd=csd,
        ratings=ratings,
        dumps=tuple(dumps),
        transcripts=transcripts,
    )
    return annotations, notes


def _paths(found: Annotations) -> tuple[str | None, ...]:
    return (found.table, found.csd, *found.dumps)


def _splits(
    root: Path, layout: MoseiLayout, found: Annotations, source: Source, options: OptionsModel
) -> tuple[dict[str, Split] | None, str | None, list[str]]:
    """Split by video, or None where each row has its own; the file that tells it; notes."""
    if options.splits == "std_folds" or options.std_folds is not None:
        path = choose_folds(root, options.std_folds, layout.folds, options.follow_links)
        return read_folds(root, path), path, [f"Splits: file of folds {path}."]
    if found.table is None:
        raise UsageError(
            f"Nothing tells the splits: the video ids of MOSEI's standard folds are not part of this program. Put "
            f"{LABELS['mmsa']} below {root}, or the SDK's cmu_mosei_std_folds.py, with splits: std_folds."
        )
    splits, notes = splits_of_table(found.rows, found.table)
    return (None if source == "mmsa" else splits), found.table, notes


def _task(options: OptionsModel, task: Task | None) -> Task:
    """The task of the target.

    Raises:
        UsageError: The recipe's task is of another kind.
    """
    emotion = options.target in EMOTIONS
    if options.target == "polarity" or (emotion and options.emotions == "presence"):
        classes = PRESENCE if emotion else POLARITIES
        if task is None:
            return Classification(classes)
        if not isinstance(task, Classification) or set(task.classes) != set(classes):
            raise UsageError(
                f"MOSEI's {options.target} has the classes {', '.join(classes)}; the recipe's task differs."
            )
        return task
    if task is None:
        return Regression(*(EMOTION if emotion else SENTIMENT))
    if not isinstance(task, Regression):
        raise UsageError(
            f"MOSEI's {options.target} is a number, no class: its task is a regression, or is left out of the recipe. "
            "Classes are the target polarity, and emotions: presence."
        )
    return task


def _wanted(options: OptionsModel, task: Task, full: bool) -> Wanted:
    ranges = {"sentiment": SENTIMENT, **dict.fromkeys(EMOTIONS, EMOTION)}
    if isinstance(task, Regression):
        ranges[options.target] = (task.low, task.high)
    return Wanted(
        target=options.target,
        presence=options.emotions == "presence",
        ranges=ranges,
        full=full,
        fill=options.fill_from_full,
        official=options.official,
    )


def _only_full(segments: list[Segment], layout: MoseiLayout) -> bool:
    if layout.media.any_segments(videos_and_clips(segments)):
        return False
    return any(layout.media.full(video) for video in {segment.video for segment in segments})


def _filled(options: OptionsModel, full: bool) -> str:
    if full:
        return ""
    return "; missing ones are cut from full videos" if options.fill_from_full else "; missing ones are not filled"


def _no_labels(root: Path, layout: MoseiLayout, options: OptionsModel, notes: list[str]) -> str:
    sources = LABELS if options.labels == "auto" else {options.labels: LABELS[options.labels]}
    sentences = [f"Under {root} there are no labels of MOSEI: {'; '.join(sources.values())} were looked for."]
    sentences += [f"Seen: {note}" for note in notes]
    if layout.media.paths:
        sentences.append(f"Media are there ({len(layout.media.paths):,} files); put the labels beside them.")
    return " ".join(sentences) + unpacking(layout)
