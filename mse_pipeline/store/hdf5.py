"""The pack file: an HDF5 file with contiguous arrays, so that they are mapped into memory and not read.

The values of all clips follow each other, with offsets: a clip is one slice. Any HDF5 library reads the file. `Pack`
maps it after `inspect` has checked its structure.

| dataset | shape | meaning |
|---|---|---|
| ``values`` | (N, D) float32 | rows of all clips |
| ``intervals`` | (N, 2) float64 | begin and end of each row in seconds from its clip's start |
| ``valid`` | (N,) bool | whether there was something to measure |
| ``offsets`` | (C + 1,) int64 | clip i has the rows from ``offsets[i]`` to ``offsets[i + 1]`` |
| ``clips``, ``keys`` | (C,) text | id of each clip, and what its features depend on as a hash |
| ``names`` | (D,) text | the dimensions |
| ``checksums`` | (C, 2) uint32 | CRC-32 of each clip's values, intervals and valid, and of its statistics |
| ``count``, ``mean``, ``spread`` | (C, D) int64, float64, float64 | statistics of each clip, where they are smaller than the values |

The attribute ``checksum`` is the CRC-32 of everything outside of these arrays. Packs of format 2 have no checksums.
"""  # noqa: E501

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal.isal_zlib import crc32

from mse_pipeline.store.checksum import damaged, of_text

FORMAT, UNCHECKED = 3, 2
BODY = ("values", "intervals", "valid")
STATISTICS = ("count", "mean", "spread")
CHECKSUMS = "checksums"
_TEXTS = ("clips", "keys", "names")
_TYPES: dict[str, np.dtype] = {
    "values": np.dtype("<f4"),
    "intervals": np.dtype("<f8"),
    "valid": np.dtype(np.bool_),
    "offsets": np.dtype("<i8"),
    "count": np.dtype("<i8"),
    "mean": np.dtype("<f8"),
    "spread": np.dtype("<f8"),
    CHECKSUMS: np.dtype("<u4"),
}
_ALIGNMENT = 64  # bytes; numbers at odd addresses are slow, and some processors refuse them
_ROWS_FOR_STATISTICS = 8  # rows a clip, on average; with fewer, statistics would be larger than the values


@dataclass(frozen=True)
class Region:
    """The place of an array in the file.

    Attributes:
        start: Its first byte.
        shape: Its shape.
        dtype: Its type.
    """

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(map(int, self.shape)) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class PackLayout:
    """The contents of a pack file and their places.

    Attributes:
        clips: Ids in order.
        keys: Key of each.
        names: The D dimensions.
        offsets: (C + 1,) int64.
        regions: By dataset name: values, intervals, valid and, where there are any, checksums and statistics.
        about: Plain values that are kept with the file.
    """

    clips: tuple[str, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...]
    offsets: np.ndarray
    regions: Mapping[str, Region]
    about: Mapping[str, Any]


def create(
    path: Path, *, clips: Sequence[str], keys: Sequence[str], lengths: Sequence[int], names: Sequence[str],
    about: Mapping[str, Any],
) -> PackLayout:  # fmt: skip
    """Make a pack file with space for its arrays, and everything else.

    The bytes of the file depend on the arguments alone.

    Args:
        path: The file.
        clips: Ids in order.
        keys: Key of each.
        lengths: Number of rows of each.
        names: The dimensions.
        about: Plain values that are kept with the file.
    """
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)
    rows, dim, count = int(offsets[-1]), len(names), len(clips)
    shapes = {"values": (rows, dim), "intervals": (rows, 2), "valid": (rows,), CHECKSUMS: (count, 2)}
    if rows >= _ROWS_FOR_STATISTICS * count:
        shapes |= dict.fromkeys(STATISTICS, (count, dim))
    space = {"alignment_threshold": 1, "alignment_interval": _ALIGNMENT}
    with h5py.File(path, "w", libver="latest", track_order=False, **space) as file:
        file.create_dataset("offsets", data=offsets, track_times=False)
        for name, texts in (("clips", clips), ("keys", keys), ("names", names)):
            kind = {"dtype": h5py.string_dtype(), "shape": (len(texts),)}
            file.create_dataset(name, data=list(texts), track_times=False, **kind)
        file.attrs["format"] = FORMAT
        file.attrs["about"] = json.dumps(dict(about), sort_keys=True, ensure_ascii=False)
        file.attrs["checksum"] = np.uint32(_checksum(clips, keys, names, offsets, about))
        regions = {name: _room(file, name, shape) for name, shape in shapes.items()}
    return PackLayout(tuple(clips), tuple(keys), tuple(names), offsets, regions, about)


