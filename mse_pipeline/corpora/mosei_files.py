"""Label files and transcripts of CMU-MOSEI -> labelled segments in one form and one numbering.

The sources are CMU's computational sequence (.csd, HDF5 with ``/<root>/data/<video>/{features, intervals}``), the dumps
of Mechanical Turk (three raters a segment; their mean is the label), MMSA's label table, and CMU's segment transcripts,
which have the times of a clip in its video and its text. Files of strangers are opened by `mse_pipeline.hdf5_guard`,
and nothing larger than labels is read.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from mse_pipeline.cells import is_missing, number_of, said
from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some, read_bytes, read_each
from mse_pipeline.corpora.mmsa_table import LabelRow
from mse_pipeline.corpora.text import REPLACED, decode, is_damaged, repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.names import ByName

EMOTIONS = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
"""The six emotions in the order of the labels' columns, after sentiment."""

_ROOT = "All Labels"
_MAX_VIDEOS = 100_000
_MAX_SEGMENTS = 10_000


@dataclass(frozen=True)
class LabelSequence:
    """The labelled segments of one video, in the file's order.

    Attributes:
        intervals: (N, 2) float64, start and end in the full video in seconds; starts may be negative.
        labels: (N, 7) float64: sentiment in -3 to 3, then `EMOTIONS` in 0 to 3.
    """

    intervals: np.ndarray
    labels: np.ndarray


def find_labels(root: Path, paths: Iterable[str]) -> tuple[str | None, list[str]]:
    """The first computational sequence that holds MOSEI's labels, and notes on those that cannot be opened.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Of .csd files below the root.
    """
    import h5py

    from mse_pipeline.hdf5_guard import opened

    notes: list[str] = []
    # Labels are small and called so; features of tens of gigabytes need not be opened before them.
    for path in sorted(paths, key=lambda path: ("label" not in path.lower(), path)):
        try:
            with opened(root / path) as file:
                if isinstance(file.get(_ROOT, getlink=True), h5py.HardLink):
                    return path, notes
        except MseError as error:
            notes.append(f"{path} is ignored: {error}")
    return None, notes


def read_labels(root: Path, path: str) -> dict[str, LabelSequence]:
    """Labels by video.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        path: Of the computational sequence, below the root.

    Raises:
        UsageError: The file is not sound, or not what labels look like: links, data outside of the file, other shapes.
    """
    from mse_pipeline.hdf5_guard import child, keys, opened

    try:
        with opened(root / path) as file:
            data = child(child(file, _ROOT), "data")
            videos = keys(data)
            if len(videos) > _MAX_VIDEOS:
                raise UsageError(f"{path} claims {len(videos):,} videos; at most {_MAX_VIDEOS:,} are read.")
            return {video: _sequence(child(data, video), video, path) for video in videos}
    except MseError as error:
        raise error if isinstance(error, UsageError) else UsageError(str(error)) from None


def _sequence(group: Any, video: str, path: str) -> LabelSequence:
    intervals, labels = _values(group, "intervals", 2, path), _values(group, "features", 1 + len(EMOTIONS), path)
    if len(intervals) != len(labels):
        raise UsageError(f"{path} has {len(intervals)} intervals but {len(labels)} labels of video {video}.")
    return LabelSequence(intervals, labels)


def _values(group: Any, name: str, width: int, path: str) -> np.ndarray:
    from mse_pipeline.hdf5_guard import numbers

    dataset = numbers(group, name)
    shape: tuple[int, ...] = dataset.shape or ()
    if len(shape) != 2 or shape[1] != width or shape[0] > _MAX_SEGMENTS:
        raise UsageError(
            f"Dataset {group.name}/{name} of {path} has the shape {shape}; expected is (N, {width}) with N of at most "
            f"{_MAX_SEGMENTS:,}."
        )
    return np.asarray(dataset[()], dtype=np.float64)


_MAX_MTURK_BYTES = 256 << 20
_KINDS = ("sentiment", *EMOTIONS)


@dataclass(frozen=True)
class Ratings:
    """What the raters of one segment said.

    Attributes:
        means: ``sentiment`` and the emotions -> mean over the raters who answered; kinds without an answer are absent.
        path: Of the dump that the first rating is from.
    """

    means: Mapping[str, float]
    path: str


