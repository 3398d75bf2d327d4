"""Quality: how loud, clipped and noisy each clip of a raw folder is, and how well its face is seen.

The same extractors as in an extraction make the numbers, and `mse_pipeline.store.where` the same one number a clip of
them, so that a condition of `--where` can be tried on the table before anything is extracted.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.acoustic.quality import AcousticQuality
from mse_pipeline.extractors.visual.faces import FaceSession
from mse_pipeline.extractors.visual.quality import VisualQuality
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.fetching import local_path
from mse_pipeline.store.features import Features
from mse_pipeline.store.where import FACE, MEASURES, SOUND

NAMES = tuple(name for name, measure in MEASURES.items() if measure.extractor in {SOUND, FACE})
"""What is measured of a clip, in the order of a table's columns."""


def measure(root: Path, max_seconds: float | None, clip: Clip) -> tuple[str, dict[str, float]]:
    """A clip's id and its numbers by name; those that are not defined, or cannot be measured, are not there.

    Args:
        root: The folder that media paths start from.
        max_seconds: What longer clips are cut to; None for no limit.
        clip: The clip.
    """
    try:
        streams = _streams(local_path(root, str(clip.media)), max_seconds, clip) if clip.media is not None else {}
    except Exception:  # whatever is wrong with the file, probing has told it as a defect
        streams = {}
    numbers = {
        name: MEASURES[name].make(streams[MEASURES[name].extractor])
        for name in NAMES
        if MEASURES[name].extractor in streams
    }
    return clip.id, {name: number for name, number in numbers.items() if math.isfinite(number)}


def _streams(path: Path, max_seconds: float | None, clip: Clip) -> Mapping[str, Features]:
    sound, face = AcousticQuality(), _face()
    session = FaceSession(face.face, measures=face.measures, pictures=face.keeps_pictures)
    decoded = decode(
        path,
        start=clip.start,
        end=clip.end,
        frames=[FrameRequest(face.face.rate, session.add, decoding=face.face.decoded)],
        max_seconds=max_seconds,
    )
    made: dict[str, Features] = {}
    if decoded.audio is not None:
        with suppress(ClipError):  # too short to be measured
            made[SOUND] = sound(decoded.audio)
    if decoded.video_problem is None:
        made[FACE] = face(session.finish(decoded.audio, clip.face))
    return made


@functools.cache
def _face() -> VisualQuality:
    """The extractor with its networks, once a process."""
    extractor = VisualQuality()
    extractor.load()
    return extractor
