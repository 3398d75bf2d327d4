"""CH-SIMS (Yu et al. 2020): 2,281 clips of Chinese films and shows, sentiment from -1 to 1 a modality and in all."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from mse_pipeline.clip import Split
from mse_pipeline.corpora import sims_metadata
from mse_pipeline.corpora.base import Corpus, Options, compare_counts, enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.linked import read_folder
from mse_pipeline.corpora.mmsa_table import COLUMNS
from mse_pipeline.corpora.simsv2_clips import make_clips, restore_zeros, task_of, without_label
from mse_pipeline.corpora.simsv2_layout import LabelTable, archives, choose, find_tables, media_below, media_beside
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Task

OFFICIAL = {Split.TRAIN: 1368, Split.VALID: 456, Split.TEST: 457}


class OptionsModel(Options):
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
        notes=(*notes, *told, *(f"Left aside: {reason}" for reason in listing.refused)),
    )


def _table(folder: Path, listing: Listing, options: OptionsModel) -> tuple[LabelTable, tuple[str, ...], list[str]]:
    """The label table, its source files, and notes.

    Raises:
        UsageError: There is none.
    """
    older = sims_metadata.find(listing)
    # The older label files may look like label tables themselves.
    newer = Listing(tuple(path for path in listing.files if path not in older.values()), listing.refused)
    tables = [table for table in find_tables(folder, newer) if table.labelled]
    table, notes = choose(tables, sum(OFFICIAL.values()) if options.official else 0, "label")
    if table is not None:
        if "M" in older:
            notes.append(f"{older['M']} is left aside for {table.path}.")
        return table, (table.path,), notes
    if "M" not in older:
        raise UsageError(_no_table(folder, listing))
    rows, notes = sims_metadata.read_metadata(folder, older)
    return LabelTable(older["M"], rows, True), tuple(older.values()), notes


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
    sentences.append("https://github.com/thuiar/MMSA tells where CH-SIMS is to be had.")
    return " ".join(sentences)
