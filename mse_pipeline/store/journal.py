"""Journal: one row per clip and stream, done or failed, the single truth of what is in the cache.

A commit is one file of JSON lines. A shard counts only once a journal file names it; the last row of a clip
and stream version holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import write_text

Stage = Literal["find", "decode", "extract", "import"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one clip in one stream.

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
        message: What was found.
        digest: Digest of the media file's content.
        size: Size of the media file in bytes, by which a change is noticed.
        mtime_ns: Time of the media file's last change.
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


class Journal:
    """The journal of one dataset in the cache.

    Args:
        folder: Where its files lie; made when the first commit is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def commit(self, name: str, rows: Iterable[Row]) -> None:
        """Add rows in one file, whole or not at all. Names sort in the order of commits."""
        lines = (
            json.dumps({k: v for k, v in asdict(row).items() if v is not None}, ensure_ascii=False) for row in rows
        )
        write_text(self.folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))

    def parts(self) -> list[Path]:
        """The commits' files in their order."""
        return sorted(path for path in self.folder.glob("*.jsonl") if not path.name.startswith("."))

    def fingerprint(self) -> str:
        """Changes with each commit; costs a folder listing, not a reading."""
        names = "\n".join(path.name for path in self.parts())
        return hashlib.blake2b(names.encode(), digest_size=16).hexdigest()

    def read(self) -> dict[tuple[str, str], Row]:
        """The rows that hold, by clip and stream version.

        Raises:
            MseError: A file of the journal is damaged.
        """
        rows: dict[tuple[str, str], Row] = {}
        for part in self.parts():
            try:
                for line in part.read_text(encoding="utf-8").splitlines():
                    row = Row(**json.loads(line))
                    rows[row.clip, row.version] = row
            except (ValueError, TypeError) as error:
                raise MseError(
                    f"The journal file {part} is damaged ({error}). Remove it and run the extraction again: "
                    "only the clips that it names are made anew."
                ) from error
        return rows
