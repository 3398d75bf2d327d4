"""Faces: where a stream followed a face in each clip, and small pictures of them.

Sheet: the chosen faces of all clips of a dataset on pages that need nothing beside themselves.

People: who the faces of a dataset were taken for, as a page to look at and a table to correct.
"""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
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
from mse_pipeline.store.candidates import Choice
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import Row
from mse_pipeline.store.storage import write_text

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


PER_PAGE = 500
"""Clips of a page: about 5 MB, which a browser shows at once."""

DOUBTFUL = 0.5
"""Doubt from which a clip is filtered as doubtful."""

_KINDS = {"all": "all", "doubtful": "doubtful", "nobody": "speaker not seen", "failed": "no face", "clear": "clear"}


@dataclass(frozen=True)
class Entry:
    """A clip on the sheet.

    Attributes:
        moment: What is shown of it.
        kind: ``failed`` (there is no face), ``nobody`` (of faces none is the speaker's), ``doubtful`` or ``clear``.
        doubt: From 0 to 1; what failed is at 1.
        seen: How much of it shows the face, in words.
        why: What there is to say of it; empty for nothing.
    """

    moment: Moment
    kind: str
    doubt: float
    seen: str
    why: str


def entries(dataset: Dataset, stream: str) -> list[Entry]:
    """The clips that a stream was tried for, the most doubtful first."""
    notes = dict(dataset.native(stream).notes())
    rows = {row.clip: row for row in dataset.rows(stream)}
    step, choices = step_of(dataset, stream), dataset.choices(stream)
    found = [
        _entry(clip, rows[clip.id], notes.get(clip.id, {}), choices.of(rows[clip.id]), step)
        for clip in dataset.clips
        if clip.id in rows and rows[clip.id].code != "missing_media"
    ]
    return sorted(found, key=lambda one: -one.doubt)


def _entry(clip: Clip, row: Row, notes: Mapping[str, Any], choice: Choice | None, step: float) -> Entry:
    tracks = notes.get("tracks", [])
    if row.status == "failed":
        return Entry(moment(clip, tracks, step, ()), "failed", 1.0, "", f"{row.code}: {row.message or ''}")
    share = row.valid / max(row.rows, 1)
    seen = f"{row.valid} of {row.rows} rows"
    if choice is not None:
        doubt, why, chosen = choice.doubt, choice.message or "", choice.tracks
    else:
        doubt, why = (0.6 if "fallback" in notes else 0.4 * (1.0 - share)), str(notes.get("fallback", ""))
        chosen = tuple(track["track"] for track in tracks if track.get("chosen"))
    kind = "nobody" if not row.valid else "doubtful" if doubt >= DOUBTFUL else "clear"
    return Entry(moment(clip, tracks, step, chosen), kind, doubt, seen, why)


def write_sheet(
    dataset: Dataset, root: Path | None, out: Path, *, stream: str | None = None, workers: int = 2
) -> list[Path]:
    """Write the sheet's pages.

    Args:
        dataset: The dataset in the cache.
        root: Folder of the raw files; without it no pictures are shown.
        out: The first page; further ones lie beside it and are numbered.
        stream: Whose faces; None for the first stream that follows one.
        workers: Threads that decode.

    Returns:
        The pages.

    Raises:
        UsageError: No stream follows a face, or it is not there.
    """
    stream = face_stream(dataset, stream)
    found = entries(dataset, stream)
    counts = Counter(one.kind for one in found)
    parts = [found[k : k + PER_PAGE] for k in range(0, len(found), PER_PAGE)] or [[]]
    pages = [out if k == 0 else out.with_name(f"{out.stem}-{k + 1}{out.suffix}") for k in range(len(parts))]
    about = {
        "dataset": dataset.name,
        "stream": stream,
        "policy": dataset.manifest.streams[stream].identity["config"]["policy"],
        "pages": [page.name for page in pages],
        "total": len(found),
        "kinds": [(kind, label, len(found) if kind == "all" else counts[kind]) for kind, label in _KINDS.items()],
    }
    template = load("sheet.html")
    for number, (page, part) in enumerate(zip(pages, parts, strict=True)):
        tiles = list(_tiles(root, part, workers))
        write_text(page, template.render(**about, page=number, tiles=tiles))
    return pages


