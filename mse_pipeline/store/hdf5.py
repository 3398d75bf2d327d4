"""HDF5 packs: what training reads. The values of all clips end to end with offsets: a clip is one slice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.features import Features

FORMAT = 1
_BLOCK = 16 << 20  # bytes that are held before they are written


def write_pack(
    path: Path, items: Iterable[tuple[str, Features]], names: Sequence[str], about: Mapping[str, Any]
) -> None:
    """Write features of many clips as one file, whole or not at all; the same items give the same bytes.

    Args:
        path: The file.
        items: Clip id and features, in the order in which they shall lie; read once, never all in memory.
        names: The dimensions' names.
        about: Plain values that are kept with the file (stream, version, alignment, journal fingerprint).
    """
    with aside(path) as temporary, h5py.File(temporary, "w", libver="latest", track_order=False) as file:
        values = _growing(file, "values", np.float32, len(names))
        intervals = _growing(file, "intervals", np.float64, 2)
        valid = _growing(file, "valid", np.bool_, None)
        clips: list[str] = []
        offsets = [0]
        for block in _blocks(items):
            for dataset, parts in (
                (values, [f.values for _, f in block]),
                (intervals, [f.intervals for _, f in block]),
                (valid, [f.valid for _, f in block]),
            ):
                rows = np.concatenate(parts)
                dataset.resize(len(dataset) + len(rows), axis=0)
                if len(rows):
                    dataset[-len(rows) :] = rows
            for clip, features in block:
                clips.append(clip)
                offsets.append(offsets[-1] + len(features))
        file.create_dataset("offsets", data=np.asarray(offsets, np.int64), track_times=False)
        file.create_dataset("clips", data=clips, dtype=h5py.string_dtype(), shape=(len(clips),), track_times=False)
        file.create_dataset("names", data=list(names), dtype=h5py.string_dtype(), track_times=False)
        file.attrs["format"] = FORMAT
        file.attrs["about"] = json.dumps(dict(about), sort_keys=True, ensure_ascii=False)


def _growing(file: h5py.File, name: str, dtype: type, width: int | None) -> h5py.Dataset:
    shape = (0,) if width is None else (0, width)
    chunk = max(256, (1 << 18) // (np.dtype(dtype).itemsize * (width or 1)))
    return file.create_dataset(
        name, shape, dtype, maxshape=(None, *shape[1:]), chunks=(chunk, *shape[1:]), track_times=False
    )


def _blocks(items: Iterable[tuple[str, Features]]) -> Iterator[list[tuple[str, Features]]]:
    block: list[tuple[str, Features]] = []
    size = 0
    for item in items:
        block.append(item)
        size += item[1].values.nbytes + item[1].intervals.nbytes
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


class Pack(Mapping[str, Features]):
    """A pack opened for reading: clip id -> Features, one slice of the file each.

    Close it, or use it in a ``with`` block.

    Raises:
        MseError: The file is missing, damaged or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r", rdcc_nbytes=0)  # chunks are unfiltered: read the slice, not the chunk
            if int(self._file.attrs["format"]) != FORMAT:
                raise ValueError(f"format {self._file.attrs['format']}, expected {FORMAT}")
            for name in ("values", "intervals", "valid", "offsets", "clips", "names"):
                # A hostile file may point its data to other files of this machine.
                if not isinstance(self._file.get(name, getlink=True), h5py.HardLink) or self._file[name].external:
                    raise ValueError(f"{name} lies outside of the file")
            self.names = tuple(self._file["names"].asstr()[:])
            self.about: dict[str, Any] = json.loads(self._file.attrs["about"])
            self.offsets: np.ndarray = self._file["offsets"][:]
            # Opened once: looking a dataset up by name takes longer than reading a slice of it.
            self._values, self._intervals, self._valid = (self._file[name] for name in ("values", "intervals", "valid"))
            self._places = {clip: index for index, clip in enumerate(self._file["clips"].asstr()[:])}
        except (OSError, KeyError, ValueError) as error:
            raise MseError(
                f"The pack {path} cannot be read ({error}). Remove it, and `mse extract` packs it anew."
            ) from error

    def __getitem__(self, clip: str) -> Features:
        index = self._places[clip]
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return Features(self._values[rows], self._intervals[rows], self._valid[rows], self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def length(self, clip: str) -> int:
        """Number of rows T of a clip, without reading it."""
        index = self._places[clip]
        return int(self.offsets[index + 1] - self.offsets[index])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
