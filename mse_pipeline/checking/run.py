"""Check and export: every media file of a raw folder is probed and nothing extracted, or its clips become a table.

The corpus `table` reads such a table back to the same clips.
"""

from __future__ import annotations

import csv
import functools
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

from mse_pipeline import corpora
from mse_pipeline.checking import report
from mse_pipeline.checking.probing import Probed, examine
from mse_pipeline.child_process import Loss, each
from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.corpora.base import Corpus, enumerate_some
from mse_pipeline.corpora.overview import overview
from mse_pipeline.corpora.table import FURTHER, OPTIONAL, REQUIRED, Cells, make_clips
from mse_pipeline.corpora.table_cells import Complaints
from mse_pipeline.corpora.table_votes import vote_columns
from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.media.fetching import fetch, media_digest, remove_abandoned
from mse_pipeline.places import is_local
from mse_pipeline.progress import Silent
from mse_pipeline.recipe import Recipe
from mse_pipeline.store.storage import aside
from mse_pipeline.task import Task

TIMEOUT = 120.0
"""Seconds that a file may take; most take milliseconds."""


class CheckProgress(Protocol):
    """What is told while the check goes on."""

    def stage(self, text: str, total: int | None = None) -> None:
        """A new stage begins, of so many files."""

    def advance(self, files: int) -> None:
        """So many more files are through."""


def check(
    recipe: Recipe,
    root: str | Path,
    *,
    workers: int | None = None,
    digests: bool = False,
    decode: bool = False,
    quality: bool = False,
    speech: bool = False,
    timeout: float = TIMEOUT,
    progress: CheckProgress | None = None,
) -> report.CheckReport:
    """Read a corpus and probe each of its media files.

    Args:
        recipe: Which corpus, with which options; its streams do not matter.
        root: The corpus's folder, local or any URL that fsspec knows.
        workers: Processes; None for one a core.
        digests: Also look for clips whose files are equal in content, which reads files of equal size in full.
        decode: Also decode each file to its end, which finds what is damaged or cut off in the middle.
        quality: Also measure the sound and the face of each clip, which takes as long as extracting them.
        speech: Also decode each file's sound, to find clips in which nobody speaks.
        timeout: Seconds that a file may take, a remote one with its fetching, before it is given up.
        progress: Told how far the check is.

    Raises:
        UsageError: The root or the request is unusable, or there is no clip.
    """
    begun = time.monotonic()
    progress = progress or Silent()
    progress.stage("reading the corpus")
    corpus = read(recipe, root)
    media = list(dict.fromkeys(clip.media for clip in corpus.clips if clip.media is not None))
    progress.stage("probing", len(media))
    files: dict[str, Probed] = {}
    work = functools.partial(examine, corpus.media_folder, whole=decode, speech=speech)
    try:
        for part in each(work, media, lost=functools.partial(_lost, timeout), workers=workers, limit=timeout):
            files.update((probed.media, probed) for probed in part)
            progress.advance(len(part))
        files = {path: files[path] for path in media}  # in the clips' order, whichever worker was faster
        contents: dict[str, str] = {}
        if digests:
            files, contents = _digests(corpus.media_folder, files, workers, progress)
        measured: dict[str, dict[str, float]] = {}
        if quality:
            limit = recipe.media.max_seconds
            measured = _measured(corpus, files, limit, workers=workers, timeout=timeout, progress=progress)
    finally:
        remove_abandoned()  # what workers had fetched from a remote root
    return replace(_report(recipe, corpus, files, contents, begun), quality=measured)


def _measured(
    corpus: Corpus,
    files: dict[str, Probed],
    max_seconds: float | None,
    *,
    workers: int | None,
    timeout: float,
    progress: CheckProgress,
) -> dict[str, dict[str, float]]:
    """What is measured of the clips whose files can be read, by id, in the clips' order."""
    from mse_pipeline.checking.quality import measure

    clips = [clip for clip in corpus.clips if clip.media is not None and files[clip.media].info is not None]
    progress.stage("measuring", len(clips))
    work = functools.partial(measure, corpus.media_folder, max_seconds)
    found: dict[str, dict[str, float]] = {}
    for part in each(work, clips, lost=lambda clip, how: (clip.id, {}), workers=workers, limit=timeout):
        found.update(part)
        progress.advance(len(part))
    return {clip.id: found[clip.id] for clip in clips}


