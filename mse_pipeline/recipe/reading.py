"""Finding and reading pipeline files, every error of a file told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.recipe.problems import describe, place_name
from mse_pipeline.recipe.schema import NAME_PATTERN, Recipe
from mse_pipeline.recipe.yaml_text import MAX_BYTES, parse

Check = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""Looks at a recipe's data and yields (place, message): ``("corpus.options.targt", "unknown key")``."""

_SUFFIXES = (".yaml", ".yml")


def names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in recipes_folder().glob("*.yaml"))


def load(name_or_path: str | Path, checks: Sequence[Check] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: Name of a recipe that comes with the package, or path of a file that ends in .yaml or .yml.
        checks: Validators of higher layers, such as `mse_pipeline.corpora.check`. They see those top sections of the
            file that fit the schema, so they need not check types again.

    Raises:
        UsageError: There is no such recipe or file, or it has errors; all of them are told, one a line.
    """
    shown = str(name_or_path)
    path = _find(shown)
    data = read_bytes(path, shown, f"Recipes that come with the package: {', '.join(names())}.")
    return validated(data, shown, checks)


def read_bytes(path: Path, shown: str, hint: str) -> bytes:
    """A file's bytes, of one that is too large one byte more than is allowed.

    Args:
        path: The file.
        shown: How errors call it.
        hint: What errors add about a file that is not there.

    Raises:
        UsageError: There is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"Recipe file {shown} does not exist. {hint}") from None
    except OSError as error:
        raise UsageError(f"Recipe file {shown} cannot be read: {error.strerror}.") from None


def validated(
    data: bytes, shown: str, checks: Sequence[Check], given: Mapping[str, Any] | None = None, only: Sequence[str] = ()
) -> Recipe:
    """A recipe from a file's bytes.

    Args:
        data: The file's bytes.
        shown: How errors call it.
        checks: Validators of higher layers.
        given: Top sections that the file leaves to others.
        only: The top sections that the file may have; empty for all.

    Raises:
        UsageError: It has errors; all of them are told, one a line.
    """
    content, places, problems = parse(data, shown)
    foreign = [key for key in content if only and key not in only]
    problems += [((key,), f"has no place here; there may be {', '.join(only)}") for key in foreign]
    content = {**(given or {}), **{key: value for key, value in content.items() if key not in foreign}}
    content = _fill_blanks(content)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems += describe(error, Recipe)
    broken = {place[0] for place, _ in problems}
    sound = {key: value for key, value in content.items() if key not in broken}
    told = [(place_name(place), message) for place, message in problems]
    told += [finding for check in checks for finding in check(sound)]
    if told or recipe is None:
        lines = {place_name(place): line for place, line in places.items()}
        rows = sorted(((_line(name, lines), name, message) for name, message in told), key=lambda row: row[0])
        count = "an error" if len(rows) == 1 else f"{len(rows)} errors"
        body = "\n".join(f"  {f'line {line}, ' if line else ''}{name}: {message}" for line, name, message in rows)
        raise UsageError(f"Recipe {shown} has {count}:\n{body}")
    return recipe


def recipes_folder() -> Path:
    """Where the package's recipes are: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "pipelines"
    return inside if inside.is_dir() else package.parent / "pipelines"


def _find(name_or_path: str) -> Path:
    if name_or_path.lower().endswith(_SUFFIXES):
        return Path(name_or_path).expanduser()
    known = names()
    if name_or_path in known:
        return recipes_folder() / f"{name_or_path}.yaml"
    if not re.fullmatch(NAME_PATTERN, name_or_path) or Path(name_or_path).is_file():
        raise UsageError(
            f"{name_or_path!r} is no recipe: give a name ({', '.join(known)}) or a file that ends in .yaml or .yml."
        )
    raise UsageError(
        f"There is no recipe {name_or_path}{did_you_mean(name_or_path, known) or '.'} "
        f"Recipes that come with the package: {', '.join(known)}. A file of your own: give its path, ending in .yaml."
    )


def _line(name: str, lines: Mapping[str, int]) -> int:
    """Line of a place, or of the nearest section around it; 0 if there is none."""
    while name:
        if name in lines:
            return lines[name]
        name = name[: max(name.rfind("."), name.rfind("["), 0)]
    return 0


def _fill_blanks(content: dict[str, Any]) -> dict[str, Any]:
    """A key with nothing after it, as in `acoustic.egemaps:`, is an empty section and no error."""
    filled = {key: value for key, value in content.items() if value is not None}
    if isinstance(filled.get("streams"), dict):
        filled["streams"] = {name: {} if options is None else options for name, options in filled["streams"].items()}
    if isinstance(filled.get("corpus"), dict) and filled["corpus"].get("options", {}) is None:
        filled["corpus"] = {**filled["corpus"], "options": {}}
    return filled
