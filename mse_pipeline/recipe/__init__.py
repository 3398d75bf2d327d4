"""Recipes: pipelines/*.yaml -> Recipe, every error of a file told at once.

Examples:
    >>> from mse_pipeline import recipe
    >>> "meld" in recipe.names()
    True
    >>> recipe.load("meld").training_for("qwen").pseudo_tokens
    2
"""

from __future__ import annotations

from mse_pipeline.recipe.reading import Check, FeatureSet, feature_sets, load, load_features, names, with_features
from mse_pipeline.recipe.schema import (
    EqualBinsAlignment,
    GridAlignment,
    NoAlignment,
    PromptSection,
    Recipe,
    Training,
    WordsAlignment,
)
from mse_pipeline.recipe.settings import AFTER_EXTRACTION, sections_of, training_settings, with_settings

__all__ = [
    "AFTER_EXTRACTION",
    "Check",
    "EqualBinsAlignment",
    "FeatureSet",
    "GridAlignment",
    "NoAlignment",
    "PromptSection",
    "Recipe",
    "Training",
    "WordsAlignment",
    "feature_sets",
    "load",
    "load_features",
    "names",
    "sections_of",
    "training_settings",
    "with_features",
    "with_settings",
]
