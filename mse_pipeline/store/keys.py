"""Keys: what a feature's values depend on, and nothing else, as a hash.

Versions: what a stream was made with, each time that its settings were others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
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


ID = re.compile(r"[0-9a-f]{12}")
"""What `keys.stream_id` gives; anything else that a cache of strangers calls a version is not followed."""

_LONGEST = 40  # characters of a value that is told
_UNSET = "not set"


@dataclass(frozen=True)
class Version:
    """One version of a stream in the cache.

    Attributes:
        id: 12 hex digits, as its folder is named.
        identity: What the id is the hash of; empty where it is not known, as of features that were never finished.
        done: How many of the dataset's clips have features of it.
        current: Whether the dataset's manifest names it: it is the one that is packed and trained on.
    """

    id: str
    identity: Mapping[str, Any]
    done: int
    current: bool


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What two identities differ in, in words; options of the extractor by their names in the recipe.

    Examples:
        >>> one = {"stream": "acoustic.x", "revision": 1, "config": {"set": "eGeMAPSv02", "hop": 0.01}}
        >>> two = {"stream": "acoustic.x", "revision": 2, "config": {"set": "GeMAPSv01b", "hop": 0.01}}
        >>> differences(one, two)
        ('revision: 1 -> 2', 'set: eGeMAPSv02 -> GeMAPSv01b')
        >>> differences({}, one)
        ('it is not known what it was made with',)
    """
    if not before or not after:
        return () if before == after else ("it is not known what it was made with",)
    old, new = _flat(before), _flat(after)
    return tuple(
        f"{name}: {_short(old.get(name, _UNSET))} -> {_short(new.get(name, _UNSET))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _flat(identity: Mapping[str, Any]) -> dict[str, str]:
    """Each value under the name that a reader knows: options bare, others by their path."""
    found: dict[str, str] = {}
    for name, value in identity.items():
        if name == "config" and isinstance(value, Mapping):
            for option, chosen in value.items():
                found[f"config.{option}" if option in identity else option] = _told(chosen)
        elif isinstance(value, Mapping):
            found |= {f"{name}.{inner}": _told(one) for inner, one in value.items()}
        else:
            found["weights" if name == "model" else name] = _told(value)
    return found


def _told(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
