"""Streams: which of each modality a training reads, and which parts of the adapter it goes without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mse_pipeline.adapter import Model
from mse_pipeline.adapter.models import find
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.pack import Pack
from mse_pipeline.store.where import is_of_quality

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


def choose_streams(
    dataset: Dataset, *, asked: Mapping[str, str | None], without: tuple[str, ...] = (), model: str = "mse-adapter"
) -> StreamChoice:
    """Choose one stream a modality: the one asked for, or the only one that has features.

    Args:
        dataset: The dataset in the cache.
        asked: Stream by modality, where the user named one.
        without: Modalities and `PARTS` to leave out.
        model: What is trained; streams that it does not read are left out.

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
    kind = find(model)
    require_readable(model, kind, {modality for modality in MODALITIES if asked.get(modality)}, parts)
    without = (*without, *(modality for modality in MODALITIES if modality not in kind.modalities))
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
                own = [stream for stream in dataset if stream.startswith(f"{modality}.")]
                near = did_you_mean(name, own) or f"; there are {', '.join(own) or 'none'}."
                raise UsageError(f"{name} is no {modality} stream{near}")
            if not dataset[name]:
                raise UsageError(f"No clip of {dataset.name} has features of {name}.")
            names[modality] = name
        else:
            names[modality], reason = only_stream(dataset, modality)
            left_out += [reason] if reason else []
    _check_parts(names, parts)
    return StreamChoice(names, tuple(left_out), parts)


def require_readable(name: str, kind: type[Model], modalities: Collection[str], parts: Sequence[str]) -> None:
    """Refuse streams that a model does not read, and ablations of parts that it does not have."""
    for modality in modalities:
        if modality not in kind.modalities:
            raise UsageError(f"The model {name} reads no {modality} stream: leave --{modality} out.")
    for part in parts:
        if part not in kind.parts:
            raise UsageError(f"The model {name} cannot be trained --without {part}: leave it out.")


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


def only_stream(dataset: Dataset, modality: str) -> tuple[str | None, str | None]:
    """The only stream of a modality that has features, or None and why, as a sentence.

    Raises:
        UsageError: There are several.
    """
    there = [name for name in dataset if name.partition(".")[0] == modality and not is_of_quality(dataset, name)]
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


def stream_names(stream: Mapping[str, Features]) -> Sequence[str]:
    """Names of the values of a stream's rows."""
    return stream.names if isinstance(stream, Pack) else next(iter(stream.values())).names
