"""Cache: a folder of datasets."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.places import is_local, place
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.manifest import Manifest, write_clips, write_manifest
from mse_pipeline.store.storage import names
from mse_pipeline.task import Task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_cache(path: str | os.PathLike[str] | None = None) -> Cache:
    """Open a feature cache.

    Args:
        path: The folder, or a URL as in ``s3://bucket/cache``; by default ``$MSE_CACHE`` or ``./cache``. It is
            created when something is written.

    Raises:
        UsageError: The URL cannot be reached, or a package for it is missing.
    """
    where = place(path if path is not None else os.environ.get("MSE_CACHE", "cache"))
    if not is_local(where):
        try:
            names(where)
        except Exception as error:  # each kind of storage has errors of its own
            raise UsageError(
                f"The cache {where} cannot be reached ({type(error).__name__}: {error}). "
                "Check its address, and the credentials for it on this machine."
            ) from error
    return Cache(where)


class Cache(Mapping[str, Dataset]):
    """Datasets by name.

    Args:
        path: The folder; as `place` gives it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> Dataset:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not (self.path / name / "dataset.json").is_file():
            names = list(self)
            hint = did_you_mean(str(name), names, sentence=True) or f" It holds: {', '.join(names) or 'nothing yet'}."
            raise DatasetMissing(f"There is no dataset {name!r} in the cache {self.path}.{hint}")
        return Dataset(self.path / name)

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in names(self.path) if (self.path / name / "dataset.json").is_file())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        try:
            lines = [f"  {name}: {dataset.clip_count():,} clips; {_streams(dataset)}" for name, dataset in self.items()]
        except (MseError, OSError) as error:  # what is damaged can be looked at, too
            return f"The cache {self.path}: {error}"
        return "\n".join(
            [f"The cache {self.path}: {len(lines)} {'dataset' if len(lines) == 1 else 'datasets'}", *lines]
        )

    def create(
        self,
        name: str,
        clips: Sequence[Clip],
        *,
        task: Task,
        recipe: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """Make a dataset, or update the clip table of an existing one; its features stay.

        Raises:
            UsageError: The name cannot be the name of a folder, or two clips have the same id.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a dataset: use letters, digits, '.', '_' and '-'.")
        ids = [clip.id for clip in clips]
        if len(set(ids)) != len(ids):
            repeated = Counter(ids).most_common(1)[0][0]
            raise UsageError(f"Two clips of {name} have the id {repeated!r}; give each clip its own id.")
        folder = self.path / name
        before = Dataset(folder) if (folder / "dataset.json").is_file() else None
        if before is None or not _has(before, clips):
            write_clips(folder / "clips.parquet", clips)
        streams = before.manifest.streams if before is not None else {}
        write_manifest(folder / "dataset.json", Manifest(name, task, streams, dict(recipe or {}), dict(source or {})))
        return Dataset(folder)


def _streams(dataset: Dataset) -> str:
    return ", ".join(dataset) or "no streams yet"


def _has(dataset: Dataset, clips: Sequence[Clip]) -> bool:
    """Whether a dataset's clip table already holds these clips."""
    try:
        return dataset.clips == tuple(clips)
    except MseError:
        return False  # a damaged table is written again


class DatasetMissing(UsageError, KeyError):
    """The cache has no dataset of that name."""

    __str__ = Exception.__str__