def read_dumps(root: Path, paths: Iterable[str]) -> tuple[dict[tuple[str, str], Ratings], list[str], list[str]]:
    """Mean ratings by (video, clip).

    Of two dumps ``NAME.csv`` and ``NAME_mod.csv`` the latter, corrected one is read. An assignment that is in several
    dumps counts once. Blank answers are skipped.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Of the dumps, below the root.

    Returns:
        Ratings, the dumps that were read, and notes on what was ignored.

    Raises:
        UsageError: A dump cannot be read.
    """
    ordered = sorted(paths)
    stems = {posixpath.splitext(path)[0] for path in ordered}
    superseded = [path for path in ordered if posixpath.splitext(path)[0] + "_mod" in stems]
    used = [path for path in ordered if path not in superseded]
    notes = [f"Dumps {enumerate_some(superseded)} are ignored: their corrected copies (_mod) are used."] * bool(
        superseded
    )
    answers: dict[tuple[str, str], dict[str, list[float]]] = {}
    first: dict[tuple[str, str], str] = {}
    assignments: set[str] = set()
    again = 0
    for path in used:
        odd = []
        for number, record in enumerate(_records(root, path), start=2):
            assignment = (record.get("AssignmentId") or "").strip()
            if assignment and assignment in assignments:
                again += 1
                continue
            assignments.add(assignment)
            key = _key(record)
            if key is None:
                odd.append(number)
                continue
            first.setdefault(key, path)
            sums = answers.setdefault(key, {})
            unreadable = False
            for kind in _KINDS:
                value = record.get(f"Answer.{kind}") or ""
                mark = number_of(value)
                unreadable |= mark is None and not is_missing(value)
                if mark is not None:
                    sums.setdefault(kind, []).append(mark)
            if unreadable:
                odd.append(number)
        if odd:
            notes.append(
                f"Rows of {path} whose id is unusable are ignored, and so are answers that are not numbers: rows "
                f"{enumerate_some(odd)}."
            )
    if again:
        notes.append(f"{again:,} assignments are in several rows of the dumps; each counts once.")
    ratings = {
        key: Ratings({kind: fmean(values) for kind, values in sums.items()}, first[key])
        for key, sums in answers.items()
    }
    return ratings, used, notes


def _records(root: Path, path: str) -> list[dict[str, str | None]]:
    source = f"Dump {path}"
    text, _ = decode(read_bytes(root / path, source, _MAX_MTURK_BYTES), source)
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UsageError(f"Dump {path} is not valid CSV: {error}. Download it again.") from None


def _key(record: Mapping[str, str | None]) -> tuple[str, str] | None:
    """(video, clip); None where the row tells none, as where a spreadsheet took ``-id`` for a formula."""
    video = (record.get("Input.VIDEO_ID") or "").strip()
    clip = number_of((record.get("Input.CLIP") or "").strip())
    if not video or video.startswith(("#", ".")) or "/" in video or "\\" in video or len(video) > 100:
        return None
    if not video.isprintable() or REPLACED in video or clip is None or clip < 0 or not clip.is_integer():
        return None
    return video, str(int(clip))


# `video___clip___start___end___text`. A video id may end in underscores and a text may hold some, so that the numbers
# between them are what the line is told by.
_LINE = re.compile(
    r"(?P<video>[^\s/\\]{1,100}?)___(?P<clip>\d{1,6})___(?P<start>-?[\d.]+(?:[eE][+-]?\d+)?)"
    r"___(?P<end>-?[\d.]+(?:[eE][+-]?\d+)?)___(?P<text>.*)"
)
_ANNOTATED = re.compile(r"(?P<clip>\d{1,6})_DELIM_(?P<text>.*)")
_MAX_TRANSCRIPT_BYTES = 4 << 20


@dataclass(frozen=True)
class TranscriptSegment:
    """One segment of a transcript.

    Attributes:
        path: Of the transcript, below the root.
        start: In the full video, in seconds, as written: it may be negative. None where transcripts tell no times.
        end: The same.
        text: Cleaned of encoding damage.
        repaired: Whether the text held any.
    """

    path: str
    start: float | None
    end: float | None
    text: str
    repaired: bool


