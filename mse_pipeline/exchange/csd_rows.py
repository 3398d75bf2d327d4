"""Rows of a .csd file -> features and text of clips, one clip after the other.

CMU numbers segments in two ways. The SDK counts the intervals of a video in the label file from 0, as in
``<video>[2]``. Transcripts, media files, MMSA (``<video>$_$3``) and MERBench (``<video>_3``) have the number of the
segment in its video, and segments without labels have numbers, too. This file converts one into the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mmsa_table import LabelRow
from mse_pipeline.corpora.mosei_files import LabelSequence, numbers_by_order, numbers_by_time, read_transcripts
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError
from mse_pipeline.exchange.base import Undefined
from mse_pipeline.hdf5_guard import child, keys, numbers, opened, strings, text_of
from mse_pipeline.store.features import Features

_NUMBERED = re.compile(r"(?P<video>.+?)(?:\$_\$|_|/)(?P<number>\d{1,6})")
_BRACKETS = re.compile(r"(?P<video>.+)\[(?P<number>\d{1,6})\]")

Numbers = dict[str, dict[int, str]]
"""By video: place in the label file -> number of the segment, as it is written."""


def names_of(video: str, index: int, numbers: Numbers) -> tuple[str, ...]:
    """What a segment may be called: as the SDK has it, and by its number if that is known.

    Examples:
        >>> names_of("a", 0, {"a": {0: "3"}})
        ('a[0]', 'a$_$3', 'a_3', 'a/3', 'a[3]')
    """
    number = numbers.get(video, {}).get(index)
    return (f"{video}[{index}]", *(() if number is None else _by_number(video, number)))


def names_of_clip(entry: str) -> tuple[str, ...]:
    """What the clip may be called that an entry ``<video>[k]`` of an aligned file is.

    Examples:
        >>> names_of_clip("a[3]")
        ('a[3]', 'a$_$3', 'a_3', 'a/3', 'a[3]')
    """
    match = _BRACKETS.fullmatch(entry)
    return (entry, *(_by_number(match["video"], match["number"]) if match else ()))


def _by_number(video: str, number: str) -> tuple[str, ...]:
    return (f"{video}$_${number}", f"{video}_{number}", f"{video}/{number}", f"{video}[{number}]")


def video_of(name: str) -> str | None:
    """The video of ``<video>_3`` and the like; None where a name has no number.

    Examples:
        >>> video_of("-3g5yACwYnA_3"), video_of("a$_$0"), video_of("a")
        ('-3g5yACwYnA', 'a', None)
    """
    match = _NUMBERED.fullmatch(name)
    return match["video"] if match else None


def counted_by_number(names: Iterable[str], counts: Mapping[str, int]) -> set[str]:
    """Videos of whose names ``<video>[k]`` one goes beyond its segments: there k is the number of the segment.

    Examples:
        >>> counted_by_number(["a[0]", "a[4]", "b[1]"], {"a": 2, "b": 2})
        {'a'}
    """
    matches = filter(None, map(_BRACKETS.fullmatch, names))
    return {match["video"] for match in matches if int(match["number"]) >= counts.get(match["video"], 1 << 30)}


def find_numbers(
    labelled: Mapping[str, LabelSequence],
    folder: Path,
    texts: Iterable[str],
    rows: Sequence[LabelRow],
    ids: Iterable[str],
) -> tuple[Numbers, list[str]]:
    """The numbers of the label file's segments.

    They are told by the transcripts' times; of a video without a transcript by MMSA's rows, if these are as many and
    have the same sentiments; or by ids with numbers, if these are as many as the segments.

    Args:
        labelled: Intervals and labels by video.
        folder: Where transcripts may lie.
        texts: Text files below it.
        rows: Of MMSA's table, if there is one.
        ids: Of a list of splits.

    Returns:
        The numbers that are known, and notes.
    """
    transcripts, notes = read_transcripts(folder, texts)
    spans: dict[str, dict[str, tuple[float, float]]] = {}
    for (video, number), spoken in transcripts.items():
        if spoken.start is not None and spoken.end is not None:
            spans.setdefault(video, {})[number] = (spoken.start, spoken.end)
    of_video: dict[str, list[LabelRow]] = {}
    for row in rows:
        of_video.setdefault(row.video_id, []).append(row)
    unlabelled = [entry for entry in ids if entry not in labelled]
    by_number = counted_by_number(unlabelled, {video: len(entry.intervals) for video, entry in labelled.items()})
    listed: dict[str, set[str]] = {}
    for entry in unlabelled:
        match = _BRACKETS.fullmatch(entry) if _bracketed(entry) in by_number else _NUMBERED.fullmatch(entry)
        if match and match["video"] in labelled:
            listed.setdefault(match["video"], set()).add(match["number"])
    numbers: Numbers = {}
    for video, sequence in labelled.items():
        if video in spans:
            numbers[video] = numbers_by_time(sequence, spans[video])
        elif video in of_video:
            numbers[video] = numbers_by_order(sequence, of_video[video])
        elif len(listed.get(video, ())) == len(sequence.intervals):
            places = np.argsort(sequence.intervals[:, 0], kind="stable").tolist()
            numbers[video] = dict(zip(places, sorted(listed[video], key=int), strict=True))
    return numbers, notes


def by_index(
    splits: Mapping[str, Split], labelled: Mapping[str, LabelSequence], numbers: Numbers
) -> tuple[dict[str, Split], list[str]]:
    """A list of splits whose ids have numbers, by the SDK's names.

    Returns:
        The list with the names that were found for its ids, and notes.
    """
    counts = {video: len(sequence.intervals) for video, sequence in labelled.items()}
    by_number = counted_by_number(splits, counts)
    without_brackets = {entry: split for entry, split in splits.items() if _bracketed(entry) not in by_number}
    called: dict[str, str] = {}
    for video, count in counts.items():
        for index in range(count):
            aligned = _bracketed(video) is not None
            name, *others = names_of_clip(video) if aligned else names_of(video, index, numbers)
            called |= dict.fromkeys(others if video in by_number else others[:-1], name)
    lost = []
    for entry, split in splits.items():
        if entry in called:
            without_brackets[called[entry]] = split
        elif entry not in labelled and (video_of(entry) in labelled or _bracketed(entry) in by_number):
            lost.append(entry)
    if not lost:
        return without_brackets, []
    return without_brackets, [
        f"{len(lost):,} ids of the list of splits have a number that no segment of the label file is known to have: "
        f"{enumerate_some(lost, 5)}. Put CMU's transcripts (Raw/Transcript/Segmented) into the folder, which tell the "
        "numbers, or write the ids as <video>[k], k being the place in the label file from 0."
    ]


def _bracketed(name: str) -> str | None:
    match = _BRACKETS.fullmatch(name)
    return match["video"] if match else None


_OVERLAP = 1e-5  # seconds; what overlaps less belongs to the neighbour
_WHOLE = 48 << 20  # bytes up to which a video's rows are read at once
_CLIP_LIMIT = 128 << 20  # bytes of one clip
_SILENCE = {"", "sp"}


@dataclass(frozen=True)
class CsdPlace:
    """Where a clip's rows are.

    Attributes:
        clip: Its id.
        names: What an entry of the clip's own may be called, as after alignment; see `csd_numbers.names_of`.
        entry: Else its entry, as the video's.
        count: How many clips the label file has of that video; 0 where that is not known.
        span: Begin and end in the entry, in seconds; None for all of it.
        offset: What is taken from the rows' times, in seconds.
    """

    clip: str
    names: tuple[str, ...]
    entry: str
    count: int
    span: tuple[float, float] | None
    offset: float


@dataclass
class _Entry:
    """One entry; a video's rows are read once for all of its clips where they fit."""

    file: str
    values: h5py.Dataset | np.ndarray
    intervals: np.ndarray
    valid: np.ndarray


