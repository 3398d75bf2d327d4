"""Extractors: media in, `Features` out. The registry lists them."""

from __future__ import annotations

from typing import Any

__all__ = ["available", "check", "create"]


def __getattr__(name: str) -> Any:
    """Re-export the registry's functions without loading it before it is asked for."""
    if name in __all__:
        from mse_pipeline.extractors import registry

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
