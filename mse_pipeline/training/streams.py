"""Which stream of each modality a training reads, and which parts of the adapter it goes without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features

MODALITIES = ("acoustic", "visual")
PARTS = ("tgm", "msf", "text")
"""What a training can be without beside modalities: the Text-Guide-Mixer, the Multi-Scale Fusion, the transcript."""


@dataclass(frozen=True)
class StreamChoice:
    """What is read of each modality, and what is left out for an ablation.

    Attributes:
        names: Stream by modality; None where the adapter goes without it.
        left_out: Why a modality is left out although it was not asked to be, as sentences.
        parts: Those of `PARTS` that the training is without, in their order. Without ``text``, the backbone reads no
            transcript (its place in the prompt is empty) and the adapter none either; what ``tgm`` and ``msf`` are,
            `AdapterConfig` tells.
    """

    names: Mapping[str, str | None]
    left_out: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def variant(self) -> str:
        """How the run is called in reports.

        Examples:
            >>> both = {"acoustic": "acoustic.egemaps", "visual": "visual.mtcnn"}
            >>> StreamChoice(both).variant, StreamChoice(both, parts=("tgm", "msf")).variant
            ('adapter', 'without tgm+msf')
            >>> StreamChoice({"acoustic": None, "visual": None}, parts=("msf",)).variant
            'text-only without msf'
        """
        missing = [modality for modality in MODALITIES if self.names[modality] is None]
        if len(missing) == len(MODALITIES):
            return " without ".join(["text-only", *(["+".join(self.parts)] if self.parts else [])])
        missing += self.parts
        return "without " + "+".join(missing) if missing else "adapter"


def choose_streams(dataset: Dataset, *, asked: Mapping[str, str | None], without: tuple[str, ...] = ()) -> StreamChoice:
    """Choose one stream a modality: the one asked for, or the only one that has features.

    Args:
        dataset: The dataset in the cache.
        asked: Stream by modality, where the user named one.
        without: Modalities and `PARTS` to leave out.

    Raises:
        UsageError: A stream or part is unknown, the stream asked for is empty, several streams fit, or what is left
            would be nothing, or the same as with less left out.
    """
    known = (*MODALITIES, *PARTS)
    unknown = [name for name in without if name not in known]
    if unknown:
        raise UsageError(
            f"There is nothing called {unknown[0]!r} to leave out{did_you_mean(unknown[0], known).rstrip('?')}: "
            f"--without takes {', '.join(known)}."
        )
    parts = tuple(part for part in PARTS if part in without)
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
    _check_parts(names, parts)
    return StreamChoice(names, tuple(left_out), parts)


def _check_parts(names: Mapping[str, str | None], parts: tuple[str, ...]) -> None:
    """Refuse what is no ablation of its own: it would stand in a table as if it were."""
    no_stream = not any(names.values())
    if no_stream and "text" in parts:
        raise UsageError(
            "Without text and without any acoustic or visual stream nothing is left to train on: leave one in."
        )
    if "tgm" in parts and "text" in parts:
        raise UsageError(
            "--without text leaves nothing that could guide the modalities, so --without tgm changes nothing beside "
            "it: leave one of the two out."
        )
    if "tgm" in parts and no_stream:
        raise UsageError(
            "--without tgm needs an acoustic or a visual stream: with the text alone there is nothing to be mixed."
        )


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
