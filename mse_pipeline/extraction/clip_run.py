"""One clip on its way: found, decoded once, put through its extractors. No stream's failure costs another's."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.errors import ClipError, MseError
from mse_pipeline.extraction.plan import span_of
from mse_pipeline.extraction.task import Task, Todo
from mse_pipeline.extractors.base import AudioExtractor, Extractor, FaceExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession
from mse_pipeline.media.decode import Decoded, FrameRequest, decode
from mse_pipeline.media.digest import media_digest
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import Row, Stage
from mse_pipeline.store.keys import clip_key

Made = list[tuple[Row, Features | None]]
"""A row of the journal for each stream, with its features where they were made."""


class ClipRun:
    """The run of one clip.

    Args:
        todo: The clip and what it lacks.
        task: The task that it belongs to.
    """

    def __init__(self, todo: Todo, task: Task) -> None:
        self.clip = todo.clip
        self._known = todo.known
        self._task = task
        self._versions = {spec.stream: spec.version for spec in task.specs}
        self._span = span_of(todo.clip, task.max_seconds)
        self._media: dict[str, Any] = {}  # digest, size and time of the media file, once it is found
        self._made: Made = []

    def make(self, extractors: Mapping[str, Extractor]) -> Made:
        """Make the clip's streams.

        Args:
            extractors: By stream name.
        """
        try:
            path = self._find()
        except ClipError as error:
            return self._fail_all(extractors, "find", error)
        wanted = self._without_unchanged(extractors)
        if wanted:
            sessions = FaceSessions(wanted.values(), self._task.device)
            try:
                decoded = self._decode(path, wanted.values(), sessions)
            except ClipError as error:
                return self._fail_all(wanted, "decode", error)
            for stream, extractor in wanted.items():
                self._extract(stream, extractor, decoded, sessions)
        return self._made

    def _find(self) -> Path:
        if self.clip.media is None:
            raise ClipError("missing_media", f"{self.clip.id} has no media file below {self._task.root}.")
        path = self._task.root / self.clip.media
        try:
            status = os.stat(path)
            digest = _digest(path, status.st_size, status.st_mtime_ns)
        except OSError as error:
            raise ClipError("missing_media", f"{self.clip.media} cannot be read: {error.strerror}.") from error
        self._media = {"digest": digest, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        return path

    def _without_unchanged(self, extractors: Mapping[str, Extractor]) -> dict[str, Extractor]:
        """Leave out the streams whose file turns out to be the same in content; their row learns its new time."""
        wanted = {}
        for stream, extractor in extractors.items():
            known = self._known.get(stream)
            if known is not None and known.status == "done" and known.key == self._key(stream):
                self._made.append((Row(**{**known.__dict__, **self._media}), None))
            else:
                wanted[stream] = extractor
        return wanted

    def _decode(self, path: Path, extractors: Iterable[Extractor], sessions: FaceSessions) -> Decoded:
        return decode(
            path,
            start=self.clip.start,
            end=self.clip.end,
            audio=any(isinstance(extractor, AudioExtractor) for extractor in extractors),
            frames=sessions.requests(),
            max_seconds=self._task.max_seconds,
        )

    def _extract(self, stream: str, extractor: Extractor, decoded: Decoded, sessions: FaceSessions) -> None:
        stage: Stage = "decode"
        try:
            if isinstance(extractor, AudioExtractor):
                if decoded.audio is None:
                    raise decoded.audio_problem or ClipError("no_audio", f"{self.clip.media} has no sound.")
                stage = "extract"
                features = extractor(decoded.audio)
            elif isinstance(extractor, FaceExtractor):
                if decoded.video_problem is not None:
                    raise decoded.video_problem
                stage = "extract"
                features = extractor(sessions.faces(extractor.face))
            else:
                raise TypeError(f"{type(extractor).__name__} is neither an AudioExtractor nor a FaceExtractor.")
        except Exception as error:  # whatever a clip does to an extractor must not end the run of 20,000 others
            self._fail(stream, stage, error)
            return
        remark: dict[str, Any] = {}
        if decoded.truncated:
            remark = {"code": "too_long", "message": f"Longer than {self._task.max_seconds:g} s: cut there."}
        self._made.append((self._row(stream, status="done", **remark), features))

    def _fail_all(self, streams: Iterable[str], stage: Stage, error: Exception) -> Made:
        for stream in streams:
            self._fail(stream, stage, error)
        return self._made

    def _fail(self, stream: str, stage: Stage, error: Exception) -> None:
        code = error.code if isinstance(error, ClipError) else "extractor_failed"
        message = str(error) if isinstance(error, MseError) else f"{type(error).__name__}: {error}"
        self._made.append((self._row(stream, status="failed", code=code, stage=stage, message=message), None))

    def _row(self, stream: str, **more: Any) -> Row:
        version = self._versions[stream]
        return Row(clip=self.clip.id, stream=stream, version=version, key=self._key(stream), **self._media, **more)

    def _key(self, stream: str) -> str:
        digest = self._media.get("digest")
        return clip_key(digest, self._span, self._versions[stream]) if digest else ""


class FaceSessions:
    """The faces of one clip, found once for all extractors with the same face settings.

    Args:
        extractors: The clip's extractors; those that look at no face are left out.
        device: Where the detector runs.
    """

    def __init__(self, extractors: Iterable[Extractor], device: str) -> None:
        configs = {extractor.face for extractor in extractors if isinstance(extractor, FaceExtractor)}
        self._sessions = {config: FaceSession(config, device) for config in configs}
        self._found: dict[FaceConfig, Faces] = {}
        self._errors: dict[FaceConfig, Exception] = {}

    def requests(self) -> list[FrameRequest]:
        """What the decoder is to hand over."""
        return [FrameRequest(config.rate, functools.partial(self._add, config)) for config in self._sessions]

    def _add(self, config: FaceConfig, batch: FrameBatch) -> None:
        if config in self._errors:
            return
        try:
            self._sessions[config].add(batch)
        except Exception as error:  # told by `faces`, so that the sound that is decoded beside it is kept
            self._errors[config] = error

    def faces(self, config: FaceConfig) -> Faces:
        """The faces found; raises what went wrong while they were looked for."""
        if config in self._errors:
            raise self._errors[config]
        if config not in self._found:
            self._found[config] = self._sessions[config].finish()
        return self._found[config]


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Digest of a file's content; the spans of one long file share the reading."""
    return media_digest(path)
