"""Plugins: what other installed packages add, found by entry points, and imported when it is asked for.

A package tells of what it brings in its ``pyproject.toml``: the kind's group, the name, and where the object is.

    [project.entry-points."mse_pipeline.corpora"]
    "my_corpus" = "my_package.corpus"

The built-in names of each kind stand in a table of that kind's own module. Nobody can take one of these names, and a
package that is broken breaks no other.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mse_pipeline.errors import UsageError

OURS = "mse-pipeline"
"""This package: it declares what few people need by entry points too."""
_OWN_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@dataclass(frozen=True)
class Plugin:
    """What a package says that it brings; nothing of it is imported yet.

    Attributes:
        kind: What it is, as in ``extractor``.
        name: The name that users write.
        package: The installed package that it comes with.
        point: Where the object is.
        summary: The package's own summary; empty where it has none.
        licence: The package's licence; empty where it tells none.
    """

    kind: str
    name: str
    package: str
    point: metadata.EntryPoint
    summary: str = ""
    licence: str = ""

    @property
    def place(self) -> str:
        """Where the object is, for errors."""
        return f"{self.point.value} of the package {self.package}"

    def load(self) -> Any:
        """Import the object.

        Raises:
            UsageError: It cannot be imported.
        """
        try:
            return self.point.load()
        except Exception as error:  # a module of others may raise whatever it likes when it is imported
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason told"
            raise UsageError(
                f"The {self.kind} {self.place} cannot be loaded ({type(error).__name__}: {reason}); update or "
                "uninstall the package."
            ) from error


@dataclass(frozen=True)
class Found:
    """What other packages bring.

    Attributes:
        plugins: By name.
        refused: By name, why an offer is not taken.
    """

    plugins: Mapping[str, Plugin]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Kind:
    """A kind of thing that other packages can add.

    Attributes:
        group: Of the entry points.
        word: What one is called, as in ``extractor``.
        pattern: What its names must match.
        rule: The same in words, for errors.
        check: What is wrong with a loaded object, as a part of a sentence that follows its place; empty where nothing
            is.
    """

    group: str
    word: str
    check: Callable[[Any], str]
    pattern: str = r"[a-z][a-z0-9_-]*"
    rule: str = "small letters, digits, underscores and hyphens, the first a letter"

    def discover(self, own: Container[str]) -> Found:
        """What the installed packages offer; nothing of theirs is imported.

        Args:
            own: The built-in names, which nobody can take.
        """
        offers: dict[str, dict[str, metadata.EntryPoint]] = defaultdict(dict)
        for package, point in _points(self.group, _state()):
            offers[point.name].setdefault(package, point)  # a package that is found twice, as on two paths, is one
        plugins: dict[str, Plugin] = {}
        refused: dict[str, str] = {}
        for name, points in sorted(offers.items()):
            ours = points.pop(OURS, None)
            if ours is not None:  # nobody takes a name away from what comes with this package
                plugins[name] = self._plugin(name, OURS, ours)
            packages = ", ".join(sorted(points))
            offer = f"{'an' if self.word[0] in 'aeiou' else 'a'} {self.word}"
            if not points:
                continue
            if not re.fullmatch(self.pattern, name):
                refused[name] = f"The package {packages} offers {offer} {name!r}; a name is {self.rule}."
            elif name in own or name in plugins:
                refused[name] = f"The package {packages} offers {offer} {name}, which is the name of a built-in one."
            elif len(points) > 1:
                refused[name] = f"The packages {packages} both offer {offer} {name}; uninstall all but one."
            else:
                package, point = next(iter(points.items()))
                plugins[name] = self._plugin(name, package, point)
        return Found(plugins, refused)

    def _plugin(self, name: str, package: str, point: metadata.EntryPoint) -> Plugin:
        told: Any = point.dist.metadata if point.dist is not None else {}
        licence = told.get("License-Expression") or told.get("License") or ""
        return Plugin(self.word, name, package, point, told.get("Summary") or "", licence)

    def load(self, plugin: Plugin) -> Any:
        """Import a plugin's object and check it.

        Raises:
            UsageError: It cannot be imported, or is not what its kind needs.
        """
        found = plugin.load()
        problem = self.check(found)
        if problem:
            raise UsageError(f"The {self.word} {plugin.place} {problem}; update or uninstall the package.")
        return found

    def find(self, name: str, own: Container[str]) -> Any | None:
        """The object of a name; None where no package offers it.

        Args:
            name: As users write it.
            own: The built-in names.

        Raises:
            UsageError: A package offers it, but it is refused, cannot be imported, or is not what its kind needs.
        """
        found = self.discover(own)
        if name in found.plugins:
            return self.load(found.plugins[name])
        if name in found.refused:
            raise UsageError(found.refused[name])
        return None


def _state() -> tuple[tuple[str, int], ...]:
    """The folders that are searched, with the times of their last changes: while they stay, so do the packages."""
    return tuple((path, _changed(path)) for path in sys.path)


def _changed(path: str) -> int:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _points(group: str, _state: object) -> tuple[tuple[str, metadata.EntryPoint], ...]:
    """(package, entry point) of a group; this package's own ones of a checkout are known without an installation."""
    declared = [(OURS, point) for point in _declared(group)]
    installed = [
        (point.dist.name if point.dist is not None else point.module, point)
        for point in metadata.entry_points(group=group)
    ]
    # What an older installation of a checkout says does not count beside what the checkout's file says now.
    return (*declared, *(pair for pair in installed if not (_project() and pair[0] == OURS)))


def _declared(group: str) -> Iterator[metadata.EntryPoint]:
    """The entry points that this package's own ``pyproject.toml`` declares, where it runs from a checkout."""
    for name, value in _project().get("entry-points", {}).get(group, {}).items():
        yield metadata.EntryPoint(name, value, group)


@lru_cache(maxsize=1)
def _project() -> Mapping[str, Any]:
    try:
        project = tomllib.loads(_OWN_PROJECT.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):  # an installed wheel has no such file beside it
        return MappingProxyType({})
    return project if project.get("name") == OURS else MappingProxyType({})
