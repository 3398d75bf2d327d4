"""Digest: which media a feature was made from, by content and not by name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mse_pipeline.errors import ClipError

_CHUNK = 1 << 20


def media_digest(path: str | os.PathLike[str]) -> str:
    """BLAKE2b of a file's content, 16 bytes as 32 hexadecimal digits.

    Raises:
        ClipError: `missing_media` where there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise ClipError("missing_media", f"{file} does not exist or is not a file.")
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
