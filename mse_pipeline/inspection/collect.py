"""Collect: the data of one clip from the cache and its media file, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, UsageError, did_you_mean
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.store.checksum import damaged, unseal
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import JournalRow, lines

SHOWN_WIDTH = 480
"""Width in pixels of the frames that are kept."""

_RATE = 5.0  # frames a second that are looked at where no visual stream says otherwise
_BOX = ("box_x1", "box_y1", "box_x2", "box_y2")


@dataclass(frozen=True)
class Box:
    """A face in a frame.

    Attributes:
        corners: x1, y1, x2, y2 relative to the frame's width and height.
        chosen: Whether it is the face that was followed.
        track: Number of its track among the notes' tracks; None where that is not known.
    """

    corners: tuple[float, float, float, float]
    chosen: bool
    track: int | None = None


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame that is shown.

    Attributes:
        time: Seconds from the clip's start of the middle of the time that it stands for.
        pixels: (H, W, 3) uint8 RGB, at most `SHOWN_WIDTH` wide.
        boxes: Its faces.
    """

    time: float
    pixels: np.ndarray
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Word:
    """A word with its time.

    Attributes:
        text: The word; empty for silence.
        begin: Seconds from the clip's start.
        end: Seconds from the clip's start.
        confidence: From 0 to 1, where the aligner tells; None where it does not.
    """

    text: str
    begin: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True, eq=False)
class StreamView:
    """One stream of the clip.

    Attributes:
        stream: As in ``acoustic.egemaps``.
        row: Its row of the journal; None if it was never tried.
        features: On the extractor's own clock; None if there are none.
    """

    stream: str
    row: JournalRow | None
    features: Features | None


@dataclass(frozen=True, eq=False)
class Inspection:
    """The data of one clip.

    Attributes:
        dataset: The dataset's name.
        clip: The clip.
        duration: Seconds; as far as sound, frames and features reach.
        audio: Its sound; None where there is none or the media file was not found.
        frames: Some of its frames, evenly spread.
        streams: Its streams, in the dataset's order.
        words: Its words, if a stream has their times.
        problems: Its problems, as (code, sentence).
    """

    dataset: str
    clip: Clip
    duration: float
    audio: Audio | None
    frames: tuple[Shown, ...]
    streams: tuple[StreamView, ...]
    words: tuple[Word, ...]
    problems: tuple[tuple[str, str], ...]


def collect(dataset: Dataset, clip_id: str, root: Path | None = None, frames: int = 8) -> Inspection:
    """Collect the data of a clip.

    Args:
        dataset: The dataset in the cache.
        clip_id: The clip.
        root: Folder of the raw files; without it no sound and no frames are shown.
        frames: The most frames that are shown.

    Raises:
        UsageError: The dataset has no such clip.
    """
    clips = {clip.id: clip for clip in dataset.clips}
    if clip_id not in clips:
        raise UsageError(f"{dataset.name} has no clip {clip_id!r}{did_you_mean(clip_id, clips)}")
    clip = clips[clip_id]
    streams = tuple(_view(dataset, stream, clip_id) for stream in dataset)
    problems = _problems(dataset, clip, streams)
    audio: Audio | None = None
    shown: tuple[Shown, ...] = ()
    if root is not None and clip.media is not None:
        try:
            audio, shown = _look(clip, root / clip.media, streams, dataset.manifest.recipe, frames)
        except ClipError as error:
            problems.append((error.code, str(error)))
    reach = [audio.duration if audio else 0.0, *(frame.time for frame in shown)]
    for view in streams:
        if view.features is not None and len(view.features) and np.isfinite(view.features.intervals).all():
            reach.append(float(view.features.intervals[-1, 1]))
    return Inspection(
        dataset=dataset.name,
        clip=clip,
        duration=max(reach),
        audio=audio,
        frames=shown,
        streams=streams,
        words=_words(streams),
        problems=tuple(dict.fromkeys(problems)),
    )


def _view(dataset: Dataset, stream: str, clip: str) -> StreamView:
    row = next((row for row in dataset.rows(stream) if row.clip == clip), None)
    native = dataset.native(stream)
    return StreamView(stream, row, native.get(clip))


def _problems(dataset: Dataset, clip: Clip, streams: Sequence[StreamView]) -> list[tuple[str, str]]:
    """The problems of a clip that the corpus and the extraction reported."""
    problems = []
    listed = dataset.path / "defects.jsonl"
    if listed.is_file():
        try:
            defects = [unseal(line.decode())[0] for line in lines(listed.read_bytes())]
        except ValueError as error:
            raise damaged(listed, "The list of defects", error) from error
        for defect in defects:
            if defect.get("clip") == clip.id:
                problems.append((str(defect["code"]), str(defect.get("message", ""))))
    for view in streams:
        if view.row is not None and view.row.code:
            problems.append((view.row.code, f"{view.stream}: {view.row.message or view.row.status}"))
    return problems


def _look(
    clip: Clip, path: Path, streams: Sequence[StreamView], recipe: Mapping[str, Any], count: int
) -> tuple[Audio | None, tuple[Shown, ...]]:
    """The clip's sound, and some frames with the faces that were found in them."""
    from mse_pipeline.media.decode import FrameRequest, decode

    seen = next((view.features for view in streams if view.features and set(_BOX) <= set(view.features.names)), None)
    pictures: list[np.ndarray] = []
    times: list[float] = []

    def keep(batch: FrameBatch) -> None:
        pictures.extend(batch.reduced(SHOWN_WIDTH))
        times.extend(batch.intervals.mean(1).tolist())

    decoded = decode(
        path,
        start=clip.start,
        end=clip.end,
        frames=[FrameRequest(_rate(seen), keep)],
        max_seconds=(recipe.get("media") or {}).get("max_seconds"),
    )
    places = np.unique(np.linspace(0, len(times) - 1, min(count, len(times))).round().astype(int))
    shown = tuple(Shown(times[k], pictures[k], _boxes(seen, times[k])) for k in places)
    return decoded.audio, shown


def _rate(features: Features | None) -> float:
    """Rows a second of a visual stream."""
    if features is None or len(features) < 2:
        return _RATE
    return 1.0 / float(np.median(np.diff(features.intervals[:, 0])))


def _boxes(features: Features | None, time: float) -> tuple[Box, ...]:
    """The faces at a time: all faces of the notes, and the followed one."""
    if features is None:
        return ()
    rows = np.flatnonzero((features.intervals[:, 0] <= time) & (time < features.intervals[:, 1]))
    if not len(rows):
        return ()
    row = int(rows[0])
    boxes = []
    for track in features.notes.get("tracks", []):
        for index, *corners in track.get("boxes", []):
            if int(index) == row and not track.get("chosen"):
                boxes.append(Box((corners[0], corners[1], corners[2], corners[3]), False, track.get("track")))
    if features.valid[row]:
        x1, y1, x2, y2 = (float(features.values[row, features.names.index(name)]) for name in _BOX)
        boxes.append(Box((x1, y1, x2, y2), True))
    return tuple(boxes)


def _words(streams: Sequence[StreamView]) -> tuple[Word, ...]:
    """The words of the first stream that has some with times."""
    for view in streams:
        features = view.features
        if features is None or "words" not in features.notes or not np.isfinite(features.intervals).all():
            continue
        sure = features.names.index("confidence") if "confidence" in features.names else None
        return tuple(
            Word(
                str(word),
                float(begin),
                float(end),
                None if sure is None or np.isnan(values[sure]) else float(values[sure]),
            )
            for word, (begin, end), values in zip(
                features.notes["words"], features.intervals, features.values, strict=True
            )
        )
    return ()
