"""Faces that someone chose by hand, or said who they are, where the policy followed the wrong person."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mse_pipeline.corpora.base import Corpus, enumerate_some, read_bytes
from mse_pipeline.corpora.files import relative
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName, existing

_LARGEST = 64 << 20  # bytes


def with_faces(corpus: Corpus, written: str | None) -> Corpus:
    """The corpus with the faces of a file, a table with the columns ``clip`` and ``face``.

    Args:
        corpus: The corpus.
        written: Path of the file below the corpus's root; None for no file.

    Raises:
        UsageError: The file cannot be read, or names clips or faces that cannot be; all told at once.
    """
    if written is None:
        return corpus
    chosen = ByName(read_faces(_below(corpus, written, "faces")))
    clip_names = ByName({clip.id: None for clip in corpus.clips})
    strangers = [clip for clip in chosen if clip not in clip_names]
    if strangers:
        raise UsageError(f"{written} names clips that are not in the corpus: {enumerate_some(strangers)}.")
    clips = tuple(replace(clip, face=chosen[clip.id]) if clip.id in chosen else clip for clip in corpus.clips)
    return replace(corpus, clips=clips)


def read_faces(file: Path) -> Mapping[str, int]:
    """Number of the face by clip id.

    Raises:
        UsageError: The file cannot be read or is not such a table.
    """
    rows = _rows(file, "faces", ("clip", "face"))
    wrong = [n for n, row in enumerate(rows, 2) if not (row["clip"] and (row["face"] or "").strip().isdecimal())]
    if wrong:
        raise UsageError(
            f"{file}: a row is a clip's id and a face's number, counted from 0 as `mse inspect` shows them; "
            f"lines {enumerate_some([str(n) for n in wrong])} are not."
        )
    return {row["clip"]: int(row["face"]) for row in rows}


def read_people(corpus: Corpus, written: str | None) -> Mapping[tuple[str, int], str]:
    """What a table with the columns ``clip``, ``track`` and ``name`` says of faces: names by clip and track.

    A name that is left empty says nothing; ``-`` says that it is none of the speakers, and is an empty name here.

    Args:
        corpus: The corpus.
        written: Path of the file below the corpus's root; None for no file.

    Raises:
        UsageError: The file cannot be read, or names clips, tracks or speakers that cannot be; all told at once.
    """
    if written is None:
        return {}
    file = _below(corpus, written, "people")
    rows = [(n, row) for n, row in enumerate(_rows(file, "people", ("clip", "track", "name")), 2)]
    said = [(n, row) for n, row in rows if (row["name"] or "").strip()]
    clip_ids, speakers = {clip.id for clip in corpus.clips}, {clip.speaker for clip in corpus.clips if clip.speaker}
    bad_lines = [str(n) for n, row in said if not (row["track"] or "").strip().isdecimal()]
    if bad_lines:
        raise UsageError(f"{file}: a track is a number, counted from 0; lines {enumerate_some(bad_lines)} have none.")
    strangers = [row["clip"] for _, row in said if row["clip"] not in clip_ids]
    if strangers:
        raise UsageError(f"{written} names clips that are not in the corpus: {enumerate_some(strangers)}.")
    names = {row["name"].strip() for _, row in said} - speakers - {"-"}
    if names:
        raise UsageError(
            f"{written} has names of nobody who speaks in the corpus: {enumerate_some(sorted(names))}. "
            "Write a speaker's name as the corpus writes it, or - for somebody who never speaks."
        )
    nobody = {"-": ""}
    named: dict[tuple[str, int], str] = {}
    for n, row in said:
        face, name = (row["clip"], int(row["track"])), nobody.get(row["name"].strip(), row["name"].strip())
        if named.setdefault(face, name) != name:
            raise UsageError(f"{written} gives track {face[1]} of {face[0]} two names; line {n} has the second.")
    return named


def _below(corpus: Corpus, written: str, option: str) -> Path:
    """The file of an option of the recipe's media, below the corpus's root."""
    try:
        return existing(corpus.root, relative(corpus.root, "", written))
    except ValueError as error:
        raise UsageError(f"The recipe's media.{option} leads out of {corpus.root}: {error}.") from error


def _rows(file: Path, what: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a table that has these columns at least."""
    content = read_bytes(file, f"The table of {what}", _LARGEST)
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"The table of {what} {file} cannot be read: {error}.") from error
    if rows and not set(columns) <= set(rows[0]):
        wanted = " and ".join([", ".join(columns[:-1]), columns[-1]])
        header = ", ".join(str(name) for name in rows[0])
        raise UsageError(f"The table of {what} {file} needs the columns {wanted}; it has {header}.")
    return rows
