"""Checksums: CRC-32 of a file's content, which every single flipped bit changes.

The values are those of zlib, so that anyone can check them; isal computes them as fast as memory is read. A JSON
object, be it a document or a line of a journal, has the checksum of its own text as its last key, ``crc``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from isal.isal_zlib import crc32

from mse_pipeline.errors import MseError, explain, of_the_machine
from mse_pipeline.store.storage import write_text

if TYPE_CHECKING:
    from mse_pipeline.store.features import Features

_KEY = "crc"
_MARK = f'"{_KEY}": "'
_LONGEST = 1 << 18  # bytes of a text in which a flipped bit is searched for; the time grows with the square


class DamagedError(MseError):
    """A file's content is not what was written."""


def of_text(text: str, so_far: int = 0) -> int:
    """Checksum of a text in UTF-8; `so_far` is the checksum of the content before it."""
    return int(crc32(text.encode(), so_far))


def of_rows(values: np.ndarray, intervals: np.ndarray, valid: np.ndarray, so_far: int = 0) -> int:
    """Checksum of a clip's arrays; each must be contiguous in memory."""
    return int(crc32(valid, crc32(intervals, crc32(values, so_far))))


def of_features(features: Features) -> int:
    """Checksum of features with their names and notes.

    Examples:
        >>> from dataclasses import replace
        >>> from mse_pipeline.store.features import Features
        >>> f = Features([[0.5]], [[0.0, 1.0]], [True], ("f0",))
        >>> of_features(f) == of_features(replace(f)), of_features(f) == of_features(replace(f, names=("f1",)))
        (True, False)
    """
    header = json.dumps([list(features.names), dict(features.notes)], ensure_ascii=False)
    return of_rows(features.values, features.intervals, features.valid, of_text(header))


def seal(value: Mapping[str, Any], indent: int | None = None) -> str:
    """A JSON object with the checksum of its text.

    Examples:
        >>> seal({"clip": "a"})
        '{"clip": "a", "crc": "c03e5153"}'
        >>> unseal(seal({"clip": "a"}))
        ({'clip': 'a'}, True)
        >>> unseal('{"clip": "a"}')
        ({'clip': 'a'}, False)
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    head = text[:-1].rstrip()
    gap = ", " if indent is None else f",\n{' ' * indent}"
    return f'{head}{gap}{_MARK}{of_text(head):08x}"{text[len(head) :]}'


def unseal(text: str) -> tuple[dict[str, Any], bool]:
    """The object of a JSON text, and whether it has a checksum.

    Raises:
        ValueError: It is no JSON object, or has another checksum than its text.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    key, checksum = next(reversed(value.items()), ("", None))
    matches = checksum == f"{of_text(_head(text, key)):08x}"
    if key == _KEY and matches:
        del value[key]
        return value, True
    if key == _KEY or matches:  # with the right checksum under another key, that key is damaged
        raise ValueError("its checksum does not match its text: it was changed or damaged")
    return value, False


def _head(text: str, key: str = _KEY) -> str:
    """The part of a sealed text that its checksum covers."""
    return text.rpartition(f'"{key}": "')[0].rstrip()[:-1]


def read_sealed(path: Path) -> tuple[dict[str, Any], bool]:
    """The object of a JSON file, and whether it has a checksum.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON object, or has another checksum than its text.
    """
    return unseal(path.read_text(encoding="utf-8"))


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all."""
    write_text(path, seal(value, indent=2) + "\n")


def mended(content: bytes) -> bytes | None:
    r"""A sealed document, or sealed lines, with one flipped bit set back; None if one bit does not explain the damage.

    Examples:
        >>> line = seal({"rows": 412}) + "\n"
        >>> mended(line.replace("412", "402").encode()) == line.encode()
        True
    """
    if len(content) > _LONGEST:
        return None
    candidates = []
    changed = bytearray(content)
    for index in range(len(content)):
        for bit in range(8):
            changed[index] ^= 1 << bit
            if _fits(changed):
                candidates.append(bytes(changed))
            changed[index] ^= 1 << bit
    return candidates[0] if len(candidates) == 1 else None


def _fits(content: bytearray) -> bool:
    """Whether this is a document as `write_sealed` writes it, or lines of sealed objects."""
    if not content.endswith(b"\n"):
        return False
    return _is_sealed(content[:-1], indent=2) or all(_is_sealed(line) for line in content[:-1].split(b"\n"))


def _is_sealed(content: bytearray, indent: int | None = None) -> bool:
    mark = content.rfind(_MARK.encode())
    # The digits are checked first: nearly all attempts fail here.
    if content[mark + len(_MARK) :][:8] != b"%08x" % crc32(content[:mark].rstrip()[:-1]):
        return False
    try:
        text = content.decode()
        return text == seal(unseal(text)[0], indent)
    except ValueError:
        return False


def damaged(path: Path, what: str, why: object) -> MseError:
    """The error for a file in the cache that is missing or not what was written: a `DamagedError`.

    If the machine cannot read the file, as without permission, it is a plain `MseError`: there is nothing to repair.

    Args:
        path: The file.
        what: What cannot be read, as in ``visual.mtcnn of the clip 'a' in the shard``.
        why: The error, or the difference, that shows the damage.
    """
    if isinstance(why, OSError) and of_the_machine(why):
        return MseError(explain(why, path))
    missing = isinstance(why, FileNotFoundError)
    state = "cannot be read: it is not there" if missing else f"is damaged and cannot be read ({why})"
    return DamagedError(f"{what} {path} {state}. Run: mse cache verify {dataset_of(path)} --repair")


def dataset_of(path: Path) -> str:
    """The name of the dataset in whose folder a file lies."""
    for folder in path.parents:
        if folder.name in {"streams", "journal"}:
            return folder.parent.name
    return path.parent.name
