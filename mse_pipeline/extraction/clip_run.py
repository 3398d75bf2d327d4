"""One clip on its way: found, decoded once, put through its extractors. No stream's failure costs another's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mse_pipeline.errors import ClipError, MseError, refuse_if_of_all_clips
from mse_pipeline.extraction.plan import Step, Task, Todo
from mse_pipeline.extractors.base import (
    AudioExtractor,
    Extractor,
    FaceExtractor,
    FrameExtractor,
    FrameStream,
    SpokenTextExtractor,
    StreamedExtractor,
    TextExtractor,
)
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession
from mse_pipeline.extractors.visual.whole import FrameConfig, Frames, FrameSession
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import Decoded, FrameRequest, decode
from mse_pipeline.media.fetching import fetch
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.store.features import Features
from mse_pipeline.store.journal import JournalRow, Stage

Made = list[tuple[JournalRow, Features | None]]
"""A row of the journal for each stream, with its features where they were made."""


class ClipRun:
    """The run of one clip.

    Args:
        todo: The clip and what it lacks.
        task: The task that it belongs to.
        on_step: Told what begins, before it begins.
    """

    def __init__(self, todo: Todo, task: Task, on_step: Callable[[Step], None] = lambda step: None) -> None:
        self._on_step = on_step
        self.clip = todo.clip
        self._known = todo.known
        self._task = task
        self._specs = {spec.stream: spec for spec in task.specs}
        self._media: dict[str, Any] = {}  # digest, size and time of the media file, once it is found
        self._fetched_to = ""  # where it was opened, which messages call by its name below the root
        self._made: Made = []

    def make(self, extractors: Mapping[str, Extractor]) -> Made:
        """Make the clip's streams.

        Args:
            extractors: By stream name.

        Raises:
            MseError: The machine is at fault, not the clip: its disk is full, say.
        """
        for stream, extractor in extractors.items():
            if isinstance(extractor, TextExtractor):
                self._attempt(stream, functools.partial(extractor, self.clip, self._task.root))
        of_media = {
            name: extractor for name, extractor in extractors.items() if not isinstance(extractor, TextExtractor)
        }
        if not of_media:
            return self._made
        self._on_step(Step("find"))
        try:
            path = self._find()
        except ClipError as error:
            return self._fail_all(of_media, "find", error)
        wanted = self._without_unchanged(of_media)
        if wanted:
            self._on_step(Step("decode", media=self._media))
            sessions = Sessions(wanted.values(), self._task.device, self.clip.face)
            self._begin_streams(wanted, sessions)
            try:
                decoded = self._decode(path, wanted.values(), sessions)
            except ClipError as error:
                return self._fail_all(wanted, "decode", error)
            for stream, extractor in wanted.items():
                self._extract(stream, extractor, decoded, sessions)
        return self._made

    def _find(self) -> Path:
        if self.clip.media is None:
            raise ClipError("missing_media", f"{self.clip.id} has no media file below {self._task.media_folder}.")
        file = fetch(self._task.media_folder, self.clip.media)
        self._media = {"digest": file.digest, "size": file.size, "mtime_ns": file.mtime_ns}
        self._fetched_to = str(file.path)
        return file.path

    def _without_unchanged(self, extractors: Mapping[str, Extractor]) -> dict[str, Extractor]:
        """Leave out the streams whose file turns out to be the same in content; their row learns its new time."""
        wanted = {}
        for stream, extractor in extractors.items():
            row = self._known.get(stream)
            if row is not None and row.status == "done" and row.key == self._key(stream):
                self._made.append((JournalRow(**{**row.__dict__, **self._media}), None))
            else:
                wanted[stream] = extractor
        return wanted

    def _begin_streams(self, wanted: Mapping[str, Extractor], sessions: Sessions) -> None:
        """Have what is made while the clip is decoded told as a step of its stream, so that others outlive its end."""
        for stream, extractor in wanted.items():
            if isinstance(extractor, StreamedExtractor):
                making, decoding = Step("extract", stream, self._media), Step("decode", media=self._media)
                sessions.begin(
                    extractor, functools.partial(self._on_step, making), functools.partial(self._on_step, decoding)
                )

    def _decode(self, path: Path, extractors: Iterable[Extractor], sessions: Sessions) -> Decoded:
        return decode(
            path,
            start=self.clip.start,
            end=self.clip.end,
            audio=sessions.hear
            or any(isinstance(extractor, (AudioExtractor, SpokenTextExtractor)) for extractor in extractors),
            frames=sessions.requests(),
            max_seconds=self._task.max_seconds,
        )

    def _extract(self, stream: str, extractor: Extractor, decoded: Decoded, sessions: Sessions) -> None:
        hears = isinstance(extractor, (AudioExtractor, SpokenTextExtractor))
        problem = decoded.audio_problem if hears else decoded.video_problem
        if problem is not None:
            self._fail(stream, "decode", problem)
            return
        remarks = list(decoded.audio_remarks if hears else decoded.video_remarks)
        if decoded.truncated:
            remarks.append(ClipError("too_long", f"Longer than {self._task.max_seconds:g} s: cut there."))
        # A row has one code: that of the first, which says most; and the sentences of all.
        remark = {"code": remarks[0].code, "message": self._named(" ".join(map(str, remarks)))} if remarks else {}
        self._attempt(stream, lambda: self._call(extractor, decoded, sessions), **remark)

    def _call(self, extractor: Extractor, decoded: Decoded, sessions: Sessions) -> Features:
        if decoded.audio is not None and isinstance(extractor, AudioExtractor):
            return extractor(decoded.audio)
        if decoded.audio is not None and isinstance(extractor, SpokenTextExtractor):
            return extractor(self.clip, decoded.audio)
        if isinstance(extractor, FaceExtractor):
            return extractor(sessions.faces(extractor.face, decoded.audio))
        if isinstance(extractor, FrameExtractor):
            return extractor(sessions.frames(extractor.frames))
        if isinstance(extractor, StreamedExtractor):
            return sessions.streamed(extractor)
        raise TypeError(f"{type(extractor).__name__} is none of the kinds of extractors that a clip is put through.")

    def _attempt(self, stream: str, make: Callable[[], Features], **remark: Any) -> None:
        self._on_step(Step("extract", stream, self._media))
        try:
            features = make()
        except Exception as error:  # whatever a clip does to an extractor must not end the run of 20,000 others
            refuse_if_of_all_clips(error)
            self._fail(stream, "extract", error)
            return
        # What the extractor itself remarks; that the clip was cut is told before all else.
        self._made.append((self._row(stream, status="done", **(remark or features.notes.get("remark", {}))), features))

    def _fail_all(self, streams: Iterable[str], stage: Stage, error: Exception) -> Made:
        for stream in streams:
            self._fail(stream, stage, error)
        return self._made

    def _fail(self, stream: str, stage: Stage, error: Exception) -> None:
        code = error.code if isinstance(error, ClipError) else "extractor_failed"
        message = str(error) if isinstance(error, MseError) else f"{type(error).__name__}: {error}"
        row = self._row(stream, status="failed", code=code, stage=stage, message=self._named(message))
        self._made.append((row, None))

    def _named(self, message: str) -> str:
        """A message that calls the media file by its name below the root, wherever it was opened."""
        if not self._fetched_to:
            return message
        return message.replace(self._fetched_to, str(self._task.media_folder / str(self.clip.media)))

    def _row(self, stream: str, **more: Any) -> JournalRow:
        return self._specs[stream].row(self.clip, self._media, self._task.max_seconds, **more)

    def _key(self, stream: str) -> str:
        return self._specs[stream].key(self.clip, self._media.get("digest"), self._task.max_seconds)


class Sessions:
    """The faces and frames of one clip, found once for all extractors with the same settings.

    Args:
        extractors: The clip's extractors; those that look at no frame are left out.
        device: Where the detector runs.
        face: Number of the face to follow; None to choose by the extractors' policy.
    """

    def __init__(self, extractors: Iterable[Extractor], device: str, face: int | None = None) -> None:
        self._face = face
        self._streams: dict[StreamedExtractor, FrameStream] = {}
        self._streaming: list[FrameRequest] = []
        self._broken: dict[StreamedExtractor, Exception] = {}
        self._sessions: dict[FaceConfig | FrameConfig, FaceSession | FrameSession] = {}
        self._found: dict[FaceConfig | FrameConfig, Any] = {}
        self._errors: dict[FaceConfig | FrameConfig, Exception] = {}
        followers: dict[FaceConfig, list[FaceExtractor]] = {}
        for extractor in extractors:
            if isinstance(extractor, FaceExtractor):
                followers.setdefault(extractor.face, []).append(extractor)
            elif isinstance(extractor, FrameExtractor) and extractor.frames not in self._sessions:
                self._sessions[extractor.frames] = FrameSession(extractor.frames)
        for config, sharing in followers.items():
            measures = [measure for extractor in sharing for measure in extractor.measures]
            pictures = any(extractor.keeps_pictures for extractor in sharing)
            self._sessions[config] = FaceSession(config, device, measures=measures, pictures=pictures)

    def begin(self, extractor: StreamedExtractor, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Begin an extractor that makes features while frames are decoded.

        Args:
            extractor: The extractor.
            before: Called before it is given frames.
            after: Called after it.
        """
        session = self._streams[extractor] = extractor.begin()

        def add(batch: FrameBatch) -> None:
            if extractor in self._broken:
                return
            before()
            try:
                session.add(batch)
            except Exception as error:  # told when the features are asked for
                self._broken[extractor] = error
            after()

        self._streaming.append(FrameRequest(extractor.frames.rate, add, decoding=extractor.frames.decoded))

    def streamed(self, extractor: StreamedExtractor) -> Features:
        """The features that were made while frames were decoded; raises what went wrong meanwhile."""
        if extractor in self._broken:
            raise self._broken[extractor]
        return self._streams[extractor].finish()

    def requests(self) -> list[FrameRequest]:
        """What the decoder is to hand over."""
        wanted = [*self._streaming]
        for config, session in self._sessions.items():
            request = functools.partial(FrameRequest, decoding=config.decoded)
            wanted.append(request(config.rate, functools.partial(self._add, config, session.add)))
            if isinstance(session, FaceSession) and session.mouths is not None:
                mouths = session.mouths
                wanted.append(request(mouths.rate, functools.partial(self._add, config, mouths.add)))
        return wanted

    @property
    def hear(self) -> bool:
        """Whether a face is chosen by the sound."""
        return any(
            isinstance(session, FaceSession) and session.mouths is not None for session in self._sessions.values()
        )

    def _add(self, config: FaceConfig | FrameConfig, add: Callable[[FrameBatch], None], batch: FrameBatch) -> None:
        if config in self._errors:
            return
        try:
            add(batch)
        except Exception as error:  # told when it is asked for, so that the sound that is decoded beside it is kept
            self._errors[config] = error

    def faces(self, config: FaceConfig, audio: Audio | None = None) -> Faces:
        """The faces found; raises what went wrong while they were looked for."""
        faces: Faces = self._finish(config, audio)
        return faces

    def frames(self, config: FrameConfig) -> Frames:
        """The frames collected; raises what went wrong meanwhile."""
        frames: Frames = self._finish(config)
        return frames

    def _finish(self, config: FaceConfig | FrameConfig, audio: Audio | None = None) -> Any:
        if config in self._errors:
            raise self._errors[config]
        if config not in self._found:
            session = self._sessions[config]
            self._found[config] = (
                session.finish(audio, self._face) if isinstance(session, FaceSession) else session.finish()
            )
        return self._found[config]