def _room(file: h5py.File, name: str, shape: tuple[int, ...]) -> Region:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)
    kind = h5py.h5t.py_create(_TYPES[name], logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), plan)
    return _region(file[name], _TYPES[name])


def _region(dataset: h5py.Dataset, dtype: np.dtype) -> Region:
    return Region(dataset.id.get_offset() or 0, dataset.shape, dtype)


def inspect(path: Path, home: Path | None = None) -> PackLayout:
    """Read everything except the arrays, and check that each array is contiguous and inside the file.

    A pack may come from a stranger: links to other files are not opened, and an array beyond the end of the file is
    refused, since reading it would kill the process.

    Args:
        path: The file, on a local disk.
        home: Its place in the cache, where `path` is a copy of it.

    Raises:
        DamagedError: The file is missing, damaged, of another format, or not what a pack may be.
    """
    try:
        size = os.path.getsize(path)
        with h5py.File(path, "r") as file:
            written = int(file.attrs["format"])
            if written not in {FORMAT, UNCHECKED}:
                raise ValueError(f"format {written}, expected {UNCHECKED} or {FORMAT}")
            checked = written == FORMAT
            wanted = [*BODY, *(STATISTICS if "mean" in file else ()), *([CHECKSUMS] if checked else [])]
            datasets = {name: _plain(file, name, size) for name in ("offsets", *_TEXTS, *wanted)}
            clips, keys, names = (tuple(datasets[name].asstr()[:]) for name in _TEXTS)
            offsets = datasets["offsets"][:]
            regions = {name: _region(datasets[name], _TYPES[name]) for name in wanted}
            about = json.loads(file.attrs["about"])
            checksum = int(file.attrs["checksum"]) if checked else None
        if not isinstance(about, dict):
            raise TypeError("its description is no JSON object")
        _check_shapes(clips, keys, names, offsets, regions)
        if checked and checksum != _checksum(clips, keys, names, offsets, about):
            raise ValueError("the checksum of its table of clips does not match")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, OverflowError) as error:
        raise damaged(home or path, "The pack", error) from error
    return PackLayout(clips, keys, names, offsets, regions, about)


def _plain(file: h5py.File, name: str, size: int) -> h5py.Dataset:
    """An HDF5 dataset that is contiguous and completely inside this file."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} lies outside of the file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is not an HDF5 dataset")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} lies outside of the file")
    plan = dataset.id.get_create_plist()
    if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_nfilters():
        raise ValueError(f"{name} is not contiguous")
    if name in _TEXTS:
        if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
            raise ValueError(f"{name} is not a list of texts")
    elif dataset.dtype != _TYPES[name]:
        raise ValueError(f"{name} has the type {dataset.dtype}, expected {_TYPES[name]}")
    start = dataset.id.get_offset()
    claimed = math.prod(map(int, dataset.shape)) * dataset.id.get_type().get_size()
    if claimed and (start is None or start + claimed > size):
        raise ValueError(f"{name} ends beyond the end of the file, which is incomplete or forged")
    if name not in _TEXTS and (start or 0) % dataset.dtype.itemsize:
        raise ValueError(f"{name} starts at an address that does not fit its type")
    return dataset


def _checksum(
    clips: Sequence[str], keys: Sequence[str], names: Sequence[str], offsets: np.ndarray, about: Mapping[str, Any]
) -> int:
    header = json.dumps([list(clips), list(keys), list(names), dict(about)], sort_keys=True, ensure_ascii=False)
    return crc32(offsets, of_text(header))


def _check_shapes(
    clips: Sequence[str], keys: Sequence[str], names: Sequence[str], offsets: np.ndarray, regions: Mapping[str, Region]
) -> None:
    count, dim = len(clips), len(names)
    if len(keys) != count or offsets.shape != (count + 1,) or len(set(clips)) != count:
        raise ValueError(f"{count} clips, {len(keys)} keys and offsets of shape {offsets.shape} do not fit together")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError("its offsets do not rise from 0")
    rows = int(offsets[-1])
    shapes = {"values": (rows, dim), "intervals": (rows, 2), "valid": (rows,), CHECKSUMS: (count, 2)}
    for name, region in regions.items():
        wanted = shapes.get(name, (count, dim))
        if region.shape != wanted:
            raise ValueError(f"{name} has the shape {region.shape}, expected {wanted}")
