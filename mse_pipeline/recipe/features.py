"""Named feature sets: pipelines/features/*.yaml, which take the place of a recipe's streams and alignment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.recipe.reading import Check, read_bytes, recipes_folder, validated
from mse_pipeline.recipe.schema import Recipe

_SECTIONS = ("version", "streams", "alignment")
# What a recipe has and a feature set leaves to the recipe that it is put into.
_LEFT_OPEN: Mapping[str, Any] = {"name": "features", "corpus": {"name": "table"}}


@dataclass(frozen=True)
class FeatureSet:
    """Streams and their alignment, for any dataset.

    Attributes:
        name: The file's name without its ending.
        streams: Options by stream name.
        alignment: As a recipe has it, with what it leaves out.
        comment: What the file says above its first line: what the set reproduces, and what not.
    """

    name: str
    streams: Mapping[str, Mapping[str, Any]]
    alignment: Mapping[str, Any]
    comment: str

    @property
    def summary(self) -> str:
        """The comment's first sentence, without the command above it."""
        paragraphs = [part for part in self.comment.split("\n\n") if not part.startswith("mse ")]
        first = " ".join(paragraphs[0].split()) if paragraphs else ""
        return re.split(r"(?<=[.:])\s", first)[0].rstrip(".:")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "summary": self.summary}


def feature_sets() -> list[str]:
    """Names of the feature sets that come with the package.

    Examples:
        >>> "egemaps-facenet" in feature_sets()
        True
    """
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_features(name_or_path: str | Path, checks: Sequence[Check] = ()) -> FeatureSet:
    """Read a feature set.

    Args:
        name_or_path: Name of one that comes with the package, or path of a file that ends in .yaml or .yml.
        checks: Validators of higher layers, as for recipes.

    Raises:
        UsageError: There is no such set or file, or it has errors; all of them are told, one a line.

    Examples:
        >>> load_features("egemaps-facenet").streams
        {'acoustic.egemaps': {}, 'visual.facenet': {}}
        >>> load_features("egemaps-facent")
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: There is no feature set egemaps-facent; did you mean egemaps-facenet? ...
    """
    shown, known = str(name_or_path), feature_sets()
    hint = f"Feature sets that come with the package: {', '.join(known)}."
    if shown.lower().endswith((".yaml", ".yml")):
        path = Path(shown).expanduser()
    elif shown in known:
        path = _folder() / f"{shown}.yaml"
    else:
        near = did_you_mean(shown, known) or "."
        raise UsageError(
            f"There is no feature set {shown}{near} {hint} One of your own: give its path, ending in .yaml."
        )
    data = read_bytes(path, shown, hint)
    found = validated(data, shown, checks, _LEFT_OPEN, _SECTIONS)
    if not found.streams:
        raise UsageError(f"The feature set {shown} has no streams; name at least one.")
    plain = found.to_dict()
    return FeatureSet(path.stem, plain["streams"], plain["alignment"], _comment(data))


def with_features(recipe: Recipe, features: FeatureSet) -> Recipe:
    """A recipe with a feature set's streams and alignment in place of its own.

    Examples:
        >>> from mse_pipeline import recipe
        >>> changed = with_features(recipe.load("meld"), load_features("egemaps-facenet"))
        >>> changed.name, list(changed.streams)
        ('meld', ['acoustic.egemaps', 'visual.facenet'])
    """
    changes = {"streams": features.streams, "alignment": features.alignment}
    return Recipe.model_validate({**recipe.to_dict(), **changes})


def _folder() -> Path:
    return recipes_folder() / "features"


def _comment(data: bytes) -> str:
    """The lines of comment at the top."""
    lines = []
    for line in data.decode("utf-8-sig").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" ").rstrip())
    return "\n".join(lines).strip()
