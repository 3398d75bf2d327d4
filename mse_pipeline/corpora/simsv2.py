"""CH-SIMS v2 (Liu et al. 2022): clips of Chinese films and shows, sentiment from -1 to 1, with an unlabelled part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Clip, Defect, Split
from mse_pipeline.corpora.base import Corpus, Options, compare_counts, enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.linked import read_folder
from mse_pipeline.corpora.mmsa_table import COLUMNS
from mse_pipeline.corpora.simsv2_clips import BINS, bin_of, make_clips, restore_zeros, task_of, without_label
from mse_pipeline.corpora.simsv2_layout import (
    Key,
    LabelTable,
    archives,
    choose,
    find_tables,
    is_unsupervised,
    media_below,
    media_beside,
)
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Task

OFFICIAL = {Split.TRAIN: 2722, Split.VALID: 647, Split.TEST: 1034}
# Counted in the published label table. The chart in the authors' repository has the same totals, but other classes
# (train 921, 433, 232, 318, 818), which no binning of the published labels gives.
OFFICIAL_BINS = {  # in the order of BINS
    Split.TRAIN: (693, 617, 318, 676, 418),
    Split.VALID: (182, 143, 92, 131, 99),
    Split.TEST: (227, 261, 123, 282, 141),
}
OFFICIAL_UNSUPERVISED = 10_161
WHERE = "https://github.com/thuiar/ch-sims-v2 tells where the supervised and the unsupervised part are to be had"


class OptionsModel(Options):
    """Options of the CH-SIMS v2 reader.

    Attributes:
        part: The labelled clips, the unlabelled ones, or both.
        unlabelled_split: Split of unlabelled clips whose row names none.
        official: Whether this is CH-SIMS v2 itself, whose counts are known. False for other data in its layout.
    """

    part: Literal["supervised", "unsupervised", "both"] = "supervised"
    unlabelled_split: Literal["train", "valid", "test"] = "train"
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List the clips of CH-SIMS v2.

    Args:
        root: Folder of the unpacked archives, or one around or in it; tables and clips are found by content.
        options: See `OptionsModel`.
        task: Another range of the labels than -1 to 1.

    Raises:
        UsageError: There is no folder, no label table of the part that is asked for, or it cannot be read.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    number = task_of("CH-SIMS v2", task)
    tables = find_tables(folder, listing)
    used, notes = _tables(folder, listing, tables, options)
    known = {(row.video_id, row.clip_id) for table in tables for row in table.rows}
    labelled_media, other_media = _parts(media_below(listing))
    clips: dict[str, Clip] = {}
    defects: list[Defect] = []
    for table in used:
        media = media_beside(table.path, labelled_media if table.labelled else other_media or labelled_media)
        rows, told = restore_zeros(table.rows, media)
        notes += told
        known |= {(row.video_id, row.clip_id) for row in rows}
        without_mode = None if table.labelled else Split(options.unlabelled_split)
        found, wrong = make_clips(rows, table.path, media, number, without_mode)
        for twin in (clip.id for clip in found if clip.id in clips):
            message = f"{table.path} lists {twin} again; the row of {used[0].path} counts."
            wrong.append(Defect(code="duplicate", message=message, clip=twin, path=table.path))
        clips = {clip.id: clip for clip in found} | clips
        defects += [*wrong, *without_label(media, known)]
    if options.part == "supervised" and other_media:
        notes.append(
            f"{len(other_media):,} clips in folders of the unsupervised part are left aside; the option part: both "
            "takes them as well."
        )
    notes += [f"Left aside: {reason}" for reason in listing.refused]
    if options.official:
        defects += _official_counts(clips.values(), options)
        notes += _count_story(clips.values(), options)
    return Corpus(
        name="simsv2",
        root=folder,
        task=number,
        clips=tuple(clips.values()),
        defects=tuple(defects),
        expected=_expected(options) if options.official else {},
        sources=tuple(table.path for table in used),
        notes=tuple(notes),
    )


def _tables(
    root: Path, listing: Listing, tables: Sequence[LabelTable], options: OptionsModel
) -> tuple[list[LabelTable], list[str]]:
    """The tables of the parts that are asked for, and notes on those that are left aside.

    Raises:
        UsageError: There is none of a part.
    """
    parts = {
        "supervised": (sum(OFFICIAL.values()), [table for table in tables if table.labelled]),
        "unsupervised": (OFFICIAL_UNSUPERVISED, [table for table in tables if not table.labelled]),
    }
    used, notes = [], []
    for part, (total, candidates) in parts.items():
        if options.part not in (part, "both"):
            continue
        table, told = choose(candidates, total if options.official else 0, "meta")
        notes += told
        if table is None:
            raise UsageError(_no_table(root, listing, part, [other.path for other in tables]))
        used.append(table)
    return used, notes


def _no_table(root: Path, listing: Listing, part: str, others: Sequence[str]) -> str:
    labels = "labels" if part == "supervised" else "no labels"
    sentences = [
        f"Under {root} there is no label table of CH-SIMS v2's {part} part: a CSV file with the columns "
        f"{', '.join(COLUMNS)} and with {labels} was looked for, as meta.csv is."
    ]
    if others:
        other = "unsupervised" if part == "supervised" else "supervised"
        sentences.append(f"{enumerate_some(others, 3)} is of the {other} part; the option part: {other} reads it.")
    if packed := archives(listing):
        sentences.append(f"Archives are still packed; unpack {enumerate_some(packed, 3)}.")
    if media := media_below(listing):
        sentences.append(f"Clips are there ({len(media):,}); put the label table beside their folder Raw.")
    sentences.append(f"{WHERE}.")
    if listing.refused:
        sentences.append(f"Left aside: {enumerate_some(listing.refused, 3)}")
    return " ".join(sentences)


def _parts(media: Mapping[Key, list[str]]) -> tuple[dict[Key, list[str]], dict[Key, list[str]]]:
    """Media outside and inside of folders that are named after the unsupervised part."""
    outside: dict[Key, list[str]] = {}
    inside: dict[Key, list[str]] = {}
    for key, paths in media.items():
        for path in paths:
            (inside if is_unsupervised(path) else outside).setdefault(key, []).append(path)
    return outside, inside


def _expected(options: OptionsModel) -> dict[Split, int]:
    """Official number of clips a split, of the parts that are asked for."""
    labelled = OFFICIAL if options.part != "unsupervised" else {}
    other = {Split(options.unlabelled_split): OFFICIAL_UNSUPERVISED} if options.part != "supervised" else {}
    return {split: labelled.get(split, 0) + other.get(split, 0) for split in Split if split in {*labelled, *other}}


def _official_counts(clips: Collection[Clip], options: OptionsModel) -> Iterator[Defect]:
    yield from compare_counts("clips of split", _expected(options), Counter(clip.split for clip in clips))
    if options.part == "unsupervised":
        return
    for split, numbers in OFFICIAL_BINS.items():
        found = Counter(bin_of(float(clip.label)) for clip in clips if clip.split == split and clip.label is not None)
        expected = dict(zip(BINS, numbers, strict=True))
        yield from compare_counts(f"{split} clips whose label is", expected, found)


def _count_story(clips: Collection[Clip], options: OptionsModel) -> Iterator[str]:
    """What is known of the official counts, so that nobody takes them for a defect of the copy."""
    labelled = Counter(clip.split for clip in clips if clip.label is not None)
    if options.part != "unsupervised" and dict(labelled) == OFFICIAL:
        yield (
            "The label table has 4,403 labelled clips (2,722, 647 and 1,034), as the published one has. The paper says "
            "4,402, and the author that train should have 2,721 (thuiar/ch-sims-v2 issues 4 and 11); which row is "
            "meant is not known. Classes are compared with the published table, not with the chart in the authors' "
            "repository, whose classes do not come from these labels."
        )
