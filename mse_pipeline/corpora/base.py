"""Corpus: what a reader makes of a raw folder, and what all readers share.

Label files are read whole, with a limit of size, from a local folder or a remote storage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mse_pipeline.clip import Clip, Defect, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.places import address, filesystem, is_local
from mse_pipeline.recipe.problems import describe, place_name
from mse_pipeline.task import Task

_AT_ONCE = 64  # so many small files are asked for together, and held in memory


def read_bytes(file: str | Path, what: str, limit: int) -> bytes:
    """The content of a file.

    Args:
        file: Local, or below a root on a remote storage.
        what: How errors call it, as in ``Label file train.json``.
        limit: Bytes that such a file has at most.

    Raises:
        UsageError: It cannot be read, or is larger.

    Examples:
        >>> read_bytes("none.csv", "Table none.csv", 100)
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: Table none.csv cannot be read: No such file or directory.
    """
    path = Path(file) if isinstance(file, str) else file
    try:
        size = path.stat().st_size if is_local(path) else int(filesystem(path).info(address(path))["size"])
        if size <= limit:
            return path.read_bytes() if is_local(path) else bytes(filesystem(path).cat_file(address(path)))
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror or error}.") from None
    raise UsageError(f"{what} has {size:,} bytes; at most {limit:,} are read.")


def read_head(file: str | Path, count: int) -> bytes:
    """The first bytes of a local file; none if it cannot be read. Whoever needs the file tells that it is not there."""
    try:
        with Path(file).open("rb") as opened:
            return opened.read(count)
    except OSError:
        return b""


def read_heads(root: Path, paths: Sequence[str], count: int) -> Iterator[tuple[str, bytes]]:
    """The first bytes of many files in their order, none of one that cannot be read: they tell what a file is.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Below the root.
        count: Bytes of each.
    """
    if is_local(root):
        yield from ((path, read_head(root / path, count)) for path in paths)
    else:
        for path, begin in _beginnings(root, paths, count):
            yield path, begin if isinstance(begin, bytes) else b""


def read_each(root: Path, paths: Sequence[str], limit: int) -> Iterator[tuple[str, bytes | UsageError | None]]:
    """The contents of many small files in their order; of a remote storage many at a time.

    Args:
        root: As `mse_pipeline.corpora.files.open_root` gives it.
        paths: Below the root.
        limit: Bytes that such a file has at most.

    Yields:
        (path, content); None of a file that is larger, and the error of one that cannot be read.
    """
    if is_local(root):
        for path in paths:
            file = root / path
            try:
                content = file.read_bytes() if file.stat().st_size <= limit else None
            except OSError as error:
                yield path, UsageError(f"{path} cannot be read: {error.strerror or error}.")
                continue
            yield path, content
        return
    for path, begin in _beginnings(root, paths, limit + 1):
        if isinstance(begin, bytes):
            yield path, begin if len(begin) <= limit else None
        else:
            yield path, b"" if _is_empty(root / path) else UsageError(f"{path} cannot be read: {begin}.")


def _beginnings(root: Path, paths: Sequence[str], count: int) -> Iterator[tuple[str, bytes | Exception]]:
    """The first bytes of each file on a remote storage, or why there are none; many are asked for at a time."""
    for start in range(0, len(paths), _AT_ONCE):
        part = paths[start : start + _AT_ONCE]
        names = [address(root / path) for path in part]
        contents = filesystem(root).cat_ranges(names, [0] * len(part), [count] * len(part), on_error="return")
        yield from zip(part, contents, strict=True)


def _is_empty(file: Path) -> bool:
    """Whether no range of a file can be had because it is empty."""
    try:
        return int(filesystem(file).info(address(file))["size"]) == 0
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a dataset before anything of it is on the disk; each reader's module has one as ``FACTS``.

    Attributes:
        title: As its paper calls it, with the paper.
        task: What is to be predicted, in words.
        predicts: The same as the reader gives it by default; None where only the clips tell it.
        language: ISO 639-1 code of what is said; empty for any.
        labels: Classes in their canonical order, or the range and what else is annotated.
        splits: Official number of clips of train, valid and test; empty where there is none.
        splits_from: Who counts so, and what else is about.
        licence: On what terms it is given away.
        source: Where it is available.
        layouts: What a root folder may look like, most usual first.
        defects: What is known to be wrong with it.
    """

    title: str
    task: str
    predicts: Task | None = None
    language: str = ""
    labels: str
    splits: Mapping[Split, int] = field(default_factory=dict)
    splits_from: str = ""
    licence: str
    source: str
    layouts: tuple[str, ...]
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Facts):
    """A dataset: what its corpus module knows of it, under its name.

    Attributes:
        name: As the commands call it.
    """

    name: str


RESEARCH = "for research, on the authors' terms; the videos belong to who made them"
"""Licence of the datasets of videos that others made."""

OptionsT = TypeVar("OptionsT", bound="ReaderOptions")


class ReaderOptions(BaseModel):
    """Base of a reader's options: unknown keys are errors, scalars are not converted.

    Attributes:
        follow_links: Whether symbolic links are followed that lead out of the root, and out of the repository that it
            is part of (see `mse_pipeline.places`).
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
        notes: What the reader chose or ignored, as sentences.
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
        per_split = Counter(clip.split for clip in self.clips)
        return {split: per_split[split] for split in Split}

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
        errors = "; ".join(f"{place_name(location)}: {message}" for location, message in describe(error, model))
        raise UsageError(f"Options of corpus {corpus} have errors: {errors}.") from None


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
    texts = [str(item) for item in items]
    more = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
