"""Task: some clips that one worker processes and commits together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mse_pipeline import __version__
from mse_pipeline.clip import Clip
from mse_pipeline.store.journal import JournalRow, Stage
from mse_pipeline.store.keys import clip_key

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
        cost: About how long it will take, in seconds of media; only comparisons matter.
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
