"""Label files -> bytes: read whole and bounded, from a local folder or a remote storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mse_pipeline.errors import UsageError
from mse_pipeline.places import address, filesystem, is_local

_AT_ONCE = 64  # so many small files are asked for together, and held in memory


def read_bytes(file: str | Path, what: str, limit: int) -> bytes:
    """The content of a file.

    Args:
        file: Local, or below a root on a remote storage.
        what: How errors call it, as in ``Label file train.json``.
        limit: Bytes that such a file has at most.

    Raises:
        UsageError: It cannot be read, or is larger.

    Examples:
        >>> read_bytes("none.csv", "Table none.csv", 100)
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: Table none.csv cannot be read: No such file or directory.
    """
    path = Path(file) if isinstance(file, str) else file
    try:
        size = path.stat().st_size if is_local(path) else int(filesystem(path).info(address(path))["size"])
        if size <= limit:
            return path.read_bytes() if is_local(path) else bytes(filesystem(path).cat_file(address(path)))
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror or error}.") from None
    raise UsageError(f"{what} has {size:,} bytes; at most {limit:,} are read.")


def read_head(file: str | Path, count: int) -> bytes:
    """The first bytes of a local file; none if it cannot be read. Whoever needs the file tells that it is not there."""
    try:
        with Path(file).open("rb") as opened:
            return opened.read(count)
    except OSError:
        return b""


def read_heads(root: Path, paths: Sequence[str], count: int) -> Iterator[tuple[str, bytes]]:
    """The first bytes of many files in their order, none of one that cannot be read: they tell what a file is.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Below the root.
        count: Bytes of each.
    """
    if is_local(root):
        yield from ((path, read_head(root / path, count)) for path in paths)
    else:
        for path, begin in _beginnings(root, paths, count):
            yield path, begin if isinstance(begin, bytes) else b""


def read_each(root: Path, paths: Sequence[str], limit: int) -> Iterator[tuple[str, bytes | UsageError | None]]:
    """The contents of many small files in their order; of a remote storage many at a time.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Below the root.
        limit: Bytes that such a file has at most.

    Yields:
        (path, content); None of a file that is larger, and the error of one that cannot be read.
    """
    if is_local(root):
        for path in paths:
            file = root / path
            try:
                content = file.read_bytes() if file.stat().st_size <= limit else None
            except OSError as error:
                yield path, UsageError(f"{path} cannot be read: {error.strerror or error}.")
                continue
            yield path, content
        return
    for path, begin in _beginnings(root, paths, limit + 1):
        if isinstance(begin, bytes):
            yield path, begin if len(begin) <= limit else None
        else:
            yield path, b"" if _is_empty(root / path) else UsageError(f"{path} cannot be read: {begin}.")


def _beginnings(root: Path, paths: Sequence[str], count: int) -> Iterator[tuple[str, bytes | Exception]]:
    """The first bytes of each file on a remote storage, or why there are none; many are asked for at a time."""
    for place in range(0, len(paths), _AT_ONCE):
        part = paths[place : place + _AT_ONCE]
        names = [address(root / path) for path in part]
        found = filesystem(root).cat_ranges(names, [0] * len(part), [count] * len(part), on_error="return")
        yield from zip(part, found, strict=True)


def _is_empty(file: Path) -> bool:
    """Whether no range of a file can be had because it is empty."""
    try:
        return int(filesystem(file).info(address(file))["size"]) == 0
    except OSError:
        return False
