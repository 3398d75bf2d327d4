"""Packs, the files that training reads: their statistics, `Pack` for reading, and `write_pack`.

A pack is mapped into memory, so that a clip is a slice and nothing is read in advance. It keeps count, mean and spread
of each dimension's valid, finite values for each clip; `merge_statistics` combines those of several clips. A new pack
copies the unchanged clips from the previous pack; the others are written clip by clip.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal.isal_zlib import crc32

from mse_pipeline.errors import MseError
from mse_pipeline.store.checksum import damaged, of_rows
from mse_pipeline.store.features import ClipMissing, Features
from mse_pipeline.store.hdf5 import BODY, CHECKSUMS, STATISTICS, PackLayout, create, inspect
from mse_pipeline.store.storage import aside


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of C clips, one array row each.

    Attributes:
        count: (C, D) int64, numbers of valid, finite values.
        mean: (C, D) float64; 0 where there is no value.
        spread: (C, D) float64, sums of squared deviations from the mean.
    """

    count: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def of_clip(values: np.ndarray, valid: np.ndarray) -> Statistics:
    """Statistics of one clip, as one array row.

    Args:
        values: (T, D) float32.
        valid: (T,) bool.

    Examples:
        >>> s = of_clip(np.float32([[1.0], [3.0], [99.0], [np.nan]]), np.array([True, True, False, True]))
        >>> s.count.tolist(), s.mean.tolist(), s.spread.tolist()
        ([[2]], [[2.0]], [[2.0]])
    """
    rows = (values if valid.all() else values[valid]).astype(np.float64)
    finite = np.isfinite(rows)
    if finite.all():
        count = np.full(rows.shape[1], len(rows), np.int64)
        mean = rows.sum(axis=0) / max(len(rows), 1)
        rows -= mean
    else:
        count = finite.sum(axis=0)
        rows[~finite] = 0.0
        mean = rows.sum(axis=0) / np.maximum(count, 1)
        rows -= mean
        rows[~finite] = 0.0
    return Statistics(count[None], mean[None], np.einsum("td,td->d", rows, rows)[None])


def merge_statistics(parts: Iterable[Statistics]) -> Statistics | None:
    """Statistics of all clips together, as one array row; None without any part.

    Deviations are merged part by part (Chan, Golub & LeVeque 1983), which stays exact where sums of squares of large
    values do not.
    """
    merged: Statistics | None = None
    for part in parts:
        total = _merged(part)
        if merged is not None:
            pairs = ((merged.count, total.count), (merged.mean, total.mean), (merged.spread, total.spread))
            total = _merged(Statistics(*(np.concatenate(pair) for pair in pairs)))
        merged = total
    return merged


def _merged(part: Statistics) -> Statistics:
    if len(part.count) == 1:
        return part
    count = part.count.sum(axis=0, keepdims=True)
    base = part.mean[part.count.sum(axis=1).argmax()] if len(part.mean) else np.zeros(part.mean.shape[1])
    mean = base + (part.count * (part.mean - base)).sum(axis=0, keepdims=True) / np.maximum(count, 1)
    spread = (part.spread + part.count * (part.mean - mean) ** 2).sum(axis=0, keepdims=True)
    return Statistics(count, np.where(count > 0, mean, 0.0), spread)


_STATISTICS_BLOCK = 8 << 20  # bytes of statistics that are merged at once