Transcripts = dict[tuple[str, str], TranscriptSegment]
"""(video, clip) -> segment."""


def read_transcripts(root: Path, paths: Iterable[str]) -> tuple[Transcripts, list[str]]:
    """The segments of all transcripts below a root.

    A text file is a transcript if its first line reads ``video___clip___start___end___text`` (CMU-MOSEI), or if it is
    called ``<video>.annotprocessed`` (CMU-MOSI, whose lines read ``clip_DELIM_text``); others are none.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Text files below the root. Of two segments of one clip the first counts.

    Returns:
        The segments, and notes on lines and files that were ignored.
    """
    transcripts: Transcripts = {}
    files, odd, differing, unread = 0, [], 0, []
    for path, content in read_each(root, tuple(paths), _MAX_TRANSCRIPT_BYTES):
        try:
            text = _text(path, content)
        except UsageError as error:
            unread.append(str(error))
            continue
        lines = list(_lines(path, text)) if text is not None else []
        files += bool(lines)
        for number, key, spoken in lines:
            if key is None or spoken is None:
                odd.append(f"{path} line {number}")
                continue
            first = transcripts.setdefault(key, spoken)
            differing += (first.start, first.end, first.text) != (spoken.start, spoken.end, spoken.text)
    notes = [f"Transcripts: {len(transcripts):,} segments in {files:,} files."] if transcripts else []
    if odd:
        notes.append(f"Lines of transcripts that tell no segment are ignored: {enumerate_some(odd, 5)}.")
    if differing:
        notes.append(f"{differing:,} segments are in several transcripts that differ; the first one counts.")
    return ByName(transcripts), notes + unread


def _text(path: str, content: bytes | UsageError | None) -> str | None:
    """Text of a file that may be a transcript; None if it cannot be one."""
    if isinstance(content, UsageError):
        raise content
    if content is None:
        return None
    if not path.lower().endswith(".annotprocessed") and b"___" not in content.split(b"\n", 1)[0]:
        return None
    return decode(content, path)[0]


def _lines(path: str, text: str) -> Iterator[tuple[int, tuple[str, str] | None, TranscriptSegment | None]]:
    """(line number, (video, clip), segment); the latter two None where a line tells none."""
    stem, suffix = posixpath.splitext(posixpath.basename(path))
    processed = suffix.lower() == ".annotprocessed"
    # Not splitlines(): a C1 control that encoding damage left, U+0085, is no line's end.
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if not processed and not _LINE.fullmatch(lines[0]):
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = (_ANNOTATED if processed else _LINE).fullmatch(line)
        times = [number_of(match[name]) for name in ("start", "end")] if match and not processed else [None, None]
        if match is None or (not processed and None in times):
            yield number, None, None
            continue
        text = repair(said(match["text"])).strip()
        spoken = TranscriptSegment(path, times[0], times[1], text, is_damaged(match["text"]))
        yield number, (stem if processed else match["video"], match["clip"]), spoken


Source = Literal["mmsa", "csd", "mturk"]

# Both were written from the same times with few decimals; neighbouring segments begin further apart.
_SAME_TIME = 0.1
_SAME_LABEL = 1e-3


@dataclass(frozen=True)
class Annotations:
    """All that was found on a dataset's segments.

    Attributes:
        rows: Of MMSA's label table.
        table: Its path below the root; None if there is none.
        sequences: Labels by video from the computational sequence.
        csd: Its path; None if there is none.
        ratings: Of Mechanical Turk by (video, clip).
        dumps: Their paths.
        transcripts: By (video, clip).
    """

    rows: list[LabelRow] = field(default_factory=list)
    table: str | None = None
    sequences: Mapping[str, LabelSequence] = field(default_factory=dict)
    csd: str | None = None
    ratings: Mapping[tuple[str, str], Ratings] = field(default_factory=dict)
    dumps: tuple[str, ...] = ()
    transcripts: Transcripts = field(default_factory=dict)

    def choose(self, wanted: Literal["auto", "mmsa", "csd", "mturk"]) -> Source | None:
        """The source of the labels: the wanted one if it is there, or the first that is; None if there is none."""
        available: dict[Source, bool] = {"mmsa": bool(self.table), "csd": bool(self.csd), "mturk": bool(self.dumps)}
        return next((name for name, is_there in available.items() if is_there and wanted in (name, "auto")), None)


