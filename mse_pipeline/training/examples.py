"""Examples: the labelled clips of a split as what the model reads, made into batches as they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import encode
from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.training.normaliser import Normaliser
from mse_pipeline.training.reading import Batch


@dataclass(frozen=True)
class Example:
    """A labelled clip.

    Attributes:
        clip: Its id.
        text_ids: Token ids of what is said.
        label: The annotation.
        target: Index of the right answer.
    """

    clip: str
    text_ids: tuple[int, ...]
    label: Label
    target: int


def examples(
    clips: Sequence[Clip], split: Split, backbone: Backbone, answers: Answers, room: int | None = None
) -> list[Example]:
    """The labelled clips of a split; those without a label are left out.

    Args:
        clips: All clips of the dataset.
        split: Which part is wanted.
        backbone: Its tokenizer makes tokens of the texts.
        answers: The possible answers.
        room: Most tokens of a text that the backbone can read beside all else; longer texts lose their end.

    Raises:
        UsageError: A label does not belong to the task.
    """
    made = []
    for clip in clips:
        if clip.split == split and clip.label is not None:
            try:
                target = answers.target(clip.label)
            except ValueError as error:
                raise UsageError(f"The clip {clip.id} cannot be trained on. {error}") from error
            text_ids = encode(backbone.tokenizer, clip.text)[:room]
            made.append(Example(clip.id, text_ids, clip.label, target))
    return made


class Batcher:
    """Makes batches of examples: reads their features, normalises and pads them.

    Args:
        streams: Features by clip id, by modality; a modality that is absent is not read.
        normalisers: Fitted on the train split, by modality.
    """

    def __init__(self, streams: Mapping[str, Mapping[str, Features]], normalisers: Mapping[str, Normaliser]) -> None:
        self._streams = streams
        self._normalisers = normalisers

    def batch(self, chosen: Sequence[Example]) -> Batch:
        """One batch. A clip without a stream, or without a valid row in it, has length 0 there."""
        longest = max(1, *(len(example.text_ids) for example in chosen))
        text_ids = torch.zeros(len(chosen), longest, dtype=torch.int64)
        text_mask = torch.zeros(len(chosen), longest, dtype=torch.bool)
        for row, example in enumerate(chosen):
            text_ids[row, : len(example.text_ids)] = torch.tensor(example.text_ids, dtype=torch.int64)
            text_mask[row, : len(example.text_ids)] = True
        sequences: dict[str, torch.Tensor] = {}
        for modality in self._streams:
            values, lengths = self._sequences(modality, [example.clip for example in chosen])
            sequences |= {modality: values, f"{modality}_lengths": lengths}
        return Batch(
            clips=tuple(example.clip for example in chosen),
            text_ids=text_ids,
            text_mask=text_mask,
            targets=torch.tensor([example.target for example in chosen]),
            **sequences,
        )

    def _sequences(self, modality: str, clips: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        stream, normaliser = self._streams[modality], self._normalisers[modality]
        found = [stream.get(clip) for clip in clips]
        rows = [one if one is not None and one.valid.any() else None for one in found]
        lengths = [0 if one is None else len(one) for one in rows]
        values = torch.zeros(len(rows), max(1, *lengths), len(normaliser.names))
        into = values.numpy()
        for row, one in enumerate(rows):
            if one is not None:
                normaliser.into(one, into[row, : len(one)])
        return values, torch.tensor(lengths)
