"""Faces that someone chose by hand, where the policy followed the wrong person."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mse_pipeline.corpora.base import Corpus, enumerate_some
from mse_pipeline.corpora.files import relative
from mse_pipeline.corpora.reading import read_bytes
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
    try:
        path = relative(corpus.root, "", written)
    except ValueError as error:
        raise UsageError(f"The recipe's media.faces leads out of {corpus.root}: {error}.") from error
    chosen = ByName(read_faces(existing(corpus.root, path)))
    known = ByName({clip.id: None for clip in corpus.clips})
    strangers = [clip for clip in chosen if clip not in known]
    if strangers:
        raise UsageError(f"{written} names clips that the corpus has not: {enumerate_some(strangers)}.")
    clips = tuple(replace(clip, face=chosen[clip.id]) if clip.id in chosen else clip for clip in corpus.clips)
    return replace(corpus, clips=clips)


def read_faces(file: Path) -> Mapping[str, int]:
    """Number of the face by clip id.

    Raises:
        UsageError: The file cannot be read or is not such a table.
    """
    content = read_bytes(file, "The table of faces", _LARGEST)
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"The table of faces {file} cannot be read: {error}.") from error
    if rows and not {"clip", "face"} <= set(rows[0]):
        raise UsageError(f"The table of faces {file} needs the columns clip and face; it has {', '.join(rows[0])}.")
    wrong = [n for n, row in enumerate(rows, 2) if not (row["clip"] and (row["face"] or "").strip().isdecimal())]
    if wrong:
        raise UsageError(
            f"{file}: a row is a clip's id and a face's number, counted from 0 as `mse inspect` shows them; "
            f"lines {enumerate_some([str(n) for n in wrong])} are not."
        )
    return {row["clip"]: int(row["face"]) for row in rows}
