"""CMU-MOSI (Zadeh et al. 2016): film reviews from YouTube, sentiment, English.

It is read as MMSA has it (``label.csv``, ``Raw/<video>/<clip>.mp4``), and with the segments and transcripts of CMU's
archive (``Raw/Video/Segmented/<video>_<clip>.mp4``, ``Raw/Transcript/Segmented/<video>.annotprocessed``) beside MMSA's
label.csv, which tells labels and splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from mse_pipeline.clip import Defect, Split
from mse_pipeline.corpora.base import RESEARCH, Corpus, Facts, ReaderOptions, compare_counts
from mse_pipeline.corpora.files import Listing, read_folder
from mse_pipeline.corpora.mmsa_table import LAYOUT
from mse_pipeline.corpora.mosei import POLARITIES, SENTIMENT, MoseiLayout, Wanted, make_clips, survey, unpacking
from mse_pipeline.corpora.mosei_files import Annotations, list_segments, read_transcripts
from mse_pipeline.corpora.mosei_splits import choose_table, splits_of_table
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression, Task

OFFICIAL = {Split.TRAIN: 1284, Split.VALID: 229, Split.TEST: 686}
KNOWN_BAD_FULL = {
    "c5xsKMxpXnc": "the full video is corrupted (CMU-MultimodalSDK issue 217); clips are read from segments"
}
"""Full video -> what is wrong with it."""

FACTS = Facts(
    title="CMU-MOSI: opinions from YouTube (Zadeh et al. 2016)",
    task="regression, sentiment -3 to 3",
    predicts=Regression(*SENTIMENT),
    language="en",
    labels="sentiment -3 to 3",
    splits=OFFICIAL,
    splits_from="the standard folds of CMU-MultimodalSDK (52, 10 and 31 videos)",
    licence=RESEARCH,
    source="CMU-MultimodalSDK, or MMSA's copy beside its MOSEI",
    layouts=(LAYOUT, "Raw/Video/Segmented/VIDEO_N.mp4 + Raw/Transcript/Segmented/VIDEO.annotprocessed"),
    defects=("the full video c5xsKMxpXnc is damaged (CMU-MultimodalSDK issue 217)",),
)


class OptionsModel(ReaderOptions):
    """Options of the MOSI reader.

    Attributes:
        target: Which annotation is the label: the sentiment, or its sign.
        official: Whether this is MOSI itself, whose counts are known and whose bad media are listed. False for other
            data in its layouts.
    """

    target: Literal["sentiment", "polarity"] = "sentiment"
    official: bool = True


def read(root: str | Path, options: OptionsModel | None = None, task: Task | None = None) -> Corpus:
    """List MOSI's clips.

    Args:
        root: Folder of the unpacked archive, or one around it; labels, transcripts and media are found by content.
        options: See `OptionsModel`.
        task: Another range of the sentiment than MOSI's own, or another order of the polarities.

    Raises:
        UsageError: There is no folder or no label table, or the recipe's task does not fit.
    """
    options = options or OptionsModel()
    return read_folder(root, options, partial(_read, options=options, task=task))


def _read(folder: Path, listing: Listing, options: OptionsModel, task: Task | None) -> Corpus:
    layout = survey(folder, listing)
    chosen = choose_table(folder, layout.tables, "mosi")
    if chosen is None:
        raise UsageError(_no_labels(folder, layout))
    table, rows, notes = chosen
    task = _task(options, task)
    transcripts, messages = read_transcripts(folder, layout.transcripts)
    notes += messages
    segments, messages = list_segments("mmsa", Annotations(rows=rows, table=table, transcripts=transcripts))
    notes += messages
    _, messages = splits_of_table(rows, table)
    notes += messages
    sentiment = (task.low, task.high) if isinstance(task, Regression) else SENTIMENT
    wanted = Wanted(
        target=options.target,
        presence=False,
        ranges={"sentiment": sentiment},
        full=False,
        fill=False,
        # What is known of MOSEI's videos is not about these.
        official=False,
    )
    clips, defects, messages = make_clips(segments, None, layout.media, wanted)
    notes += [*messages, *(f"Ignored: {reason}" for reason in layout.refused)]
    if options.official:
        counts = {split: sum(clip.split == split for clip in clips) for split in Split}
        defects += [*_bad_full_videos(layout), *compare_counts("clips of split", OFFICIAL, counts)]
    return Corpus(
        name="mosi",
        root=folder,
        task=task,
        clips=tuple(clips),
        defects=tuple(defects),
        expected=OFFICIAL if options.official else {},
        sources=(table,),
        notes=tuple(notes),
    )


def _task(options: OptionsModel, task: Task | None) -> Task:
    """The task of the target.

    Raises:
        UsageError: The recipe's task is of another kind.
    """
    if options.target == "sentiment":
        if task is None or isinstance(task, Regression):
            return task or Regression(*SENTIMENT)
        raise UsageError(
            "MOSI's sentiment is a number, no class: its task is a regression, or is left out of the recipe. Classes "
            "are the target polarity."
        )
    if task is None:
        return Classification(POLARITIES)
    if not isinstance(task, Classification) or set(task.classes) != set(POLARITIES):
        raise UsageError(f"MOSI's polarity has the classes {', '.join(POLARITIES)}; the recipe's task differs.")
    return task


def _bad_full_videos(layout: MoseiLayout) -> Iterator[Defect]:
    for video, reason in KNOWN_BAD_FULL.items():
        for path in layout.media.full(video):
            yield Defect(code="known_bad", message=f"Known of {path}: {reason}.", path=path)


def _no_labels(root: Path, layout: MoseiLayout) -> str:
    sentences = [
        f"Under {root} there are no labels of MOSI: MMSA's label.csv (columns video_id, clip_id, text, label, mode) "
        "was looked for."
    ]
    if layout.media.paths:
        sentences.append(f"Media are there ({len(layout.media.paths):,} files); put label.csv beside them.")
    return " ".join(sentences) + unpacking(layout)
