"""CMU's labels as a computational sequence (.csd): HDF5 with ``/<root>/data/<video>/{features, intervals}``.

Such files come from strangers: `mse_pipeline.hdf5_guard` opens them, and nothing larger than labels are is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError, UsageError

EMOTIONS = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
"""The six emotions in the order of the labels' columns, after sentiment."""

_ROOT = "All Labels"
_MAX_VIDEOS = 100_000
_MAX_SEGMENTS = 10_000


@dataclass(frozen=True)
class LabelSequence:
    """The labelled segments of one video, in the file's order.

    Attributes:
        intervals: (N, 2) float64, start and end in the full video in seconds; starts may be negative.
        labels: (N, 7) float64: sentiment in -3 to 3, then `EMOTIONS` in 0 to 3.
    """

    intervals: np.ndarray
    labels: np.ndarray


def find_labels(root: Path, paths: Iterable[str]) -> tuple[str | None, list[str]]:
    """The first computational sequence that holds MOSEI's labels, and notes on those that cannot be opened.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Of .csd files below the root.
    """
    import h5py

    from mse_pipeline.hdf5_guard import opened

    notes: list[str] = []
    # Labels are small and called so; features of tens of gigabytes need not be opened before them.
    for path in sorted(paths, key=lambda path: ("label" not in path.lower(), path)):
        try:
            with opened(root / path) as file:
                if isinstance(file.get(_ROOT, getlink=True), h5py.HardLink):
                    return path, notes
        except MseError as error:
            notes.append(f"{path} is left aside: {error}")
    return None, notes


def read_labels(root: Path, path: str) -> dict[str, LabelSequence]:
    """Labels by video.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        path: Of the computational sequence, below the root.

    Raises:
        UsageError: The file is not sound, or not what labels look like: links, data outside of the file, other shapes.
    """
    from mse_pipeline.hdf5_guard import child, keys, opened

    try:
        with opened(root / path) as file:
            data = child(child(file, _ROOT), "data")
            videos = keys(data)
            if len(videos) > _MAX_VIDEOS:
                raise UsageError(f"{path} claims {len(videos):,} videos; at most {_MAX_VIDEOS:,} are read.")
            return {video: _sequence(child(data, video), video, path) for video in videos}
    except MseError as error:
        raise error if isinstance(error, UsageError) else UsageError(str(error)) from None


def _sequence(group: Any, video: str, path: str) -> LabelSequence:
    intervals, labels = _values(group, "intervals", 2, path), _values(group, "features", 1 + len(EMOTIONS), path)
    if len(intervals) != len(labels):
        raise UsageError(f"{path} has {len(intervals)} intervals but {len(labels)} labels of video {video}.")
    return LabelSequence(intervals, labels)


def _values(group: Any, name: str, width: int, path: str) -> np.ndarray:
    from mse_pipeline.hdf5_guard import numbers

    dataset = numbers(group, name)
    shape: tuple[int, ...] = dataset.shape or ()
    if len(shape) != 2 or shape[1] != width or shape[0] > _MAX_SEGMENTS:
        raise UsageError(
            f"Dataset {group.name}/{name} of {path} has the shape {shape}; expected is (N, {width}) with N of at most "
            f"{_MAX_SEGMENTS:,}."
        )
    return np.asarray(dataset[()], dtype=np.float64)
