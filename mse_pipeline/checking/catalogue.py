"""The catalogue: what is known of each dataset before anything of it is on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from mse_pipeline import corpora
from mse_pipeline.corpora.base import Facts
from mse_pipeline.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Facts):
    """A dataset: what its corpus module knows of it, under its name.

    Attributes:
        name: As the commands call it.
    """

    name: str


def entries() -> tuple[tuple[DatasetEntry, ...], dict[str, str]]:
    """All datasets, and by name why what a package offers is none of them.

    Examples:
        >>> [entry.name for entry in entries()[0]][:3]
        ['meld', 'mosei', 'simsv2']
    """
    made, refused = [], dict(corpora.refused())
    for name in corpora.available():
        try:
            made.append(find(name))
        except UsageError as error:
            refused[name] = str(error)
    return tuple(made), refused


def find(name: str) -> DatasetEntry:
    """A dataset by its name.

    Raises:
        UsageError: There is no such dataset, or the package that brings it does not fit.

    Examples:
        >>> find("meld").splits["test"]
        2610
    """
    names = corpora.available()
    if name not in names and name not in corpora.refused():
        raise UsageError(f"There is no dataset {name!r}{did_you_mean(name, names)}. Known are {', '.join(names)}.")
    return DatasetEntry(name=name, **vars(corpora.facts(name)))
