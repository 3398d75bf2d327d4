"""Labels of CMU-MOSEI's segments from whichever source there is, brought to one form and one numbering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.mmsa_table import LabelRow
from mse_pipeline.corpora.mosei_csd import EMOTIONS, LabelSequence
from mse_pipeline.corpora.mosei_mturk import Ratings
from mse_pipeline.corpora.mosei_transcripts import Transcripts
from mse_pipeline.errors import UsageError

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
        there: dict[Source, bool] = {"mmsa": bool(self.table), "csd": bool(self.csd), "mturk": bool(self.dumps)}
        return next((name for name, is_there in there.items() if is_there and wanted in (name, "auto")), None)


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
            raise UsageError(f"{found.csd} names a video {video[:100]!r}, which is no plain name.")
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
    found: dict[int, str] = {}
    taken: set[str] = set()
    for index, ours in enumerate(np.maximum(sequence.intervals, 0.0)):
        distance = np.abs(theirs - ours).max(axis=1)
        clip = clips[int(distance.argmin())]
        if distance.min() <= _SAME_TIME and clip not in taken:
            found[index] = clip
            taken.add(clip)
    return found


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
