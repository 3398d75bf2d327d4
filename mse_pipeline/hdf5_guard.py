"""HDF5 files from strangers: nothing outside of the file is opened, and every claimed size is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.file_kinds import kind_of
from mse_pipeline.places import is_local

# gzip, shuffle, checksum, lzf: what h5py itself writes. Other filters would be loaded as plug-ins of the system.
_FILTERS = {1, 2, 3, 32000}
# Deflate makes at most 1,032 bytes of one; what claims more was never written.
_MAX_RATIO = 1100
_SMALL = 1 << 16
_MAX_BYTES = 4 << 30
_MAX_CHUNK = 1 << 30
_TEXTS_AT_ONCE = 256 << 20  # bytes that texts of variable length may take at worst, at four texts at a time
_MAX_NAMES = 1_000_000
_MAX_NAME = 700
_MAX_TEXT = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; what HDF5 itself finds wrong within the block becomes a sentence.

    Args:
        path: Local, or on a remote storage, of which the parts that are needed are fetched.

    Raises:
        MseError: It is not an HDF5 file, or is damaged.
    """
    try:
        with ExitStack() as stack:
            source = path if is_local(path) else stack.enter_context(path.open("rb"))
            yield stack.enter_context(h5py.File(source, "r"))
    except MseError:
        raise
    # HDF5 finds damage anywhere, and h5py makes errors of many types of it.
    except Exception as error:
        kind = kind_of(path)
        if kind is not None and kind.name != "an HDF5 file":
            raise MseError(f"{path} cannot be read as HDF5: it is {kind}") from error
        why = str(error).rstrip(".") or type(error).__name__
        raise MseError(
            f"{path} cannot be read as HDF5: {why}. It is damaged, or not an HDF5 file: download it again."
        ) from error


def keys(group: h5py.Group) -> list[str]:
    """Names of a group's members.

    Raises:
        MseError: There are more than a dataset can have, or one is not text.
    """
    if len(group) > _MAX_NAMES:
        raise MseError(f"{_place(group)} has {len(group):,} members; at most {_MAX_NAMES:,} are read.")
    names = list(group)
    for name in names:
        # Names become ids of clips, and so parts of tables and messages.
        if len(name) > _MAX_NAME or not name.isprintable():
            raise MseError(f"{_place(group)} has a member called {name[:50]!a}, which is not a plain name.")
    return names


def child(group: h5py.Group, name: str) -> h5py.Group:
    """A group below a group.

    Raises:
        MseError: There is none, or it is a link to another place.
    """
    member = _member(group, name)
    if not isinstance(member, h5py.Group):
        raise MseError(f"{_place(group)}/{name} is not a group, which it must be in a .csd file.")
    return member


