"""Pack: what training reads. The file is mapped into memory, so that a clip is a slice and nothing is read ahead."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from mse_pipeline.errors import MseError
from mse_pipeline.store.checksum import damaged, of_rows
from mse_pipeline.store.features import Features
from mse_pipeline.store.hdf5 import CHECKSUMS, STATISTICS, Layout, inspect
from mse_pipeline.store.statistics import Statistics, of_clip

_BLOCK = 8 << 20  # bytes of statistics that are merged at once


class Pack(Mapping[str, Features]):
    """A pack opened for reading: clip id -> Features, whose values and intervals are slices of the mapped file.

    Rows are compared with their checksum when they are first read, statistics each time. Slices are read-only, and stay
    good after `close` and after the file was replaced by a newer one. What was read counts as this process's shared
    memory, but is the system's to take back: after an epoch that may look like the whole file.

    Args:
        path: The file, on a local disk.
        home: Its place in the cache, where `path` is a copy of it.

    Raises:
        DamagedError: The file is missing, damaged or of another format; later, what is read of it is damaged.
    """

    def __init__(self, path: Path, home: Path | None = None) -> None:
        self.path, self.home = path, home or path
        layout = inspect(path, home)
        self.names, self.clip_keys, self.offsets = layout.names, layout.keys, layout.offsets
        self.about: Mapping[str, Any] = layout.about
        self.arrays = _arrays(_mapped(path, self.home), self.home, layout)
        self._values, self._intervals = self.arrays["values"], self.arrays["intervals"]
        # Compared, not viewed: numpy trusts a bool to be 0 or 1, and a file may hold any byte.
        self._valid, self._stored_valid = self.arrays["valid"] != 0, self.arrays["valid"]
        checksums = self.arrays.get(CHECKSUMS)
        self._checksums: tuple[list[int], list[int]] | None = None
        if checksums is not None:
            self._checksums = checksums[:, 0].tolist(), checksums[:, 1].tolist()
        self._bounds: list[int] = self.offsets.tolist()  # numbers of Python are looked up faster than numpy's
        self._known = bytearray(len(layout.clips))  # 1 where a clip's rows were compared with their checksum
        self._places = {clip: index for index, clip in enumerate(layout.clips)}

    def __getitem__(self, clip: str) -> Features:
        return self._at(self._places[clip])

    def _at(self, index: int) -> Features:
        if not self.arrays:
            raise ValueError(f"The pack {self.path} is closed.")
        rows = slice(self._bounds[index], self._bounds[index + 1])
        if not self._known[index]:
            if not self.rows_intact(index):
                raise self._damaged(index)
            self._known[index] = 1
        return Features.checked(self._values[rows], self._intervals[rows], self._valid[rows], self.names)

    def _damaged(self, index: int) -> MseError:
        stream, clip = self.about.get("stream", "The stream"), tuple(self._places)[index]
        return damaged(
            self.home, f"{stream} of the clip {clip!r} in the pack", "it has another checksum than was written"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, clip: object) -> bool:
        return clip in self._places

    def place(self, clip: str) -> int | None:
        """Where a clip stands in the file's order; None if it is not there."""
        return self._places.get(clip)

    def length(self, clip: str) -> int:
        """Number of rows T of a clip, without reading it."""
        index = self._places[clip]
        return int(self.offsets[index + 1] - self.offsets[index])

    def has_valid(self, clip: str) -> bool:
        """Whether a row of a clip is valid, without reading its values."""
        index = self._places[clip]
        return bool(self._valid[self._bounds[index] : self._bounds[index + 1]].any())

    def statistics(self, clips: Sequence[str]) -> Iterator[Statistics]:
        """Statistics of the clips that are there, in blocks; from the file, or of the values where it keeps none."""
        places = np.array([self._places[clip] for clip in clips if clip in self._places], np.int64)
        if "mean" not in self.arrays:
            for index in places:
                features = self._at(int(index))
                yield of_clip(features.values, features.valid)
            return
        step = max(1, _BLOCK // (8 * max(1, len(self.names))))
        for begin in range(0, len(places), step):
            chosen = places[begin : begin + step]
            for index in chosen.tolist():
                if not self.statistics_intact(index):
                    raise self._damaged(index)
            yield Statistics(*(self.arrays[name][chosen] for name in STATISTICS))

    @property
    def checked(self) -> bool:
        """Whether it has checksums; packs of earlier versions have none."""
        return self._checksums is not None

    def rows_intact(self, index: int) -> bool:
        """Whether the rows of the clip at a place are what was written; True where there are no checksums."""
        if self._checksums is None:
            return True
        rows = slice(self._bounds[index], self._bounds[index + 1])
        found = of_rows(self._values[rows], self._intervals[rows], self._stored_valid[rows])
        return found == self._checksums[0][index]

    def statistics_intact(self, index: int) -> bool:
        """The same of its statistics; True where there are none."""
        if self._checksums is None or "mean" not in self.arrays:
            return True
        return of_statistics(self.arrays[name][index] for name in STATISTICS) == self._checksums[1][index]

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self.arrays

    def close(self) -> None:
        """Let go of the file; what was read of it stays."""
        self.arrays = {}
        self._values = self._intervals = self._valid = self._stored_valid = np.zeros(0)

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def of_statistics(parts: Iterable[np.ndarray]) -> int:
    """Checksum of a clip's count, mean and spread."""
    found = 0
    for part in parts:
        found = crc32(part, found)
    return int(found)


def _mapped(path: Path, home: Path) -> mmap.mmap:
    try:
        with path.open("rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise damaged(home, "The pack", error) from error


def _arrays(mapped: mmap.mmap, path: Path, layout: Layout) -> dict[str, np.ndarray]:
    arrays = {}
    for name, region in layout.regions.items():
        dtype = np.dtype(np.uint8) if region.dtype == np.bool_ else region.dtype
        if region.start + region.size > len(mapped):
            raise damaged(path, "The pack", "it was cut short as it was opened")
        count = region.size // dtype.itemsize
        flat = np.frombuffer(mapped, dtype, count, region.start) if count else np.zeros(0, dtype)
        arrays[name] = flat.reshape(region.shape)
    return arrays
