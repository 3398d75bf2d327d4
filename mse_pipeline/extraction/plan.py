"""Plan: what all clips of a run have in common, which streams of which clips are missing, and the tasks made of them.

A task is some clips that one worker extracts and commits together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mse_pipeline import __version__
from mse_pipeline.clip import Clip, Split
from mse_pipeline.media.fetching import Stamp, Stamps
from mse_pipeline.store.journal import JournalRow, Stage
from mse_pipeline.store.keys import clip_key

if TYPE_CHECKING:
    from mse_pipeline.store.dataset import Dataset

Span = tuple[float | None, float | None]


def span_of(clip: Clip, max_seconds: float | None) -> Span:
    """The part of the media that is used, in seconds, for the key: begin, and end as far as it is asked for."""
    if max_seconds is None:
        return clip.start, clip.end
    limit = (clip.start or 0.0) + max_seconds
    return clip.start, limit if clip.end is None else min(clip.end, limit)


@dataclass(frozen=True)
class StreamSpec:
    """A configured extractor, as plain values that travel to a worker.

    Attributes:
        stream: As in ``acoustic.egemaps``.
        options: The recipe's options of it, and those that it left open as they were decided for all workers.
        version: Id of the stream with these options, 12 hex digits.
        identity: What the id is the hash of.
        instead: What is done in place of the best, as something is missing here, as sentences.
        reads_media: Whether the values depend on the clip's media file.
        reads_text: Whether they depend on the clip's text.
        follows_face: Whether they depend on the face that was chosen for the clip by hand.
        reads_span: Whether they depend on where the clip lies in a media file that is not opened.
    """

    stream: str
    options: Mapping[str, Any]
    version: str
    identity: Mapping[str, Any]
    instead: tuple[str, ...] = ()
    reads_media: bool = True
    reads_text: bool = False
    reads_span: bool = False
    follows_face: bool = False

    def key(self, clip: Clip, digest: str | None, max_seconds: float | None) -> str:
        """Key of a clip's features; empty where the media file that they depend on could not be read.

        Args:
            clip: The clip.
            digest: Digest of its media file's content.
            max_seconds: Longer clips are cut to this length; None for no limit.
        """
        if self.reads_media and digest is None:
            return ""
        span = span_of(clip, max_seconds) if self.reads_media else (None, None)
        if self.reads_span:
            span = clip.start, clip.end
        text = (clip.text, clip.language) if self.reads_text else None
        face = clip.face if self.follows_face else None
        return clip_key(digest if self.reads_media else None, span, self.version, text, face)

    def row(self, clip: Clip, media: Mapping[str, Any], max_seconds: float | None, **more: Any) -> JournalRow:
        """A row of the journal for a clip in this stream.

        Args:
            clip: The clip.
            media: Digest, size and time of its media file; empty where the file was not found.
            max_seconds: Longer clips are cut to this length; None for no limit.
            more: What became of it: status, code, stage, message.
        """
        key = self.key(clip, media.get("digest"), max_seconds)
        seen = media if self.reads_media else {}
        return JournalRow(clip=clip.id, stream=self.stream, version=self.version, key=key, **seen, **more)


@dataclass(frozen=True)
class Todo:
    """One clip and the streams that it still lacks.

    Attributes:
        clip: The clip.
        streams: Names of the streams to be made.
        known: The journal's rows of these streams where there are any: the media file looks changed, and if its
            content turns out to be the same, the old features hold.
        cost: About how long it will take, in seconds of media; 0 where there is no file that could be read.
    """

    clip: Clip
    streams: tuple[str, ...]
    known: Mapping[str, JournalRow] = field(default_factory=dict)
    cost: float = 1.0


@dataclass(frozen=True)
class Step:
    """Where a clip is on its way, so that it is known what it died of.

    Attributes:
        stage: What begins now.
        stream: The stream that is being made; None where the step serves all of them.
        media: Digest, size and time of the media file; empty until it is found.
    """

    stage: Stage
    stream: str | None = None
    media: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What a worker needs to know.

    Attributes:
        run: Name of the run, which must still hold when the worker commits.
        dataset: The dataset's folder in the cache.
        root: The folder of the raw files.
        specs: All streams of the recipe.
        max_seconds: Longer clips are cut to this length; None for no limit.
        device: Where models run, as in ``cpu`` or ``cuda``.
        clip_timeout: Seconds after which a clip is given up.
        number: Which of the run's tasks it is.
        todo: The clips.
        made_by: Version of this package; a worker with another one refuses.
        media_root: The folder that the clips' media paths start from, where that is not the root.
    """

    run: str
    dataset: Path
    root: Path
    specs: tuple[StreamSpec, ...]
    max_seconds: float | None
    device: str
    clip_timeout: float = 600.0
    number: int = 0
    todo: tuple[Todo, ...] = ()
    made_by: str = __version__
    media_root: Path | None = None

    @property
    def media_folder(self) -> Path:
        """The folder that the clips' media paths start from."""
        return self.root if self.media_root is None else self.media_root


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: its rows of the journal."""

    clip: str
    rows: tuple[JournalRow, ...]

    @property
    def worked_on(self) -> bool:
        """Whether its media was read: not where there is no file, or where it is the one that its features are of."""
        new = any(row.shard is None for row in self.rows)  # what is made now gets its shard when it is committed
        return new and not any(row.stage == "find" for row in self.rows)


@dataclass(frozen=True)
class Result:
    """What became of a task.

    Attributes:
        number: The task's.
        outcomes: Of its clips, as far as they are through; empty where there was a problem.
        left: Its clips that are to be given out again, as what was made of the others was as much as one holds.
        problem: Why nothing can be done here, as a sentence: the same would befall all other tasks.
    """

    number: int
    outcomes: tuple[Outcome, ...] = ()
    left: tuple[Todo, ...] = ()
    problem: str | None = None


Share = tuple[int, int]
"""Which of how many shares, as in (1, 8)."""

MOST_CLIPS = 16
"""What a shard holds at most, and what a kill can cost."""

_BATCHES_PER_WORKER = 16
_BYTES_PER_SECOND = 100_000


def missing(
    dataset: Dataset,
    clips: Iterable[Clip],
    specs: Sequence[StreamSpec],
    *,
    root: Path,
    max_seconds: float | None,
    retry_failed: bool,
) -> list[Todo]:
    """The clips that lack a stream.

    A stream is there if the journal has it for the same content and span of the media; whether the content is the
    same is told by the file's size and time, without reading it. Failures are not tried again unless asked for or
    unless their file has changed.
    """
    journal = dataset.rows_with_shards()
    stamps = Stamps(root)
    todo = []
    for clip in clips:
        rows = {spec.stream: row for spec in specs if (row := journal.get((clip.id, spec.version)))}
        stamp = stamps.of(clip.media)

        def holds(spec: StreamSpec, row: JournalRow | None, clip: Clip = clip, stamp: Stamp = stamp) -> bool:
            if row is None or (row.status == "failed" and retry_failed):
                return False
            same_file = not spec.reads_media or (row.size, row.mtime_ns) == stamp
            return same_file and row.key == spec.key(clip, row.digest, max_seconds)

        lacking = tuple(spec.stream for spec in specs if not holds(spec, rows.get(spec.stream)))
        if lacking:
            held = {name: rows[name] for name in lacking if name in rows}
            media = any(spec.reads_media for spec in specs if spec.stream in lacking)
            todo.append(Todo(clip, lacking, held, _cost(clip, stamp, max_seconds) if media else 1.0))
    return todo


def _cost(clip: Clip, stamp: Stamp, max_seconds: float | None) -> float:
    """About how many seconds a clip lasts: its span, or else a guess by the file's size; 0 without a file."""
    size = stamp[0]
    if size is None:
        return 0.0
    seconds = size / _BYTES_PER_SECOND if clip.end is None else clip.end - (clip.start or 0.0)
    return max(0.1, seconds if max_seconds is None else min(seconds, max_seconds))


