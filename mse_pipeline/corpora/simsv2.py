"""CH-SIMS v2 (Liu et al. 2022): clips of Chinese films and shows, sentiment from -1 to 1, with an unlabelled part.

`mse_pipeline.corpora.sims` shares this file's code: where label tables and clips lie in the known trees, and how rows
of a label table become clips and defects.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.base import RESEARCH, Corpus, Facts, ReaderOptions, compare_counts, enumerate_some, read_heads
from mse_pipeline.corpora.files import Listing, read_folder
from mse_pipeline.corpora.mmsa_table import COLUMNS, HEAD, LabelRow, begins_as_label_table, clip_files, read_label_table
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName, composed
from mse_pipeline.task import Classification, Regression, Task

Key = tuple[str, str]
"""video_id, clip_id."""

_AUDIO = (".wav", ".flac")
_ARCHIVE = re.compile(r".*\.(?:zip|z\d\d|7z|rar|tar|tar\.gz|tgz)(?:\.\d{3})?", re.I)
# Whole words only, so that a folder such as `sims` around everything says nothing.
_UNSUPERVISED = re.compile(r".*(?:\(u\)|sims[ _-]?v2u|unsup(?:ervised)?)(?:[ _.-].*)?", re.I)


@dataclass(frozen=True)
class FoundTable:
    """A label table that was found.

    Attributes:
        path: Below the root.
        rows: All of them.
        labelled: Whether any row has a label; the table of CH-SIMS v2's unsupervised part has none.
    """

    path: str
    rows: Sequence[LabelRow]
    labelled: bool


def find_tables(root: Path, listing: Listing) -> list[FoundTable]:
    """All label tables below a root, those nearest to it first.

    Raises:
        UsageError: One has rows that cannot be read.
    """
    tables = []
    csv_files = [path for path in listing.files if path.lower().endswith(".csv")]
    for path, head in read_heads(root, csv_files, HEAD):
        if begins_as_label_table(head):
            rows = read_label_table(root / path, path)
            tables.append(FoundTable(path, rows, any(row.label is not None for row in rows)))
    return tables


def choose(tables: Sequence[FoundTable], total: int, name: str) -> tuple[FoundTable | None, list[str]]:
    """The table to use, and a note on each that is ignored.

    CH-SIMS v2 takes up the clips of CH-SIMS, so that people keep both under one folder, in tables of one form. The
    table with the corpus's own number of rows is taken, then the one that is named as the corpus names it, then the
    one nearest to the root.

    Args:
        tables: Of one kind, labelled or not.
        total: Number of rows that the corpus has.
        name: What the file's name begins with, ``meta`` or ``label``.
    """

    def rank(table: FoundTable) -> tuple[bool, bool, int, str]:
        own = posixpath.basename(table.path).lower().startswith(name)
        return len(table.rows) != total, not own, table.path.count("/"), table.path

    ordered = sorted(tables, key=rank)
    if not ordered:
        return None, []
    used = ordered[0]
    return used, [
        f"{other.path} ({len(other.rows):,} rows) is ignored: {used.path} ({len(used.rows):,} rows) is used."
        for other in ordered[1:]
    ]


def media_beside(table: str, media: Mapping[Key, list[str]]) -> ByName[Key, list[str]]:
    """The media files that belong to a table: those below its folder, or all if there are none.

    Of a clip's files those with a picture come first; sound files that someone made beside them are no further
    copies, and are left out.

    Args:
        table: Path of the table.
        media: As `media_below` gives it.

    Examples:
        >>> media_beside("s/meta.csv", {("v", "1"): ["s/Raw/v/1.wav", "s/Raw/v/1.mp4", "t/Raw/v/1.mp4"]})
        {('v', '1'): ['s/Raw/v/1.mp4']}
    """
    folder = posixpath.dirname(table)
    prefix = f"{folder}/" if folder else ""
    below = {key: kept for key, paths in media.items() if (kept := [path for path in paths if path.startswith(prefix)])}
    chosen = below or media
    return ByName(
        (key, [path for path in paths if not path.lower().endswith(_AUDIO)] or list(paths))
        for key, paths in chosen.items()
    )


def media_below(listing: Listing) -> dict[Key, list[str]]:
    """Media files by (video_id, clip_id), from ``.../<video_id>/<clip_id>.mp4``."""
    return clip_files(listing.files)


def is_unsupervised(path: str) -> bool:
    """Whether a folder above a file is named after the unsupervised part of CH-SIMS v2.

    Examples:
        >>> is_unsupervised("CH-SIMS v2/CH-SIMS v2(u)/Raw/aqgy1_0001/00000.mp4")
        True
        >>> is_unsupervised("ch-simsv2s/Raw/video_0001/0001.mp4")
        False
    """
    return any(_UNSUPERVISED.fullmatch(folder) for folder in path.split("/")[:-1])


def archives(listing: Listing) -> list[str]:
    """Archives that are still packed."""
    return [path for path in listing.files if _ARCHIVE.fullmatch(posixpath.basename(path))]


BINS = ("negative", "weakly negative", "neutral", "weakly positive", "positive")


def bin_of(label: float) -> str:
    """The fifth of the scale that a label belongs to: edges -0.7, -0.1, 0.1, 0.7, closed on the right.

    The edges are those that the field's five-class accuracy on CH-SIMS uses. They are compared after rounding to
    1e-6, because 0.1 in float32 is above 0.1.

    Examples:
        >>> bin_of(-0.1), bin_of(0.1), bin_of(0.8)
        ('weakly negative', 'neutral', 'positive')
    """
    rounded = round(label, 6)
    return BINS[sum(rounded > edge for edge in (-0.7, -0.1, 0.1, 0.7))]


def task_of(corpus: str, task: Task | None) -> Regression:
    """The task, which is a number.

    Raises:
        UsageError: The recipe says that there are classes.
    """
    if isinstance(task, Classification):
        raise UsageError(
            f"{corpus} has numbers from -1 to 1, no classes: its task is a regression, or is left out of the recipe."
        )
    return task or Regression(*SENTIMENT)


def restore_zeros(rows: Sequence[LabelRow], media: Mapping[Key, object]) -> tuple[list[LabelRow], list[str]]:
    """Give clip ids the leading zeros back that a spreadsheet took, by the names of their media.

    An id that has its own file is left as it is: CH-SIMS v2 has ids such as ``0`` as well.

    Returns:
        The rows, and a note if any id was changed.
    """
    stems: dict[tuple[str, int], list[str]] = {}
    for video, clip in media:
        if clip.isascii() and clip.isdecimal():
            stems.setdefault((composed(video), int(clip)), []).append(clip)
    restored, examples = [], []
    for row in rows:
        names = []
        if (row.video_id, row.clip_id) not in media and row.clip_id.isascii() and row.clip_id.isdecimal():
            names = stems.get((composed(row.video_id), int(row.clip_id)), [])
        if len(names) == 1 and len(names[0]) > len(row.clip_id):
            examples.append(f"{row.clip_id} is {names[0]} of {row.video_id}")
            restored.append(replace(row, clip_id=names[0]))
        else:
            restored.append(row)
    if not examples:
        return restored, []
    return restored, [
        f"{len(examples):,} clip ids had lost their leading zeros and have them back from the media's names, as in: "
        f"{examples[0]}. Spreadsheets do that; download the label table again."
    ]


def make_clips(
    rows: Sequence[LabelRow],
    source: str,
    media: Mapping[Key, Sequence[str]],
    task: Regression,
    without_mode: Split | None,
) -> tuple[list[Clip], list[Defect]]:
    """A clip for each row.

    Args:
        rows: Of one table.
        source: Path of the table.
        media: (video_id, clip_id) -> files, the one to use first.
        task: Labels outside of its range become None, with a defect.
        without_mode: Split of rows that name none of ours; None to refuse such rows.

    Raises:
        UsageError: Rows name no split.
    """
    clips: dict[str, Clip] = {}
    defects: list[Defect] = []
    lost: Counter[str] = Counter()
    for row in rows:
        name = row.id
        if name in clips:
            message = f"Row {row.number} of {source} annotates {name} again; the first row counts."
            defects.append(Defect(code="duplicate", message=message, clip=name, path=source))
            continue
        split = row.split or without_mode
        if split is None:
            lost[row.mode] += 1
            continue
        files = media.get((row.video_id, row.clip_id), ())
        labels, problems = _labels(row, name, source, task)
        clips[name] = Clip(
            id=name,
            split=split,
            media=files[0] if files else None,
            text=row.text,
            language="zh",
            dialogue=row.video_id,
            label=labels.pop("label", None),
            labels=labels,
        )
        defects += problems
        if row.repaired:
            message = (
                f"The text in row {row.number} of {source} held encoding damage, which is repaired where it can be."
            )
            defects.append(Defect(code="text_repaired", message=message, clip=name, path=source))
        defects += _media_defects(row, files)
    if lost:
        modes = ", ".join(f"{mode!r} ({number:,} rows)" for mode, number in lost.most_common(5))
        raise UsageError(
            f"Label table {source} names splits that are none of train, valid (also val) and test: {modes}."
        )
    return list(clips.values()), defects


def without_label(media: Mapping[Key, Iterable[str]], known: set[Key]) -> Iterator[Defect]:
    """A defect for every file that no row is about.

    Args:
        media: (video_id, clip_id) -> files.
        known: Of all rows.
    """
    annotated: ByName[Key, None] = ByName(dict.fromkeys(known))
    for key, files in media.items():
        if key not in annotated:
            for path in files:
                message = f"{path} is ignored: no label row is about {key[0]}$_${key[1]}."
                yield Defect(code="unlabelled_media", message=message, path=path)


def _labels(row: LabelRow, clip: str, source: str, task: Regression) -> tuple[dict[str, Label], list[Defect]]:
    """``label`` and the labels by modality, and a defect for each that is out of range."""
    labels: dict[str, Label] = {}
    problems = []
    values = {"label": row.label, **row.modality_labels}
    for kind, value in values.items():
        if value is None:
            continue
        if task.low <= value <= task.high:
            labels[kind] = value
            continue
        label_name = kind if kind == "label" else f"{kind} label"
        message = (
            f"Row {row.number} of {source} has the {label_name} {value:g}; the range is {task.low:g} to {task.high:g}. "
            "The clip has no such label."
        )
        problems.append(Defect(code="label_out_of_range", message=message, clip=clip, path=source))
    return labels, problems


def _media_defects(row: LabelRow, files: Sequence[str]) -> Iterator[Defect]:
    if not files:
        message = f"{row.id} is annotated, but there is no file {row.video_id}/{row.clip_id}.mp4."
        yield Defect(code="missing_media", message=message, clip=row.id)
    for path in files[1:]:
        message = f"{path} is ignored: {row.id} has another file, {files[0]}, that is preferred."
        yield Defect(code="duplicate", message=message, clip=row.id, path=path)


SENTIMENT = (-1.0, 1.0)
LABELS = "sentiment -1 to 1 in steps of 0.2, also of text, sound and picture alone"
OFFICIAL = {Split.TRAIN: 2722, Split.VALID: 647, Split.TEST: 1034}
# Counted in the published label table. The chart in the authors' repository has the same totals, but other classes
# (train 921, 433, 232, 318, 818), which no binning of the published labels gives.
OFFICIAL_BINS = {  # in the order of BINS
    Split.TRAIN: (693, 617, 318, 676, 418),
    Split.VALID: (182, 143, 92, 131, 99),
    Split.TEST: (227, 261, 123, 282, 141),
}
OFFICIAL_UNSUPERVISED = 10_161
WHERE = "https://github.com/thuiar/ch-sims-v2 says where the supervised and the unsupervised part are available from"

FACTS = Facts(
    title="CH-SIMS v2.0: films, series and shows in Mandarin (Liu et al. 2022)",
    task="regression, sentiment -1 to 1",
    predicts=Regression(*SENTIMENT),
    language="zh",
    labels=LABELS,
    splits=OFFICIAL,
    splits_from=f"meta.csv ({sum(OFFICIAL.values()):,} clips; the paper tells 4,402); the unsupervised part has "
    f"{OFFICIAL_UNSUPERVISED:,} clips",
    licence=RESEARCH,
    source="Google Drive folder 1wFvGS0ebKRvT3q6Xolot-sDtCNfz7HRA or Baidu 13Ds2_XDIGUqMHt4lXNLQSQ (icmi); "
    "unsupervised: 1llIbm3gwyJRwwk58RUQHWBNKjHI9vGGB or 1tezEDR3Y23hJ6Mp5fmcp-w (icmi)",
    layouts=(
        "ch-simsv2s/meta.csv + ch-simsv2s/Raw/VIDEO/CLIP.mp4",
        "CH-SIMS v2/CH-SIMS v2(s)/… and CH-SIMS v2(u)/…",
    ),
    defects=("one clip more than its paper tells; its author says that train should be 2,721",),
)


class OptionsModel(ReaderOptions):
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
        table_clips, table_defects = make_clips(rows, table.path, media, number, without_mode)
        for twin in (clip.id for clip in table_clips if clip.id in clips):
            message = f"{table.path} lists {twin} again; the row of {used[0].path} counts."
            table_defects.append(Defect(code="duplicate", message=message, clip=twin, path=table.path))
        clips = {clip.id: clip for clip in table_clips} | clips
        defects += [*table_defects, *without_label(media, known)]
    if options.part == "supervised" and other_media:
        notes.append(
            f"{len(other_media):,} clips in folders of the unsupervised part are ignored; the option part: both "
            "takes them as well."
        )
    notes += [f"Ignored: {reason}" for reason in listing.refused]
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
    root: Path, listing: Listing, tables: Sequence[FoundTable], options: OptionsModel
) -> tuple[list[FoundTable], list[str]]:
    """The tables of the parts that are asked for, and notes on those that are ignored.

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
        table, note = choose(candidates, total if options.official else 0, "meta")
        notes += note
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
        sentences.append(f"Ignored: {enumerate_some(listing.refused, 3)}")
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
        counts = Counter(bin_of(float(clip.label)) for clip in clips if clip.split == split and clip.label is not None)
        expected = dict(zip(BINS, numbers, strict=True))
        yield from compare_counts(f"{split} clips whose label is", expected, counts)


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
