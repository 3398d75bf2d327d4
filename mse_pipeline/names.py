"""Names of files: the same name in two Unicode normal forms, and which names a disk can hold.

macOS and its archives decompose accents (``é`` as ``e`` and a mark, NFD), tables mostly have them composed (NFC): the
two look the same and are other bytes.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast, overload

Key = TypeVar("Key", bound=str | tuple[str, str])
Value = TypeVar("Value")
Default = TypeVar("Default")

LONGEST = 255
"""Bytes of a file's name on the usual file systems; of Chinese letters that is 85."""

ASIDE_BYTES = 20
"""Bytes that the name of an unfinished file has more than its own (`mse_pipeline.store.storage.aside`)."""


def composed(name: Key) -> Key:
    r"""A name, or a tuple of them, in the form in which equal names are equal (NFC).

    Examples:
        >>> composed("e\u0301") == "\u00e9", composed(("e\u0301", "1")) == ("\u00e9", "1")
        (True, True)
    """
    if isinstance(name, str):
        return cast(Key, unicodedata.normalize("NFC", name))
    return cast(Key, tuple(unicodedata.normalize("NFC", part) for part in name))


class ByName(dict[Key, Value]):
    r"""A dict of names in which another normal form of a key is found, too; the key as it is written comes first.

    It is filled once and not changed afterwards.

    Examples:
        >>> found = ByName({"e\u0301.wav": 1})
        >>> "\u00e9.wav" in found, found.get("\u00e9.wav"), found.get("e.wav")
        (True, 1, None)
    """

    def __init__(self, items: Mapping[Key, Value] | Iterable[tuple[Key, Value]] = ()) -> None:
        super().__init__(dict(items))
        self._written: dict[Key, Key] = {}
        for key in self:
            self._written.setdefault(composed(key), key)

    def written(self, key: Key) -> Key | None:
        """The key as the dict has it; None where there is none."""
        return key if super().__contains__(key) else self._written.get(composed(key))

    def __contains__(self, key: object) -> bool:
        """Whether there is the key, in whichever form."""
        return self.written(cast(Key, key)) is not None

    def __getitem__(self, key: Key) -> Value:
        """The value of a key, in whichever form."""
        written = self.written(key)
        return super().__getitem__(key if written is None else written)

    @overload
    def get(self, key: Key, default: None = None, /) -> Value | None: ...
    @overload
    def get(self, key: Key, default: Default, /) -> Value | Default: ...
    def get(self, key: Key, default: Any = None, /) -> Any:
        """The value of a key, in whichever form, or the default."""
        written = self.written(key)
        return default if written is None else super().__getitem__(written)


def existing(folder: Path, path: str) -> Path:
    """A file below a folder as it is called there, in whichever normal form; as it is written where there is none.

    Args:
        folder: Of this machine or on a remote storage.
        path: Below the folder, with forward slashes.
    """
    if path.isascii() or (folder / path).exists():
        return folder / path
    for part in path.split("/"):
        folder /= _called(folder).get(part, part)
    return folder


def _called(folder: Path) -> ByName[str, str]:
    try:
        changed = folder.stat().st_mtime if isinstance(folder, os.PathLike) else 0.0
    except OSError:
        return ByName()
    return _listed(folder, changed)


@functools.lru_cache(maxsize=16)
def _listed(folder: Path, changed: float) -> ByName[str, str]:
    """The names in a folder, read once as long as it stays as it is."""
    try:
        return ByName({entry.name: entry.name for entry in folder.iterdir()})
    except OSError:
        return ByName()


def too_long(path: str) -> str | None:
    """Why a path cannot be written, as the end of a sentence; None where it can be.

    Args:
        path: With forward slashes.

    Examples:
        >>> too_long("a/" + "情" * 85 + ".npy")
        'has 259 bytes in UTF-8; a name that can be written has at most 235'
        >>> too_long("train/dia0_utt0.npy") is None
        True
    """
    longest = max(len(part.encode("utf-8", "surrogatepass")) for part in path.split("/"))
    most = LONGEST - ASIDE_BYTES
    return f"has {longest} bytes in UTF-8; a name that can be written has at most {most}" if longest > most else None


def same_on_disk(folder: Path, paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of paths that would be one file below a folder: its disk does not tell case, or normal forms, apart.

    Args:
        folder: Of this machine, where the files are to be written.
        paths: Below the folder.
    """
    first: dict[str, str] = {}
    alike = []
    for path in paths:
        earlier = first.setdefault(composed(path).casefold(), path)
        if earlier != path:
            alike.append((earlier, path))
    if not alike:
        return []
    with tempfile.TemporaryDirectory(prefix=".mse-", dir=folder) as probe:
        for name in ("a", "\u00e9"):
            Path(probe, name).touch()
        one_case = os.path.exists(os.path.join(probe, "A"))
        one_form = os.path.exists(os.path.join(probe, "e\u0301"))
    return [
        (path, other)
        for path, other in alike
        if (one_case and (one_form or path.casefold() == other.casefold()))
        or (one_form and composed(path) == composed(other))
    ]


def file_name(text: str) -> str:
    """A text as the name of a file, with a digest if different texts could give the same name.

    Examples:
        >>> file_name("meld-train/dia0_utt0"), file_name("mine-情/1")
        ('meld-train_dia0_utt0', 'mine-_1-ec47b23a')
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")[:120]
    plain = name == text.replace("/", "_")
    return name if plain else f"{name}-{blake2b(text.encode(), digest_size=4).hexdigest()}"
