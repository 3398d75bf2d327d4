"""Pruning: what no longer counts goes. Unfinished files, shards that no journal names, packs on clocks of before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mse_pipeline.places import is_local
from mse_pipeline.store.atomic import ASIDE
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.runs import run_lock
from mse_pipeline.store.storage import Stored, files, remove

DAY = 86_400.0
_SHARD = re.compile(r"shard-.*\.parquet")
_PACK = re.compile(r"pack-.*\.(h5|json)")


@dataclass(frozen=True)
class Pruned:
    """What a pruning removed.

    Attributes:
        dataset: Name of the dataset.
        files: How many files.
        bytes: How many bytes.
    """

    dataset: str
    files: int
    bytes: int


def prune(dataset: Dataset, *, older_than: float = DAY) -> Pruned:
    """Remove what no longer counts; features that the journal knows stay, those of older stream versions too.

    Args:
        dataset: The dataset.
        older_than: On object storage, where a run cannot be told from a dead one, only files of this age in seconds
            are removed: a younger one may be of a run that is about to name it.

    Raises:
        filelock.Timeout: A run is at work on the dataset.
        MseError: The journal is damaged.
    """
    with run_lock(dataset.path):
        limit = float("inf") if is_local(dataset.path) else time.time() - older_than
        found = [one for one in _orphans(dataset) if one.modified <= limit]
        for one in found:
            remove(one.path)
    return Pruned(dataset.name, len(found), sum(one.size for one in found))


def _orphans(dataset: Dataset) -> Iterator[Stored]:
    listed = list(files(dataset.path))  # before the journal is read, so that what is committed meanwhile is named
    named = {(row.stream, row.version, row.shard) for row in dataset.journal.read().values()}
    packs = [dataset.pack_path(stream) for stream in dataset]
    current = {name for path in packs for name in (str(path), str(path.with_suffix(".json")))}
    for one in listed:
        folder = one.path.parent
        if (
            one.path.name.startswith(ASIDE)
            or (_SHARD.fullmatch(one.path.name) and (folder.parent.name, folder.name, one.path.name) not in named)
            or (_PACK.fullmatch(one.path.name) and str(one.path) not in current)
        ):
            yield one