def _tiles(root: Path | None, part: Sequence[Entry], workers: int) -> Iterator[dict[str, Any]]:
    moments = [one.moment for one in part]
    absent = ClipError("missing_media", "The raw files were not found.")
    pictures = [absent] * len(part) if root is None else photograph(root, moments, workers)
    for one, picture in zip(part, pictures, strict=True):
        failed = isinstance(picture, ClipError)
        why = one.why or (str(picture) if failed else "")
        yield {
            "clip": one.moment.clip.id,
            "speaker": one.moment.clip.speaker or "",
            "kind": one.kind,
            "doubt": one.doubt,
            "seen": one.seen,
            "why": why,
            "frame": None if isinstance(picture, ClipError) else data(picture.frame),
            "face": None if isinstance(picture, ClipError) or picture.face is None else data(picture.face),
        }


def load(name: str) -> Any:
    """A page's template; all that is put into it is escaped."""
    import jinja2

    source = resources.files("mse_pipeline.inspection").joinpath(name).read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)


def data(picture: bytes) -> str:
    """A JPEG as a page holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


COLUMNS = ("clip", "track", "name", "taken_for", "sure", "spoken", "seen", "tracks", "doubt")
"""Of the table; ``name`` is for whoever corrects it, and the run reads the first three."""


def write_people(
    dataset: Dataset, root: Path | None, page: Path, table: Path, *, stream: str | None = None, workers: int = 2
) -> None:
    """Write the gallery and its table.

    Args:
        dataset: The dataset in the cache.
        root: Folder of the raw files; without it no pictures are shown.
        page: The gallery.
        table: The CSV file.
        stream: Whose faces; None for the first stream that follows one.
        workers: Threads that decode.

    Raises:
        UsageError: The stream's faces were not tied to names.
    """
    stream = face_stream(dataset, stream)
    about = dataset.choices(stream).about
    persons = list(about.get("persons", []))
    if not persons:
        policy = dataset.manifest.streams[stream].identity["config"]["policy"]
        raise UsageError(
            f"The faces of {stream} of {dataset.name} are tied to no names: its policy is {policy}, or no clip has a "
            "speaker or an identity. Extract with the option `policy: speaker`."
        )
    pictures = {} if root is None else _pictures(dataset, stream, root, persons, workers)
    shown = [_card(one, pictures) for one in persons]
    parts = [
        ("Doubtful", [one for one in shown if one["name"] and not one["sure"]]),
        ("Names", [one for one in shown if one["name"] and one["sure"]]),
        ("Faces that were tied to nobody, the most seen", [one for one in shown if not one["name"]]),
    ]
    told = {"dataset": dataset.name, "stream": stream, "table": table.name, "missing": about.get("missing", [])}
    write_text(table, _table(persons))
    write_text(page, load("people.html").render(**told, parts=parts))


def _card(one: Mapping[str, Any], pictures: Mapping[tuple[str, int], bytes]) -> dict[str, Any]:
    (clip, track), *_ = one["faces"]
    faces = [pictures[name, number] for name, number in one["faces"] if (name, number) in pictures]
    return {**one, "clip": clip, "track": track, "pictures": [data(face) for face in faces]}


def _pictures(
    dataset: Dataset, stream: str, root: Path, persons: Sequence[Mapping[str, Any]], workers: int
) -> dict[tuple[str, int], bytes]:
    """A picture of each face that is shown."""
    wanted = [(str(clip), int(track)) for one in persons for clip, track in one["faces"]]
    names = {clip for clip, _ in wanted}
    notes = {clip: one for clip, one in dataset.native(stream).notes() if clip in names}
    clips: dict[str, Clip] = {clip.id: clip for clip in dataset.clips}
    wanted = [(clip, track) for clip, track in wanted if clip in notes and clip in clips]
    step = step_of(dataset, stream)
    moments = []
    for clip, track in wanted:
        own = [one for one in notes[clip].get("tracks", []) if one["track"] == track]
        moments.append(moment(clips[clip], own, step, {track}))
    found = photograph(root, moments, workers)
    return {
        key: picture.face
        for key, picture in zip(wanted, found, strict=True)
        if not isinstance(picture, ClipError) and picture.face is not None
    }


def _table(persons: Sequence[Mapping[str, Any]]) -> str:
    """A line a person: its typical face stands for the whole group."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in persons:
        clip, track = one["faces"][0]
        plain = {name: one[name] for name in ("spoken", "seen", "tracks", "doubt")}
        sure = "yes" if one["sure"] else "no"
        writer.writerow({"clip": clip, "track": track, "taken_for": one["name"] or "", "sure": sure, **plain})
    return buffer.getvalue()
