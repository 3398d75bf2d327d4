"""Writing a pack: what has not changed is copied from the pack before, the rest comes clip by clip."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.checksum import of_rows
from mse_pipeline.store.features import Features
from mse_pipeline.store.hdf5 import BODY, CHECKSUMS, STATISTICS, Layout, create
from mse_pipeline.store.pack import Pack, of_statistics
from mse_pipeline.store.statistics import of_clip

_BLOCK = 16 << 20  # bytes that are copied at once


@dataclass(frozen=True)
class Entry:
    """One clip of a pack that is to be written.

    Attributes:
        clip: Its id.
        key: What its features depend on, as a hash.
        rows: Number of rows T; None where it is not known before.
        old: Its place in the pack before, if it is to be copied from there.
    """

    clip: str
    key: str = ""
    rows: int | None = None
    old: int | None = None


def write_pack(
    path: Path,
    entries: Sequence[Entry],
    fresh: Iterable[tuple[str, Features]],
    *,
    names: Sequence[str],
    about: Mapping[str, Any],
    before: Pack | None = None,
) -> None:
    """Write a pack, whole or not at all; its bytes depend on clips, keys, features, names and `about` alone.

    Args:
        path: The file.
        entries: The clips in their order.
        fresh: Clip id and features of those that are not to be copied, in that order; read once, one clip in memory.
            Where numbers of rows are not known before, features wait in a file, and clips that do not come are left
            out.
        names: The dimensions' names.
        about: Plain values that are kept with the file.
        before: The pack that entries with an `old` place are copied from; the caller has compared them with their
            checksums.

    Raises:
        MseError: A clip does not come, or has other dimensions or another number of rows than was said.
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


def _rows(entry: Entry, before: Pack | None) -> int:
    if entry.old is None:
        return int(entry.rows or 0)
    if before is None:
        raise ValueError(f"{entry.clip} is to be copied, but from no pack.")
    return int(before.offsets[entry.old + 1] - before.offsets[entry.old])


def _checked(clip: str, features: Features, names: Sequence[str]) -> Features:
    if tuple(features.names) != tuple(names):
        raise MseError(
            f"{clip} has {features.dim} dimensions, the first of the stream {len(names)}, or they have other names. "
            "Extract the stream with one recipe."
        )
    return features


def _fill(body: _Body, entries: Sequence[Entry], fresh: Iterator[tuple[str, Features]], before: Pack | None) -> None:
    # Clips that follow each other in the pack before are one group: their difference of places is the same.
    numbered = enumerate(entries)
    for shift, group in itertools.groupby(numbered, lambda one: None if one[1].old is None else one[1].old - one[0]):
        if shift is not None and before is not None:
            places = [entry.old for _, entry in group if entry.old is not None]
            body.copy(before, places[0], places[-1] + 1)
            continue
        for _, entry in group:
            clip, features = next(fresh, (None, None))
            if clip != entry.clip or features is None or len(features) != entry.rows:
                raise MseError(
                    f"The features of {entry.clip} are not what the journal says of them. Run `mse cache prune` and "
                    "`mse extract` again."
                )
            body.add(_checked(entry.clip, features, body.names))
    body.end()


class _Body:
    """The arrays of a pack file, each written from its begin to its end."""

    def __init__(self, handle: IO[bytes], layout: Layout) -> None:
        self.names = layout.names
        self._handle = handle
        self._regions = layout.regions
        self._written = dict.fromkeys(layout.regions, 0)
        self._checksums: list[tuple[int, int]] = []

    def add(self, features: Features) -> None:
        """Write one clip behind the others."""
        for name in BODY:
            self._write(name, getattr(features, name))
        statistics = self._statistics(features.values, features.valid) if "mean" in self._regions else 0
        self._checksums.append((of_rows(features.values, features.intervals, features.valid), statistics))

    def copy(self, before: Pack, first: int, end: int) -> None:
        """Copy clips that lie one after the other in another pack."""
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
            made = (before[clip] for clip in itertools.islice(before, first, end))
            checksums = [
                (rows, self._statistics(one.values, one.valid)) for (rows, _), one in zip(checksums, made, strict=True)
            ]
        self._checksums += checksums

    def end(self) -> None:
        """Write the checksums of all that was written."""
        self._write(CHECKSUMS, np.array(self._checksums, np.uint32).reshape(-1, 2))

    def _statistics(self, values: np.ndarray, valid: np.ndarray) -> int:
        """Write a clip's statistics; returns their checksum."""
        made = of_clip(values, valid)
        parts = [np.ascontiguousarray(getattr(made, name)) for name in STATISTICS]
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
    """Features that wait in files until the number of all rows is known.

    Args:
        beside: The file that they wait for; they lie in its folder and are removed at the end of the ``with`` block.
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
        """Put one clip behind the others."""
        self.rows[clip] = len(features)
        for name, handle in self._handles.items():
            handle.write(np.ascontiguousarray(getattr(features, name)).data.cast("B") if len(features) else b"")

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Features]]:
        """All clips in the order in which they came."""
        for handle in self._handles.values():
            handle.seek(0)
        kinds = (("values", np.float32), ("intervals", np.float64), ("valid", np.bool_))
        for clip, rows in self.rows.items():
            values, intervals, valid = (
                np.frombuffer(self._handles[name].read(rows * self._widths[name]), kind) for name, kind in kinds
            )
            yield clip, Features(values.reshape(rows, len(names)), intervals, valid, names)
