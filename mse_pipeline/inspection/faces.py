"""Faces of a dataset: small pictures of the faces that a stream followed, as pages for a browser.

The sheet shows the chosen face of each clip, the doubtful ones first. The gallery shows each name with its faces; a
table beside it takes corrections. A page is one file that needs no other file.
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
from mse_pipeline.store.journal import JournalRow
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
        boxes: The faces; `chosen` is set for the followed one.
    """

    clip: Clip
    begin: float
    step: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class MomentPicture:
    """The pictures of a moment.

    Attributes:
        frame: The frame with boxes around faces, as JPEG.
        face: The face that was followed, as JPEG; None where there is none.
    """

    frame: bytes
    face: bytes | None


def face_stream(dataset: Dataset, stream: str | None = None) -> str:
    """The named stream, or the first stream that follows a face.

    Raises:
        UsageError: The dataset has no such stream, or the stream follows no face.
    """
    following = [name for name, entry in dataset.manifest.streams.items() if "policy" in (_config(entry.identity))]
    if stream is not None:
        dataset.versions(stream)  # raises with the known streams if there is no such stream
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
    """The moment of a clip that shows the followed face best: the middle of the longest chosen track.

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


def photograph(root: Path, moments: Sequence[Moment], workers: int = 2) -> Iterator[MomentPicture | ClipError]:
    """A picture of each moment, in order, or the error if there is none; one frame a clip is decoded.

    Args:
        root: Folder of the raw files.
        moments: What is to be shown.
        workers: Threads that decode.
    """
    with ThreadPoolExecutor(workers if is_local(root) else 1) as pool:
        yield from pool.map(lambda moment: _photograph(root, moment), moments)


def _photograph(root: Path, moment: Moment) -> MomentPicture | ClipError:
    if moment.clip.media is None:
        return ClipError("missing_media", f"{moment.clip.id} has no media file.")
    taken: list[Frame] = []

    def keep(batch: FrameBatch) -> None:
        taken.extend(batch.frames[: 1 - len(taken)])

    begin = (moment.clip.start or 0.0) + moment.begin
    request = FrameRequest(1.0 / moment.step, keep)
    try:
        path = local_path(root, moment.clip.media)
        decoded = decode(path, start=begin, end=begin + moment.step, audio=False, frames=[request])
        if not taken:
            raise decoded.video_problem or ClipError("no_video", f"{moment.clip.id} has no frame at {begin:.2f} s.")
        return _picture(taken[0], moment.boxes)
    except ClipError as error:
        return error


def _picture(frame: Frame, boxes: Sequence[Box]) -> MomentPicture:
    from PIL import Image, ImageDraw

    small = Image.fromarray(np.ascontiguousarray(frame.reduced(WIDTH)))
    pen = ImageDraw.Draw(small)
    face = None
    for box in sorted(boxes, key=lambda box: box.chosen):
        corners = [share * side for share, side in zip(box.corners, small.size * 2, strict=True)]
        pen.rectangle(corners, outline=_CHOSEN if box.chosen else _OTHER, width=2 if box.chosen else 1)
        if box.chosen or len(boxes) == 1:
            face = _cut(frame, box)
    return MomentPicture(jpeg(small), None if face is None else jpeg(face))


def _cut(frame: Frame, box: Box) -> Any:
    """A face with a margin around it, square."""
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
"""Doubt from which a clip counts as doubtful."""

_KINDS = {"all": "all", "doubtful": "doubtful", "nobody": "speaker not seen", "failed": "no face", "clear": "clear"}


@dataclass(frozen=True)
class SheetEntry:
    """A clip on the sheet.

    Attributes:
        moment: What is shown of it.
        kind: ``failed`` (there is no face), ``nobody`` (of faces none is the speaker's), ``doubtful`` or ``clear``.
        doubt: From 0 to 1; what failed is at 1.
        seen: How much of it shows the face, in words.
        why: A remark; empty if there is none.
    """

    moment: Moment
    kind: str
    doubt: float
    seen: str
    why: str


def entries(dataset: Dataset, stream: str) -> list[SheetEntry]:
    """The clips that a stream was tried for, the most doubtful first."""
    notes = dict(dataset.native(stream).notes())
    rows = {row.clip: row for row in dataset.rows(stream)}
    step, choices = step_of(dataset, stream), dataset.choices(stream)
    tried = [
        _entry(clip, rows[clip.id], notes.get(clip.id, {}), choices.of(rows[clip.id]), step)
        for clip in dataset.clips
        if clip.id in rows and rows[clip.id].code != "missing_media"
    ]
    return sorted(tried, key=lambda entry: -entry.doubt)


def _entry(clip: Clip, row: JournalRow, notes: Mapping[str, Any], choice: Choice | None, step: float) -> SheetEntry:
    tracks = notes.get("tracks", [])
    if row.status == "failed":
        return SheetEntry(moment(clip, tracks, step, ()), "failed", 1.0, "", f"{row.code}: {row.message or ''}")
    share = row.valid / max(row.rows, 1)
    seen = f"{row.valid} of {row.rows} rows"
    if choice is not None:
        doubt, why, chosen = choice.doubt, choice.message or "", choice.tracks
    else:
        doubt, why = (0.6 if "fallback" in notes else 0.4 * (1.0 - share)), str(notes.get("fallback", ""))
        chosen = tuple(track["track"] for track in tracks if track.get("chosen"))
    kind = "nobody" if not row.valid else "doubtful" if doubt >= DOUBTFUL else "clear"
    return SheetEntry(moment(clip, tracks, step, chosen), kind, doubt, seen, why)


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
        UsageError: No stream follows a face, or there is no such stream.
    """
    stream = face_stream(dataset, stream)
    shown = entries(dataset, stream)
    counts = Counter(entry.kind for entry in shown)
    parts = [shown[k : k + PER_PAGE] for k in range(0, len(shown), PER_PAGE)] or [[]]
    pages = [out if k == 0 else out.with_name(f"{out.stem}-{k + 1}{out.suffix}") for k in range(len(parts))]
    about = {
        "dataset": dataset.name,
        "stream": stream,
        "policy": dataset.manifest.streams[stream].identity["config"]["policy"],
        "pages": [page.name for page in pages],
        "total": len(shown),
        "kinds": [(kind, label, len(shown) if kind == "all" else counts[kind]) for kind, label in _KINDS.items()],
    }
    template = load("sheet.html")
    for number, (page, part) in enumerate(zip(pages, parts, strict=True)):
        tiles = list(_tiles(root, part, workers))
        write_text(page, template.render(**about, page=number, tiles=tiles))
    return pages


def _tiles(root: Path | None, part: Sequence[SheetEntry], workers: int) -> Iterator[dict[str, Any]]:
    moments = [entry.moment for entry in part]
    absent = ClipError("missing_media", "The raw files were not found.")
    pictures = [absent] * len(part) if root is None else photograph(root, moments, workers)
    for entry, picture in zip(part, pictures, strict=True):
        failed = isinstance(picture, ClipError)
        why = entry.why or (str(picture) if failed else "")
        yield {
            "clip": entry.moment.clip.id,
            "speaker": entry.moment.clip.speaker or "",
            "kind": entry.kind,
            "doubt": entry.doubt,
            "seen": entry.seen,
            "why": why,
            "frame": None if isinstance(picture, ClipError) else data(picture.frame),
            "face": None if isinstance(picture, ClipError) or picture.face is None else data(picture.face),
        }


def load(name: str) -> Any:
    """A page's template; all values in it are escaped."""
    import jinja2

    source = resources.files("mse_pipeline.inspection").joinpath(name).read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)


