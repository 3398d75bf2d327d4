"""Keys and versions: hashes of all that features depend on, and of nothing else.

A clip's key names its features in one stream. A version is a stream with one set of settings; `differences` says in
words how two versions differ.
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
        media_digest: Digest of the media file's content; None for a stream that does not read it.
        span: Begin and end in seconds, None for those of the file.
        stream: The result of `stream_id`.
        text: The clip's text and its language, for a stream that reads them.
        face: Number of the face that a person chose, for a stream that follows one.

    Examples:
        >>> clip_key("00ff", (None, 30.0), "a1b2c3") == clip_key("00ff", (None, 30.0), "a1b2c3")
        True
    """
    parts: list[Any] = [media_digest, list(span), stream]
    parts += [] if text is None else [list(text)]
    parts += [] if face is None else [{"face": face}]
    return hashlib.blake2b(canonical(parts), digest_size=16).hexdigest()


ID = re.compile(r"[0-9a-f]{12}")
"""The form of a `stream_id`. A folder of another name is no version, also in a cache from a stranger."""

_LONGEST = 40  # characters of a value that are shown
_UNSET = "not set"


@dataclass(frozen=True)
class Version:
    """One version of a stream in the cache.

    Attributes:
        id: 12 hex digits, as its folder is named.
        identity: The settings that the id is the hash of; empty if they are not known, as after an unfinished run.
        done: How many of the dataset's clips have features of it.
        current: Whether the dataset's manifest names it: this version is packed and used in training.
    """

    id: str
    identity: Mapping[str, Any]
    done: int
    current: bool


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The differences of two identities in words; options of the extractor by their names in the recipe.

    Examples:
        >>> old = {"stream": "acoustic.x", "revision": 1, "config": {"set": "eGeMAPSv02", "hop": 0.01}}
        >>> new = {"stream": "acoustic.x", "revision": 2, "config": {"set": "GeMAPSv01b", "hop": 0.01}}
        >>> differences(old, new)
        ('revision: 1 -> 2', 'set: eGeMAPSv02 -> GeMAPSv01b')
        >>> differences({}, old)
        ('its settings are not known',)
    """
    if not before or not after:
        return () if before == after else ("its settings are not known",)
    old, new = _flat(before), _flat(after)
    return tuple(
        f"{name}: {_short(old.get(name, _UNSET))} -> {_short(new.get(name, _UNSET))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _flat(identity: Mapping[str, Any]) -> dict[str, str]:
    """The values by the names that users know: options by their name alone, others by their path."""
    flat: dict[str, str] = {}
    for name, value in identity.items():
        if name == "config" and isinstance(value, Mapping):
            for option, chosen in value.items():
                flat[f"config.{option}" if option in identity else option] = _text(chosen)
        elif isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": _text(inner_value) for inner, inner_value in value.items()}
        else:
            flat["weights" if name == "model" else name] = _text(value)
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