def read(recipe: Recipe, root: str | Path) -> Corpus:
    """The corpus that a recipe names.

    Raises:
        UsageError: The root or the options are unusable, or there is no clip.
    """
    corpus = corpora.read(recipe.corpus.name, root, recipe.corpus.options, recipe.task)
    if not corpus.clips:
        raise UsageError(f"No clip was found below {corpus.root}.")
    return corpus


def _lost(timeout: float, media: str, how: Loss) -> Probed:
    messages = {
        "worker_died": f"{media} ends the process that reads it.",
        "timeout": f"{media} could not be read within {timeout:g} s and was given up.",
    }
    return Probed(media=media, problems=((how, messages[how]),))


def _report(
    recipe: Recipe, corpus: Corpus, files: dict[str, Probed], digests: dict[str, str], begun: float
) -> report.CheckReport:
    probed = [
        defect
        for clip in corpus.clips
        if clip.media is not None
        for defect in report.judge(clip, files[clip.media], recipe.media.max_seconds)
    ]
    probed += report.same_content(corpus.clips, digests)
    return report.CheckReport(
        dataset=recipe.name,
        corpus=corpus.name,
        root=corpus.root,
        understood=overview(corpus.clips, corpus.task),
        splits={split: _split(split, corpus, files) for split in Split},
        labels=report.label_counts(corpus.clips, corpus.task),
        media=report.properties(files.values()),
        files=files,
        clips=corpus.clips,
        defects=report.merge(corpus.defects, probed),
        sources=corpus.sources,
        notes=(*corpus.notes, *_of_texts(recipe, corpus)),
        seconds=time.monotonic() - begun,
    )


def _of_texts(recipe: Recipe, corpus: Corpus) -> list[str]:
    """Which clips have their text from speech recognition."""
    if recipe.transcripts is None:
        return []
    count = sum(recipe.corpus.text == "asr-all" or not clip.text.strip() for clip in corpus.clips)
    return [
        f"text: {recipe.corpus.text}: {count:,} of {len(corpus.clips):,} clips have their text from "
        f"{recipe.transcripts}, when they are extracted."
    ]


def _split(split: Split, corpus: Corpus, files: dict[str, Probed]) -> report.SplitReport:
    clips: Sequence[Clip] = [clip for clip in corpus.clips if clip.split == split]
    with_media = [(clip, files[clip.media]) for clip in clips if clip.media is not None]
    readable = [(clip, probed) for clip, probed in with_media if probed.info is not None]
    lengths = (report.length(clip, probed) for clip, probed in readable)
    return report.SplitReport(
        found=len(clips),
        expected=corpus.expected.get(split),
        with_media=len(with_media),
        readable=len(readable),
        seconds=report.spread(seconds for seconds in lengths if seconds is not None),
        labels=report.spread(clip.label for clip in clips if isinstance(clip.label, int | float)),
    )


def _digests(
    root: Path, files: dict[str, Probed], workers: int | None, progress: CheckProgress
) -> tuple[dict[str, Probed], dict[str, str]]:
    """Digests of the files that have the size of another one, and `files` with those that could not be read marked."""
    sizes = Counter(probed.info.size for probed in files.values() if probed.info is not None)
    alike = [path for path, probed in files.items() if probed.info is not None and sizes[probed.info.size] > 1]
    progress.stage("comparing contents", len(alike))
    digests: dict[str, str] = {}
    marked = dict(files)
    for part in each(functools.partial(_digest, root), alike, lost=_undigested, workers=workers):
        for path, digest, problem in part:
            if problem:
                problems = (*files[path].problems, ("undecodable", problem))
                marked[path] = replace(files[path], info=None, problems=problems)
            else:
                digests[path] = digest
        progress.advance(len(part))
    return marked, digests


def _digest(root: Path, path: str) -> tuple[str, str, str]:
    """Path, digest of its content, and why there is none."""
    try:
        return path, fetch(root, path).digest if not is_local(root) else media_digest(root / path), ""
    except (ClipError, OSError) as error:
        return path, "", f"{path} cannot be read to its end: {getattr(error, 'strerror', None) or error}."


def _undigested(path: str, how: Loss) -> tuple[str, str, str]:
    return path, "", f"{path} ends the process that reads it."


SUFFIXES = (".parquet", ".csv")
Column = Sequence[str | float | None]

