"""CMU's labels as a computational sequence (.csd): HDF5 with ``/<root>/data/<video>/{features, intervals}``.

Such files come from strangers: nothing but plain datasets of the file itself is read, and none larger than labels are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import UsageError

EMOTIONS = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
"""The six emotions in the order of the labels' columns, after sentiment."""

_ROOT = "All Labels"
_MAX_VIDEOS = 100_000
_MAX_SEGMENTS = 10_000


@dataclass(frozen=True)
class Sequence:
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

    notes: list[str] = []
    # Labels are small and called so; features of tens of gigabytes need not be opened before them.
    for path in sorted(paths, key=lambda path: ("label" not in path.lower(), path)):
        try:
            with h5py.File(root / path, "r") as file:
                if isinstance(file.get(_ROOT, getlink=True), h5py.HardLink):
                    return path, notes
        except OSError as error:
            notes.append(f"{path} is left aside: it is no sound HDF5 file ({error}).")
    return None, notes


def read_labels(root: Path, path: str) -> dict[str, Sequence]:
    """Labels by video.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        path: Of the computational sequence, below the root.

    Raises:
        UsageError: The file is not sound, or not what labels look like: links, data outside of the file, other shapes.
    """
    import h5py

    try:
        with h5py.File(root / path, "r") as file:
            data = _group(_group(file, _ROOT, path), "data", path)
            if len(data) > _MAX_VIDEOS:
                raise UsageError(f"{path} claims {len(data):,} videos; at most {_MAX_VIDEOS:,} are read.")
            return {video: _sequence(_group(data, video, path), video, path) for video in data}
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path} is no sound HDF5 file: {error}. Get it anew.") from None


def _group(parent: Any, name: str, path: str) -> Any:
    import h5py

    # A soft or external link leads wherever its writer liked.
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink) or not isinstance(parent[name], h5py.Group):
        raise UsageError(f"{path} has no plain group {name!r} in {parent.name}; labels are in /{_ROOT}/data/<video>.")
    return parent[name]


def _sequence(group: Any, video: str, path: str) -> Sequence:
    intervals, labels = _values(group, "intervals", 2, path), _values(group, "features", 1 + len(EMOTIONS), path)
    if len(intervals) != len(labels):
        raise UsageError(f"{path} has {len(intervals)} intervals but {len(labels)} labels of video {video}.")
    return Sequence(intervals, labels)


def _values(group: Any, name: str, width: int, path: str) -> np.ndarray:
    import h5py

    where = f"{group.name}/{name}"
    if not isinstance(group.get(name, getlink=True), h5py.HardLink) or not isinstance(group[name], h5py.Dataset):
        raise UsageError(f"{path} has no plain dataset {where}.")
    dataset = group[name]
    if dataset.external or dataset.is_virtual:
        raise UsageError(f"Dataset {where} of {path} lies in other files; labels must lie in the file itself.")
    shape: tuple[int, ...] = dataset.shape or ()
    if len(shape) != 2 or shape[1] != width or shape[0] > _MAX_SEGMENTS or dataset.dtype.kind not in "fiu":
        raise UsageError(
            f"Dataset {where} of {path} has the shape {shape} and the type {dataset.dtype}; expected are numbers in "
            f"(N, {width}) with N of at most {_MAX_SEGMENTS:,}."
        )
    return np.asarray(dataset[()], dtype=np.float64)