@dataclass(frozen=True)
class Segment:
    """One labelled segment.

    Attributes:
        video: Id of the full video.
        clip: Its number in the video, as texts and files have it; None where that is unknown.
        id: ``<video>$_$<clip>`` as MMSA has it; where the number is unknown ``<video>[<index>]`` as the SDK has it.
        source: Where its label is from, for messages, as in ``Row 2 of label.csv``.
        labels: ``sentiment`` and emotions -> number; unjudged, it may be out of range.
        split: What the source says of it.
        text: What is said; empty if nobody tells.
        start: In the full video, in seconds, as written; None if nobody tells.
        end: The same.
        repaired: Whether the text held encoding damage.
    """

    video: str
    clip: str | None
    id: str
    source: str
    labels: Mapping[str, float]
    split: Split | None = None
    text: str = ""
    start: float | None = None
    end: float | None = None
    repaired: bool = False


@dataclass(frozen=True)
class _Sequenced:
    """A segment of the computational sequence: start, end, sentiment and emotions."""

    span: tuple[float, float]
    labels: Mapping[str, float]


def list_segments(source: Source, found: Annotations) -> tuple[list[Segment], list[str]]:
    """The segments that a source labels, completed by what the others tell.

    Times and texts come from transcripts, or times from the computational sequence; emotions, which MMSA's table lacks,
    from the sequence, or from the raters.

    Returns:
        Segments in the source's order, and notes on how the sources fit together.

    Raises:
        UsageError: The computational sequence names videos that cannot be.
    """
    numbered, unnumbered, notes = _number(found)
    if source == "mmsa":
        differing = [
            row.id
            for row in found.rows
            if row.label is not None
            and (other := numbered.get((row.video_id, row.clip_id)))
            and abs(other.labels["sentiment"] - row.label) > 0.01
        ]
        if differing:
            notes.append(f"Sentiment differs between {found.table} and {found.csd}: {enumerate_some(differing, 5)}.")
        segments = [_of_row(row, found, numbered) for row in found.rows]
    elif source == "csd":
        segments = [
            _of_key(key, f"{found.csd}", dict(sequenced.labels), found, numbered) for key, sequenced in numbered.items()
        ]
        segments += unnumbered
        segments.sort(key=lambda segment: (segment.video, segment.start or 0.0))
        if unnumbered:
            notes.append(
                f"{len(unnumbered):,} segments of {found.csd} have no number, since no transcript has their times: "
                f"they are called {unnumbered[0].id} and the like, and can only be cut from full videos."
            )
    else:
        segments = [
            _of_key(key, rating.path, dict(rating.means), found, numbered) for key, rating in found.ratings.items()
        ]
    return segments, notes


def _of_row(row: LabelRow, found: Annotations, numbered: Mapping[tuple[str, str], _Sequenced]) -> Segment:
    key = (row.video_id, row.clip_id)
    emotions: Mapping[str, float] = {}
    if key in numbered:
        emotions = numbered[key].labels
    elif key in found.ratings:
        emotions = found.ratings[key].means
    labels = {} if row.label is None else {"sentiment": row.label}
    labels |= {kind: value for kind, value in emotions.items() if kind != "sentiment"}
    own = _of_key(key, f"Row {row.number} of {found.table}", labels, found, numbered)
    if not row.text.strip():
        return replace(own, split=row.split)
    return replace(own, split=row.split, text=row.text, repaired=row.repaired)


def _of_key(
    key: tuple[str, str],
    source: str,
    labels: Mapping[str, float],
    found: Annotations,
    numbered: Mapping[tuple[str, str], _Sequenced],
) -> Segment:
    video, clip = key
    spoken = found.transcripts.get(key)
    start, end = (spoken.start, spoken.end) if spoken else (None, None)
    if start is None and key in numbered:
        start, end = numbered[key].span
    return Segment(
        video=video,
        clip=clip,
        id=f"{video}$_${clip}",
        source=source,
        labels=labels,
        text=spoken.text if spoken else "",
        start=start,
        end=end,
        repaired=spoken.repaired if spoken else False,
    )


