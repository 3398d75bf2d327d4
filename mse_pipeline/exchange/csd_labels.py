"""The label file of a .csd folder -> clips: one per annotated interval of a video."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import h5py
import numpy as np

from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mosei_csd import LabelSequence
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.exchange.csd_numbers import video_of
from mse_pipeline.exchange.split_list import split_for
from mse_pipeline.hdf5_guard import child, keys, numbers
from mse_pipeline.task import Regression

MOSEI_LABELS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
"""Columns of the root ``All Labels`` of CMU-MOSEI (cmu_mosei.py of the SDK); sentiment -3 to 3, emotions 0 to 3."""
_RANGES = {"sentiment": Regression(-3.0, 3.0)}
_EMOTION = Regression(0.0, 3.0)
_ALIGNED = re.compile(r"(?P<video>.+)\[\d+\]")
_SLACK = 1e-4  # thirds are stored as float32
_SHORTEST = 1e-5  # seconds; the SDK drops what is shorter


@dataclass(frozen=True)
class Segment:
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
) -> tuple[list[Segment], list[str]]:
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
    segments: list[Segment] = []
    found = _Findings()
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
                found.unlisted.append(clip)
                continue
            if not math.isfinite(start) or not math.isfinite(end) or end - max(start, 0.0) < _SHORTEST:
                found.empty.append(clip)
                continue
            if start < 0:
                found.negative.append(clip)
            labels = {name: _label(value) for name, value in zip(names, row, strict=True)}
            label = labels.pop(target)
            if label is None or not task.low - _SLACK <= label <= task.high + _SLACK:
                found.outside.append(f"{clip} ({label})")
                continue
            kept: dict[str, Label] = {name: value for name, value in labels.items() if value is not None}
            begin = max(float(start), 0.0)
            one = Clip(
                id=clip,
                split=split,
                start=begin,
                end=float(end),
                label=min(max(label, task.low), task.high),
                labels=kept,
            )
            segments.append(Segment(one, video, begin, float(end), None if aligned else index, len(spans)))
    return segments, _settle(segments, found, target, task)


def _settle(segments: list[Segment], found: _Findings, target: str, task: Regression) -> list[str]:
    if found.outside:
        raise UsageError(
            f"{len(found.outside):,} labels {target} are no numbers from {task.low:g} to {task.high:g}: "
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
