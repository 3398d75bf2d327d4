"""CMU-MOSEI (Zadeh et al. 2018): monologues from YouTube, sentiment and six emotions, English.

It is read as CMU's archive (``Raw/Videos``, ``Raw/Transcript``, ``Raw/Labels``) and as MMSA has it (``label.csv``,
``Raw/<video>/<clip>.mp4``). The counts are those of MMSA's table, which is what publications on it compare with.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Split
from mse_pipeline.corpora.base import Corpus, Options, compare_counts, enumerate_some
from mse_pipeline.corpora.files import Listing
from mse_pipeline.corpora.linked import read_folder
from mse_pipeline.corpora.mosei_clips import EMOTION, POLARITIES, PRESENCE, SENTIMENT, Wanted, make_clips
from mse_pipeline.corpora.mosei_csd import EMOTIONS, find_labels
from mse_pipeline.corpora.mosei_csd import read_labels as read_csd
from mse_pipeline.corpora.mosei_layout import Layout, choose_table, survey, unpacking
from mse_pipeline.corpora.mosei_mturk import read_dumps
from mse_pipeline.corpora.mosei_segments import Annotations, Segment, Source, list_segments, videos_and_clips
from mse_pipeline.corpora.mosei_splits import choose_folds, read_folds, splits_of_table
from mse_pipeline.corpora.mosei_transcripts import read_transcripts
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression, Task

OFFICIAL = {Split.TRAIN: 16326, Split.VALID: 1871, Split.TEST: 4659}
LABELS = {
    "mmsa": "MMSA's label.csv (columns video_id, clip_id, text, label, mode)",
    "csd": "CMU_MOSEI_Labels.csd",
    "mturk": "the Mechanical Turk dumps of Raw/Labels (columns Input.VIDEO_ID, Input.CLIP, Answer.sentiment)",
}


class OptionsModel(Options):
    """Options of the MOSEI reader.

    Attributes:
        media: Segmented files, or spans of full videos; auto takes segmented files if there are any.
        fill_from_full: Whether clips whose segmented file is missing are cut from the full video. Off, since most of
            those have wrong times.
        labels: Where labels are from; auto takes the first that is there of mmsa, csd, mturk.
        target: Which annotation is the label; the others go into the clip's `labels`. Polarity is the sentiment's sign.
        emotions: Emotions as intensities in 0 to 3, or as absent and present (intensity over 0).
        splits: By the column mode of MMSA's label.csv, or by a file of video ids.
        std_folds: Path of that file below the root, which then tells the splits; None for the only one that is called
            so.
        official: Whether this is MOSEI itself, whose counts are known and whose bad media are listed. False for other
            data in its layouts.
    """

    media: Literal["auto", "segmented", "full"] = "auto"
    fill_from_full: bool = False
    labels: Literal["auto", "mmsa", "csd", "mturk"] = "auto"
    target: Literal["sentiment", "polarity", "happiness", "sadness", "anger", "surprise", "disgust", "fear"] = (
        "sentiment"
    )
    emotions: Literal["intensity", "presence"] = "intensity"
    splits: Literal["mmsa", "std_folds"] = "mmsa"
    std_folds: str | None = None
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List MOSEI's clips.

    Args:
        root: Folder of the unpacked archive, or one around it; labels, transcripts and media are found by content.
        options: See `OptionsModel`.
        task: Another range of the target than MOSEI's own, or another order of its classes.

    Raises:
        UsageError: There is no folder, no label source, no split list, or nothing that the options ask for.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    layout = survey(folder, listing)
    found, notes = _annotations(folder, layout, options)
    source = found.choose(options.labels)
    if source is None:
        raise UsageError(_no_labels(folder, layout, options, notes))
    task = _task(options, task)
    segments, told = list_segments(source, found)
    notes += told
    if options.target in EMOTIONS and not any(options.target in segment.labels for segment in segments):
        raise UsageError(
            f"Target {options.target}: there are no emotions. {LABELS['mmsa']} has the sentiment alone; put "
            f"{LABELS['csd']} or {LABELS['mturk']} below {folder}."
        )
    splits, split_source, told = _splits(folder, layout, found, source, options)
    notes += told
    full = options.media == "full" or (options.media == "auto" and _only_full(segments, layout))
    clips, defects, told = make_clips(segments, splits, layout.media, _wanted(options, task, full))
    notes += told
    labelled_by = {"mmsa": found.table, "csd": found.csd, "mturk": enumerate_some(found.dumps)}[source]
    notes += [
        f"Labels: {LABELS[source]}, read from {labelled_by}.",
        f"Media: {'spans of full videos' if full else 'segmented files'}{_filled(options, full)}.",
        *(f"Left aside: {reason}" for reason in layout.refused),
    ]
    expected = OFFICIAL if options.official and source == "mmsa" else {}
    if options.official and not expected:
        notes.append("Counts are not compared: official are those of MMSA's label.csv, 16,326, 1,871 and 4,659 clips.")
    found_counts = {split: sum(clip.split == split for clip in clips) for split in Split}
    return Corpus(
        name="mosei",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=(*defects, *compare_counts("clips of split", expected, found_counts)),
        expected=expected,
        sources=tuple(dict.fromkeys(path for path in (*_paths(found), split_source) if path)),
        notes=tuple(notes),
    )


def _annotations(root: Path, layout: Layout, options: OptionsModel) -> tuple[Annotations, list[str]]:
    """All label sources below a root; dumps and sequences also tell the emotions that MMSA's table lacks."""
    transcripts, notes = read_transcripts(root, layout.transcripts)
    path, rows, told = choose_table(root, layout.tables, "mosei") or (None, [], [])
    notes += told
    csd, told = find_labels(root, layout.csd) if layout.csd else (None, [])
    notes += told
    ratings, dumps, told = read_dumps(root, layout.dumps)
    notes += told
    found = Annotations(
        rows=rows,
        table=path,
        sequences=read_csd(root, csd) if csd else {},
        csd=csd,
        ratings=ratings,
        dumps=tuple(dumps),
        transcripts=transcripts,
    )
    return found, notes


