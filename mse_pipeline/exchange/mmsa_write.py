"""A dataset as an MMSA pickle, which plain numpy code opens as MMSA's README describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.mmsa import ANNOTATIONS, LABELS, MODALITIES, annotation_of
from mse_pipeline.exchange.mmsa_fields import SEPARATOR
from mse_pipeline.exchange.padded import Padded, by_split, streams_of
from mse_pipeline.exchange.pickle_write import Pieces, write_pickle
from mse_pipeline.store.atomic import aside
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.task import Regression

_FIELDS = {**MODALITIES, "text": "text"}


def write(dataset: Dataset, path: Path, *, streams: dict[str, str]) -> None:
    """Write an MMSA pickle with padded arrays and true lengths, whole or not at all, a clip at a time.

    ``text_bert``, the token ids of one BERT, is left out; ``text`` is there if a text stream is chosen.

    Args:
        dataset: One whose labels are numbers.
        path: The file.
        streams: Name of the stream by modality: acoustic, visual, text.

    Raises:
        UsageError: Labels are classes, or two clips would have the same id.
    """
    if not isinstance(dataset.manifest.task, Regression):
        raise UsageError(
            f"{dataset.name} has classes, and MMSA's pickles hold numbers; mse-adapter is a format that holds classes."
        )
    padded = streams_of(streams, dataset, tuple(_FIELDS))
    ids = {clip.id: _id(dataset.name, clip) for clip in dataset.clips}
    if len(set(ids.values())) < len(ids):
        raise UsageError(f"Two clips of {dataset.name} would have one id in {path}; MMSA's ids have no folders.")
    further = [name for name in LABELS if _all_numbers(dataset.clips, name)]
    value = {
        split.value: _part(clips, [ids[clip.id] for clip in clips], padded, further)
        for split, clips in by_split(dataset.clips).items()
    }
    with aside(path) as temporary, temporary.open("wb") as file:
        write_pickle(value, file)


def _part(clips: Sequence[Clip], ids: list[str], padded: dict[str, Padded], further: list[str]) -> dict[str, Any]:
    numbers = [0.0 if clip.label is None else float(clip.label) for clip in clips]
    part: dict[str, Any] = {
        "raw_text": [clip.text for clip in clips],
        "id": ids,
        "annotations": [_annotation(clip) for clip in clips],
        "regression_labels": np.array(numbers, np.float64),
    }
    for name in further:
        part[LABELS[name]] = np.array([float(clip.labels.get(name, 0.0)) for clip in clips], np.float64)
    if any(clip.label is None for clip in clips):
        part["mask"] = np.array([clip.label is not None for clip in clips], np.int64)
    for modality, one in padded.items():
        field = _FIELDS[modality]
        shape = (len(clips), one.longest, one.dim)
        part[field] = Pieces(shape, np.dtype(np.float32), lambda one=one: one.blocks(clips))  # type: ignore[misc]
        part[f"{field}_lengths"] = one.lengths(clips)
    return part


def _all_numbers(clips: Sequence[Clip], name: str) -> bool:
    labelled = [clip for clip in clips if clip.label is not None]
    return bool(labelled) and all(isinstance(clip.labels.get(name), float) for clip in labelled)


def _annotation(clip: Clip) -> str:
    """The word for the label, as MMSA's tables have it; empty for a clip without one."""
    if clip.label is None:
        return ""
    if (known := str(clip.labels.get("annotation", ""))) in ANNOTATIONS:
        return known
    return annotation_of(float(clip.label))


def _id(dataset: str, clip: Clip) -> str:
    return clip.id if SEPARATOR in clip.id else f"{dataset}{SEPARATOR}{clip.id.replace('/', '_')}"
