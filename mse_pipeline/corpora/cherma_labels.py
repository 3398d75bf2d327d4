"""CHERMA's label files: train.json, dev.json and test.json, as the released features (LFMIM) have them."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.cells import is_missing, said
from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import Listing, relative
from mse_pipeline.corpora.reading import read_bytes
from mse_pipeline.corpora.table_cells import Complaints, split_of
from mse_pipeline.corpora.text import decode, is_damaged, repair
from mse_pipeline.errors import UsageError

KEYS = ("audio_file", "video_file", "txt_label", "audio_label", "visual_label", "video_label")
MODALITY = {"txt_label": "text", "audio_label": "acoustic", "visual_label": "visual"}
"""Key -> name of the modality that it annotates, as `Clip.labels` has it."""
TEXT_KEYS = ("text", "transcript", "txt")
"""Keys that may hold what is said. The released files have none of them."""

FOLDER = {Split.TRAIN: "train", Split.VALID: "dev", Split.TEST: "test"}
"""Split -> the word that CHERMA's files use for it; clip ids begin with it, as the released features' folders do."""

_NAME = re.compile(r"(?:.*[._-])?(train|dev|val|valid|validation|test)(?:[._-].*)?\.json", re.I)
_MAX_BYTES = 256 << 20
_MAX_ID = 150
_ID = re.compile(r"(?!\.)[^\x00-\x1f\x7f-\x9f/\\]+")


@dataclass(frozen=True)
class Row:
    """One annotated utterance.

    Attributes:
        number: Of the entry in the file, from 1.
        name: `audio_file` without folders and ``.wav``; the released features go by this name.
        audio: `audio_file` below the root.
        video: `video_file` below the root; empty if the entry has none.
        text: Cleaned; empty if no key has it.
        label: `video_label`, the label of all modalities together, as written; empty if there is none.
        modality_labels: ``text``, ``acoustic``, ``visual`` -> label as written.
        repaired: Whether the text held encoding damage.
    """

    number: int
    name: str
    audio: str
    video: str
    text: str
    label: str
    modality_labels: Mapping[str, str]
    repaired: bool


@dataclass(frozen=True)
class LabelFile:
    """A label file.

    Attributes:
        path: Below the root.
        encoding: That it was in.
        has_text: Whether any entry has a text.
        rows: Of all its entries.
    """

    path: str
    encoding: str
    has_text: bool
    rows: tuple[Row, ...]


def read_labels(root: Path, listing: Listing) -> tuple[dict[Split, LabelFile], list[str]]:
    """The label file of each split, the one nearest to the root, and notes on the others.

    Raises:
        UsageError: A label file has entries that cannot be read.
    """
    found: dict[Split, LabelFile] = {}
    notes = []
    for path in listing.files:
        match = _NAME.fullmatch(posixpath.basename(path))
        split = split_of(match[1], {}) if match else None
        if split is None:
            continue
        entries, encoding = _entries(root / path, path)
        if entries is None:
            notes.append(f"{path} is left aside: it is no list of entries with {KEYS[0]} and {KEYS[-1]}.")
        elif split in found:
            notes.append(f"{path} is left aside for {found[split].path}, which is nearer to the root.")
        else:
            rows = _rows(root, path, entries)
            found[split] = LabelFile(path, encoding, any(row.text for row in rows), rows)
    return {split: found[split] for split in Split if split in found}, notes


def _entries(file: Path, path: str) -> tuple[list[Mapping[str, Any]] | None, str]:
    """The entries of a label file and its encoding; None for a file of another kind.

    Raises:
        UsageError: It cannot be read, or is no JSON.
    """
    what = f"Label file {path}"
    text, encoding = decode(read_bytes(file, what, _MAX_BYTES), what)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        told = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise UsageError(f"Label file {path} is no sound JSON: {told}. Get it anew.") from None
    known = {"audio_file", "video_label"}
    if not isinstance(content, list) or not any(isinstance(entry, dict) and known <= entry.keys() for entry in content):
        return None, encoding
    return content, encoding


def _rows(root: Path, path: str, entries: list[Mapping[str, Any]]) -> tuple[Row, ...]:
    complaints = Complaints(path)
    rows = []
    for number, entry in enumerate(entries, start=1):
        row = _row(root, number, entry, complaints)
        if row is not None:
            rows.append(row)
    if complaints.found:
        told = "\n".join(
            f"  {what} ({'entry' if len(numbers) == 1 else 'entries'} {enumerate_some(numbers)})"
            for what, numbers in list(complaints.found.items())[:20]
        )
        raise UsageError(f"Label file {path} has errors; its entries are counted from 1:\n{told}")
    return tuple(rows)


def _row(root: Path, number: int, entry: object, complaints: Complaints) -> Row | None:
    if not isinstance(entry, dict):
        complaints.add("the entry is no mapping", number)
        return None
    cells = {}
    for key in (*KEYS, *TEXT_KEYS):
        value = entry.get(key)
        if value is not None and not isinstance(value, str):
            complaints.add(f"{key} is no text", number)
        cells[key] = value if isinstance(value, str) else ""
    paths = {}
    for key in ("audio_file", "video_file"):
        written = cells[key].strip()
        try:
            paths[key] = relative(root, "", written) if written else ""
        except ValueError as error:
            complaints.add(f"{key}: {error}", number)
            paths[key] = ""
    name = re.sub(r"\.wav$", "", posixpath.basename(paths["audio_file"]), flags=re.I)
    if not _ID.fullmatch(name) or len(name) > _MAX_ID:
        complaints.add(f"audio_file {cells['audio_file'][:_MAX_ID]!r} is no name of a .wav file", number)
    text = next((cells[key] for key in TEXT_KEYS if said(cells[key])), "")
    return Row(
        number=number,
        name=name,
        audio=paths["audio_file"],
        video=paths["video_file"],
        text=repair(text),
        label="" if is_missing(cells["video_label"]) else cells["video_label"].strip(),
        modality_labels={name: cells[key].strip() for key, name in MODALITY.items() if not is_missing(cells[key])},
        repaired=is_damaged(text),
    )
