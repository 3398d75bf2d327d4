"""Extractors of other packages, found through the entry points of what is installed.

A package offers one by an entry point of the group `GROUP`: the stream's name, and where its class is.

    [project.entry-points."mse_pipeline.extractors"]
    "acoustic.loudness" = "my_package.loudness:Loudness"

Nothing of such a package is imported before its extractor is asked for, and one that is broken breaks no other.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Container
from importlib import import_module, metadata
from typing import Any

from mse_pipeline.errors import UsageError
from mse_pipeline.extractors.entry import Entry

GROUP = "mse_pipeline.extractors"
"""The group of entry points."""

_NAME = re.compile(r"(acoustic|visual|text)\.[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Found:
    """What other packages bring.

    Attributes:
        entries: By stream name.
        refused: By stream name, why an offer is not taken.
    """

    entries: dict[str, Entry]
    refused: dict[str, str]


def discover(own: Container[str]) -> Found:
    """The extractors that other installed packages offer; nothing of theirs is imported.

    Args:
        own: Names of this package's extractors, which nobody can take.
    """
    offers: dict[str, dict[str, metadata.EntryPoint]] = defaultdict(dict)
    for point in metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist is not None else point.module
        offers[point.name][package] = point  # a package that is found twice, as on two paths, is one
    entries, refused = {}, {}
    for name, points in sorted(offers.items()):
        packages = ", ".join(sorted(points))
        if not _NAME.fullmatch(name):
            refused[name] = (
                f"The package {packages} offers an extractor {name!r}; a name is acoustic, visual or text, a dot, and "
                "small letters, digits and underscores."
            )
        elif name in own:
            refused[name] = f"The package {packages} offers an extractor {name}, which is the name of a built-in one."
        elif len(points) > 1:
            refused[name] = f"The packages {packages} both offer an extractor {name}; uninstall all but one."
        else:
            package, point = next(iter(points.items()))
            entries[name] = _entry(package, point)
    return Found(entries, refused)


def _entry(package: str, point: metadata.EntryPoint) -> Entry:
    told: Any = point.dist.metadata if point.dist is not None else {}
    return Entry(
        point.module,
        point.attr,
        None,
        told.get("Summary") or f"brought by {package}",
        told.get("License-Expression") or told.get("License") or "not told by the package",
        brought_by=package,
    )


def load(entry: Entry) -> Any:
    """The class of another package's extractor.

    Raises:
        UsageError: It cannot be imported, or is no extractor.
    """
    from mse_pipeline.extractors.base import Extractor

    where = f"{entry.module}:{entry.class_name} of the package {entry.brought_by}"
    try:
        found: Any = import_module(entry.module)
        for step in entry.class_name.split("."):
            found = getattr(found, step)
    except Exception as error:  # a module of others may raise whatever it likes when it is imported
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason told"
        raise UsageError(
            f"The extractor {where} cannot be loaded ({type(error).__name__}: {reason}); update or uninstall the "
            "package."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Extractor)):
        raise UsageError(f"{where} is no subclass of mse_pipeline.extractors.base.Extractor.")
    lacking = [name for name in ("modality", "name", "revision", "Config") if not hasattr(found, name)]
    if lacking:
        raise UsageError(f"The extractor {where} does not say its {', '.join(lacking)}.")
    if not dataclasses.is_dataclass(found.Config):
        raise UsageError(f"The options `Config` of the extractor {where} must be a dataclass.")
    return found