def numbers(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset of numbers with its claims checked; nothing of it is read yet.

    Args:
        group: Where it is.
        name: Its name.

    Raises:
        MseError: There is none; it lies outside of the file; it holds other values than numbers; or it claims more
            values than the file can hold.
    """
    dataset, where = _dataset(group, name), f"{_place(group)}/{name}"
    if dataset.dtype.kind not in "fiu":
        raise MseError(f"{where} holds values of type {dataset.dtype}; only numbers are read.")
    _check_storage(dataset, where)
    return dataset


def strings(group: h5py.Group, name: str) -> list[str]:
    """The texts of a dataset (N,), (N, 1) or (1, N): strings of fixed or of variable length, in UTF-8.

    Args:
        group: Where it is.
        name: Its name.

    Raises:
        MseError: There is none; it lies outside of the file; it holds other values than texts; it has another shape;
            or it claims more than the file can hold.
    """
    dataset, where = _dataset(group, name), f"{_place(group)}/{name}"
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise MseError(f"{where} holds values of type {dataset.dtype}; only texts are read.")
    shape = tuple(dataset.shape or ())
    if not shape or len(shape) > 2 or (len(shape) == 2 and 1 not in shape and 0 not in shape):
        raise MseError(f"{where} has the shape {shape}; expected is one text for each row, (N,) or (N, 1).")
    _check_storage(dataset, where)
    if dataset.dtype.kind == "O" and Path(group.file.filename).is_file():
        _check_heaps(Path(group.file.filename))
    # Each row of variable length is a pointer into the file, and many may point to one long text.
    size = group.file.id.get_filesize()
    step = max(4, _TEXTS_AT_ONCE // size) if dataset.dtype.kind == "O" else max(shape)
    lying = len(shape) == 2 and shape[0] == 1
    texts: list[str] = []
    held = 0
    for start in range(0, max(shape), max(step, 1)):
        part = dataset[0, start : start + step] if lying else dataset[start : start + step]
        raw = part.reshape(-1).tolist()
        held += sum(map(len, raw))
        if held > _SMALL + size * (_MAX_RATIO if dataset.dtype.kind == "S" else 1):
            raise MseError(f"{where} has texts of {held:,} bytes and more, but the whole file has {size:,}.")
        texts += [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in raw]
    return texts


def _check_heaps(path: Path) -> None:
    """HDF5 never ends reading a heap of texts whose free space has no length, as zeros in a damaged file leave it."""
    data = path.read_bytes()
    heap = data.find(b"GCOL")
    while heap >= 0:
        position, end = heap + 16, heap + int.from_bytes(data[heap + 8 : heap + 16], "little")
        while position + 16 <= min(end, len(data)):
            number, size = int.from_bytes(data[position : position + 2], "little"), data[position + 8 : position + 16]
            length = int.from_bytes(size, "little")
            if number == 0 and length < 16:
                raise MseError(f"{path} is damaged: a heap of its texts has no valid end. Download it again.")
            position += length if number == 0 else 16 + (length + 7) // 8 * 8
        heap = data.find(b"GCOL", heap + 4)


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    member = _member(group, name)
    where = f"{_place(group)}/{name}"
    if not isinstance(member, h5py.Dataset):
        raise MseError(f"{where} is not a dataset, which it must be in a .csd file.")
    if member.is_virtual or member.external:
        raise MseError(f"{where} keeps its values in other files; that is refused. Copy them into the file.")
    return member


def text_of(group: h5py.Group, name: str) -> Any:
    """A metadata entry: JSON where it is JSON, else the text; None if there is none.

    Raises:
        MseError: It is a link, or not one string.
    """
    if name not in group:
        return None
    member = _member(group, name)
    where = f"{_place(group)}/{name}"
    if not isinstance(member, h5py.Dataset) or h5py.check_string_dtype(member.dtype) is None or member.size != 1:
        raise MseError(f"{where} must be one string, as the metadata of a .csd file are.")
    if member.is_virtual or member.external:
        raise MseError(f"{where} keeps its text in other files; that is refused.")
    text = member.asstr(errors="replace")[()]
    text = str(text if member.shape == () else text[0])
    if len(text) > _MAX_TEXT:
        raise MseError(f"{where} has {len(text):,} characters; at most {_MAX_TEXT:,} are read.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    where = f"{_place(group)}/{name}"
    try:
        link = group.get(name, getlink=True)
    except KeyError:
        raise MseError(f"{where} is missing.") from None
    if link is None:
        raise MseError(f"{where} is missing.")
    if isinstance(link, h5py.ExternalLink):
        raise MseError(f"{where} is a link to another file, {link.filename!r}; that is refused.")
    if not isinstance(link, h5py.HardLink):
        raise MseError(f"{where} is a link to another place; that is refused.")
    return group[name]


def _check_storage(dataset: h5py.Dataset, where: str) -> None:
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if filters - _FILTERS:
        raise MseError(f"{where} is packed with HDF5 filter {min(filters - _FILTERS)}; only gzip and lzf are read.")
    claimed = int(np.prod([int(size) for size in dataset.shape or ()], dtype=object)) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if claimed > _MAX_BYTES:
        raise MseError(f"{where} claims {claimed:,} bytes; at most {_MAX_BYTES:,} are read.")
    if claimed > max(_SMALL, stored * (_MAX_RATIO if filters else 1)):
        raise MseError(f"{where} claims {claimed:,} bytes but the file holds {stored:,} for it.")
    chunk = int(np.prod([int(size) for size in dataset.chunks or ()], dtype=object)) * dataset.dtype.itemsize
    if dataset.chunks and chunk > _MAX_CHUNK:
        raise MseError(f"{where} is stored in chunks of {chunk:,} bytes; at most {_MAX_CHUNK:,} are read.")


def _place(group: h5py.Group) -> str:
    return f"{Path(group.file.filename).name}:{group.name.rstrip('/')}"
