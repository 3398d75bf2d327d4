"""What formats of one padded array need to know of a stream: its longest clip, its dimensions, a clip's padded rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features


class Padded:
    """One stream of a dataset, every clip padded with rows of zeros to the length of the longest one.

    Args:
        dataset: In the cache.
        stream: Its name; a dataset's stream on the clock that training reads.

    Raises:
        UsageError: The dataset has no such stream, or no clip has features of it.
    """

    def __init__(self, dataset: Dataset, stream: str) -> None:
        self._features: Mapping[str, Features] = dataset[stream]
        first = next(iter(self._features.values()), None)
        if first is None:
            raise UsageError(f"No clip of {dataset.name} has features of {stream}.")
        self.dim = first.dim
        length: Any = getattr(self._features, "length", lambda clip: len(self._features[clip]))
        self._lengths = {clip: int(length(clip)) for clip in self._features}
        self.longest = max(1, *self._lengths.values())

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Number of rows of each clip; 0 where it has no features."""
        return [self._lengths.get(clip.id, 0) for clip in clips]

    def rows(self, clip: Clip) -> np.ndarray:
        """(longest, dim) float32."""
        made = np.zeros((self.longest, self.dim), np.float32)
        if self._lengths.get(clip.id):
            values = self._features[clip.id].values
            made[: len(values)] = values
        return made

    def blocks(self, clips: Sequence[Clip]) -> Iterator[np.ndarray]:
        """The clips' rows one after the other."""
        for clip in clips:
            yield self.rows(clip)


def by_split(clips: Sequence[Clip]) -> dict[Split, list[Clip]]:
    """The clips of each split, in their order; a split without clips has an empty list."""
    return {split: [clip for clip in clips if clip.split == split] for split in Split}


def streams_of(streams: Mapping[str, str], dataset: Dataset, modalities: Sequence[str]) -> dict[str, Padded]:
    """The chosen streams by modality.

    Raises:
        UsageError: A modality has no place in the format, or nothing is chosen.
    """
    strange = [modality for modality in streams if modality not in modalities]
    if strange or not streams:
        raise UsageError(
            f"The format holds the modalities {', '.join(modalities)}; got {', '.join(strange) or 'no stream'}."
        )
    return {modality: Padded(dataset, stream) for modality, stream in streams.items()}
