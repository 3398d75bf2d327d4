"""Sheet: the chosen faces of all clips of a dataset on pages that need nothing beside themselves."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError
from mse_pipeline.inspection.faces import Moment, face_stream, moment, photograph, step_of
from mse_pipeline.store.atomic import write_text
from mse_pipeline.store.candidates import Choice
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import Row

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
