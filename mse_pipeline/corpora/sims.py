"""CH-SIMS (Yu et al. 2020): 2,281 clips of Chinese films and shows, sentiment from -1 to 1 a modality and in all.

The older release has a folder metadata instead of one label table: ``metadata/sentiment/label_{M,T,A,V}.csv`` with the
columns video_id, clip_id, label and, in at least one of them, text; ``{train,val,test}_index.csv`` with one column of
row numbers, counted from 0.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mse_pipeline.cells import is_missing, number_of, said
from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import RESEARCH, Corpus, Facts, ReaderOptions, compare_counts, enumerate_some
from mse_pipeline.corpora.files import Listing, read_folder
from mse_pipeline.corpora.mmsa_table import COLUMNS, LabelRow
from mse_pipeline.corpora.simsv2 import (
    LABELS,
    SENTIMENT,
    FoundTable,
    archives,
    choose,
    find_tables,
    make_clips,
    media_below,
    media_beside,
    restore_zeros,
    task_of,
    without_label,
)
from mse_pipeline.corpora.table_cells import split_of
from mse_pipeline.corpora.table_file import TextTable, read_table, refuse_unread
from mse_pipeline.corpora.text import is_damaged, repair
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Regression, Task

_LABELS = re.compile(r"label_([MTAV])\.csv", re.I)
_INDEX = re.compile(r"(train|val|valid|dev|test)_index\.csv", re.I)
_SPLIT = {"train": "train", "val": "valid", "valid": "valid", "dev": "valid", "test": "test"}
_MODALITY = {"T": "text", "A": "acoustic", "V": "visual"}
_NAME = re.compile(r"(?!\.)[^\x00-\x1f\x7f-\x9f/\\]{1,100}")


def find(listing: Listing) -> dict[str, str]:
    """``M``, ``T``, ``A``, ``V`` and split names -> path, of the files nearest to the root.

    Examples:
        >>> find(Listing(("metadata/val_index.csv", "metadata/sentiment/label_M.csv"), ()))
        {'valid': 'metadata/val_index.csv', 'M': 'metadata/sentiment/label_M.csv'}
    """
    files: dict[str, str] = {}
    for path in listing.files:
        name = posixpath.basename(path)
        if match := _LABELS.fullmatch(name):
            files.setdefault(match[1].upper(), path)
        elif match := _INDEX.fullmatch(name):
            files.setdefault(_SPLIT[match[1].lower()], path)
    return files


def read_metadata(root: Path, paths: Mapping[str, str]) -> tuple[list[LabelRow], list[str]]:
    """The rows, as the newer label.csv has them, and notes.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: As `find` gives them; `M` is there.

    Raises:
        UsageError: Files are missing, do not have the same rows, or cannot be read.
    """
    missing = [f"{name}_index.csv" for name in ("train", "valid", "test") if name not in paths]
    if missing:
        raise UsageError(
            f"Beside {paths['M']} there is no {', '.join(missing).replace('valid', 'val')}; without it nobody knows "
            "which clip is of which split."
        )
    tables = {kind: read_table(root, paths[kind]) for kind in "MTAV" if kind in paths}
    ids = {kind: _ids(table) for kind, table in tables.items()}
    for kind, own in ids.items():
        if own != ids["M"]:
            raise UsageError(f"{tables[kind].path} does not have the clips of {tables['M'].path} in the same order.")
    count = len(ids["M"])
    splits = _splits(root, {name: paths[name] for name in ("train", "valid", "test")}, count)
    lost = [row for index, row in enumerate(tables["M"].rows) if index not in splits]
    if lost:
        raise UsageError(f"{tables['M'].path} has clips that no list of a split names, in rows {enumerate_some(lost)}.")
    labels = {kind: _labels(table) for kind, table in tables.items()}
    texts = next(
        (table.columns["text"] for kind in "TMAV" if (table := tables.get(kind)) and "text" in table.columns), None
    )
    rows = []
    for index, (video, clip) in enumerate(ids["M"]):
        text = texts[index] if texts else ""
        rows.append(
            LabelRow(
                number=tables["M"].rows[index],
                video_id=video,
                clip_id=clip,
                text=repair(said(text)),
                label=labels["M"][index],
                modality_labels={
                    name: value
                    for kind, name in _MODALITY.items()
                    if kind in labels and (value := labels[kind][index]) is not None
                },
                annotation="",
                mode=splits[index],
                split=split_of(splits[index], {}),
                repaired=is_damaged(text),
            )
        )
    notes = [] if texts else [f"None of {enumerate_some(table.path for table in tables.values())} has a column text."]
    return rows, notes


def _ids(table: TextTable) -> list[tuple[str, str]]:
    """video_id and clip_id of each row, the latter with four digits as the media have them."""
    refuse_unread(table, ("video_id", "clip_id", "label", "text"))
    for name in ("video_id", "clip_id", "label"):
        if name not in table.columns:
            raise UsageError(f"{table.path} has no column {name}; it has {', '.join(table.columns)}.")
    pairs = [
        (video.strip(), clip.strip().zfill(4) if clip.strip().isdecimal() else clip.strip())
        for video, clip in zip(table.columns["video_id"], table.columns["clip_id"], strict=True)
    ]
    bad = [row for row, pair in zip(table.rows, pairs, strict=True) if not all(map(_NAME.fullmatch, pair))]
    if bad:
        raise UsageError(f"{table.path} has ids that are not plain names, in rows {enumerate_some(bad)}.")
    return pairs


def _labels(table: TextTable) -> list[float | None]:
    values = ["" if is_missing(value) else value.strip() for value in table.columns["label"]]
    numbers = [number_of(value, table.delimiter) if value else None for value in values]
    bad = [row for row, value, number in zip(table.rows, values, numbers, strict=True) if value and number is None]
    if bad:
        raise UsageError(f"{table.path} has labels that are not numbers, in rows {enumerate_some(bad)}.")
    return numbers


def _splits(root: Path, paths: Mapping[str, str], count: int) -> dict[int, str]:
    """Row, counted from 0 -> name of its split."""
    columns: dict[int, str] = {}
    for name, path in paths.items():
        table = read_table(root, path)
        # pandas writes its own row numbers as a first column; the one that counts is called index, or stands alone.
        column = table.columns.get("index") or list(table.columns.values())[-1]
        for row, value in zip(table.rows, column, strict=True):
            number = number_of(value)
            if number is None or not number.is_integer() or not 0 <= number < count:
                raise UsageError(f"{path}, row {row}: {value!r} is not a row number from 0 to {count - 1}.")
            other = columns.setdefault(int(number), name)
            if other != name:
                raise UsageError(f"{path}, row {row}: clip {int(number)} is of split {other} already.")
    return columns


OFFICIAL = {Split.TRAIN: 1368, Split.VALID: 456, Split.TEST: 457}

FACTS = Facts(
    title="CH-SIMS: films and series in Mandarin (Yu et al. 2020)",
    task="regression, sentiment -1 to 1",
    predicts=Regression(*SENTIMENT),
    language="zh",
    labels=LABELS,
    splits=OFFICIAL,
    splits_from="label.csv of MMSA",
    licence=RESEARCH,
    source="MMSA's copy beside its MOSEI",
    layouts=("label.csv + Raw/video_0001/0001.mp4",),
    defects=("ids have leading zeros that spreadsheets drop",),
)


class OptionsModel(ReaderOptions):
    """Options of the CH-SIMS reader.

    Attributes:
        official: Whether this is CH-SIMS itself, whose counts are known. False for other data in its layout.
    """

    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List the clips of CH-SIMS.

    Args:
        root: Folder of the unpacked archive, or one around it, with label.csv or the older folder metadata.
        options: See `OptionsModel`.
        task: Another range of the labels than -1 to 1.

    Raises:
        UsageError: There is no folder, no label table, or it cannot be read.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    number = task_of("CH-SIMS", task)
    table, sources, notes = _table(folder, listing, options)
    media = media_beside(_base(table.path), media_below(listing))
    rows, told = restore_zeros(table.rows, media)
    clips, defects = make_clips(rows, table.path, media, number, None)
    defects += without_label(media, {(row.video_id, row.clip_id) for row in rows})
    if options.official:
        defects += compare_counts("clips of split", OFFICIAL, Counter(clip.split for clip in clips))
    return Corpus(
        name="sims",
        root=folder,
        task=number,
        clips=tuple(clips),
        defects=tuple(defects),
        expected=OFFICIAL if options.official else {},
        sources=sources,
        notes=(*notes, *told, *(f"Ignored: {reason}" for reason in listing.refused)),
    )


def _table(folder: Path, listing: Listing, options: OptionsModel) -> tuple[FoundTable, tuple[str, ...], list[str]]:
    """The label table, its source files, and notes.

    Raises:
        UsageError: There is none.
    """
    older = find(listing)
    # The older label files may look like label tables themselves.
    newer = Listing(tuple(path for path in listing.files if path not in older.values()), listing.refused)
    tables = [table for table in find_tables(folder, newer) if table.labelled]
    table, notes = choose(tables, sum(OFFICIAL.values()) if options.official else 0, "label")
    if table is not None:
        if "M" in older:
            notes.append(f"{older['M']} is ignored: {table.path} is used.")
        return table, (table.path,), notes
    if "M" not in older:
        raise UsageError(_no_table(folder, listing))
    rows, notes = read_metadata(folder, older)
    return FoundTable(older["M"], rows, True), tuple(older.values()), notes


def _base(path: str) -> str:
    """A table's path without the folders metadata/sentiment that the older tree has between it and the clips."""
    parts = path.split("/")
    kept = [part for part in parts[:-1] if part.lower() not in ("metadata", "sentiment")]
    return "/".join([*kept, parts[-1]])


def _no_table(root: Path, listing: Listing) -> str:
    sentences = [
        f"Under {root} there is no label table of CH-SIMS: label.csv with the columns {', '.join(COLUMNS)} was looked "
        "for, and metadata/sentiment/label_M.csv of the older release."
    ]
    if packed := archives(listing):
        sentences.append(f"Archives are still packed; unpack {enumerate_some(packed, 3)}.")
    if media := media_below(listing):
        sentences.append(f"Clips are there ({len(media):,}); put the label table beside their folder Raw.")
    sentences.append("https://github.com/thuiar/MMSA says where CH-SIMS is available from.")
    return " ".join(sentences)
