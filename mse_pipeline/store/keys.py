"""Keys: what a feature's values depend on, and nothing else, as a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> bytes:
    """The same bytes for equal values: JSON with sorted keys and without spaces.

    Examples:
        >>> canonical({"b": 1, "a": [0.1, None]})
        b'{"a":[0.1,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def stream_id(identity: Mapping[str, Any]) -> str:
    """12 hex digits that name a configured extractor: its name, revision, configuration and model digest."""
    return hashlib.blake2b(canonical(dict(identity)), digest_size=6).hexdigest()


def clip_key(
    media_digest: str | None,
    span: tuple[float | None, float | None],
    stream: str,
    text: tuple[str, str] | None = None,
    face: int | None = None,
) -> str:
    """32 hex digits that name the features of one clip in one stream.

    Args:
        media_digest: Digest of the media file's content; None for a stream that does not look at it.
        span: Begin and end in seconds, None for the file's own.
        stream: What `stream_id` gave.
        text: The clip's text and its language, for a stream that reads them.
        face: Number of the face that someone chose, for a stream that follows one.

    Examples:
        >>> clip_key("00ff", (None, 30.0), "a1b2c3") == clip_key("00ff", (None, 30.0), "a1b2c3")
        True
    """
    parts: list[Any] = [media_digest, list(span), stream]
    parts += [] if text is None else [list(text)]
    parts += [] if face is None else [{"face": face}]
    return hashlib.blake2b(canonical(parts), digest_size=16).hexdigest()
