"""Where the files of CMU-MOSEI and CMU-MOSI lie, in CMU's old tree and in MMSA's layout, found by content."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.mmsa_table import HEAD, LabelRow, begins_as_label_table, clip_files, read_label_table
from mse_pipeline.corpora.reading import read_heads
from mse_pipeline.names import ByName

_VIDEO = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".mpg")
_ARCHIVE = re.compile(r".*mose?i.*\.(?:zip|tar|tar\.gz|tgz)", re.I)
_DUMP = {"Input.VIDEO_ID", "Input.CLIP", "Answer.sentiment"}
_SPLIT_WORDS = {"full": "full", "segmented": "segmented"}


class Media:
    """The video files below a root, by what they can be of.

    CMU's tree has ``<video>_<clip>.mp4`` for a segment and ``<video>.mp4`` for a full video, and video ids may end in
    ``_7`` themselves; MMSA's layout has ``<video>/<clip>.mp4``. So files are looked up by the names that known clips
    would have, and no name is ever taken apart.

    Args:
        paths: Below the root, those nearest to it first.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = [path for path in paths if path.lower().endswith(_VIDEO)]
        self._nested = clip_files(self.paths)
        flat: dict[str, list[str]] = {}
        for path in self.paths:
            flat.setdefault(posixpath.splitext(posixpath.basename(path))[0], []).append(path)
        self._flat = ByName(flat)

    def segments(self, video: str, clip: str) -> list[str]:
        """Files that hold one clip alone, the one to use first."""
        flat = [path for path in self._flat.get(f"{video}_{clip}", []) if _kind(path) != "full"]
        return flat + self.nested(video, clip)

    def nested(self, video: str, clip: str) -> list[str]:
        """Files of one clip in MMSA's layout."""
        return self._nested.get((video, clip), [])

    def any_segments(self, clips: Iterable[tuple[str, str]]) -> bool:
        """Whether one of the clips (video, clip) at least has a file of its own."""
        return any(self.segments(video, clip) for video, clip in clips)

    def full(self, video: str) -> list[str]:
        """Files that hold a full video, the one to use first."""
        return [path for path in self._flat.get(video, []) if _kind(path) != "segmented"]

    def others(self, clips: Iterable[tuple[str, str]], videos: Collection[str]) -> Iterator[str]:
        """Files that are of none of the clips (video, clip), nor full videos of any of the videos."""
        known = {path for video, clip in clips for path in self.segments(video, clip)}
        known.update(path for video in videos for path in self.full(video))
        return (path for path in self.paths if path not in known)


def _kind(path: str) -> str | None:
    """Whether the nearest telling folder says full or segmented."""
    for folder in reversed(path.split("/")[:-1]):
        if kind := _SPLIT_WORDS.get(folder.lower()):
            return kind
    return None


@dataclass(frozen=True)
class Layout:
    """What was found below a root.

    Attributes:
        media: Video files.
        tables: MMSA's label tables.
        transcripts: Files that may hold a video's segments and texts.
        dumps: Results of Amazon Mechanical Turk.
        csd: Computational sequences, of any content.
        folds: Files that may hold the standard folds, by their name.
        archives: Archives that are still packed.
        refused: Entries that were left aside, with reasons.
    """

    media: Media
    tables: list[str] = field(default_factory=list)
    transcripts: list[str] = field(default_factory=list)
    dumps: list[str] = field(default_factory=list)
    csd: list[str] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    refused: tuple[str, ...] = ()


def survey(root: Path, listing: Listing) -> Layout:
    """Sort a listing by what the files are.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        listing: Of the root.
    """
    layout = Layout(media=Media(listing.files), refused=listing.refused)
    csv_files = []
    for path in listing.files:
        lower = path.lower()
        if "std_folds" in posixpath.basename(lower):
            layout.folds.append(path)
        elif lower.endswith(".csv"):
            csv_files.append(path)
        elif lower.endswith((".txt", ".annotprocessed")):
            layout.transcripts.append(path)
        elif lower.endswith(".csd"):
            layout.csd.append(path)
        elif _ARCHIVE.fullmatch(posixpath.basename(path)):
            layout.archives.append(path)
    # Tables are told by their content; what cannot be opened is none, and the absence of labels is told.
    for path, head in read_heads(root, csv_files, 1 << 16):
        if begins_as_label_table(head[:HEAD]):
            layout.tables.append(path)
        elif begins_as_dump(head):
            layout.dumps.append(path)
    return layout


def begins_as_dump(head: bytes) -> bool:
    """Whether the first bytes of a CSV file are those of results of Mechanical Turk on CMU's segments."""
    line = head.partition(b"\n")[0]
    try:
        return set(next(csv.reader([line.decode("utf-8-sig", errors="replace").strip()]), [])) >= _DUMP
    except csv.Error:
        return False


def choose_table(root: Path, tables: list[str], corpus: str) -> tuple[str, list[LabelRow], list[str]] | None:
    """The label table to use, its rows, and notes on those that are left aside; None if there is none.

    A path that names the corpus comes first, as in ``MOSEI/label.csv`` beside ``MOSI/label.csv``; then the one nearest
    to the root.

    Raises:
        UsageError: The table has rows that cannot be read.
    """
    if not tables:
        return None
    named = re.compile(rf"(?<![a-z]){corpus}(?![a-z])", re.I)
    ranked = sorted(tables, key=lambda path: (not named.search(path), path.count("/"), path))
    path, *others = ranked
    notes = [f"Label tables {enumerate_some(others, 3)} are left aside for {path}."] if others else []
    return path, read_label_table(root / path, path), notes


def unpacking(layout: Layout) -> str:
    """The end of an error where archives are still packed."""
    return f" Archives are still packed: {enumerate_some(layout.archives, 3)}; unpack them." if layout.archives else ""