def data(picture: bytes) -> str:
    """A JPEG as a page holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


COLUMNS = ("clip", "track", "name", "taken_for", "sure", "spoken", "seen", "tracks", "doubt")
"""Columns of the table; the user writes corrections into ``name``, and the run reads the first three."""


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
        raise UsageError(f"The faces of {stream} of {dataset.name} have no names: {_why_nameless(dataset, stream)}")
    pictures = {} if root is None else _pictures(dataset, stream, root, persons, workers)
    cards = [_card(person, pictures) for person in persons]
    parts = [
        ("Doubtful", [card for card in cards if card["name"] and not card["sure"]]),
        ("Names", [card for card in cards if card["name"] and card["sure"]]),
        ("Faces that were tied to nobody, the most seen", [card for card in cards if not card["name"]]),
    ]
    facts = {"dataset": dataset.name, "stream": stream, "table": table.name, "missing": about.get("missing", [])}
    write_text(table, _table(persons))
    write_text(page, load("people.html").render(**facts, parts=parts))


def _card(person: Mapping[str, Any], pictures: Mapping[tuple[str, int], bytes]) -> dict[str, Any]:
    (clip, track), *_ = person["faces"]
    faces = [pictures[name, number] for name, number in person["faces"] if (name, number) in pictures]
    return {**person, "clip": clip, "track": track, "pictures": [data(face) for face in faces]}


def _pictures(
    dataset: Dataset, stream: str, root: Path, persons: Sequence[Mapping[str, Any]], workers: int
) -> dict[tuple[str, int], bytes]:
    """A picture of each face that is shown."""
    wanted = [(str(clip), int(track)) for person in persons for clip, track in person["faces"]]
    names = {clip for clip, _ in wanted}
    notes = {clip: own for clip, own in dataset.native(stream).notes() if clip in names}
    clips: dict[str, Clip] = {clip.id: clip for clip in dataset.clips}
    wanted = [(clip, track) for clip, track in wanted if clip in notes and clip in clips]
    step = step_of(dataset, stream)
    moments = []
    for clip, track in wanted:
        own = [shown for shown in notes[clip].get("tracks", []) if shown["track"] == track]
        moments.append(moment(clips[clip], own, step, {track}))
    pictures = photograph(root, moments, workers)
    return {
        key: picture.face
        for key, picture in zip(wanted, pictures, strict=True)
        if not isinstance(picture, ClipError) and picture.face is not None
    }


def _why_nameless(dataset: Dataset, stream: str) -> str:
    """Why nobody's face has a name, and what gives them names."""
    config = dataset.manifest.streams[stream].identity["config"]
    if config["policy"] != "speaker":
        return f"its policy is {config['policy']}. Extract with --set streams.{stream}.policy=speaker."
    if not any(clip.speaker for clip in dataset.clips):
        return "no clip has a speaker. Where the speakers are known, tell them and extract again."
    if config.get("identity", "none") == "none":
        return (
            "nothing knows people again behind a cut. Put sface.onnx, and better yunet.onnx too, into the folder that "
            f"MSE_MODELS names, and extract with --set streams.{stream}.identity=sface."
        )
    return "none was found in enough clips of a speaker."


def _table(persons: Sequence[Mapping[str, Any]]) -> str:
    """A line a person: its typical face stands for the whole group."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for person in persons:
        clip, track = person["faces"][0]
        plain = {name: person[name] for name in ("spoken", "seen", "tracks", "doubt")}
        sure = "yes" if person["sure"] else "no"
        writer.writerow({"clip": clip, "track": track, "taken_for": person["name"] or "", "sure": sure, **plain})
    return buffer.getvalue()
