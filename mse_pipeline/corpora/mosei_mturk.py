"""CMU-MOSEI's labels as Mechanical Turk gave them: three raters a segment, whose mean is the label."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from mse_pipeline.cells import is_missing, number_of
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.encodings import REPLACED
from mse_pipeline.corpora.mosei_csd import EMOTIONS
from mse_pipeline.corpora.reading import read_bytes
from mse_pipeline.corpora.text import decode
from mse_pipeline.errors import UsageError

_MAX_BYTES = 256 << 20
_KINDS = ("sentiment", *EMOTIONS)


@dataclass(frozen=True)
class Ratings:
    """What the raters of one segment said.

    Attributes:
        means: ``sentiment`` and the emotions -> mean over the raters who answered; kinds without an answer are absent.
        path: Of the dump that the first rating is from.
    """

    means: Mapping[str, float]
    path: str


def read_dumps(root: Path, paths: Iterable[str]) -> tuple[dict[tuple[str, str], Ratings], list[str], list[str]]:
    """Mean ratings by (video, clip).

    Of two dumps ``NAME.csv`` and ``NAME_mod.csv`` the latter, corrected one is read. An assignment that is in several
    dumps counts once. Blank answers are skipped.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Of the dumps, below the root.

    Returns:
        Ratings, the dumps that were read, and notes on what was left aside.

    Raises:
        UsageError: A dump cannot be read.
    """
    given = sorted(paths)
    stems = {posixpath.splitext(path)[0] for path in given}
    superseded = [path for path in given if posixpath.splitext(path)[0] + "_mod" in stems]
    used = [path for path in given if path not in superseded]
    notes = [f"Dumps {enumerate_some(superseded)} are left aside for their corrected twins (_mod)."] * bool(superseded)
    answers: dict[tuple[str, str], dict[str, list[float]]] = {}
    first: dict[tuple[str, str], str] = {}
    assignments: set[str] = set()
    again = 0
    for path in used:
        odd = []
        for number, record in enumerate(_records(root, path), start=2):
            assignment = (record.get("AssignmentId") or "").strip()
            if assignment and assignment in assignments:
                again += 1
                continue
            assignments.add(assignment)
            key = _key(record)
            if key is None:
                odd.append(number)
                continue
            first.setdefault(key, path)
            sums = answers.setdefault(key, {})
            wrong = False
            for kind in _KINDS:
                value = record.get(f"Answer.{kind}") or ""
                mark = number_of(value)
                wrong |= mark is None and not is_missing(value)
                if mark is not None:
                    sums.setdefault(kind, []).append(mark)
            if wrong:
                odd.append(number)
        if odd:
            notes.append(
                f"Rows of {path} whose id is unusable are left aside, and so are answers that are no numbers: rows "
                f"{enumerate_some(odd)}."
            )
    if again:
        notes.append(f"{again:,} assignments are in several rows of the dumps; each counts once.")
    ratings = {
        key: Ratings({kind: fmean(values) for kind, values in sums.items()}, first[key])
        for key, sums in answers.items()
    }
    return ratings, used, notes


def _records(root: Path, path: str) -> list[dict[str, str | None]]:
    what = f"Dump {path}"
    text, _ = decode(read_bytes(root / path, what, _MAX_BYTES), what)
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UsageError(f"Dump {path} is no sound CSV: {error}. Get it anew.") from None


def _key(record: Mapping[str, str | None]) -> tuple[str, str] | None:
    """(video, clip); None where the row tells none, as where a spreadsheet took ``-id`` for a formula."""
    video = (record.get("Input.VIDEO_ID") or "").strip()
    clip = number_of((record.get("Input.CLIP") or "").strip())
    if not video or video.startswith(("#", ".")) or "/" in video or "\\" in video or len(video) > 100:
        return None
    if not video.isprintable() or REPLACED in video or clip is None or clip < 0 or not clip.is_integer():
        return None
    return video, str(int(clip))