# Half of a surrogate pair cannot be written as UTF-8, and a zero byte ends the reading of a CSV as text.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def export(path: Path, clips: Sequence[Clip], task: Task) -> list[str]:
    """Write clips as a table, whole or not at all.

    Media paths are those below the corpus's root, so the table belongs at that root, or anywhere below it.

    Args:
        path: Ends in .parquet or .csv.
        clips: Of one corpus.
        task: What is to be predicted; it is not written, the recipe holds it.

    Returns:
        Sentences about clips that do not come back quite the same.

    Raises:
        UsageError: The file's name ends otherwise.
        MseError: Clips cannot be told in a table: ids that it refuses, or texts that are no Unicode.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} must end in {' or '.join(SUFFIXES)}.")
    columns = to_columns(clips)
    notes = _differences(clips, columns, task)
    if path.suffix.lower() == ".csv":
        _write_csv(path, columns)
    else:
        _write_parquet(path, columns)
    return notes


def to_columns(clips: Sequence[Clip]) -> dict[str, Column]:
    """Column name -> a cell a clip.

    They are those of the table's format, one ``label_NAME`` for each further annotation, and one ``votes_CLASS`` for
    each class that has votes.

    Examples:
        >>> from mse_pipeline.clip import Split
        >>> columns = to_columns([Clip(id="a", split=Split.TEST, label=1.5, labels={"text": -1.0})])
        >>> columns["split"], columns["label"], columns["label_text"]
        (['test'], [1.5], [-1.0])
    """
    plain = [name for name in (*REQUIRED, *OPTIONAL) if name != "label"]
    columns: dict[str, Column] = {name: [getattr(clip, name) for clip in clips] for name in plain}
    columns["split"] = [str(clip.split) for clip in clips]
    columns["label"] = _labels([clip.label for clip in clips])
    kinds = dict.fromkeys(kind for clip in clips for kind in clip.labels)
    columns |= {FURTHER + kind: _labels([clip.labels.get(kind) for clip in clips]) for kind in kinds}
    return {**columns, **vote_columns(clips)}


def _labels(labels: Sequence[Label | None]) -> Column:
    """Numbers if all are, else texts: a Parquet column has one type."""
    if any(isinstance(label, str) for label in labels):
        return [None if label is None else _text(label) for label in labels]
    return [None if label is None else float(label) for label in labels]


def _text(value: object) -> str:
    """As the table reader takes it for the same value."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _differences(clips: Sequence[Clip], columns: dict[str, Column], task: Task) -> list[str]:
    """Have the table's own reader make clips of the cells, and tell where they are not what they were."""
    cells = {name: [_text(value) for value in column] for name, column in columns.items()}
    for name, column in cells.items():
        bad = [clip.id for clip, value in zip(clips, column, strict=True) if _UNWRITABLE.search(value)]
        if bad:
            raise MseError(
                f"Column {name} holds characters that no table can hold, in {enumerate_some(map(ascii, bad), 3)}."
            )
    complaints = Complaints("of the clips")
    rows = range(2, len(clips) + 2)
    media = [clip.media for clip in clips]
    written = Cells(rows=rows, columns=cells, media=media, splits={}, language="en")
    back, _ = make_clips(written, task, complaints)
    if complaints.found:
        message = "; ".join(
            f"{problem} ({clips[table_rows[0] - 2].id!r})" for problem, table_rows in complaints.found.items()
        )
        raise MseError(f"The clips cannot be written as a table: {message}.")
    notes = []
    for field in fields(Clip):
        pairs = [
            (one, getattr(one, field.name), getattr(two, field.name)) for one, two in zip(clips, back, strict=True)
        ]
        changed = [one.id for one, before, after in pairs if before != after]
        if changed:
            notes.append(f"The field {field.name} of {enumerate_some(changed, 3)} does not come back quite the same.")
    return notes


def _write_csv(path: Path, columns: dict[str, Column]) -> None:
    with aside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*([_text(value) for value in column] for column in columns.values()), strict=True))


def _write_parquet(path: Path, columns: dict[str, Column]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Any] = {"start": pa.float64(), "end": pa.float64(), "turn": pa.int64()}

    def kind(name: str) -> Any:
        # A column without any value has no type of its own; as text it is read as empty all the same.
        numeric = any(isinstance(value, float) for value in columns[name])
        return kinds.get(name, pa.float64() if numeric else pa.string())

    arrays = {name: pa.array(column, kind(name)) for name, column in columns.items()}
    with aside(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd")
