"""Trial: a model that the user chose is run on one made input of its real shape, before any clip.

What does not fit is refused in words: a model of another kind, a width that its configuration does not tell, an
output without hidden states. The trial of a large model is remembered by the digest of its files, so that a run of
20,000 clips on many workers, and the runs after it, try it once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.base import (
    AudioExtractor,
    Extractor,
    FaceExtractor,
    FrameExtractor,
    SpokenTextExtractor,
    StreamedExtractor,
    TextExtractor,
)
from mse_pipeline.extractors.pretrained import first_line
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.store.features import Features
from mse_pipeline.store.keys import canonical
from mse_pipeline.store.storage import write_text

_SLOW = 2.0  # seconds; a trial that takes longer is remembered
_FRAMES, _HEIGHT, _WIDTH = 3, 90, 160
_passed: set[str] = set()


def require_fit(extractor: Extractor[Any]) -> None:
    """Refuse an extractor whose model does not fit, and leave no model in memory; others, and known ones, cost nothing.

    Args:
        extractor: An extractor; its model is found, and downloaded where it is missing.

    Raises:
        MseError: The model is missing, broken or does not fit; the message says what fits instead.
    """
    if not extractor.tried or _is_known(extractor):
        return
    begun = time.monotonic()
    try:
        extractor.load()
        try_out(extractor)
    finally:
        extractor.unload()
    if time.monotonic() - begun > _SLOW:
        with contextlib.suppress(OSError):
            write_text(_note(extractor), "")


def try_out(extractor: Extractor[Any]) -> None:
    """Run a loaded extractor on a made input, once a process for the same model and options.

    Raises:
        UsageError: It fails, or its values are not those that it announces.
    """
    if _is_known(extractor):
        return
    try:
        features = _run(extractor)
    except ClipError:
        features = (
            None  # the made input is no usable clip, as English words for a Chinese aligner; the model is not to blame
        )
    except MseError:
        raise
    except Exception as error:  # whatever a model of another kind raises
        raise _refusal(extractor, f"fails on {_made(extractor)} ({first_line(error)})") from error
    if features is not None:
        if not len(features):
            raise _refusal(extractor, f"gives no row for {_made(extractor)}")
        if not np.isfinite(features.values[features.valid]).all():
            raise _refusal(extractor, f"gives values for {_made(extractor)} that are not finite numbers")
    _passed.add(_key(extractor))


def _refusal(extractor: Extractor[Any], what: str) -> UsageError:
    model = getattr(extractor.config, "model", None) or "its model"
    return UsageError(f"{extractor.stream} cannot use {model}: it {what}. {extractor.takes()}".rstrip())


def _is_known(extractor: Extractor[Any]) -> bool:
    return _key(extractor) in _passed or _note(extractor).is_file()


def _note(extractor: Extractor[Any]) -> Path:
    return models_folder() / ".trials" / _key(extractor)


def _key(extractor: Extractor[Any]) -> str:
    """Hash of all that decides whether a model fits: its files, the options, and the versions that run it."""
    from importlib import metadata

    from mse_pipeline import __version__

    versions = [__version__]
    for package in ("torch", "transformers", "timm"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    plain = json.loads(json.dumps({"identity": extractor.identity(), "versions": versions}))
    return hashlib.blake2b(canonical(plain), digest_size=16).hexdigest()


def _made(extractor: Extractor[Any]) -> str:
    """The made input in words."""
    if isinstance(extractor, AudioExtractor):
        return "one second of sound"
    if isinstance(extractor, FaceExtractor):
        return "made pictures of a face"
    if isinstance(extractor, FrameExtractor | StreamedExtractor):
        return "made frames"
    return "a short text"


def _run(extractor: Extractor[Any]) -> Features:
    if isinstance(extractor, AudioExtractor):
        return extractor(_sound())
    if isinstance(extractor, FaceExtractor):
        return extractor(_faces())
    if isinstance(extractor, FrameExtractor):
        from mse_pipeline.extractors.visual.whole import Frames

        return extractor(Frames(_times(), tuple(_pictures(_HEIGHT, _WIDTH))))
    if isinstance(extractor, StreamedExtractor):
        session = extractor.begin()
        session.add(FrameBatch.of(_pictures(_HEIGHT, _WIDTH), _times()))
        return session.finish()
    clip = Clip(id="trial", split=Split.TRAIN, text="so it is good", language="en")
    if isinstance(extractor, SpokenTextExtractor):
        return extractor(clip, _sound())
    if isinstance(extractor, TextExtractor):
        return extractor(clip, Path())
    raise TypeError(f"{type(extractor).__name__} is none of the kinds of extractors that a clip is put through.")


@functools.cache
def _sound() -> Audio:
    return Audio((0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32))


def _times() -> np.ndarray:
    return np.stack([np.arange(_FRAMES), np.arange(_FRAMES) + 1], 1) / 5.0


def _pictures(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (_FRAMES, height, width, 3), dtype=np.uint8)


def _faces() -> Any:
    from mse_pipeline.extractors.visual.faces import CROP, Faces

    return Faces(
        intervals=_times(),
        valid=np.ones(_FRAMES, bool),
        boxes=np.tile([0.25, 0.25, 0.75, 0.75], (_FRAMES, 1)),
        probabilities=np.ones(_FRAMES),
        landmarks=np.full((_FRAMES, 5, 2), 0.5),
        patches=np.zeros((_FRAMES, 48, 48, 3), np.uint8),
        crops=_pictures(CROP, CROP),
        track=np.zeros(_FRAMES, np.int64),
        notes={"policy": "largest"},
    )
