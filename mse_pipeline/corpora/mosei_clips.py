"""Segments and media of CMU-MOSEI -> clips and their defects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora import mosei_known_bad
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mosei_layout import Media
from mse_pipeline.corpora.mosei_segments import Segment, videos_and_clips

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
class Place:
    """Where a clip's media is: path below the root or None, span in it, and what is wrong with it."""

    path: str | None
    start: float | None = None
    end: float | None = None
    defects: tuple[Defect, ...] = ()


def make_clips(
    segments: list[Segment], splits: Mapping[str, Split] | None, media: Media, wanted: Wanted
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
        labels, wrong = _labels(segment, wanted)
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
        defects += [*wrong, *place.defects]
        if segment.repaired:
            message = f"The text of {segment.id} held encoding damage, which is repaired where it can be."
            defects.append(Defect(code="text_repaired", message=message, clip=segment.id))
    defects += _not_of_clips(segments, media, wanted)
    notes = [f"Segments of videos in no split are left aside: {enumerate_some(homeless, 5)}."] if homeless else []
    silent = sum(not clip.text.strip() for clip in clips.values())
    if silent:
        notes.append(f"Of {len(clips):,} clips {silent:,} have no text: neither labels nor transcripts tell it.")
    return list(clips.values()), defects, notes


def find_place(segment: Segment, media: Media, wanted: Wanted) -> Place:
    """Where a segment's media is, and what is wrong with it."""
    own = media.segments(segment.video, segment.clip) if segment.clip is not None else []
    whole = media.full(segment.video)
    if own and not wanted.full:
        return _own_file(segment, own, media, wanted)
    spanned = segment.start is not None and segment.end is not None
    if whole and spanned and (wanted.full or wanted.fill):
        return _part_of_full(segment, whole[0], wanted)
    known = mosei_known_bad.MISSING.get(segment.video) if wanted.official and not wanted.full else None
    tail = f"; {known}" if known else ""
    if wanted.full and whole:
        tail = "; nobody tells its times; transcripts or a .csd have them"
    elif wanted.full:
        tail = "; its full video is not there"
    elif whole and spanned:
        tail += "; the full video is there, and fill_from_full would cut it from that"
    message = f"{segment.id} is labelled, but there is no media of it{tail}."
    return Place(None, defects=(Defect(code="missing_media", message=message, clip=segment.id),))


def _own_file(segment: Segment, paths: list[str], media: Media, wanted: Wanted) -> Place:
    path, *others = paths
    defects = [
        Defect(
            code="duplicate",
            message=f"{other} is left aside: {segment.id} has another file, {path}, that is preferred.",
            clip=segment.id,
            path=other,
        )
        for other in others
    ]
    cut_by_mmsa = path in media.nested(segment.video, segment.clip or "")
    known = (mosei_known_bad.MMSA_CUT if cut_by_mmsa else mosei_known_bad.SEGMENTED).get(segment.video)
    if wanted.official and known:
        defects.append(_known_bad(segment, known, path))
    return Place(path, defects=tuple(defects))


def _part_of_full(segment: Segment, path: str, wanted: Wanted) -> Place:
    start, end = float(segment.start or 0.0), float(segment.end or 0.0)
    defects = []
    if start < 0:
        message = f"{segment.id} begins at {start:g} s of {path}; it begins with the file instead."
        defects.append(Defect(code="negative_start", message=message, clip=segment.id, path=path))
        start = 0.0
    if not (math.isfinite(start) and math.isfinite(end) and end > start):
        message = f"{segment.id} would end at {end:g} s of {path}, which is not after its start, {start:g} s."
        defects.append(Defect(code="too_short", message=message, clip=segment.id, path=path))
        return Place(None, defects=tuple(defects))
    if wanted.official and not wanted.full:
        defects.append(_known_bad(segment, mosei_known_bad.CUT_FROM_FULL, path))
    return Place(path, start, end, tuple(defects))


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


def _not_of_clips(segments: list[Segment], media: Media, wanted: Wanted) -> Iterator[Defect]:
    """Files that no label is about, and further copies of full videos."""
    videos = {segment.video: None for segment in segments}
    for path in media.others(videos_and_clips(segments), videos):
        message = f"{path} is left aside: no label is about it."
        yield Defect(code="unlabelled_media", message=message, path=path)
    for video in videos if wanted.full else ():
        first, *others = media.full(video) or [""]
        for other in others:
            message = f"{other} is left aside: of video {video} there is another file, {first}, that is preferred."
            yield Defect(code="duplicate", message=message, path=other)
