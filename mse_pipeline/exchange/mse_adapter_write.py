"""A dataset as MSE-Adapter's pickles, a file a split, which its own loader opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.mse_adapter import MODALITIES
from mse_pipeline.exchange.padded import Padded, by_split, streams_of
from mse_pipeline.exchange.pickle_write import write_pickle
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.task import Classification


def write(dataset: Dataset, path: Path, *, streams: dict[str, str]) -> None:
    """Write ``NAME_train.pkl``, ``NAME_valid.pkl`` and ``NAME_test.pkl`` into a folder, a clip at a time.

    Clips without a label are left out: the format has no place for them.

    Args:
        dataset: One whose labels are classes.
        path: The folder, made if need be.
        streams: Name of the stream by modality; acoustic and visual, both.

    Raises:
        UsageError: Labels are numbers, or a modality is missing.
    """
    if not isinstance(dataset.manifest.task, Classification):
        raise UsageError(f"{dataset.name} has numbers as labels, and this format holds classes; mmsa holds numbers.")
    padded = streams_of(streams, dataset, tuple(MODALITIES))
    missing = [modality for modality in MODALITIES if modality not in padded]
    if missing:
        raise UsageError(
            f"MSE-Adapter's pickles need a stream of each modality; there is none of {', '.join(missing)}."
        )
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; MSE-Adapter's pickles are three files in a folder.")
    for split, clips in by_split([clip for clip in dataset.clips if clip.label is not None]).items():
        with aside(path / f"{dataset.name}_{split}.pkl") as temporary, temporary.open("wb") as file:
            write_pickle(_entries(clips, padded), file)


def _entries(clips: Sequence[Clip], padded: dict[str, Padded]) -> Iterator[dict[str, Any]]:
    for clip in clips:
        features: dict[str, Any] = {"text": clip.text}
        for modality, field in MODALITIES.items():
            features[field] = padded[modality].rows(clip)
            features[f"{field}_len"] = padded[modality].lengths([clip])[0]
        yield {"label": str(clip.label), "features": features}
