"""Finding and reading pipeline files, every error of a file told at once.

Named feature sets: pipelines/features/*.yaml, which take the place of a recipe's streams and alignment.

YAML text -> plain data and the line of every key, strictly: hostile or ambiguous files are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.recipe.problems import describe, place_name
from mse_pipeline.recipe.schema import NAME_PATTERN, Recipe

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
Place = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Plain data only: no aliases (they can grow without bound), no deep nesting, YAML 1.2's scalars.

    YAML 1.1 reads `no` as False, `1:30` as 90, `2024-01-01` as a date and `1e-4` as a text. Class names and learning
    rates must not depend on that.
    """

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(
                None,
                None,
                "aliases (*name) are not allowed in a recipe; write the value out",
                event.start_mark,
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, f"more than {MAX_DEPTH} levels of nesting", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_SCALARS = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]{1,18}$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?$",
        "-+.0123456789",
    ),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _int(loader: _Loader, node: ScalarNode) -> int:
    """Decimal numbers only: YAML 1.1 reads 010 as eight."""
    return int(loader.construct_scalar(node))


def _float(loader: _Loader, node: ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def parse(data: bytes, source: str) -> tuple[dict[str, Any], dict[Place, int], list[tuple[Place, str]]]:
    r"""Read a recipe file's bytes.

    Args:
        data: The file's bytes, UTF-8.
        source: How errors call the file.

    Returns:
        The mapping, the line (from 1) of every place in it, and problems that do not hinder reading on:
        keys that are there twice or are no text.

    Raises:
        UsageError: It is no YAML, no mapping, or too large; there are aliases or tags.

    Examples:
        >>> data, lines, problems = parse(b"name: mine\ntraining:\n  learning_rate: 1e-4\n", "mine.yaml")
        >>> data["training"]["learning_rate"], lines["training", "learning_rate"]
        (0.0001, 3)
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"Recipe {source} has {len(data):,} bytes; a recipe has at most {MAX_BYTES:,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"Recipe {source} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    problems: list[tuple[Place, str]] = []
    lines: dict[Place, int] = {}
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, MappingNode):
                found = "empty" if node is None else "no mapping"
                raise UsageError(f"Recipe {source} is {found}; it must be a mapping with keys such as name and corpus.")
            _walk(node, (), lines, problems)
            content = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"Recipe {source}{where} cannot be read: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"Recipe {source} cannot be read as YAML: {first}.") from None
    return content, lines, problems


def _walk(node: Node, place: Place, lines: dict[Place, int], problems: list[tuple[Place, str]]) -> None:
    """Note the line of every key and item; drop what YAML would let pass silently, and tell it."""
    lines[place] = node.start_mark.line + 1
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*place, index), lines, problems)
    elif isinstance(node, MappingNode):
        kept = []
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else "?"
            line = key.start_mark.line + 1
            inner = (*place, name)
            if not isinstance(key, ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                lines.setdefault(inner, line)
                problems.append((inner, f"the key in line {line} must be a text; put it in quotes"))
            elif inner in lines:
                problems.append((inner, f"given twice, in lines {lines[inner]} and {line}; keep one"))
            else:
                _walk(value, inner, lines, problems)
                lines[inner] = line
                kept.append((key, value))
        node.value = kept


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
        return _summary(self.comment)

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


def file_of(name_or_path: str) -> tuple[Path, bool]:
    """The file of a recipe or a feature set, and whether it is a feature set.

    A file is a feature set if it has neither a name nor a corpus.

    Raises:
        UsageError: There is neither of that name, or no such file.

    Examples:
        >>> file_of("meld")[0].name, file_of("ssl-large")[1]
        ('meld.yaml', True)
    """
    if name_or_path in names():
        return recipes_folder() / f"{name_or_path}.yaml", False
    if name_or_path in feature_sets():
        return _folder() / f"{name_or_path}.yaml", True
    if not name_or_path.lower().endswith(_SUFFIXES):
        known = [*names(), *feature_sets()]
        near = did_you_mean(name_or_path, known) or "."
        raise UsageError(
            f"There is no recipe or feature set {name_or_path}{near} "
            "A file of your own: give its path, ending in .yaml."
        )
    path = Path(name_or_path).expanduser()
    content, _, _ = parse(read_bytes(path, name_or_path, "mse recipes list shows those of the package."), name_or_path)
    return path, "name" not in content and "corpus" not in content


def summary(path: Path) -> str:
    """What a recipe's or feature set's file says of itself, in one sentence."""
    return _summary(_comment(path.read_bytes()))


def _summary(comment: str) -> str:
    paragraphs = [part for part in comment.split("\n\n") if not part.startswith("mse ")]
    first = " ".join(paragraphs[0].split()) if paragraphs else ""
    return re.split(r"(?<=(?<!et al)[.:])\s", first)[0].rstrip(".:")


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
