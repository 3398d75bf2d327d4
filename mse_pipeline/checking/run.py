"""check: a recipe and a root folder -> a report, every media file probed and nothing extracted."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from mse_pipeline import corpora
from mse_pipeline.checking import pool
from mse_pipeline.checking.probing import Probed, examine
from mse_pipeline.checking.report import (
    CheckReport,
    SplitReport,
    judge,
    label_counts,
    length,
    merge,
    properties,
    same_content,
    spread,
)
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Corpus
from mse_pipeline.corpora.overview import overview
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.media.fetching import fetch, media_digest, remove_abandoned
from mse_pipeline.places import is_local
from mse_pipeline.progress import Silent
from mse_pipeline.recipe import Recipe

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
    timeout: float = TIMEOUT,
    progress: CheckProgress | None = None,
) -> CheckReport:
    """Read a corpus and probe each of its media files.

    Args:
        recipe: Which corpus, with which options; its streams do not matter.
        root: The corpus's folder, local or any URL that fsspec knows.
        workers: Processes; None for one a core.
        digests: Also look for clips whose files are equal in content, which reads files of equal size in full.
        decode: Also decode each file to its end, which finds what is damaged or cut off in the middle.
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
    work = functools.partial(examine, corpus.media_folder, whole=decode)
    try:
        for part in pool.each(work, media, lost=functools.partial(_lost, timeout), workers=workers, limit=timeout):
            files.update((probed.media, probed) for probed in part)
            progress.advance(len(part))
        files = {path: files[path] for path in media}  # in the clips' order, whichever worker was faster
        contents: dict[str, str] = {}
        if digests:
            files, contents = _digests(corpus.media_folder, files, workers, progress)
    finally:
        remove_abandoned()  # what workers had fetched from a remote root
    return _report(recipe, corpus, files, contents, begun)


def read(recipe: Recipe, root: str | Path) -> Corpus:
    """The corpus that a recipe names.

    Raises:
        UsageError: The root or the options are unusable, or there is no clip.
    """
    corpus = corpora.read(recipe.corpus.name, root, recipe.corpus.options, recipe.task)
    if not corpus.clips:
        raise UsageError(f"No clip was found below {corpus.root}.")
    return corpus


def _lost(timeout: float, media: str, how: pool.Loss) -> Probed:
    messages = {
        "worker_died": f"{media} ends the process that reads it.",
        "timeout": f"{media} could not be read within {timeout:g} s and was given up.",
    }
    return Probed(media=media, problems=((how, messages[how]),))


def _report(
    recipe: Recipe, corpus: Corpus, files: dict[str, Probed], digests: dict[str, str], begun: float
) -> CheckReport:
    probed = [
        defect
        for clip in corpus.clips
        if clip.media is not None
        for defect in judge(clip, files[clip.media], recipe.media.max_seconds)
    ]
    probed += same_content(corpus.clips, digests)
    return CheckReport(
        dataset=recipe.name,
        corpus=corpus.name,
        root=corpus.root,
        understood=overview(corpus.clips, corpus.task),
        splits={split: _split(split, corpus, files) for split in Split},
        labels=label_counts(corpus.clips, corpus.task),
        media=properties(files.values()),
        files=files,
        clips=corpus.clips,
        defects=merge(corpus.defects, probed),
        sources=corpus.sources,
        notes=corpus.notes,
        seconds=time.monotonic() - begun,
    )


def _split(split: Split, corpus: Corpus, files: dict[str, Probed]) -> SplitReport:
    clips: Sequence[Clip] = [clip for clip in corpus.clips if clip.split == split]
    with_media = [(clip, files[clip.media]) for clip in clips if clip.media is not None]
    readable = [(clip, probed) for clip, probed in with_media if probed.info is not None]
    lengths = (length(clip, probed) for clip, probed in readable)
    return SplitReport(
        found=len(clips),
        expected=corpus.expected.get(split),
        with_media=len(with_media),
        readable=len(readable),
        seconds=spread(seconds for seconds in lengths if seconds is not None),
        labels=spread(clip.label for clip in clips if isinstance(clip.label, int | float)),
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
    for part in pool.each(functools.partial(_digest, root), alike, lost=_undigested, workers=workers):
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


def _undigested(path: str, how: pool.Loss) -> tuple[str, str, str]:
    return path, "", f"{path} ends the process that reads it."
