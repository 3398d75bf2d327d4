"""Which stream of each modality a training reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mse_pipeline.errors import UsageError
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features

MODALITIES = ("acoustic", "visual")


@dataclass(frozen=True)
class StreamChoice:
    """What is read of each modality.

    Attributes:
        names: Stream by modality; None where the adapter goes without it.
        left_out: Why a modality is left out although it was not asked to be, as sentences.
    """

    names: Mapping[str, str | None]
    left_out: tuple[str, ...] = ()

    @property
    def variant(self) -> str:
        """How the run is called in reports."""
        missing = [modality for modality in MODALITIES if self.names[modality] is None]
        if not missing:
            return "adapter"
        return "text-only" if len(missing) == len(MODALITIES) else "without " + missing[0]


def choose_streams(dataset: Dataset, *, asked: Mapping[str, str | None], without: tuple[str, ...] = ()) -> StreamChoice:
    """Choose one stream a modality: the one asked for, or the only one that has features.

    Args:
        dataset: The dataset in the cache.
        asked: Stream by modality, where the user named one.
        without: Modalities to leave out.

    Raises:
        UsageError: A stream or modality is unknown, the stream asked for is empty, or several streams fit.
    """
    unknown = [modality for modality in without if modality not in MODALITIES]
    if unknown:
        raise UsageError(f"There is no modality {unknown[0]!r} to leave out; there are {' and '.join(MODALITIES)}.")
    names: dict[str, str | None] = {}
    left_out = []
    for modality in MODALITIES:
        name = asked.get(modality)
        if modality in without:
            if name:
                raise UsageError(f"--{modality} {name} and --without {modality} exclude each other.")
            names[modality] = None
        elif name:
            if name.partition(".")[0] != modality:
                raise UsageError(f"{name} is no {modality} stream.")
            if not dataset[name]:
                raise UsageError(f"No clip of {dataset.name} has features of {name}.")
            names[modality] = name
        else:
            names[modality], reason = _only(dataset, modality)
            left_out += [reason] if reason else []
    return StreamChoice(names, tuple(left_out))


def _only(dataset: Dataset, modality: str) -> tuple[str | None, str | None]:
    there = [stream for stream in dataset if stream.partition(".")[0] == modality]
    filled = [stream for stream in there if dataset[stream]]
    if len(filled) > 1:
        raise UsageError(
            f"{dataset.name} has several {modality} streams: {', '.join(filled)}. Choose one with --{modality} NAME."
        )
    if filled:
        return filled[0], None
    tried = f" ({', '.join(there)}: no clip has it)" if there else ""
    return None, f"{dataset.name} has no {modality} features{tried}: the adapter is trained without them."


def open_streams(dataset: Dataset, choice: StreamChoice) -> dict[str, Mapping[str, Features]]:
    """Open the chosen streams for reading, by modality."""
    return {modality: dataset[name] for modality, name in choice.names.items() if name is not None}
