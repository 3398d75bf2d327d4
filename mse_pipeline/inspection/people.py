"""People: who the faces of a dataset were taken for, as a page to look at and a table to correct."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.inspection.faces import face_stream, moment, photograph, step_of
from mse_pipeline.inspection.sheet import data, load
from mse_pipeline.store.atomic import write_text
from mse_pipeline.store.dataset import Dataset

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
