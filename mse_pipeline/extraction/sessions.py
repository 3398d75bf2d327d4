"""Sessions: what extractors need of a clip's frames is collected once, while the clip is decoded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from mse_pipeline.extractors.base import Extractor, FaceExtractor, FrameExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession
from mse_pipeline.extractors.visual.whole import FrameConfig, Frames, FrameSession
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import FrameRequest
from mse_pipeline.media.frames import FrameBatch


class Sessions:
    """The faces and frames of one clip, found once for all extractors with the same settings.

    Args:
        extractors: The clip's extractors; those that look at no frame are left out.
        device: Where the detector runs.
        face: Number of the face to follow; None to choose by the extractors' policy.
    """

    def __init__(self, extractors: Iterable[Extractor], device: str, face: int | None = None) -> None:
        self._face = face
        self._sessions: dict[FaceConfig | FrameConfig, FaceSession | FrameSession] = {}
        self._found: dict[FaceConfig | FrameConfig, Any] = {}
        self._errors: dict[FaceConfig | FrameConfig, Exception] = {}
        for extractor in extractors:
            if isinstance(extractor, FaceExtractor) and extractor.face not in self._sessions:
                self._sessions[extractor.face] = FaceSession(extractor.face, device)
            elif isinstance(extractor, FrameExtractor) and extractor.frames not in self._sessions:
                self._sessions[extractor.frames] = FrameSession(extractor.frames)

    def requests(self) -> list[FrameRequest]:
        """What the decoder is to hand over."""
        wanted = []
        for config, session in self._sessions.items():
            wanted.append(FrameRequest(config.rate, functools.partial(self._add, config, session.add)))
            if isinstance(session, FaceSession) and session.mouths is not None:
                mouths = session.mouths
                wanted.append(FrameRequest(mouths.rate, functools.partial(self._add, config, mouths.add)))
        return wanted

    @property
    def hear(self) -> bool:
        """Whether a face is chosen by the sound."""
        return any(isinstance(one, FaceSession) and one.mouths is not None for one in self._sessions.values())

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
