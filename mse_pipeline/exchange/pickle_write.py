"""Writes pickles of plain values and arrays, the arrays piece by piece.

Python's own pickler needs every array whole in memory, and uses the names of numpy's functions in the installed numpy.
This one uses names that every numpy since 1.0 has, so that old and new versions open the file. Formats of one padded
array get from here the longest clip of a stream, its dimensions, and a clip's padded rows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import zero_where_undefined
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features


class Padded:
    """One stream of a dataset, every clip padded with rows of zeros to the length of the longest one.

    Args:
        dataset: In the cache.
        stream: Its name; a dataset's stream on the clock that training reads.

    Raises:
        UsageError: The dataset has no such stream, or no clip has features of it.
    """

    def __init__(self, dataset: Dataset, stream: str) -> None:
        self._features: Mapping[str, Features] = dataset[stream]
        first = next(iter(self._features.values()), None)
        if first is None:
            raise UsageError(f"No clip of {dataset.name} has features of {stream}.")
        self.dim = first.dim
        length: Any = getattr(self._features, "length", lambda clip: len(self._features[clip]))
        self._lengths = {clip: int(length(clip)) for clip in self._features}
        self.longest = max(1, *self._lengths.values())

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Number of rows of each clip; 0 where it has no features."""
        return [self._lengths.get(clip.id, 0) for clip in clips]

    def rows(self, clip: Clip) -> np.ndarray:
        """(longest, dim) float32, 0 where a value is not defined."""
        padded = np.zeros((self.longest, self.dim), np.float32)
        if self._lengths.get(clip.id):
            values = self._features[clip.id].values
            padded[: len(values)] = zero_where_undefined(values)
        return padded

    def blocks(self, clips: Sequence[Clip]) -> Iterator[np.ndarray]:
        """The clips' rows one after the other."""
        for clip in clips:
            yield self.rows(clip)


def by_split(clips: Sequence[Clip]) -> dict[Split, list[Clip]]:
    """The clips of each split, in their order; a split without clips has an empty list."""
    return {split: [clip for clip in clips if clip.split == split] for split in Split}


def streams_of(streams: Mapping[str, str], dataset: Dataset, modalities: Sequence[str]) -> dict[str, Padded]:
    """The chosen streams by modality.

    Raises:
        UsageError: A modality has no place in the format, or nothing is chosen.
    """
    strange = [modality for modality in streams if modality not in modalities]
    if strange or not streams:
        raise UsageError(
            f"The format holds the modalities {', '.join(modalities)}; got {', '.join(strange) or 'no stream'}."
        )
    return {modality: Padded(dataset, stream) for modality, stream in streams.items()}


_PROTOCOL = 4


@dataclass(frozen=True)
class Pieces:
    """An array that is made while it is written.

    Attributes:
        shape: Of the whole.
        dtype: A number's.
        make: Gives the array in pieces along its first axis.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], Iterator[np.ndarray]]


def write_pickle(value: Any, file: BinaryIO) -> None:
    """Write a value as a pickle of protocol 4.

    Args:
        value: Dictionaries, lists, tuples, texts, numbers, truth values, None, arrays of numbers, `Pieces`,
            and iterators, which become lists.
        file: Where to.

    Raises:
        TypeError: There is a value of another kind.
        ValueError: Pieces are together not what was announced.
    """
    file.write(b"\x80" + bytes([_PROTOCOL]))
    _write(value, file)
    file.write(b".")


def _write(value: Any, file: BinaryIO) -> None:  # noqa: PLR0912 - a kind a branch
    if value is None:
        file.write(b"N")
    elif isinstance(value, bool):
        file.write(b"\x88" if value else b"\x89")
    elif isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            file.write(b"J" + struct.pack("<i", value))
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            file.write(b"\x8a" + bytes([len(data)]) + data)
    elif isinstance(value, float):
        file.write(b"G" + struct.pack(">d", value))
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        file.write(b"X" + struct.pack("<I", len(data)) + data)
    elif isinstance(value, bytes):
        file.write(b"\x8e" + struct.pack("<Q", len(value)) + value)
    elif isinstance(value, Mapping):
        file.write(b"}(")
        for key, item in value.items():
            _write(key, file)
            _write(item, file)
        file.write(b"u")
    elif isinstance(value, list | tuple):
        file.write(b"](" if isinstance(value, list) else b"(")
        for item in value:
            _write(item, file)
        file.write(b"e" if isinstance(value, list) else b"t")
    elif isinstance(value, Iterator):
        file.write(b"](")
        for item in value:
            _write(item, file)
        file.write(b"e")
    elif isinstance(value, np.ndarray):
        whole = np.ascontiguousarray(value)
        _array(Pieces(value.shape, whole.dtype, lambda: iter([whole])), file)
    elif isinstance(value, Pieces):
        _array(value, file)
    else:
        raise TypeError(f"A {type(value).__name__} is not written into a pickle.")


def _array(pieces: Pieces, file: BinaryIO) -> None:
    dtype = np.dtype(pieces.dtype)
    if dtype.kind not in "fiub":
        raise TypeError(f"An array of {dtype} is not written into a pickle.")
    size = int(np.prod(pieces.shape, dtype=np.int64)) * dtype.itemsize
    file.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
    _write((0,), file)
    file.write(b"C\x01b\x87R(K\x01")  # _reconstruct(ndarray, (0,), b"b"); its state: version 1,
    _write(pieces.shape, file)
    file.write(b"cnumpy\ndtype\n")
    _write((f"{dtype.kind}{dtype.itemsize}", False, True), file)
    file.write(b"R")
    order: Literal["|", "<"] = "|" if dtype.itemsize == 1 else "<"
    _write((3, order, None, None, None, -1, -1, 0), file)
    file.write(b"b\x89\x8e" + struct.pack("<Q", size))  # not column-major, data
    written = 0
    for piece in pieces.make():
        data = np.ascontiguousarray(piece, dtype.newbyteorder(order))
        written += data.nbytes
        file.write(data.tobytes())
    if written != size:
        raise ValueError(f"The pieces of an array have {written:,} bytes; {size:,} were announced.")
    file.write(b"tb")
