"""The recipe of an imported dataset: the settings of its corpus, if one is known, else defaults in its language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mse_pipeline import recipe
from mse_pipeline.clip import Clip


def recipe_for(name: str, corpus: str | None, clips: Sequence[Clip]) -> dict[str, Any]:
    """A recipe as plain values, as `mse train` reads it from the dataset.

    Args:
        name: Of the dataset.
        corpus: Name of the corpus whose prompt and training settings hold; None if there is none.
        clips: Their language is the prompt's, where no corpus tells it.

    Examples:
        >>> recipe_for("mine", None, [])["prompt"]["language"]
        'en'
    """
    if corpus in recipe.names():
        known = recipe.load(corpus)
        plain = known.to_dict()
        plain |= {"name": name, "streams": {}, "alignment": {"kind": "none"}}
        return plain
    (language, _), *_ = Counter("zh" if clip.language.startswith("zh") else "en" for clip in clips).most_common(1) or [
        ("en", 0)
    ]
    made = recipe.Recipe.model_validate(
        {"version": 1, "name": name, "corpus": {"name": "table"}, "prompt": {"language": language}}
    )
    return made.to_dict()
