"""Faces: where a stream followed a face in each clip, and small pictures of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.inspection.collect import Box
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.fetching import local_path
from mse_pipeline.media.frames import Frame, FrameBatch
from mse_pipeline.places import is_local
from mse_pipeline.store.dataset import Dataset

WIDTH = 192
"""Width in pixels of a frame's picture."""

SIDE = 84
"""Side in pixels of a face's picture."""

_QUALITY = 72  # of JPEG
_AROUND = 0.35  # of the face's sides that its picture shows on each side beside it
_CHOSEN, _OTHER = (228, 87, 46), (255, 255, 255)


@dataclass(frozen=True)
class Moment:
    """A frame of a clip and the faces in it.

    Attributes:
        clip: The clip.
        begin: Seconds from the clip's start of the row that shows it.
        step: Seconds that the row lasts.
        boxes: The faces; of one that was followed `chosen` is set.
    """

    clip: Clip
    begin: float
    step: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Picture:
    """What a moment looks like.

    Attributes:
        frame: The frame with boxes around faces, as JPEG.
        face: The face that was followed, as JPEG; None where there is none.
    """

    frame: bytes
    face: bytes | None


def face_stream(dataset: Dataset, stream: str | None = None) -> str:
    """The stream that is meant: the named one, or the first that follows a face.

    Raises:
        UsageError: The dataset has no such stream, or the stream follows no face.
    """
    following = [name for name, entry in dataset.manifest.streams.items() if "policy" in (_config(entry.identity))]
    if stream is not None:
        dataset.versions(stream)  # tells what there is where it is not
        if stream not in following:
            raise UsageError(f"{stream} of {dataset.name} follows no face; {', '.join(following) or 'no stream'} does.")
        return stream
    if not following:
        raise UsageError(f"No stream of {dataset.name} follows a face; it has {', '.join(dataset) or 'none yet'}.")
    return following[0]


def step_of(dataset: Dataset, stream: str) -> float:
    """Seconds from one sampled frame to the next."""
    return 1.0 / float(_config(dataset.manifest.streams[stream].identity).get("rate", 5.0))


def _config(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    config = identity.get("config")
    return config if isinstance(config, Mapping) else {}


def moment(clip: Clip, tracks: Sequence[Mapping[str, Any]], step: float, chosen: Iterable[int]) -> Moment:
    """The moment of a clip that shows best whom a stream followed: the middle of the longest of the chosen tracks.

    Args:
        clip: The clip.
        tracks: The notes' tracks, of one frame or more each.
        step: Seconds from one sampled frame to the next.
        chosen: Numbers of the tracks that were followed; the middle of the longest track is shown where there is none.
    """
    followed = set(chosen)
    shown = [track for track in tracks if track.get("boxes")]
    own = [track for track in shown if track["track"] in followed]
    if not shown:
        return Moment(clip, 0.0, step, ())
    longest = max(own or shown, key=lambda track: len(track["boxes"]))
    row = int(longest["boxes"][len(longest["boxes"]) // 2][0])
    boxes = [
        Box((float(x1), float(y1), float(x2), float(y2)), track["track"] in followed, track["track"])
        for track in shown
        for place, x1, y1, x2, y2 in track["boxes"]
        if int(place) == row
    ]
    return Moment(clip, row * step, step, tuple(boxes))


def photograph(root: Path, moments: Sequence[Moment], workers: int = 2) -> Iterator[Picture | ClipError]:
    """A picture of each moment, in order, or why there is none; a frame a clip is decoded.

    Args:
        root: Folder of the raw files.
        moments: What is to be shown.
        workers: Threads that decode.
    """
    with ThreadPoolExecutor(workers if is_local(root) else 1) as pool:
        yield from pool.map(lambda one: _photograph(root, one), moments)


def _photograph(root: Path, one: Moment) -> Picture | ClipError:
    if one.clip.media is None:
        return ClipError("missing_media", f"{one.clip.id} has no media file.")
    taken: list[Frame] = []

    def keep(batch: FrameBatch) -> None:
        taken.extend(batch.frames[: 1 - len(taken)])

    begin = (one.clip.start or 0.0) + one.begin
    request = FrameRequest(1.0 / one.step, keep)
    try:
        path = local_path(root, one.clip.media)
        decoded = decode(path, start=begin, end=begin + one.step, audio=False, frames=[request])
        if not taken:
            raise decoded.video_problem or ClipError("no_video", f"{one.clip.id} has no frame at {begin:.2f} s.")
        return _picture(taken[0], one.boxes)
    except ClipError as error:
        return error


def _picture(frame: Frame, boxes: Sequence[Box]) -> Picture:
    from PIL import Image, ImageDraw

    small = Image.fromarray(np.ascontiguousarray(frame.reduced(WIDTH)))
    pen = ImageDraw.Draw(small)
    face = None
    for box in sorted(boxes, key=lambda one: one.chosen):
        corners = [share * side for share, side in zip(box.corners, small.size * 2, strict=True)]
        pen.rectangle(corners, outline=_CHOSEN if box.chosen else _OTHER, width=2 if box.chosen else 1)
        if box.chosen or len(boxes) == 1:
            face = _cut(frame, box)
    return Picture(jpeg(small), None if face is None else jpeg(face))


def _cut(frame: Frame, box: Box) -> Any:
    """A face with some of what is around it, square."""
    from PIL import Image

    x1, y1, x2, y2 = np.array(box.corners) * np.array([frame.width, frame.height] * 2)
    half = max(x2 - x1, y2 - y1, 2.0) * (0.5 + _AROUND)
    left, top = int(max((x1 + x2) / 2 - half, 0)), int(max((y1 + y2) / 2 - half, 0))
    right, bottom = int(min((x1 + x2) / 2 + half, frame.width)), int(min((y1 + y2) / 2 + half, frame.height))
    left, top = min(left, frame.width - 2), min(top, frame.height - 2)
    pixels = frame.region(left, top, max(right, left + 1), max(bottom, top + 1))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SIDE, SIDE))
    return picture


def jpeg(picture: Any) -> bytes:
    """A picture as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
