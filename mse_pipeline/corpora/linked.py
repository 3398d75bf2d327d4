"""Reading a raw folder that holds links: one that is not followed costs its clips alone, and is told as the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mse_pipeline.clip import Defect
from mse_pipeline.corpora.base import Corpus, Options
from mse_pipeline.corpora.files import Listing, list_files, open_root, telling
from mse_pipeline.errors import UsageError

_MEDIA = (
    *(".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv", ".m4v", ".mpg", ".mpeg", ".ts", ".vob", ".wmv", ".3gp", ".ogv"),
    *(".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".wma"),
)


def read_folder(root: str | Path, options: Options, read: Callable[[Path, Listing], Corpus]) -> Corpus:
    """The corpus of a raw folder, of which nothing is read that a link hides.

    Args:
        root: The raw folder.
        options: Of the reader.
        read: Makes the corpus of the root and what lies below it; media it opens none.

    Raises:
        UsageError: There is no such folder, or `read` refuses; links that are not followed are told as well.
    """
    folder = open_root(root)
    listing = list_files(folder, options.follow_links)
    with telling(listing):
        corpus = read(folder, listing)
    lost = {clip.id for clip in corpus.clips if clip.media is None}
    return _with_reasons(corpus, lost, folder, listing, read) if lost and listing.withheld else corpus


def _with_reasons(
    corpus: Corpus, lost: set[str], folder: Path, listing: Listing, read: Callable[[Path, Listing], Corpus]
) -> Corpus:
    """The corpus whose clips without media tell the link that has them.

    The reader itself says which clip a withheld file would be of: it is asked again, as if the file were there.
    """
    media = [path for path in listing.withheld if path.lower().endswith(_MEDIA)]
    there = tuple(sorted((*listing.files, *media), key=lambda path: (path.count("/"), path)))
    try:
        supposed = {clip.id: clip.media for clip in read(folder, replace(listing, files=there)).clips}
    except UsageError:
        supposed = {}
    folders = [path for path in listing.withheld if path not in media and not (folder / path).is_file()]

    def explained(defect: Defect) -> Defect:
        path = supposed.get(defect.clip or "")
        if defect.code != "missing_media" or defect.clip not in lost:
            return defect
        if path is not None and path in listing.withheld:
            message = f"The file of {defect.clip}, {path}, {listing.withheld[path]}."
            return replace(defect, message=message, path=path)
        if folders:
            reason = f"it may lie in {folders[0]}, which {listing.withheld[folders[0]]}"
            return replace(defect, message=f"{defect.message.removesuffix('.')}; {reason}.")
        return defect

    return replace(corpus, defects=tuple(map(explained, corpus.defects)))
