"""Journal: one row per clip and stream, done or failed. It alone decides what is in the cache.

A commit is one file of JSON lines, each with its checksum. A shard counts only if a journal file names it. The last row
of a clip and stream version counts. Commits are numbered in their order, since clocks may go backward.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mse_pipeline.store.checksum import damaged, seal, unseal
from mse_pipeline.store.storage import names, read_many, remove, write_text

Stage = Literal["find", "decode", "extract", "import"]

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, kw_only=True)
class JournalRow:
    """The result of one clip in one stream.

    Attributes:
        clip: The clip's id.
        stream: As in ``acoustic.egemaps``.
        version: The stream's id, 12 hex digits.
        status: ``done`` or ``failed``.
        key: Key of the features; empty if the media could not be read.
        shard: Name of the shard file that holds them.
        rows: Number of rows T.
        valid: Number of valid rows.
        code: Defect code of a failure, or of a remark on a clip that is done (``too_long``: it was cut).
        stage: Where it failed.
        message: The failure or the remark, as a sentence.
        digest: Digest of the media file's content.
        size: Size of the media file in bytes, to notice a change.
        mtime_ns: Time of the media file's last change.
        checksum: Of the features, as `checksum.of_features` computes it; None in rows of earlier versions.
    """

    clip: str
    stream: str
    version: str
    status: Literal["done", "failed"]
    key: str = ""
    shard: str | None = None
    rows: int = 0
    valid: int = 0
    code: str | None = None
    stage: Stage | None = None
    message: str | None = None
    digest: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    checksum: int | None = None


class Journal:
    """The journal of one dataset in the cache.

    Args:
        folder: Where its files lie; made when the first commit is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: tuple[list[str], dict[tuple[str, str], JournalRow]] = ([], {})

    def commit(self, name: str, rows: Iterable[JournalRow]) -> None:
        """Add rows in one file, completely or not at all. Names sort in the order of commits."""
        lines = (seal({k: v for k, v in vars(row).items() if v is not None}) for row in rows)
        write_text(self.folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))

    def next_name(self, run: str) -> str:
        """A new name that sorts after all present commits.

        Call it under the commit lock. On object storage, which has no lock, two commits at the same time may have any
        order, but a commit that begins after another has ended sorts after it.
        """
        numbers = (int(match[0]) for name in names(self.folder) if (match := _NUMBER.match(name)))
        return f"{max(numbers, default=0) + 1:020d}-{run}-{secrets.token_hex(3)}"

    def parts(self) -> list[Path]:
        """The commits' files in their order."""
        stems = (name.removesuffix(".jsonl") for name in names(self.folder) if name.endswith(".jsonl"))
        return [self.folder / f"{stem}.jsonl" for stem in sorted(stem for stem in stems if not stem.startswith("."))]

    def fingerprint(self) -> str:
        """A hash that changes with each commit; it costs one listing of the folder."""
        listed = "\n".join(path.name for path in self.parts())
        return hashlib.blake2b(listed.encode(), digest_size=16).hexdigest()

    def read(self) -> Mapping[tuple[str, str], JournalRow]:
        """The rows that count, by clip and stream version; the same object as long as nobody commits.

        Parts that were read before are not read again; only new parts are read.

        Raises:
            MseError: A file of the journal is damaged.
        """
        parts = self.parts()
        listed = [part.name for part in parts]
        known, rows = self._read
        if listed == known:
            return rows
        if listed[: len(known)] == known:
            parts, rows = parts[len(known) :], dict(rows)
        else:
            rows = {}
        for part, content in zip(parts, read_many(parts), strict=True):
            rows.update(_rows(part, content))
        self._read = listed, rows
        return rows

    def merge(self, parts: Sequence[Path], rows: Iterable[JournalRow]) -> None:
        """Replace several parts by one. It is written before they are removed, so that a kill loses nothing.

        Args:
            parts: The parts to replace, in order. Parts that were committed later stay, and count over the new one.
            rows: The rows of the new part.
        """
        stem, _, count = parts[-1].stem.partition("-merged")
        self.commit(f"{stem}-merged{int(count or 0) + 1:04d}", rows)
        for part in parts:
            remove(part)


def _rows(part: Path, content: bytes) -> Iterator[tuple[tuple[str, str], JournalRow]]:
    try:
        for line in lines(content):
            row, _ = read_row(line)
            yield (row.clip, row.version), row
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(part, "The journal file", error) from error


def lines(content: bytes) -> list[bytes]:
    """The lines of a part. Not by `splitlines`, which also splits at characters that are allowed inside JSON."""
    return [line for line in content.split(b"\n") if line]


def read_row(line: bytes) -> tuple[JournalRow, bool]:
    """The row of a line, and whether the line has a checksum.

    Raises:
        ValueError: The line is damaged, or is not a row.
        TypeError: The same.
        KeyError: The same.
        AttributeError: The same.
    """
    value, checked = unseal(line.decode("utf-8"))
    return JournalRow(**_shared(value)), checked


def _shared(value: dict[str, Any]) -> dict[str, Any]:
    """The same values, with one string object for each text that many rows repeat.

    Raises:
        ValueError: The shard is not a plain file name.
    """
    for name in ("stream", "version", "status", "shard", "code"):
        text = value.get(name)
        if text is not None:
            value[name] = sys.intern(text)
    if not _PLAIN.fullmatch(value.get("shard") or "-"):
        raise ValueError(f"{value['shard']!r} is not the name of a shard")
    return value