def _number(found: Annotations) -> tuple[dict[tuple[str, str], _Sequenced], list[Segment], list[str]]:
    """Clip numbers for the segments of the computational sequence, which has none.

    A segment gets the number of the transcript's segment with its times. Without a transcript of the video, MMSA's rows
    of it give the numbers in order, if they are as many and have the same sentiments.
    """
    numbered: dict[tuple[str, str], _Sequenced] = {}
    unnumbered: list[Segment] = []
    spans: dict[str, dict[str, tuple[float, float]]] = {}
    for (video, clip), spoken in found.transcripts.items():
        if spoken.start is not None and spoken.end is not None:
            spans.setdefault(video, {})[clip] = (spoken.start, spoken.end)
    rows: dict[str, list[LabelRow]] = {}
    for row in found.rows:
        rows.setdefault(row.video_id, []).append(row)
    in_order = 0
    for video, sequence in found.sequences.items():
        if not video.isprintable() or video.startswith(".") or "/" in video or "\\" in video or len(video) > 100:
            raise UsageError(f"{found.csd} names a video {video[:100]!r}, which is not a plain name.")
        if video in spans:
            clips = numbers_by_time(sequence, spans[video])
        else:
            clips = numbers_by_order(sequence, rows.get(video, []))
            in_order += bool(clips)
        for index, (span, values) in enumerate(zip(sequence.intervals, sequence.labels, strict=True)):
            start, end = float(span[0]), float(span[1])
            labels = dict(zip(("sentiment", *EMOTIONS), map(float, values), strict=True))
            if index in clips:
                numbered[video, clips[index]] = _Sequenced((start, end), labels)
                continue
            name = f"{video}[{index}]"
            unnumbered.append(Segment(video, None, name, f"{found.csd}", labels, start=start, end=end))
    notes = []
    if in_order:
        notes.append(
            f"{in_order:,} videos have no transcript; their segments of {found.csd} were matched with the rows of "
            f"{found.table} by order, number and sentiment."
        )
    return numbered, unnumbered, notes


def numbers_by_time(sequence: LabelSequence, spans: Mapping[str, tuple[float, float]]) -> dict[int, str]:
    """Index in the sequence -> clip whose times are the same, each clip once."""
    clips = list(spans)
    # Either side may have clamped a negative start.
    theirs = np.maximum(np.array([spans[clip] for clip in clips], dtype=np.float64), 0.0)
    numbers: dict[int, str] = {}
    taken: set[str] = set()
    for index, ours in enumerate(np.maximum(sequence.intervals, 0.0)):
        distance = np.abs(theirs - ours).max(axis=1)
        clip = clips[int(distance.argmin())]
        if distance.min() <= _SAME_TIME and clip not in taken:
            numbers[index] = clip
            taken.add(clip)
    return numbers


def numbers_by_order(sequence: LabelSequence, rows: list[LabelRow]) -> dict[int, str]:
    """Index in the sequence -> clip, if the rows are as many and have the same sentiments in the order of time."""
    if len(rows) != len(sequence.labels) or not all(row.clip_id.isdecimal() for row in rows):
        return {}
    ordered = sorted(rows, key=lambda row: int(row.clip_id))
    indices = np.argsort(sequence.intervals[:, 0], kind="stable").tolist()
    sentiments = sequence.labels[indices, 0]
    if not all(_agree(row, value) for row, value in zip(ordered, sentiments, strict=True)):
        return {}
    return {index: row.clip_id for index, row in zip(indices, ordered, strict=True)}


def _agree(row: LabelRow, sentiment: float) -> bool:
    return row.label is not None and bool(abs(row.label - sentiment) <= _SAME_LABEL)


def videos_and_clips(segments: list[Segment]) -> Iterator[tuple[str, str]]:
    """(video, clip) of the segments that have a number."""
    return ((segment.video, segment.clip) for segment in segments if segment.clip is not None)
