"""Task: some clips that one worker processes and commits together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.store.journal import Row


@dataclass(frozen=True)
class StreamSpec:
    """A configured extractor, as plain values that travel to a worker.

    Attributes:
        stream: As in ``acoustic.egemaps``.
        options: The recipe's options of it.
        version: Id of the stream with these options, 12 hex digits.
        identity: What the id is the hash of.
    """

    stream: str
    options: Mapping[str, Any]
    version: str
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Todo:
    """One clip and the streams that it still lacks.

    Attributes:
        clip: The clip.
        streams: Names of the streams to be made.
        known: The journal's rows of these streams where there are any: the media file looks changed, and if its
            content turns out to be the same, the old features hold.
    """

    clip: Clip
    streams: tuple[str, ...]
    known: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What a worker needs to know.

    Attributes:
        run: Name of the run, which must still hold when the worker commits.
        dataset: The dataset's folder in the cache.
        root: The folder that the clips' media paths start from.
        specs: All streams of the recipe.
        max_seconds: Longer clips are cut to this length; None for no limit.
        device: Where models run, as in ``cpu`` or ``cuda``.
        todo: The clips.
        threads: Threads that the worker may use.
        parent: Process that the worker belongs to and must not outlive; None where a worker belongs to none.
    """

    run: str
    dataset: Path
    root: Path
    specs: tuple[StreamSpec, ...]
    max_seconds: float | None
    device: str
    todo: tuple[Todo, ...] = ()
    threads: int = 1
    parent: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: its rows of the journal, or of nothing if the run no longer held."""

    clip: str
    rows: tuple[Row, ...]