class Pack(Mapping[str, Features]):
    """A pack opened for reading: clip id -> Features, whose values and intervals are slices of the mapped file.

    Rows are compared with their checksum when they are first read, statistics each time. Slices are read-only, and
    stay valid after `close` and after the file was replaced by a newer one. Pages that were read count as shared memory
    of this process, but the system can take them back: after an epoch, that may look like the whole file.

    Args:
        path: The file, on a local disk.
        home: Its place in the cache, where `path` is a copy of it.

    Raises:
        DamagedError: The file is missing, damaged or of another format; later, a clip that is read is damaged.
    """

    def __init__(self, path: Path, home: Path | None = None) -> None:
        self.path, self.home = path, home or path
        layout = inspect(path, home)
        self.names, self.clip_keys, self.offsets = layout.names, layout.keys, layout.offsets
        self.about: Mapping[str, Any] = layout.about
        self.arrays = _arrays(_mapped(path, self.home), self.home, layout)
        self._values, self._intervals = self.arrays["values"], self.arrays["intervals"]
        # Compared, not viewed: numpy expects a bool to be 0 or 1, but a file may hold any byte.
        self._valid, self._stored_valid = self.arrays["valid"] != 0, self.arrays["valid"]
        checksums = self.arrays.get(CHECKSUMS)
        self._checksums: tuple[list[int], list[int]] | None = None
        if checksums is not None:
            self._checksums = checksums[:, 0].tolist(), checksums[:, 1].tolist()
        self._bounds: list[int] = self.offsets.tolist()  # Python's numbers are faster to look up than numpy's
        self._known = bytearray(len(layout.clips))  # 1 after a clip's rows were compared with their checksum
        self._places = {clip: index for index, clip in enumerate(layout.clips)}

    def __getitem__(self, clip: str) -> Features:
        return self._at(self._place(clip))

    def _place(self, clip: str) -> int:
        place = self._places.get(clip)
        if place is None:
            raise ClipMissing(clip, self._places, str(self.about.get("stream", self.home)))
        return place

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
        return damaged(self.home, f"{stream} of the clip {clip!r} in the pack", "its checksum does not match")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, clip: object) -> bool:
        return clip in self._places

    def __repr__(self) -> str:
        stream, alignment = self.about.get("stream", "A pack"), self.about.get("alignment", {})
        clock = f" on the clock {alignment['kind']}" if "kind" in alignment else ""
        return f"{stream} of {len(self):,} clips{clock}, {len(self.names):,} values a row, in {self.home}"

    def place(self, clip: str) -> int | None:
        """Position of a clip in the file's order; None if it is not in the pack."""
        return self._places.get(clip)

    def length(self, clip: str) -> int:
        """Number of rows T of a clip, without reading it."""
        index = self._place(clip)
        return int(self.offsets[index + 1] - self.offsets[index])

    def has_valid(self, clip: str) -> bool:
        """Whether any row of a clip is valid, without reading its values."""
        index = self._place(clip)
        return bool(self._valid[self._bounds[index] : self._bounds[index + 1]].any())

    def statistics(self, clips: Sequence[str]) -> Iterator[Statistics]:
        """Statistics of the given clips that the pack has, in blocks; computed from the values if the file has none."""
        places = np.array([self._places[clip] for clip in clips if clip in self._places], np.int64)
        if "mean" not in self.arrays:
            for index in places:
                features = self._at(int(index))
                yield of_clip(features.values, features.valid)
            return
        step = max(1, _STATISTICS_BLOCK // (8 * max(1, len(self.names))))
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
        """Whether the rows of the clip at a position match their checksum; True without checksums."""
        if self._checksums is None:
            return True
        rows = slice(self._bounds[index], self._bounds[index + 1])
        checksum = of_rows(self._values[rows], self._intervals[rows], self._stored_valid[rows])
        return checksum == self._checksums[0][index]

    def statistics_intact(self, index: int) -> bool:
        """The same for its statistics; True if there are none."""
        if self._checksums is None or "mean" not in self.arrays:
            return True
        return of_statistics(self.arrays[name][index] for name in STATISTICS) == self._checksums[1][index]

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self.arrays

    def close(self) -> None:
        """Close the file; slices that were read stay valid."""
        self.arrays = {}
        self._values = self._intervals = self._valid = self._stored_valid = np.zeros(0)

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def of_statistics(parts: Iterable[np.ndarray]) -> int:
    """Checksum of a clip's count, mean and spread."""
    checksum = 0
    for part in parts:
        checksum = crc32(part, checksum)
    return int(checksum)


def _mapped(path: Path, home: Path) -> mmap.mmap:
    try:
        with path.open("rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise damaged(home, "The pack", error) from error


def _arrays(mapped: mmap.mmap, path: Path, layout: PackLayout) -> dict[str, np.ndarray]:
    arrays = {}
    for name, region in layout.regions.items():
        dtype = np.dtype(np.uint8) if region.dtype == np.bool_ else region.dtype
        if region.start + region.size > len(mapped):
            raise damaged(path, "The pack", "it was truncated while it was opened")
        count = region.size // dtype.itemsize
        flat = np.frombuffer(mapped, dtype, count, region.start) if count else np.zeros(0, dtype)
        arrays[name] = flat.reshape(region.shape)
    return arrays


_BLOCK = 16 << 20  # bytes that are copied at once


@dataclass(frozen=True)
class PackEntry:
    """One clip of a pack that is to be written.

    Attributes:
        clip: Its id.
        key: What its features depend on, as a hash.
        rows: Number of rows T; None if it is not known yet.
        old: Its position in the previous pack, if it is copied from there.
    """

    clip: str
    key: str = ""
    rows: int | None = None
    old: int | None = None


def write_pack(
    path: Path,
    entries: Sequence[PackEntry],
    fresh: Iterable[tuple[str, Features]],
    *,
    names: Sequence[str],
    about: Mapping[str, Any],
    before: Pack | None = None,
) -> None:
    """Write a pack, completely or not at all; its bytes depend only on clips, keys, features, names and `about`.

    Args:
        path: The file.
        entries: The clips in their order.
        fresh: Clip id and features of the clips that are not copied, in that order; read once, one clip in memory.
            If numbers of rows are not known yet, features wait in a file, and clips without features are left out.
        names: The dimensions' names.
        about: Plain values that are kept with the file.
        before: The previous pack, for entries with an `old` position; the caller has compared them with their
            checksums.

    Raises:
        MseError: The features of a clip are missing, or have other dimensions or another number of rows than announced.
    """
    with aside(path) as temporary, ExitStack() as stack:
        if any(entry.rows is None and entry.old is None for entry in entries):
            spool = stack.enter_context(Spool(temporary, len(names)))
            for clip, features in fresh:
                spool.add(clip, _checked(clip, features, names))
            entries = [
                replace(entry, rows=spool.rows.get(entry.clip)) if entry.old is None else entry for entry in entries
            ]
            entries = [entry for entry in entries if entry.old is not None or entry.rows is not None]
            fresh = spool.read(names)
        lengths = [_rows(entry, before) for entry in entries]
        layout = create(
            temporary,
            clips=[entry.clip for entry in entries],
            keys=[entry.key for entry in entries],
            lengths=lengths,
            names=names,
            about=about,
        )
        with temporary.open("r+b") as handle:
            _fill(_Body(handle, layout), entries, iter(fresh), before)


def _rows(entry: PackEntry, before: Pack | None) -> int:
    if entry.old is None:
        return int(entry.rows or 0)
    if before is None:
        raise ValueError(f"{entry.clip} has a position in a previous pack, but there is no such pack.")
    return int(before.offsets[entry.old + 1] - before.offsets[entry.old])


def _checked(clip: str, features: Features, names: Sequence[str]) -> Features:
    if tuple(features.names) != tuple(names):
        raise MseError(
            f"{clip} has {features.dim} dimensions, but the first clip of the stream has {len(names)}, or their names "
            "differ. Extract the whole stream with one recipe."
        )
    return features


def _fill(
    body: _Body, entries: Sequence[PackEntry], fresh: Iterator[tuple[str, Features]], before: Pack | None
) -> None:
    # Clips that follow each other in the previous pack too are one group: they are shifted by the same number.
    def shift_of(numbered: tuple[int, PackEntry]) -> int | None:
        index, entry = numbered
        return None if entry.old is None else entry.old - index

    for shift, group in itertools.groupby(enumerate(entries), shift_of):
        if shift is not None and before is not None:
            places = [entry.old for _, entry in group if entry.old is not None]
            body.copy(before, places[0], places[-1] + 1)
            continue
        for _, entry in group:
            clip, features = next(fresh, (None, None))
            if clip != entry.clip or features is None or len(features) != entry.rows:
                raise MseError(
                    f"The features of {entry.clip} do not match the journal. Run `mse cache prune`, then "
                    "`mse extract` again."
                )
            body.add(_checked(entry.clip, features, body.names))
    body.end()


class _Body:
    """The arrays of a pack file, each written from begin to end."""

    def __init__(self, handle: IO[bytes], layout: PackLayout) -> None:
        self.names = layout.names
        self._handle = handle
        self._regions = layout.regions
        self._written = dict.fromkeys(layout.regions, 0)
        self._checksums: list[tuple[int, int]] = []

    def add(self, features: Features) -> None:
        """Write one clip after the others."""
        for name in BODY:
            self._write(name, getattr(features, name))
        statistics = self._statistics(features.values, features.valid) if "mean" in self._regions else 0
        self._checksums.append((of_rows(features.values, features.intervals, features.valid), statistics))

    def copy(self, before: Pack, first: int, end: int) -> None:
        """Copy clips that follow each other in another pack."""
        rows = int(before.offsets[first]), int(before.offsets[end])
        for name in BODY:
            self._copy(name, before.arrays[name], *rows)
        checksums = before.arrays[CHECKSUMS][first:end].tolist()
        if "mean" not in self._regions:
            checksums = [(rows, 0) for rows, _ in checksums]
        elif "mean" in before.arrays:
            for name in STATISTICS:
                self._copy(name, before.arrays[name], first, end)
        else:
            copied = (before[clip] for clip in itertools.islice(before, first, end))
            checksums = [
                (rows, self._statistics(features.values, features.valid))
                for (rows, _), features in zip(checksums, copied, strict=True)
            ]
        self._checksums += checksums

    def end(self) -> None:
        """Write the checksums of all clips."""
        self._write(CHECKSUMS, np.array(self._checksums, np.uint32).reshape(-1, 2))

    def _statistics(self, values: np.ndarray, valid: np.ndarray) -> int:
        """Write a clip's statistics; returns their checksum."""
        statistics = of_clip(values, valid)
        parts = [np.ascontiguousarray(getattr(statistics, name)) for name in STATISTICS]
        for name, part in zip(STATISTICS, parts, strict=True):
            self._write(name, part)
        return of_statistics(parts)

    def _copy(self, name: str, array: np.ndarray, first: int, end: int) -> None:
        step = max(1, _BLOCK // max(1, array[:1].nbytes))
        for begin in range(first, end, step):
            self._write(name, array[begin : min(begin + step, end)])

    def _write(self, name: str, array: np.ndarray) -> None:
        if array.size:
            self._handle.seek(self._regions[name].start + self._written[name])
            self._handle.write(np.ascontiguousarray(array).data.cast("B"))
            self._written[name] += array.nbytes


class Spool:
    """Features that wait in temporary files until the number of all rows is known.

    Args:
        beside: The file that is written; the temporary files are in its folder until the end of the ``with`` block.
        dim: Number of dimensions.
    """

    def __init__(self, beside: Path, dim: int) -> None:
        self.rows: dict[str, int] = {}
        self._paths = {name: beside.with_name(f"{beside.name}.{name}") for name in BODY}
        self._handles: dict[str, IO[bytes]] = {}
        self._widths = {"values": dim * 4, "intervals": 16, "valid": 1}

    def __enter__(self) -> Spool:
        self._handles = {name: path.open("w+b") for name, path in self._paths.items()}
        return self

    def __exit__(self, *exception: object) -> None:
        for name, handle in self._handles.items():
            handle.close()
            self._paths[name].unlink(missing_ok=True)

    def add(self, clip: str, features: Features) -> None:
        """Add one clip after the others."""
        self.rows[clip] = len(features)
        for name, handle in self._handles.items():
            handle.write(np.ascontiguousarray(getattr(features, name)).data.cast("B") if len(features) else b"")

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Features]]:
        """All clips in the order in which they were added."""
        for handle in self._handles.values():
            handle.seek(0)
        kinds = (("values", np.float32), ("intervals", np.float64), ("valid", np.bool_))
        for clip, rows in self.rows.items():
            values, intervals, valid = (
                np.frombuffer(self._handles[name].read(rows * self._widths[name]), kind) for name, kind in kinds
            )
            yield clip, Features(values.reshape(rows, len(names)), intervals, valid, names)
