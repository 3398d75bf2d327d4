"""CMU's computational sequences (.csd): HDF5 files of features and intervals by video, and of labels and words.

A file holds ``/<root>/data/<video>/{features (N, d), intervals (N, 2)}`` and ``/<root>/metadata``; a file is identified
by its root, not by its name. Clips are the intervals of the label file, named ``<video>[k]`` as the SDK names them
after alignment. A clip's rows are those that overlap with its interval, on the clip's own clock.

In the order of this file: the label file -> clips; the export of a dataset to files that CMU's SDK opens, one a stream
and one of labels; the import.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.corpora import mosei
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import list_files, open_root, telling
from mse_pipeline.corpora.mmsa_table import is_label_table, read_label_table
from mse_pipeline.corpora.mosei_files import LabelSequence
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.exchange.base import Imported, file_digest, zero_where_undefined
from mse_pipeline.exchange.clip_table import HELP, TABLE, read_clip_table, read_splits, split_for, write_clip_table
from mse_pipeline.exchange.csd_rows import (
    CsdPlace,
    Numbers,
    by_index,
    find_numbers,
    names_of,
    names_of_clip,
    read_rows,
    read_texts,
    video_of,
)
from mse_pipeline.hdf5_guard import child, keys, numbers, opened
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.storage import aside
from mse_pipeline.task import Classification, Regression, Task

MOSEI_LABELS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
"""Columns of the root ``All Labels`` of CMU-MOSEI (cmu_mosei.py of the SDK); sentiment -3 to 3, emotions 0 to 3."""
_RANGES = {"sentiment": Regression(*mosei.SENTIMENT)}
_EMOTION = Regression(*mosei.EMOTION)
_ALIGNED = re.compile(r"(?P<video>.+)\[\d+\]")
_SLACK = 1e-4  # thirds are stored as float32
_SHORTEST = 1e-5  # seconds; the SDK drops what is shorter


@dataclass(frozen=True)
class CsdSegment:
    """A clip and where it lies in its video.

    Attributes:
        clip: Its id is the entry of aligned files, ``<video>[k]``.
        video: The entry of unaligned files.
        index: Its place among the video's intervals; None in an aligned file, whose entries are clips.
        count: How many intervals the video has.
        start: Seconds in the video, never negative.
        end: Seconds in the video.
    """

    clip: Clip
    video: str
    start: float
    end: float
    index: int | None
    count: int


@dataclass
class _Findings:
    outside: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def task_of(target: str) -> Regression:
    """What is to be predicted.

    Raises:
        UsageError: It is none of `MOSEI_LABELS`.

    Examples:
        >>> task_of("sentiment")
        Regression(low=-3.0, high=3.0)
    """
    if target not in MOSEI_LABELS:
        near = did_you_mean(target, MOSEI_LABELS)
        raise UsageError(f"Option target must be one of {', '.join(MOSEI_LABELS)}; got {target!r}{near}.")
    return _RANGES.get(target, _EMOTION)


def read_labels(data: h5py.Group) -> dict[str, LabelSequence]:
    """Intervals and labels of all entries of a label file.

    Args:
        data: Its group ``data``; entries are videos, or clips ``<video>[k]`` after alignment.

    Raises:
        MseError: The file is damaged or hostile.
    """
    labelled = {}
    for entry in keys(data):
        group = child(data, entry)
        values, intervals = numbers(group, "features"), numbers(group, "intervals")
        _check_shapes(entry, values.shape, intervals.shape)
        labelled[entry] = LabelSequence(np.asarray(intervals[:], np.float64), np.asarray(values[:], np.float64))
    return labelled


def make_segments(
    labelled: Mapping[str, LabelSequence], splits: Mapping[str, Split], target: str
) -> tuple[list[CsdSegment], list[str]]:
    """The annotated intervals of all videos.

    Args:
        labelled: Intervals and labels by video, or by clip ``<video>[k]`` after alignment.
        splits: By id of a video or a clip.
        target: One of `MOSEI_LABELS`.

    Returns:
        Segments in the order of names, and what was left out, as sentences.

    Raises:
        UsageError: The target is not annotated, a label is outside of its range, or no segment is in the list.
    """
    task = task_of(target)
    segments: list[CsdSegment] = []
    findings = _Findings()
    for entry, sequence in labelled.items():
        names = MOSEI_LABELS[: sequence.labels.shape[1]]
        if target not in names:
            raise UsageError(f"The label file annotates {', '.join(names)}; the option target asks for {target}.")
        aligned = _ALIGNED.fullmatch(entry)
        video = aligned["video"] if aligned else entry
        rows, spans = sequence.labels, sequence.intervals
        if aligned:
            # After alignment all rows of an entry belong to one clip.
            rows, spans = rows[:1], np.array([[spans[:, 0].min(), spans[:, 1].max()]]) if len(spans) else spans
        for index, (row, (start, end)) in enumerate(zip(rows, spans, strict=True)):
            clip = entry if aligned else f"{entry}[{index}]"
            split = split_for(clip, video, splits) or splits.get(video_of(video) or video)
            if split is None:
                findings.unlisted.append(clip)
                continue
            if not math.isfinite(start) or not math.isfinite(end) or end - max(start, 0.0) < _SHORTEST:
                findings.empty.append(clip)
                continue
            if start < 0:
                findings.negative.append(clip)
            labels = {name: _label(value) for name, value in zip(names, row, strict=True)}
            label = labels.pop(target)
            if label is None or not task.low - _SLACK <= label <= task.high + _SLACK:
                findings.outside.append(f"{clip} ({label})")
                continue
            kept: dict[str, Label] = {name: value for name, value in labels.items() if value is not None}
            begin = max(float(start), 0.0)
            new_clip = Clip(
                id=clip,
                split=split,
                start=begin,
                end=float(end),
                label=min(max(label, task.low), task.high),
                labels=kept,
            )
            segments.append(CsdSegment(new_clip, video, begin, float(end), None if aligned else index, len(spans)))
    return segments, _settle(segments, findings, target, task)


def _settle(segments: list[CsdSegment], found: _Findings, target: str, task: Regression) -> list[str]:
    if found.outside:
        raise UsageError(
            f"{len(found.outside):,} labels {target} are not numbers from {task.low:g} to {task.high:g}: "
            f"{enumerate_some(found.outside, 5)}. Is this the label file of CMU-MOSEI or CMU-MOSI?"
        )
    if not segments:
        few = enumerate_some(found.unlisted + found.empty, 5)
        raise UsageError(f"No annotated clip is in the list of splits. The label file has {few or 'none at all'}.")
    notes = []
    if found.unlisted:
        notes.append(f"{len(found.unlisted):,} annotated clips are in no split of the list and were left out.")
    if found.empty:
        notes.append(f"{len(found.empty):,} clips without length were left out: {enumerate_some(found.empty, 5)}.")
    if found.negative:
        few = enumerate_some(found.negative, 5)
        notes.append(f"{len(found.negative):,} clips began before their video and begin with it now: {few}.")
    return notes


def _check_shapes(entry: str, values: tuple[int, ...], intervals: tuple[int, ...]) -> None:
    if len(values) != 2 or intervals != (values[0], 2):
        raise MseError(f"Labels of {entry} have the shapes {values} and {intervals}; expected (N, d) and (N, 2).")
    if values[1] not in (1, len(MOSEI_LABELS)):
        raise MseError(f"Labels of {entry} have {values[1]} columns; expected 7 (CMU-MOSEI) or 1 (CMU-MOSI).")


def _label(value: float) -> float | None:
    # float32 thirds: 0.33333334 is 0.333333 in every other label file of this dataset.
    return round(float(value), 6) if math.isfinite(value) else None


EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
_SEGMENT = re.compile(r".+\[\d+\]")
_Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def entry_of(clip: str) -> str:
    """A clip's entry in a .csd file: HDF5 splits names at ``/``, and the SDK cuts them at ``[``.

    Examples:
        >>> entry_of("train/dia0_utt0"), entry_of("3aIQUQgawaI[12]")
        ('train%2Fdia0_utt0', '3aIQUQgawaI[12]')
    """
    brackets = {} if _SEGMENT.fullmatch(clip) and clip.count("[") == 1 else {"[": "%5B"}
    entry = clip
    for sign, code in ({"%": "%25", "/": "%2F"} | brackets).items():
        entry = entry.replace(sign, code)
    return entry.replace(".", "%2E") if entry in {".", ".."} else entry


def offset_of(clip: Clip) -> float:
    """Where the times of a clip's entry begin, in seconds: those of ``<video>[k]`` are times in the video."""
    return clip.start or 0.0 if _SEGMENT.fullmatch(clip.id) else 0.0


