"""Cache: a folder of datasets."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.store.clips import write_clips
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.manifest import Manifest, write_manifest
from mse_pipeline.task import Task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_cache(path: str | os.PathLike[str] | None = None) -> Cache:
    """Open a feature cache.

    Args:
        path: The folder; by default ``$MSE_CACHE`` or ``./cache``. It need not exist yet.
    """
    return Cache(Path(path if path is not None else os.environ.get("MSE_CACHE", "cache")))


class Cache(Mapping[str, Dataset]):
    """Datasets by name.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> Dataset:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not (self.path / name / "dataset.json").is_file():
            known = list(self)
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f" Did you mean {near[0]}?" if near else f" It holds: {', '.join(known) or 'nothing yet'}."
            raise DatasetMissing(f"There is no dataset {name!r} in the cache {self.path}.{hint}")
        return Dataset(self.path / name)

    def __iter__(self) -> Iterator[str]:
        if self.path.is_dir():
            yield from sorted(p.parent.name for p in self.path.glob("*/dataset.json"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def create(
        self,
        name: str,
        clips: Sequence[Clip],
        *,
        task: Task,
        recipe: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """Make a dataset, or bring an existing one's clip table up to date; its features stay.

        Raises:
            UsageError: The name is unfit for a folder, or two clips have one id.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a dataset: use letters, digits, '.', '_' and '-'.")
        ids = [clip.id for clip in clips]
        if len(set(ids)) != len(ids):
            twice = next(clip for clip in ids if ids.count(clip) > 1)
            raise UsageError(f"Two clips of {name} have the id {twice!r}; ids must be unique.")
        folder = self.path / name
        streams = Dataset(folder).manifest.streams if (folder / "dataset.json").is_file() else {}
        write_clips(folder / "clips.parquet", clips)
        write_manifest(folder / "dataset.json", Manifest(name, task, streams, dict(recipe or {}), dict(source or {})))
        return Dataset(folder)


class DatasetMissing(UsageError, KeyError):
    """The cache has no dataset of that name."""

    __str__ = Exception.__str__
