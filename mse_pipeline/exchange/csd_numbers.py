"""Numbers of CMU's segments <-> their places in the label file, which are not the same.

The label file of CMU-MOSEI lists the intervals of a video; the SDK counts them from 0, as in ``<video>[2]``.
Transcripts, media files, MMSA (``<video>$_$3``) and MERBench (``<video>_3``) have the number of the segment in its
video, and segments that nobody labelled have numbers too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mmsa_table import LabelRow
from mse_pipeline.corpora.mosei_csd import LabelSequence
from mse_pipeline.corpora.mosei_segments import numbers_by_order, numbers_by_time
from mse_pipeline.corpora.mosei_transcripts import read_transcripts

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
    found = _BRACKETS.fullmatch(entry)
    return (entry, *(_by_number(found["video"], found["number"]) if found else ()))


def _by_number(video: str, number: str) -> tuple[str, ...]:
    return (f"{video}$_${number}", f"{video}_{number}", f"{video}/{number}", f"{video}[{number}]")


def video_of(name: str) -> str | None:
    """The video of ``<video>_3`` and the like; None where a name has no number.

    Examples:
        >>> video_of("-3g5yACwYnA_3"), video_of("a$_$0"), video_of("a")
        ('-3g5yACwYnA', 'a', None)
    """
    found = _NUMBERED.fullmatch(name)
    return found["video"] if found else None


def counted_by_number(names: Iterable[str], counts: Mapping[str, int]) -> set[str]:
    """Videos of whose names ``<video>[k]`` one goes beyond its segments: there k is the number of the segment.

    Examples:
        >>> counted_by_number(["a[0]", "a[4]", "b[1]"], {"a": 2, "b": 2})
        {'a'}
    """
    found = filter(None, map(_BRACKETS.fullmatch, names))
    return {one["video"] for one in found if int(one["number"]) >= counts.get(one["video"], 1 << 30)}


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
    given = [one for one in ids if one not in labelled]
    by_number = counted_by_number(given, {video: len(one.intervals) for video, one in labelled.items()})
    listed: dict[str, set[str]] = {}
    for one in given:
        found = _BRACKETS.fullmatch(one) if _bracketed(one) in by_number else _NUMBERED.fullmatch(one)
        if found and found["video"] in labelled:
            listed.setdefault(found["video"], set()).add(found["number"])
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
    found = {one: split for one, split in splits.items() if _bracketed(one) not in by_number}
    called: dict[str, str] = {}
    for video, count in counts.items():
        for index in range(count):
            aligned = _bracketed(video) is not None
            name, *others = names_of_clip(video) if aligned else names_of(video, index, numbers)
            called |= dict.fromkeys(others if video in by_number else others[:-1], name)
    lost = []
    for one, split in splits.items():
        if one in called:
            found[called[one]] = split
        elif one not in labelled and (video_of(one) in labelled or _bracketed(one) in by_number):
            lost.append(one)
    if not lost:
        return found, []
    return found, [
        f"{len(lost):,} ids of the list of splits have a number that no segment of the label file is known to have: "
        f"{enumerate_some(lost, 5)}. Put CMU's transcripts (Raw/Transcript/Segmented) into the folder, which tell the "
        "numbers, or write the ids as <video>[k], k being the place in the label file from 0."
    ]


def _bracketed(name: str) -> str | None:
    found = _BRACKETS.fullmatch(name)
    return found["video"] if found else None