def share_of(clips: Sequence[Clip], share: Share | None) -> list[Clip]:
    """The clips of one share: by their ids alone, so that machines that know nothing of each other agree.

    Examples:
        >>> clips = [Clip(id=f"c{n}", split=Split.TRAIN) for n in range(9)]
        >>> [[clip.id for clip in share_of(clips, (number, 2))] for number in (1, 2)]
        [['c1', 'c3', 'c4', 'c5', 'c6'], ['c0', 'c2', 'c7', 'c8']]
    """
    if share is None:
        return list(clips)
    number, count = share
    return [clip for clip in clips if _lot(clip.id) % count == number - 1]


def _lot(clip: str) -> int:
    return int.from_bytes(hashlib.blake2b(clip.encode(), digest_size=8).digest())


def spread(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """At most `limit` clips, taken from the splits in turn, so that a trial has all of them.

    Examples:
        >>> clips = [Clip(id=f"{s}/{i}", split=s) for s in Split for i in range(9)]
        >>> [clip.id for clip in spread(clips, 4)]
        ['train/0', 'train/1', 'valid/0', 'test/0']
    """
    if limit is None or limit >= len(clips):
        return list(clips)
    turns = zip_longest(*([clip for clip in clips if clip.split == split] for split in Split))
    taken = {clip.id for clip in list(filter(None, chain.from_iterable(turns)))[:limit]}
    return [clip for clip in clips if clip.id in taken]


def cut(todo: Sequence[Todo], workers: int) -> list[tuple[Todo, ...]]:
    """Cut clips into batches.

    A batch holds neighbours of the corpus's order: they share long files, whose content is then read and hashed once,
    and packing, which goes in that order, needs few shards in memory at a time. A worker that is free takes the next
    batch; as the costliest come first, what is left for the end is small, and all workers end together.

    Args:
        todo: The clips, in the corpus's order.
        workers: How many will work at the same time.

    Examples:
        >>> from mse_pipeline.clip import Clip, Split
        >>> todo = [Todo(Clip(id=str(n), split=Split.TRAIN), (), cost=cost) for n, cost in enumerate([1, 1, 1, 9, 1])]
        >>> [[one.clip.id for one in batch] for batch in cut(todo, workers=1)]
        [['3'], ['0'], ['1'], ['2'], ['4']]
    """
    bound = sum(clip.cost for clip in todo) / (_BATCHES_PER_WORKER * workers)
    return sorted(_neighbours(todo, bound), key=lambda batch: -sum(clip.cost for clip in batch))


def _neighbours(todo: Sequence[Todo], bound: float) -> Iterator[tuple[Todo, ...]]:
    """Batches in order, each of at most `MOST_CLIPS` clips and, if of more than one, of no more cost than `bound`."""
    batch: list[Todo] = []
    cost = 0.0
    for clip in todo:
        if batch and (len(batch) == MOST_CLIPS or cost + clip.cost > bound):
            yield tuple(batch)
            batch, cost = [], 0.0
        batch.append(clip)
        cost += clip.cost
    if batch:
        yield tuple(batch)
