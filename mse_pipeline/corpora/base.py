"""Corpus: what a reader makes of a raw folder, and what readers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mse_pipeline.clip import Clip, Defect, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.recipe.problems import describe, place_name
from mse_pipeline.task import Task

OptionsT = TypeVar("OptionsT", bound="Options")


class Options(BaseModel):
    """Base of a reader's options: unknown keys are errors, scalars are not converted.

    Attributes:
        follow_links: Whether symbolic links are followed that lead out of the root, and out of the repository that it
            is part of (see `mse_pipeline.links`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    follow_links: bool = False


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The clips of one raw folder.

    Attributes:
        name: Of the reader, as in ``meld``.
        root: The raw folder, symbolic links resolved.
        task: What is to be predicted.
        clips: In the order of the label files.
        defects: What is wrong with clips, files or counts, as far as it shows without opening media.
        expected: Official number of clips a split; empty where there is none.
        sources: Label files that were read, below the root.
        notes: What the reader chose or left aside, as sentences.
        media_root: The folder that media paths start from, where that is not the root; see `media_folder`.
    """

    name: str
    root: Path
    task: Task
    clips: tuple[Clip, ...]
    defects: tuple[Defect, ...] = ()
    expected: Mapping[Split, int] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    media_root: Path | None = None

    @property
    def media_folder(self) -> Path:
        """The folder that media paths start from."""
        return self.root if self.media_root is None else self.media_root

    def counts(self) -> dict[Split, int]:
        """Number of clips a split, with or without media."""
        found = Counter(clip.split for clip in self.clips)
        return {split: found[split] for split in Split}

    def with_media(self) -> int:
        """Number of clips that have a media file."""
        return sum(clip.media is not None for clip in self.clips)


def parse_options(corpus: str, model: type[OptionsT], options: Mapping[str, Any]) -> OptionsT:
    """A reader's options from a recipe's mapping.

    Raises:
        UsageError: Keys are unknown or values do not fit; all are told.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        told = "; ".join(f"{place_name(place)}: {message}" for place, message in describe(error, model))
        raise UsageError(f"Options of corpus {corpus} have errors: {told}.") from None


def compare_counts(what: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> Iterable[Defect]:
    """A defect for every count that is not the official one.

    Examples:
        >>> [d.message for d in compare_counts("clips of split", {"train": 3}, {"train": 2})]
        ['Of clips of split train there are 2; officially there are 3.']
    """
    for key, number in expected.items():
        if found.get(key, 0) != number:
            yield Defect(
                code="split_count_mismatch",
                message=f"Of {what} {key} there are {found.get(key, 0)}; officially there are {number}.",
            )


def enumerate_some(items: Iterable[object], limit: int = 10) -> str:
    """The first items, and how many more there are.

    Examples:
        >>> enumerate_some([2, 5, 9, 11], limit=2)
        '2, 5 and 2 more'
    """
    told = [str(item) for item in items]
    more = f" and {len(told) - limit:,} more" if len(told) > limit else ""
    return ", ".join(told[:limit]) + more
