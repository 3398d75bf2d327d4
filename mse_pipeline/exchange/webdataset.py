"""Tar files as WebDataset reads them: the members of a clip follow each other and have its number as their name.

``000000012.json`` has id, text and label, ``000000012.acoustic.npy`` the values (T, D) float32 of a modality,
``000000012.acoustic_intervals.npy`` (T, 2) and ``000000012.acoustic_valid.npy`` (T). Undefined values are NaN, as in
the cache.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import record_of
from mse_pipeline.exchange.clip_table import ABOUT, about_of
from mse_pipeline.exchange.pickle_write import by_split
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.storage import aside, write_json

_FILE_BYTES = 256 << 20


def write(dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None:
    """Write ``train-000000.tar`` and so on into a folder, a clip in memory at a time.

    Args:
        dataset: In the cache.
        path: The folder, made if need be; it may not hold tar files of an earlier export.
        streams: Name of the stream by modality.

    Raises:
        UsageError: The folder holds other tar files.
    """
    if earlier := sorted(path.glob("*.tar")):
        raise UsageError(f"{path} holds {earlier[0].name} already. Remove the folder, or give another.")
    number = 0
    for split, clips in by_split(dataset.clips).items():
        waiting = iter(clips)
        clip = next(waiting, None)
        shard = 0
        while clip is not None:
            with (
                aside(path / f"{split}-{shard:06}.tar") as temporary,
                tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive,
            ):
                while clip is not None and archive.offset < _FILE_BYTES:
                    for name, content in _members(dataset, clip, streams):
                        member = tarfile.TarInfo(f"{number:09}.{name}")  # without time and owner
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
                    number += 1
                    clip = next(waiting, None)
            shard += 1
    write_json(path / ABOUT, about_of(dataset, list(streams.values())))


def _members(dataset: Dataset, clip: Clip, streams: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    yield "json", json.dumps(record_of(clip), ensure_ascii=False).encode()
    for modality, stream in streams.items():
        features = dataset[stream].get(clip.id)
        if features is None:
            continue
        arrays = {"": features.values, "_intervals": features.intervals, "_valid": features.valid}
        for ending, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            yield f"{modality}{ending}.npy", content.getvalue()
