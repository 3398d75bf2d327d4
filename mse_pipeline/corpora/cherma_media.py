"""CHERMA's media: a user's own folder, in which wav and mp4 files are found by their names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Literal

from mse_pipeline.clip import Split
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.meld_layout import split_of_folders
from mse_pipeline.names import ByName, composed

Kind = Literal["video", "audio"]
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "video": (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv"),
    "audio": (".wav", ".flac", ".mp3", ".m4a", ".ogg"),
}


class MediaFolder:
    """Files by name, whatever folders they lie in.

    Args:
        listing: Of the root.
    """

    def __init__(self, listing: Listing) -> None:
        by_stem: dict[tuple[str, str], list[str]] = {}
        self._named: set[str] = set()
        for path in listing.files:
            stem, suffix = posixpath.splitext(posixpath.basename(path))
            for kind, suffixes in SUFFIXES.items():
                if suffix.lower() in suffixes:
                    by_stem.setdefault((kind, stem), []).append(path)
        self._by_stem: ByName[tuple[str, str], list[str]] = ByName(by_stem)

    def __len__(self) -> int:
        """Number of media files."""
        return sum(map(len, self._by_stem.values()))

    def find(self, kind: Kind, written: str, split: Split) -> list[str]:
        """The files that a label file names, the one to use first.

        Files in a folder that is named after another split are another clip's. Of the others, a file at the written
        path comes first, then one in a folder of the split, then one with the written suffix, then the one nearest to
        the root: media may have been converted (``.flac`` for ``.wav``).

        Args:
            kind: Whether the file has a picture.
            written: As the label file has it, with or without folders.
            split: Of the clip.
        """
        stem, suffix = posixpath.splitext(posixpath.basename(written))
        ranked = []
        for path in self._by_stem.get((kind, stem), ()):
            folder = split_of_folders(posixpath.dirname(path).split("/"))
            if folder in (split, None):
                as_written = f"/{composed(path)}".endswith(f"/{composed(written)}")
                same = path.lower().endswith(suffix.lower())
                ranked.append((not as_written, folder is None, not same, path.count("/"), path))
        found = [path for *_, path in sorted(ranked)]
        self._named.update(found)
        return found

    def unnamed(self) -> Iterator[str]:
        """Files that no call of `find` gave."""
        for paths in self._by_stem.values():
            yield from (path for path in paths if path not in self._named)
