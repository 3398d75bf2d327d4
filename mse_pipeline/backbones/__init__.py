"""Frozen language models: which there are, how one is loaded, how it is asked and how its answers are read.

Examples:
    >>> from mse_pipeline import backbones
    >>> tiny = backbones.load("tiny")
    >>> tiny.family, tiny.hidden_size, any(weight.requires_grad for weight in tiny.model.parameters())
    ('llama', 128, False)
    >>> [row.entry.name for row in backbones.describe() if row.entry.family == "built-in"]
    ['tiny']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mse_pipeline.backbones.backbone import Backbone as Backbone
    from mse_pipeline.backbones.conversion import convert as convert
    from mse_pipeline.backbones.loading import load, load_tokenizer
    from mse_pipeline.backbones.registry import Availability, BackboneEntry, describe

_HOMES = {
    "Availability": "mse_pipeline.backbones.registry",
    "Backbone": "mse_pipeline.backbones.backbone",
    "BackboneEntry": "mse_pipeline.backbones.registry",
    "convert": "mse_pipeline.backbones.conversion",
    "describe": "mse_pipeline.backbones.registry",
    "load": "mse_pipeline.backbones.loading",
    "load_tokenizer": "mse_pipeline.backbones.loading",
}
__all__ = ["Availability", "Backbone", "BackboneEntry", "convert", "describe", "load", "load_tokenizer"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch and transformers are heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
