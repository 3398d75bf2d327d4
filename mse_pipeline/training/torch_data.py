"""The clips of a cache for models of one's own: a torch dataset, and a function that makes batches of its items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from mse_pipeline.training.normaliser import Normaliser, fit_stream


class ClipDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """The labelled clips of a split, each as a dictionary.

    An item has ``id``, ``text``, ``label`` (the class's index, or the number) and, under each stream's name, its rows
    (T, D) float32: normalised by the train split's mean and deviation, 0 where a value is not defined. A clip that
    lacks a stream has no rows of it.

    Args:
        dataset: In the cache.
        split: ``train``, ``valid`` or ``test``.
        streams: Which streams; None for all that have features.
        normalised: Whether values are normalised; the undefined ones are 0 either way.

    Raises:
        UsageError: There is no such stream, or no labelled clip in the split.
        MseError: No clip of the train split has features of a stream, to normalise by.
    """

    def __init__(
        self, dataset: Dataset, split: str, streams: Sequence[str] | None = None, *, normalised: bool = True
    ) -> None:
        self._dataset = dataset
        self.clips = [clip for clip in dataset.clips if clip.split == Split(split) and clip.label is not None]
        if not self.clips:
            raise UsageError(f"{dataset.name} has no labelled clip in its {split} split.")
        self.streams = tuple(streams) if streams is not None else tuple(name for name in dataset if dataset[name])
        train = [clip.id for clip in dataset.clips if clip.split == Split.TRAIN]
        self.widths = {name: next(iter(dataset[name].values())).dim for name in self.streams}
        self.normalisers: Mapping[str, Normaliser] = (
            {name: fit_stream(dataset[name], train) for name in self.streams} if normalised else {}
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, task = self.clips[index], self._dataset.manifest.task
        label = task.index(clip.label) if isinstance(task, Classification) else float(clip.label or 0.0)
        item: dict[str, Any] = {"id": clip.id, "text": clip.text, "label": label}
        for name in self.streams:
            features = self._dataset[name].get(clip.id)
            item[name] = torch.zeros(0, self.widths[name]) if features is None else self._values(name, features)
        return item

    def _values(self, name: str, features: Features) -> torch.Tensor:
        if name in self.normalisers:
            return torch.from_numpy(self.normalisers[name](features))
        return torch.from_numpy(features.values.copy()).nan_to_num_(0.0)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker of a DataLoader gets: not the opened files, which it opens itself."""
        return {**self.__dict__, "_dataset": self._dataset.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._dataset = Dataset(state["_dataset"])


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of items of a `ClipDataset`: rows are padded with zeros behind, with the number of rows of each clip.

    Returns:
        ``id`` and ``text``, lists; ``label`` (B,), int64 of classes or float32; for each stream its rows (B, T, D), and
        its ``NAME_lengths`` (B,).

    Examples:
        >>> clips = [{"id": f"{rows}", "text": "", "label": 1, "acoustic.x": torch.ones(rows, 2)} for rows in (1, 3)]
        >>> batch = collate(clips)
        >>> tuple(batch["acoustic.x"].shape), batch["acoustic.x_lengths"].tolist(), batch["label"].tolist()
        ((2, 3, 2), [1, 3], [1, 1])
    """
    batch: dict[str, Any] = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if isinstance(first, torch.Tensor):
            batch[name] = pad_sequence(values, batch_first=True)
            batch[f"{name}_lengths"] = torch.tensor([len(value) for value in values])
        else:
            batch[name] = values if isinstance(first, str) else torch.tensor(values)
    return batch
