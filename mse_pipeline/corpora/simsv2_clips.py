"""Rows of a label table of CH-SIMS v2 or CH-SIMS -> clips and their defects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mse_pipeline.clip import Clip, Defect, Label, Split
from mse_pipeline.corpora.mmsa_table import LabelRow
from mse_pipeline.corpora.simsv2_layout import Key
from mse_pipeline.errors import UsageError
from mse_pipeline.names import ByName, composed
from mse_pipeline.task import Classification, Regression, Task

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
    return task or Regression(-1.0, 1.0)


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
        f"{examples[0]}. Spreadsheets do that; get the label table anew."
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
        known, wrong = _labels(row, name, source, task)
        clips[name] = Clip(
            id=name,
            split=split,
            media=files[0] if files else None,
            text=row.text,
            language="zh",
            dialogue=row.video_id,
            label=known.pop("label", None),
            labels=known,
        )
        defects += wrong
        if row.repaired:
            message = (
                f"The text in row {row.number} of {source} held encoding damage, which is repaired where it can be."
            )
            defects.append(Defect(code="text_repaired", message=message, clip=name, path=source))
        defects += _media_defects(row, files)
    if lost:
        told = ", ".join(f"{mode!r} ({number:,} rows)" for mode, number in lost.most_common(5))
        raise UsageError(
            f"Label table {source} names splits that are none of train, valid (also val) and test: {told}."
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
                message = f"{path} is left aside: no label row is about {key[0]}$_${key[1]}."
                yield Defect(code="unlabelled_media", message=message, path=path)


def _labels(row: LabelRow, clip: str, source: str, task: Regression) -> tuple[dict[str, Label], list[Defect]]:
    """``label`` and the labels by modality, and a defect for each that is out of range."""
    known: dict[str, Label] = {}
    wrong = []
    given = {"label": row.label, **row.modality_labels}
    for kind, value in given.items():
        if value is None:
            continue
        if task.low <= value <= task.high:
            known[kind] = value
            continue
        what = kind if kind == "label" else f"{kind} label"
        message = (
            f"Row {row.number} of {source} has the {what} {value:g}; the range is {task.low:g} to {task.high:g}. "
            "The clip goes without it."
        )
        wrong.append(Defect(code="label_out_of_range", message=message, clip=clip, path=source))
    return known, wrong


def _media_defects(row: LabelRow, files: Sequence[str]) -> Iterator[Defect]:
    if not files:
        message = f"{row.id} is annotated, but there is no file {row.video_id}/{row.clip_id}.mp4."
        yield Defect(code="missing_media", message=message, clip=row.id)
    for path in files[1:]:
        message = f"{path} is left aside: {row.id} has another file, {files[0]}, that is preferred."
        yield Defect(code="duplicate", message=message, clip=row.id, path=path)
