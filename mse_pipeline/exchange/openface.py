"""OpenFace 2.x: the CSV files of FeatureExtraction become a stream of a dataset that is in the cache.

Each CSV file becomes the track of one face. The matching of files with clips, and the way of tracks into a stream, are
shared with `mse_pipeline.exchange.mediapipe`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import list_files, open_root, telling
from mse_pipeline.corpora.text import decode
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import Imported, file_digest
from mse_pipeline.exchange.registry import Format
from mse_pipeline.file_kinds import kind_of_bytes
from mse_pipeline.names import composed
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features, with_defined

_NEEDED = ("frame", "timestamp", "confidence", "success")
_KEPT = re.compile(r"gaze_\w+|pose_[TR][xyz]|AU\d\d_[rc]")
_FURTHER = re.compile(r"[xyzXYZ]_\d+|eye_lmk_[xyzXYZ]_\d+|p_\w+")
_MAX_BYTES = 1 << 30
_NOMINAL_RATE = 30.0


@dataclass(frozen=True)
class FaceTrack:
    """The frames of one face.

    Attributes:
        values: (T, D) float32; NaN where a value is not defined, 0 in rows that are not valid.
        intervals: (T, 2) seconds in the video: a frame lasts until the next one, at most the usual time.
        valid: (T,) bool.
        names: The D columns.
        faces: How many faces the file has.
        face: `face_id` of the one that was taken.
        partial: Frames with a face of which some values are missing or not finite numbers.
    """

    values: np.ndarray
    intervals: np.ndarray
    valid: np.ndarray
    names: tuple[str, ...]
    faces: int
    face: int
    partial: int


def read_track(path: Path, name: str, confidence: float, landmarks: bool) -> FaceTrack:
    """Read the face that has the most frames of success and confidence.

    Args:
        path: The file.
        name: How messages call it.
        confidence: From which on a frame is valid.
        landmarks: Whether landmarks and shape parameters are kept, beside gaze, pose and action units.

    Raises:
        MseError: It is not an output of FeatureExtraction, or is damaged.
    """
    columns, table = _table(path, name)
    lacking = [column for column in _NEEDED if column not in columns]
    kept = [
        index
        for index, column in enumerate(columns)
        if _KEPT.fullmatch(column) or (landmarks and _FURTHER.fullmatch(column))
    ]
    if lacking or not kept:
        fault = f"no column {', '.join(lacking)}" if lacking else "no column of gaze, pose or action units"
        raise MseError(f"{name} is not a table of OpenFace (its program FeatureExtraction): it has {fault}.")
    at = {column: index for index, column in enumerate(columns)}
    times, sure = table[:, at["timestamp"]], table[:, at["confidence"]]
    if not np.isfinite(times).all():
        raise MseError(f"{name} has timestamps that are not numbers of seconds; run FeatureExtraction again.")
    good = (table[:, at["success"]] == 1) & (sure >= confidence)
    ids = table[:, at["face_id"]] if "face_id" in at else np.zeros(len(table))
    faces = np.unique(ids)
    # Ties go to the face with the higher confidence in all, then to the lower id.
    best = max(faces, key=lambda face: (good[ids == face].sum(), np.nansum(sure[ids == face]), -face), default=0)
    chosen = np.flatnonzero(ids == best)
    chosen = chosen[np.argsort(times[chosen], kind="stable")]
    values, valid, partial = defined_frames(table[chosen][:, kept], good[chosen])
    names = tuple(columns[index] for index in kept)
    intervals = frame_intervals(times[chosen])
    return FaceTrack(values, intervals, valid, names, max(len(faces), 1), int(best), partial)


def defined_frames(values: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Frames as the cache keeps them.

    Args:
        values: (T, D) numbers as the file has them; NaN where it has none.
        seen: (T,) which frames show the face.

    Returns:
        (T, D) float32 with NaN where a value is not a finite number, 0 where the row is not valid; (T,) which rows are
        valid; and how many frames that show the face lack values.

    Examples:
        >>> values, valid, partial = defined_frames(np.array([[1.0, np.inf], [2.0, 3.0]]), np.array([True, False]))
        >>> values.tolist(), valid.tolist(), partial
        ([[1.0, nan], [0.0, 0.0]], [True, False], 1)
    """
    with np.errstate(over="ignore"):
        frames = values.astype(np.float32)
    frames[~np.isfinite(frames)] = np.nan
    frames[~seen] = 0.0
    partial = int(np.isnan(frames).any(axis=1).sum())
    frames, valid = with_defined(frames, seen)
    return frames, valid, partial