def read_rows(
    path: Path, root: str, stream: str, places: Sequence[CsdPlace], notes: list[str]
) -> Iterator[tuple[str, Features]]:
    """Features of the clips that have rows, in the order of `places`; never more than a video in memory.

    Args:
        path: The file.
        root: Its root.
        stream: Name of the stream, for messages.
        places: The clips.
        notes: Gets what was repaired or is missing, once all was read.

    Raises:
        MseError: The file is damaged or hostile.
    """
    undefined = Undefined(stream)
    absent = empty = 0
    with opened(path) as file:
        home = child(file, root)
        data = child(home, "data")
        videos = set(keys(data))
        owned = _owned(places, videos)
        names: tuple[str, ...] = ()
        entry_name, entry = "", None
        for place in places:
            own = owned.get(place.clip)
            name = own or place.entry
            if name not in videos:
                absent += 1
                continue
            if entry is None or name != entry_name:
                entry_name, entry = name, _open_entry(data, name)
            width = entry.values.shape[1]
            names = names or _names(home, stream, width)
            if width != len(names):
                raise MseError(f"{path}: {name} has {width} columns, others have {len(names)}; all must be alike.")
            chosen = _chosen(entry.intervals, None if own else place.span)
            if not len(chosen) and place.span is not None:
                empty += 1
                continue
            yield place.clip, _cut(entry, chosen, place, names, undefined)
    notes += undefined.notes()
    if absent:
        notes.append(f"{stream}: {absent:,} clips are not in {path.name} and have no features.")
    if empty:
        notes.append(f"{stream}: {empty:,} clips have no row within their interval, and no features.")


