"""Prediction: a trained run put to use, on a dataset in the cache or on new media files.

`Predictor` makes the features of new files as those of the run were made, and predicts; `evaluate` reads a dataset of
the cache. Nothing here writes into a run folder, and nothing that a run names is downloaded or run unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mse_pipeline.prediction.evaluation import evaluate
    from mse_pipeline.prediction.predictor import Predictor
    from mse_pipeline.prediction.result import ClipPrediction, Remark

__all__ = ["ClipPrediction", "Predictor", "Remark", "evaluate"]

_HOME = {"Predictor": "predictor", "evaluate": "evaluation", "ClipPrediction": "result", "Remark": "result"}


def __getattr__(name: str) -> Any:
    """Import the module behind a public name on its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