def frame_intervals(times: np.ndarray) -> np.ndarray:
    """Begin and end of frames: each lasts until the next, but over a gap no longer than frames usually do.

    Args:
        times: (T,) seconds at which they begin, in order.

    Returns:
        (T, 2) seconds.
    """
    steps = np.diff(times)
    rising = steps[steps > 0]
    usual = float(np.median(rising)) if len(rising) else 1.0 / _NOMINAL_RATE
    lasts = np.append(np.minimum(steps, usual * 1.5), usual) if len(times) else np.zeros(0)
    return np.stack([times, times + lasts], axis=1)


def csv_text(data: bytes, name: str) -> str:
    """The text of a CSV or JSON file.

    Raises:
        MseError: It is a file of another kind, as a broken download leaves it.
    """
    kind = kind_of_bytes(data[:4096]) if data else None
    if kind is not None and not kind.text:
        raise MseError(f"{name} cannot be read as text: it is {kind}")
    text, _ = decode(data, name)
    return text


def _table(path: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Column names without the spaces before them, and the cells (N, columns) float64."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise MseError(f"{name} has {size:,} bytes; at most {_MAX_BYTES:,} are read.")
        data = path.read_bytes()
    except OSError as error:
        raise MseError(f"{name} cannot be read: {error.strerror or error}.") from error
    text = csv_text(data, name)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        rows = []
        for number, cells in enumerate(reader, start=2):
            if not cells:
                continue
            if len(cells) != len(columns):
                raise MseError(f"{name} has {len(cells)} cells in row {number}, its header {len(columns)}.")
            rows.append(np.array(cells, dtype=np.float64))
    except csv.Error as error:
        raise MseError(f"{name} is not valid CSV: {error}.") from error
    except ValueError as error:
        raise MseError(f"{name} holds something else than numbers in row {number}: {error}.") from error
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise MseError(f"{name} has several columns named {enumerate_some(twins, 5)}.")
    return columns, np.array(rows, np.float64).reshape(len(rows), len(columns))


@dataclass(frozen=True)
class FileMatch:
    """A clip's file.

    Attributes:
        file: Its path below the folder.
        cut: Whether it is of the whole media file, of which the clip is a span.
    """

    file: str
    cut: bool


def match_files(clips: Sequence[Clip], files: Sequence[str]) -> dict[str, FileMatch]:
    """The file of each clip that has one.

    A file belongs to the clip whose id, or whose media file, it is named like: ``train/dia0_utt0.csv``,
    ``train_dia0_utt0.csv``, or ``dia0_utt0.csv`` where only one clip is called so. The file of a long video serves all
    clips that are spans of it.

    Args:
        clips: The clips.
        files: Paths below one folder, with slashes and endings.

    Returns:
        By clip id, in the clips' order.

    Raises:
        UsageError: A file could be of several clips.

    Examples:
        >>> from mse_pipeline.clip import Split
        >>> clip = Clip(id="train/dia0_utt0", split=Split.TRAIN)
        >>> match_files([clip], ["out/train_dia0_utt0.json"])["train/dia0_utt0"].file
        'out/train_dia0_utt0.json'
    """
    places: dict[str, set[str]] = defaultdict(set)
    shared = Counter(clip.media for clip in clips if clip.media)
    by_id: dict[str, str] = {}
    for clip in clips:
        for path_end in {clip.id, clip.id.replace("/", "_"), clip.id.replace("$_$", "_"), clip.id.replace("$_$", "/")}:
            places[composed(path_end)].add(clip.id)
            by_id[composed(path_end)] = clip.id
    by_media: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        stem = posixpath.splitext(clip.media)[0] if clip.media else clip.id
        parts = stem.split("/")
        for first in range(len(parts)):
            by_media[composed("/".join(parts[first:]))].add(clip.id)
    spans = {clip.id for clip in clips if clip.media and (shared[clip.media] > 1 or clip.start or clip.end is not None)}
    media = {clip.id: clip.media for clip in clips}
    matches: dict[str, FileMatch] = {}
    for file in sorted(files, key=lambda name: (name.count("/"), name)):
        parts = composed(posixpath.splitext(file)[0]).split("/")
        for first in range(len(parts)):
            path_end = "/".join(parts[first:])
            if len(places.get(path_end, ())) == 1:
                matches[by_id[path_end]] = FileMatch(file, cut=False)
                break
            others = by_media.get(path_end, set())
            if len({media[one] or one for one in others}) > 1:
                raise UsageError(
                    f"{file} could be of several clips: {enumerate_some(sorted(others), 5)}. Put the files into "
                    "folders like those of the media, or name them like the clips' ids."
                )
            for one in others:
                matches.setdefault(one, FileMatch(file, cut=one in spans))
            if others:
                break
    return {clip.id: matches[clip.id] for clip in clips if clip.id in matches}


def within_span(intervals: np.ndarray, clip: Clip, cut: bool) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a file that are within a clip, and their times from its start.

    Args:
        intervals: (T, 2) seconds in the video.
        clip: The clip.
        cut: Whether the file is of the whole media file, of which the clip is a span.

    Returns:
        (T,) bool, and (N, 2) seconds from the clip's start of those that are.
    """
    start = (clip.start or 0.0) if cut else 0.0
    end = clip.end if cut and clip.end is not None else np.inf
    inside = (intervals[:, 0] >= start - 1e-6) & (intervals[:, 0] < end - 1e-6)
    return inside, np.clip(intervals[inside] - start, 0.0, end - start)


@dataclass(frozen=True, kw_only=True)
class TrackFormat:
    """What one tool's files are like.

    Attributes:
        name: Of the format.
        stream: The stream that is made.
        endings: Of its files, the usual one first.
        load: Reads a file's track, of its path and of the name that messages call it.
        options: What decides about the values; kept with the stream.
        written: How such files come about, for the error where there is none.
        alike: How files with the same columns are made, for the error where they differ.
        chosen: Which of several faces is taken.
        rule: Which frames are not valid.
    """

    name: str
    stream: str
    endings: tuple[str, ...]
    load: Callable[[Path, str], FaceTrack]
    options: Mapping[str, Any]
    written: str
    alike: str
    chosen: str
    rule: str


def read_folder(path: Path, dataset: Dataset, form: TrackFormat, follow_links: bool = False) -> Imported:
    """Read a folder of tracks as a stream of a dataset.

    Args:
        path: The folder; its files are matched with clips by `match_files`.
        dataset: Has the clips.
        form: What the files are like.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no such files, none fits a clip, or one could be of several clips.
        MseError: A file is damaged; told while the stream is read.
    """
    root = open_root(path)
    listing = list_files(root, follow_links)
    files = [name for name in listing.files if name.lower().endswith(form.endings)]
    if not files:
        with telling(listing):
            raise UsageError(f"There is no {' or '.join(form.endings)} file below {path}; {form.written}.")
    matches = match_files(dataset.clips, files)
    if not matches:
        first = dataset.clips[0].id if dataset.clips else "ID"
        raise UsageError(
            f"None of the {len(files):,} files below {path} is named like a clip of {dataset.name}, as "
            f"{first}{form.endings[0]}; the first is {files[0]}."
        )
    notes = [*listing.refused]
    absent = len(dataset.clips) - len(matches)
    if absent:
        notes.append(f"{form.stream}: {absent:,} of {len(dataset.clips):,} clips of {dataset.name} have no file.")
    unused = sorted(set(files) - {match.file for match in matches.values()})
    if unused:
        notes.append(f"{form.stream}: {len(unused):,} files are of no clip: {enumerate_some(unused, 5)}.")
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted({match.file for match in matches.values()}):
        digest.update(f"{name}\0{file_digest(root / name)}\n".encode())
    source = {
        "format": form.name,
        "files": len(files),
        "blake2b": digest.hexdigest(),
        **form.options,
    }
    reader = partial(_read_stream, root, dataset.clips, matches, form, notes)
    return Imported(
        task=dataset.manifest.task, clips=dataset.clips, streams={form.stream: reader}, source=source, notes=notes
    )


def _read_stream(
    root: Path,
    clips: Sequence[Clip],
    matches: Mapping[str, FileMatch],
    form: TrackFormat,
    notes: list[str],
) -> Iterator[tuple[str, Features]]:
    several = outside = invalid = total = partial = 0
    opened: str | None = None
    track: FaceTrack | None = None
    names: tuple[str, ...] | None = None
    for clip in clips:
        match = matches.get(clip.id)
        if match is None:
            continue
        if match.file != opened or track is None:
            track, opened = form.load(root / match.file, match.file), match.file
            partial += track.partial
        if names is not None and track.names != names:
            raise UsageError(f"{match.file} has other columns than the files before it; {form.alike}.")
        names = track.names
        features = _clip_features(track, clip, match.cut)
        if not len(features):
            outside += 1
            continue
        several += track.faces > 1
        invalid += int((~features.valid).sum())
        total += len(features)
        yield clip.id, features
    if several:
        notes.append(f"{form.stream}: {several:,} clips show several faces; {form.chosen}.")
    if outside:
        notes.append(f"{form.stream}: {outside:,} clips have no frame within their span, and no features.")
    if partial:
        notes.append(f"{form.stream}: {partial:,} frames with a face lack values, which are not defined there.")
    notes.append(f"{form.stream}: {invalid:,} of {total:,} frames are not valid ({form.rule}).")


def _clip_features(track: FaceTrack, clip: Clip, cut: bool) -> Features:
    inside, intervals = within_span(track.intervals, clip, cut)
    note = {"faces": track.faces, "face_id": track.face}
    return Features(track.values[inside], intervals, track.valid[inside], track.names, note)


STREAM = "visual.openface"


def read(
    path: Path, *, dataset: Dataset, confidence: float = 0.8, landmarks: bool = False, follow_links: bool = False
) -> Imported:
    """Read a folder of OpenFace's CSV files as the stream `STREAM` of a dataset.

    A file belongs to the clip whose id, or whose media file, it is named like: ``train/dia0_utt0.csv``,
    ``train_dia0_utt0.csv``, or ``dia0_utt0.csv`` where only one clip is called so. The file of a long video serves all
    clips that are spans of it.

    Args:
        path: The folder.
        dataset: Has the clips.
        confidence: Frames below it are not valid, nor are those that OpenFace calls a failure.
        landmarks: Whether the coordinates of landmarks and the shape parameters are kept, beside gaze, pose and
            action units.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no such files, none fits a clip, or one could be of several clips.
        MseError: A file is damaged; told while the stream is read.
    """
    if not 0.0 <= confidence <= 1.0:
        raise UsageError(f"Option confidence must be between 0 and 1; got {confidence:g}.")
    form = TrackFormat(
        name="openface",
        stream=STREAM,
        endings=(".csv",),
        load=partial(read_track, confidence=confidence, landmarks=landmarks),
        options={"confidence": confidence, "landmarks": landmarks},
        written="FeatureExtraction writes one a video",
        alike="run FeatureExtraction with the same options on all videos",
        chosen="the one with the most confident frames was taken",
        rule=f"failure, or confidence under {confidence:g}",
    )
    return read_folder(path, dataset, form, follow_links)


FORMAT = Format("CSV files of OpenFace's FeatureExtraction, for a dataset in the cache", read, extends=True)