def _paths(found: Annotations) -> tuple[str | None, ...]:
    return (found.table, found.csd, *found.dumps)


def _splits(
    root: Path, layout: Layout, found: Annotations, source: Source, options: OptionsModel
) -> tuple[dict[str, Split] | None, str | None, list[str]]:
    """Split by video, or None where each row has its own; the file that tells it; notes."""
    if options.splits == "std_folds" or options.std_folds is not None:
        path = choose_folds(root, options.std_folds, layout.folds, options.follow_links)
        return read_folds(root, path), path, [f"Splits: file of folds {path}."]
    if found.table is None:
        raise UsageError(
            f"Nothing tells the splits: the video ids of MOSEI's standard folds are not part of this program. Put "
            f"{LABELS['mmsa']} below {root}, or the SDK's cmu_mosei_std_folds.py, with splits: std_folds."
        )
    splits, notes = splits_of_table(found.rows, found.table)
    return (None if source == "mmsa" else splits), found.table, notes


def _task(options: OptionsModel, task: Task | None) -> Task:
    """The task of the target.

    Raises:
        UsageError: The recipe's task is of another kind.
    """
    emotion = options.target in EMOTIONS
    if options.target == "polarity" or (emotion and options.emotions == "presence"):
        classes = PRESENCE if emotion else POLARITIES
        if task is None:
            return Classification(classes)
        if not isinstance(task, Classification) or set(task.classes) != set(classes):
            raise UsageError(
                f"MOSEI's {options.target} has the classes {', '.join(classes)}; the recipe's task differs."
            )
        return task
    if task is None:
        return Regression(*(EMOTION if emotion else SENTIMENT))
    if not isinstance(task, Regression):
        raise UsageError(
            f"MOSEI's {options.target} is a number, no class: its task is a regression, or is left out of the recipe. "
            "Classes are the target polarity, and emotions: presence."
        )
    return task


def _wanted(options: OptionsModel, task: Task, full: bool) -> Wanted:
    ranges = {"sentiment": SENTIMENT, **dict.fromkeys(EMOTIONS, EMOTION)}
    if isinstance(task, Regression):
        ranges[options.target] = (task.low, task.high)
    return Wanted(
        target=options.target,
        presence=options.emotions == "presence",
        ranges=ranges,
        full=full,
        fill=options.fill_from_full,
        official=options.official,
    )


def _only_full(segments: list[Segment], layout: Layout) -> bool:
    if layout.media.any_segments(videos_and_clips(segments)):
        return False
    return any(layout.media.full(video) for video in {segment.video for segment in segments})


def _filled(options: OptionsModel, full: bool) -> str:
    if full:
        return ""
    return "; missing ones are cut from full videos" if options.fill_from_full else "; missing ones are not filled"


def _no_labels(root: Path, layout: Layout, options: OptionsModel, notes: list[str]) -> str:
    sources = LABELS if options.labels == "auto" else {options.labels: LABELS[options.labels]}
    sentences = [f"Under {root} there are no labels of MOSEI: {'; '.join(sources.values())} were looked for."]
    sentences += [f"Seen: {note}" for note in notes]
    if layout.media.paths:
        sentences.append(f"Media are there ({len(layout.media.paths):,} files); put the labels beside them.")
    return " ".join(sentences) + unpacking(layout)
