"""What is missing: each clip's streams that the journal does not know as done for the media as it is now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from mse_pipeline.clip import Clip, Split
from mse_pipeline.extraction.task import StreamSpec, Todo
from mse_pipeline.media.stamps import Stamp, Stamps
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.journal import Row


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
    journal = dataset.journal.read()
    stamps = Stamps(root)
    todo = []
    for clip in clips:
        known = {spec.stream: row for spec in specs if (row := journal.get((clip.id, spec.version)))}
        stamp = stamps.of(clip.media)

        def holds(spec: StreamSpec, row: Row | None, clip: Clip = clip, stamp: Stamp = stamp) -> bool:
            if row is None or (row.status == "failed" and retry_failed):
                return False
            same_file = not spec.reads_media or (row.size, row.mtime_ns) == stamp
            return same_file and row.key == spec.key(clip, row.digest, max_seconds)

        lacking = tuple(spec.stream for spec in specs if not holds(spec, known.get(spec.stream)))
        if lacking:
            todo.append(Todo(clip, lacking, {name: known[name] for name in lacking if name in known}))
    return todo


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
