"""MELD's label files: which of those found is used for a split, and its rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.cells import said
from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.encodings import REPLACED
from mse_pipeline.corpora.meld_layout import FOLDER, Layout, split_of_table
from mse_pipeline.corpora.reading import read_bytes, read_heads
from mse_pipeline.corpora.text import c1_controls, decode, is_damaged, repair
from mse_pipeline.errors import UsageError

COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_DYADIC = "Old_Dialogue_ID"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Row:
    """One annotated utterance.

    Attributes:
        number: Of the row in the file, the header being row 1.
        dialogue: `Dialogue_ID`.
        utterance: `Utterance_ID`.
        text: Cleaned.
        speaker: Cleaned.
        emotion: As written, lower case.
        sentiment: As written, lower case.
        repaired: Whether text or speaker held encoding damage.
    """

    number: int
    dialogue: int
    utterance: int
    text: str
    speaker: str
    emotion: str
    sentiment: str
    repaired: bool


@dataclass(frozen=True)
class LabelFile:
    """A label file: its path below the root, the damaged characters in it, its rows."""

    path: str
    damage: int
    rows: tuple[Row, ...]


def read_labels(root: Path, layout: Layout) -> tuple[dict[Split, LabelFile], list[str]]:
    """The label file of each split, and notes on those that were left aside.

    Of several files for a split the one without encoding damage is taken, then the one nearest to the root: copies of
    2018 hold the same labels as today's, with damaged text.

    Raises:
        UsageError: A label file has rows that cannot be read.
    """
    found: dict[Split, list[LabelFile]] = {}
    notes: list[str] = []
    # Label files are told by their content; what cannot be opened is none, and its absence is told.
    for path, head in read_heads(root, layout.tables, 4096):
        header = _header(head)
        if not {"Dialogue_ID", "Utterance_ID"} <= set(header):
            continue
        missing = [name for name in COLUMNS if name not in header]
        split = split_of_table(root, path)
        if _DYADIC in header:
            notes.append(f"{path} is left aside: it is of MELD's dyadic selection, whose dialogues have other numbers.")
        elif missing:
            notes.append(f"{path} is left aside: it has no column {', '.join(missing)}.")
        elif split is None:
            notes.append(f"{path} is left aside: neither its name nor its folders tell train, dev or test.")
        else:
            found.setdefault(split, []).append(_read(root, path))
    chosen = {}
    for split in Split:
        files = sorted(found.get(split, []), key=lambda file: (file.damage > 0, file.path.count("/"), file.path))
        if files:
            chosen[split] = files[0]
            notes += [_comparison(FOLDER[split], files[0], other) for other in files[1:]]
    return chosen, notes


def _header(head: bytes) -> list[str]:
    """Column names of a CSV file that begins with these bytes."""
    text = head.partition(b"\n")[0].decode("utf-8-sig", errors="replace").strip()
    return [name.strip() for name in next(csv.reader([text]), [])]


def _read(root: Path, path: str) -> LabelFile:
    what = f"Label file {path}"
    text, _ = decode(read_bytes(root / path, what, _MAX_BYTES), what)
    rows, bad = [], []
    try:
        for number, record in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), start=2):
            row = _row(number, record)
            if row is None:
                bad.append(number)
            else:
                rows.append(row)
    except csv.Error as error:
        raise UsageError(f"Label file {path} is no sound CSV: {error}. Get it anew.") from None
    if bad:
        raise UsageError(
            f"Label file {path} has rows with missing cells, or with ids that are no numbers: rows "
            f"{enumerate_some(bad)}. Get it anew, or mend them."
        )
    return LabelFile(path, c1_controls(text) + text.count(REPLACED), tuple(rows))


def _row(number: int, record: Mapping[str | None, str | None]) -> Row | None:
    cells = {str(name).strip(): value for name, value in record.items() if name is not None}
    values = [cells[name] for name in COLUMNS]
    if any(value is None for value in values):
        return None
    text, speaker, emotion, sentiment, dialogue, utterance = (str(value) for value in values)
    dialogue, utterance = dialogue.strip(), utterance.strip()
    if not all(value.isascii() and value.isdecimal() and len(value) <= 6 for value in (dialogue, utterance)):
        return None
    return Row(
        number=number,
        dialogue=int(dialogue),
        utterance=int(utterance),
        text=repair(said(text)),
        speaker=repair(said(speaker)),
        emotion=emotion.strip().lower(),
        sentiment=sentiment.strip().lower(),
        repaired=is_damaged(text) or is_damaged(speaker),
    )


def _comparison(split: str, used: LabelFile, other: LabelFile) -> str:
    """How a label file that is left aside differs from the one in use."""

    def labels(file: LabelFile) -> dict[tuple[int, int], tuple[str, str]]:
        return {(row.dialogue, row.utterance): (row.emotion, row.sentiment) for row in file.rows}

    ours, theirs = labels(used), labels(other)
    differing = sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys())
    damage = f" and {other.damage:,} damaged characters" if other.damage else ""
    return f"{other.path} is left aside for {used.path} ({split}): it has {differing or 'no'} other labels{damage}."