def read_texts(path: Path, root: str, places: Sequence[CsdPlace]) -> tuple[dict[str, str], list[str]]:
    """The words of each clip, silences left out; a word belongs where its middle is.

    Args:
        path: The file of TimestampedWords.
        root: Its root.
        places: The clips; all have a span.

    Returns:
        Text by clip id, and what was missing or repaired, as sentences.

    Raises:
        MseError: The file is damaged or hostile.
    """
    texts: dict[str, str] = {}
    damaged = silent = timeless = 0
    with opened(path) as file:
        data = child(child(file, root), "data")
        videos = set(keys(data))
        owned = _owned(places, videos)
        current, words, spoken = None, np.zeros(0, object), np.zeros((0, 2))
        for place in places:
            own = owned.get(place.clip)
            name, clip = own or place.entry, place.clip
            start, end = place.span or (-np.inf, np.inf)
            if name != current:
                current, words, spoken = name, np.zeros(0, object), np.zeros((0, 2))
                if name in videos:
                    group = child(data, name)
                    words = np.array(strings(group, "features"), object)
                    spoken = np.asarray(numbers(group, "intervals")[:], np.float64)
                    if spoken.shape != (len(words), 2):
                        raise MseError(f"{path}: {name} has {len(words)} words but intervals {spoken.shape}.")
                    timeless += int((~np.isfinite(spoken).all(axis=1)).sum())
            middles = spoken.mean(axis=1)
            inside = (middles >= start) & (middles < end) if own is None else np.ones(len(words), bool)
            said = [repair(word) for word in words[inside].tolist()]
            texts[clip] = " ".join(word for word in said if word not in _SILENCE)
            damaged += "\ufffd" in texts[clip]
            silent += not texts[clip]
    notes = [f"{silent:,} clips have no word in {path.name}."] if silent else []
    if damaged:
        notes.append(f"{damaged:,} clips have words in {path.name} that are not UTF-8; signs were replaced.")
    if timeless:
        notes.append(f"{timeless:,} words of {path.name} have no finite times and are left out.")
    return texts, notes


def _owned(places: Sequence[CsdPlace], there: set[str]) -> dict[str, str]:
    """The entry of its own that a clip has, by clip."""
    by_number = counted_by_number(there, {place.entry: place.count for place in places if place.count})
    owned = {}
    for place in places:
        names = place.names[1:] if place.entry in by_number else place.names[:1] + place.names[1:-1]
        own = next((name for name in names if name in there), None)
        if own is not None:
            owned[place.clip] = own
    return owned


def _open_entry(data: h5py.Group, name: str) -> _Entry:
    group, file = child(data, name), Path(data.file.filename).name
    values, stored = numbers(group, "features"), numbers(group, "intervals")
    if values.ndim != 2 or stored.shape != (len(values), 2):
        raise MseError(
            f"{file}: {name} has features {values.shape} and intervals {stored.shape}; expected (N, d) and (N, 2)."
        )
    valid = np.ones(len(values), bool)
    if "valid" in group:
        flags = numbers(group, "valid")
        if flags.shape != valid.shape:
            raise MseError(f"{file}: {name} has {len(values)} rows but flags of shape {flags.shape}.")
        valid = flags[:] != 0
    # Packed files may hold a video in one chunk, which each slice would unpack again.
    rows = values[:] if values.nbytes <= _WHOLE else values
    return _Entry(file, rows, np.asarray(stored[:], np.float64), valid)


def _chosen(intervals: np.ndarray, span: tuple[float, float] | None) -> np.ndarray:
    if span is None:
        return np.arange(len(intervals))
    overlap = np.minimum(intervals[:, 1], span[1]) - np.maximum(intervals[:, 0], span[0])
    return np.flatnonzero(overlap > min(_OVERLAP, (span[1] - span[0]) / 2))


def _cut(entry: _Entry, chosen: np.ndarray, place: CsdPlace, names: tuple[str, ...], undefined: Undefined) -> Features:
    low, high = (int(chosen[0]), int(chosen[-1]) + 1) if len(chosen) else (0, 0)
    size = (high - low) * len(names) * entry.values.dtype.itemsize
    if size > _CLIP_LIMIT:
        raise MseError(f"{entry.file}: the rows of {place.clip} take {size:,} bytes; {_CLIP_LIMIT:,} are read at most.")
    values, valid = undefined.read(entry.values[low:high][chosen - low], entry.valid[chosen])
    intervals = entry.intervals[chosen]
    if not np.isfinite(intervals).all():
        raise MseError(f"{entry.file}: {place.clip} has intervals that are not finite numbers of seconds.")
    intervals = intervals - place.offset
    if place.span is not None:
        intervals = np.clip(intervals, 0.0, place.span[1] - place.span[0])
    return Features(values, intervals, valid, names)


def _names(home: h5py.Group, stream: str, width: int) -> tuple[str, ...]:
    names = text_of(child(home, "metadata"), "dimension names") if "metadata" in home else None
    if isinstance(names, list) and len(names) == width and len(set(map(str, names))) == width:
        return tuple(map(str, names))
    # Published files hold placeholders there.
    return tuple(f"{stream.partition('.')[2]}_{index}" for index in range(width))
