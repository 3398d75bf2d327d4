"""The sample corpus: short clips of synthetic people, for the demo and for tests, made without any download.

Each clip shows a drawn face that says a neutral sentence in one of MELD's seven emotions; face and voice are
shaped by the emotion, the words are not. `build` makes the whole corpus in MELD's own layout, `build_clip` one
file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mse_pipeline.sample.corpus import SampleSummary, build
    from mse_pipeline.sample.scene import EMOTIONS, build_clip

__all__ = ["EMOTIONS", "SampleSummary", "build", "build_clip"]

_HOME = {"build": "corpus", "SampleSummary": "corpus", "build_clip": "scene", "EMOTIONS": "scene"}


def __getattr__(name: str) -> Any:
    """Import the module behind a public name on its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
