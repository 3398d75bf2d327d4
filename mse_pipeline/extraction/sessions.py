"""Sessions: what extractors need of a clip's frames is collected once, while the clip is decoded."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from mse_pipeline.extractors.base import Extractor, FaceExtractor, FrameExtractor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession
from mse_pipeline.extractors.visual.whole import FrameConfig, Frames, FrameSession
from mse_pipeline.media.decode import FrameRequest
from mse_pipeline.media.frames import FrameBatch


class Sessions:
    """The faces and frames of one clip, found once for all extractors with the same settings.

    Args:
        extractors: The clip's extractors; those that look at no frame are left out.
        device: Where the detector runs.
    """

    def __init__(self, extractors: Iterable[Extractor], device: str) -> None:
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
        return [FrameRequest(config.rate, functools.partial(self._add, config)) for config in self._sessions]

    def _add(self, config: FaceConfig | FrameConfig, batch: FrameBatch) -> None:
        if config in self._errors:
            return
        try:
            self._sessions[config].add(batch)
        except Exception as error:  # told when it is asked for, so that the sound that is decoded beside it is kept
            self._errors[config] = error

    def faces(self, config: FaceConfig) -> Faces:
        """The faces found; raises what went wrong while they were looked for."""
        faces: Faces = self._finish(config)
        return faces

    def frames(self, config: FrameConfig) -> Frames:
        """The frames collected; raises what went wrong meanwhile."""
        frames: Frames = self._finish(config)
        return frames

    def _finish(self, config: FaceConfig | FrameConfig) -> Any:
        if config in self._errors:
            raise self._errors[config]
        if config not in self._found:
            self._found[config] = self._sessions[config].finish()
        return self._found[config]
