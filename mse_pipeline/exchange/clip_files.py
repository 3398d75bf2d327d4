"""Files of a folder, one a video -> the clips of a dataset that they are of."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.errors import UsageError
from mse_pipeline.names import composed


@dataclass(frozen=True)
class FileMatch:
    """A clip's file.

    Attributes:
        file: Its path below the folder.
        cut: Whether it is of the whole media file, of which the clip is a span.
    """

    file: str
    cut: bool


def match_files(clips: Sequence[Clip], files: Sequence[str]) -> dict[str, FileMatch]:
    """The file of each clip that has one.

    A file belongs to the clip whose id, or whose media file, it is named like: ``train/dia0_utt0.csv``,
    ``train_dia0_utt0.csv``, or ``dia0_utt0.csv`` where only one clip is called so. The file of a long video serves all
    clips that are spans of it.

    Args:
        clips: The clips.
        files: Paths below one folder, with slashes and endings.

    Returns:
        By clip id, in the clips' order.

    Raises:
        UsageError: A file could be of several clips.

    Examples:
        >>> from mse_pipeline.clip import Split
        >>> clip = Clip(id="train/dia0_utt0", split=Split.TRAIN)
        >>> match_files([clip], ["out/train_dia0_utt0.json"])["train/dia0_utt0"].file
        'out/train_dia0_utt0.json'
    """
    places: dict[str, set[str]] = defaultdict(set)
    shared = Counter(clip.media for clip in clips if clip.media)
    by_id: dict[str, str] = {}
    for clip in clips:
        for place in {clip.id, clip.id.replace("/", "_"), clip.id.replace("$_$", "_"), clip.id.replace("$_$", "/")}:
            places[composed(place)].add(clip.id)
            by_id[composed(place)] = clip.id
    by_media: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        stem = posixpath.splitext(clip.media)[0] if clip.media else clip.id
        parts = stem.split("/")
        for first in range(len(parts)):
            by_media[composed("/".join(parts[first:]))].add(clip.id)
    spans = {clip.id for clip in clips if clip.media and (shared[clip.media] > 1 or clip.start or clip.end is not None)}
    media = {clip.id: clip.media for clip in clips}
    found: dict[str, FileMatch] = {}
    for file in sorted(files, key=lambda name: (name.count("/"), name)):
        parts = composed(posixpath.splitext(file)[0]).split("/")
        for first in range(len(parts)):
            place = "/".join(parts[first:])
            if len(places.get(place, ())) == 1:
                found[by_id[place]] = FileMatch(file, cut=False)
                break
            others = by_media.get(place, set())
            if len({media[one] or one for one in others}) > 1:
                raise UsageError(
                    f"{file} could be of several clips: {enumerate_some(sorted(others), 5)}. Put the files into "
                    "folders like those of the media, or name them like the clips' ids."
                )
            for one in others:
                found.setdefault(one, FileMatch(file, cut=one in spans))
            if others:
                break
    return {clip.id: found[clip.id] for clip in clips if clip.id in found}


def within_span(intervals: np.ndarray, clip: Clip, cut: bool) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a file that are within a clip, and their times from its start.

    Args:
        intervals: (T, 2) seconds in the video.
        clip: The clip.
        cut: Whether the file is of the whole media file, of which the clip is a span.

    Returns:
        (T,) bool, and (N, 2) seconds from the clip's start of those that are.
    """
    start = (clip.start or 0.0) if cut else 0.0
    end = clip.end if cut and clip.end is not None else np.inf
    inside = (intervals[:, 0] >= start - 1e-6) & (intervals[:, 0] < end - 1e-6)
    return inside, np.clip(intervals[inside] - start, 0.0, end - start)