def write(dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None:
    """Write a dataset as a folder of .csd files, with its clip table and task beside them.

    The SDK's ``mmdataset(folder)`` reads the .csd files. Rows that are not valid are told in a further member `valid`
    of their entry, which the SDK does not read. Values that are not defined are 0.

    Args:
        dataset: In the cache.
        path: The folder that is made; a file of ours that is there is replaced.
        streams: Name of the stream by modality.

    Raises:
        UsageError: The path is a file, or no stream is given.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; .csd files are written into a folder.")
    if not streams:
        raise UsageError(f"No stream of {dataset.name} is to be written; it has {', '.join(dataset) or 'none'}.")
    clips = {clip.id: clip for clip in dataset.clips}
    ends: dict[str, float] = {}
    for stream in streams.values():
        features = dataset[stream]
        names = next((features[clip].names for clip in features), ())
        about: dict[str, Any] = {"computational sequence description": stream, "dimension names": list(names)}
        _write_file(path, dataset.name, stream, _rows(features, clips, ends), about)
    task = dataset.manifest.task
    classes = list(task.classes) if isinstance(task, Classification) else None
    emotions = [name for name in EMOTIONS if classes is None and all(name in clip.labels for clip in clips.values())]
    told = ["class index"] if classes else ["sentiment", *(emotions if len(emotions) == len(EMOTIONS) else [])]
    about = {"computational sequence description": "labels", "dimension names": told, "classes": classes}
    root = "Class Labels" if classes else "All Labels"
    _write_file(path, dataset.name, root, _labels(dataset, told[1:], ends), about)
    write_clip_table(dataset, path, list(streams.values()))


def _rows(
    features: Mapping[str, Features], clips: Mapping[str, Clip], ends: dict[str, float]
) -> Iterator[tuple[str, _Rows]]:
    for clip in features:
        one = features[clip]
        ends[clip] = max(ends.get(clip, 0.0), float(one.intervals[:, 1].max(initial=0.0)))
        yield (
            clip,
            (
                zero_where_undefined(one.values),
                one.intervals + offset_of(clips[clip]),
                None if one.valid.all() else one.valid,
            ),
        )


def _labels(dataset: Dataset, further: list[str], ends: Mapping[str, float]) -> Iterator[tuple[str, _Rows]]:
    task = dataset.manifest.task
    for clip in dataset.clips:
        if clip.label is None:
            continue
        label = task.index(clip.label) if isinstance(task, Classification) else float(clip.label)
        begin = offset_of(clip)
        end = clip.end if begin and clip.end is not None else begin + ends.get(clip.id, 0.0)
        row = np.array([[label, *(float(clip.labels[name]) for name in further)]], np.float32)
        yield clip.id, (row, np.array([[begin, end]]), None)


def _write_file(
    folder: Path, dataset: str, root: str, items: Iterator[tuple[str, _Rows]], about: Mapping[str, Any]
) -> None:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", f"{dataset}_{root}")
    with aside(folder / f"{stem}.csd") as temporary, h5py.File(temporary, "w", track_order=False) as file:
        home = file.create_group(root)
        data = home.create_group("data")
        for clip, (values, intervals, valid) in items:
            group = data.create_group(entry_of(clip))
            group.create_dataset("features", data=values, track_times=False)
            group.create_dataset("intervals", data=intervals, track_times=False)
            if valid is not None:
                group.create_dataset("valid", data=valid.astype(np.uint8), track_times=False)
        metadata = home.create_group("metadata")
        for name, value in _metadata(root, dataset, about).items():
            # The SDK reads each entry as JSON in an array of one string.
            text = metadata.create_dataset(name, (1,), h5py.string_dtype(), track_times=False)
            text[0] = json.dumps(value, ensure_ascii=False)


def _metadata(root: str, dataset: str, about: Mapping[str, Any]) -> dict[str, Any]:
    from mse_pipeline import __version__

    value: dict[str, Any] = {
        "root name": root,
        "computational sequence version": "1.0",
        "alignment compatible": True,
        "dataset name": dataset,
        "dataset version": "1.0",
        "creator": f"mse-pipeline {__version__}",
        "contact": "",
        "featureset bib citation": "",
        "dataset bib citation": "",
        "uuid": "",
        "md5": None,
        **about,
    }
    # The SDK's list of required entries lacks a comma between these two, so that it asks for both names in one.
    value["dimension namescomputational sequence version"] = value["computational sequence version"]
    return value


_STREAMS = {
    "covarep": "acoustic.covarep",
    "facet41": "visual.facet41",
    "facet42": "visual.facet42",
    "openface2": "visual.openface2",
    "glovevectors": "text.glove",
}
"""Root, without case and punctuation -> stream."""
_LABELS = {"alllabels", "opinionsegmentlabels"}
_WORDS = {"words"}
_OURS = {"classlabels"}
"""Written for the SDK; reading takes the clip table beside it."""
_STREAM = re.compile(r"(acoustic|visual|text)\.[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    root: str

    @property
    def kind(self) -> str:
        return re.sub(r"[^a-z0-9]", "", self.root.lower())


def read(
    path: Path,
    *,
    splits: str | None = None,
    target: str = "sentiment",
    roots: str | None = None,
    ids: str = "index",
    follow_links: bool = False,
) -> Imported:
    """Read a folder of .csd files: CMU-MOSEI's, CMU-MOSI's, or what `csd_write.write` made.

    Args:
        path: The folder; the files may lie in folders below it. A folder that we wrote has a clip table beside them.
        splits: A list of splits (`split_list.HELP`); None for MMSA's label.csv in the folder.
        target: Which annotation is to be predicted: sentiment, happy, sad, anger, surprise, disgust or fear.
        roots: Streams of further roots, as in ``OpenSMILE=acoustic.opensmile,VGG=visual.vgg``.
        ids: What clips are called: ``index`` for ``<video>[k]``, k being the place in the label file, as the SDK has
            it; ``number`` for ``<video>$_$<number>``, the number of the segment, as MMSA and this package's corpora
            have it. Lists of splits and entries of files may have either.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no .csd files, labels or splits are missing, or an option does not fit.
        MseError: A file is damaged or hostile.
    """
    if path.is_file():
        raise UsageError(f"{path} is one file; give the folder that holds it and the label file.")
    folder = open_root(path)
    listing = list_files(folder, follow_links)
    with telling(listing):
        files = _files(folder, listing.files)
    streams, left_out = _streams(files, _own_roots(roots))
    notes = [*listing.refused]
    if left_out:
        notes.append(
            f"Left out, as no stream is known for their roots: {enumerate_some(left_out)}. "
            "The option roots names streams for them."
        )
    source: dict[str, Any] = {
        "format": "csd",
        "files": {file.name: {"root": file.root, "sha256": file_digest(file.path)} for file in files},
    }
    if (folder / TABLE).is_file():
        # The file was resolved by the listing: a link out of the folder is not among its files.
        if TABLE not in listing.files:
            raise UsageError(f"{folder / TABLE} is a symbolic link out of the folder; --follow-links allows it.")
        table = read_clip_table(folder / TABLE)
        task: Task = table.task
        places = [CsdPlace(clip.id, (), entry_of(clip.id), 0, None, offset_of(clip)) for clip in table.clips]
        clips = table.clips
        notes += table.notes
        source |= {"clips": file_digest(folder / TABLE)} | ({"corpus": table.corpus} if table.corpus else {})
        source |= {"dataset": table.dataset} if table.dataset else {}
    else:
        task = task_of(target)
        if ids not in ("index", "number"):
            raise UsageError(f"Option ids is index or number; got {ids!r}.")
        segments, numbers, found, list_path = _segments(folder, listing.files, files, splits, target)
        notes += found
        places = [_place(segment, numbers) for segment in segments]
        if ids == "number":
            places, segments = _by_number(places, segments)
        if target == "sentiment":
            # Its metrics and its recipe's settings hold.
            source["corpus"] = "mosei" if any(file.kind == "alllabels" for file in files) else "mosi"
        clips = _with_words(files, segments, places, notes)
        source |= {"splits": {"file": list_path.name, "sha256": file_digest(list_path)}, "target": target}
    readers: dict[str, Callable[[], Iterator[tuple[str, Features]]]] = {
        stream: partial(read_rows, file.path, file.root, stream, places, notes) for stream, file in streams.items()
    }
    return Imported(task=task, clips=clips, streams=readers, source=source, notes=notes)


def _files(folder: Path, listed: Sequence[str]) -> list[_File]:
    files = []
    for name in listed:
        if not name.lower().endswith(".csd"):
            continue
        with opened(folder / name) as file:
            roots = keys(file)
            if len(roots) != 1:
                raise MseError(f"{name} has {len(roots)} roots, {enumerate_some(roots, 3)}; a .csd file has one.")
            child(child(file, roots[0]), "data")
            files.append(_File(folder / name, name, roots[0]))
    if not files:
        raise UsageError(f"There is no .csd file below {folder}.")
    by_kind: dict[str, _File] = {}
    for csd_file in files:
        other = by_kind.setdefault(csd_file.kind, csd_file)
        if other is not csd_file:
            raise UsageError(f"{other.name} and {csd_file.name} both have the root {csd_file.root}; keep one of them.")
    return files


def _streams(files: Sequence[_File], own: Mapping[str, str]) -> tuple[dict[str, _File], list[str]]:
    """File by stream, and the roots that are none."""
    strangers = sorted(set(own) - {file.root for file in files})
    if strangers:
        raise UsageError(
            f"Option roots: there is no root {strangers[0]!r}; there are {', '.join(file.root for file in files)}."
        )
    streams: dict[str, _File] = {}
    left_out = []
    for file in files:
        stream = own.get(file.root) or _STREAMS.get(file.kind)
        if stream is None and _STREAM.fullmatch(file.root):
            stream = file.root
        if stream is not None and stream in streams:
            raise UsageError(f"{streams[stream].name} and {file.name} are both the stream {stream}; keep one of them.")
        if stream is not None:
            streams[stream] = file
        elif file.kind not in _LABELS | _WORDS | _OURS:
            left_out.append(f"{file.root} ({file.name})")
    return streams, left_out


def _own_roots(text: str | None) -> dict[str, str]:
    own = {}
    for part in filter(None, (text or "").split(",")):
        root, _, stream = part.partition("=")
        if not _STREAM.fullmatch(stream.strip()):
            raise UsageError(f"Option roots is written ROOT=acoustic.NAME,...; got {part!r}.")
        own[root.strip()] = stream.strip()
    return own


def _segments(
    folder: Path, listed: Sequence[str], files: Sequence[_File], splits: str | None, target: str
) -> tuple[list[CsdSegment], Numbers, list[str], Path]:
    labels = [file for file in files if file.kind in _LABELS]
    if len(labels) != 1:
        raise UsageError(
            f"Below {folder} {len(labels)} files are labels; one with the root 'All Labels' (CMU_MOSEI_Labels.csd) or "
            f"'Opinion Segment Labels' is needed. Roots there: {', '.join(file.root for file in files)}."
        )
    tables = [name for name in listed if name.lower().endswith(".csv") and is_label_table(folder / name)]
    if splits is None and len(tables) != 1:
        candidates = f"several tables were found: {enumerate_some(tables, 5)}" if tables else "there is no label.csv"
        raise UsageError(
            f".csd files do not tell splits, and below {folder} {candidates}. Give the option splits: {HELP}."
        )
    list_path = Path(splits).expanduser() if splits is not None else folder / tables[0]
    known = read_splits(list_path)
    with opened(labels[0].path) as file:
        labelled = read_labels(child(child(file, labels[0].root), "data"))
    rows = read_label_table(folder / tables[0]) if len(tables) == 1 else []
    texts = [name for name in listed if name.lower().endswith((".txt", ".annotprocessed"))]
    numbers, messages = find_numbers(labelled, folder, texts, rows, known)
    known, lost = by_index(known, labelled, numbers)
    segments, notes = make_segments(labelled, known, target)
    return segments, numbers, [f"Splits are those of {list_path.name}.", *messages, *lost, *notes], list_path


def _place(segment: CsdSegment, numbers: Numbers) -> CsdPlace:
    clip = segment.clip.id
    names = names_of_clip(clip) if segment.index is None else names_of(segment.video, segment.index, numbers)
    count = 0 if segment.index is None else segment.count
    return CsdPlace(clip, names, segment.video, count, (segment.start, segment.end), segment.start)


def _by_number(places: Sequence[CsdPlace], segments: Sequence[CsdSegment]) -> tuple[list[CsdPlace], list[CsdSegment]]:
    """Clips called by the number of their segment.

    Raises:
        UsageError: The number of one is not known.
    """
    unknown = [place.clip for place in places if len(place.names) == 1]
    if unknown:
        raise UsageError(
            f"The numbers of {len(unknown):,} segments are not known: {enumerate_some(unknown, 5)}. Put CMU's "
            "transcripts (Raw/Transcript/Segmented) into the folder, which tell them, or import with ids=index."
        )
    called = [place.names[1] for place in places]
    return (
        [replace(place, clip=name) for place, name in zip(places, called, strict=True)],
        [replace(segment, clip=replace(segment.clip, id=name)) for segment, name in zip(segments, called, strict=True)],
    )


def _with_words(
    files: Sequence[_File], segments: Sequence[CsdSegment], places: Sequence[CsdPlace], notes: list[str]
) -> tuple[Clip, ...]:
    words = next((file for file in files if file.kind in _WORDS), None)
    if words is None:
        notes.append("There is no file with the root 'words' (TimestampedWords): clips have no text.")
        return tuple(segment.clip for segment in segments)
    texts, text_notes = read_texts(words.path, words.root, places)
    notes += text_notes
    return tuple(replace(segment.clip, text=texts[segment.clip.id]) for segment in segments)
