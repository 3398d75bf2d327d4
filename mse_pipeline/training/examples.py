"""Examples: the labelled clips of a split as what the model reads, made into batches as they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import encode
from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.training.dialogue import Dialogues
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
        context_ids: Token ids of the turns before it, where the recipe asks for them.
    """

    clip: str
    text_ids: tuple[int, ...]
    label: Label
    target: int
    context_ids: tuple[int, ...] = ()


def examples(
    clips: Sequence[Clip],
    split: Split,
    backbone: Backbone,
    answers: Answers,
    room: int | None = None,
    *,
    dialogues: Dialogues | None = None,
) -> list[Example]:
    """The labelled clips of a split; those without a label are left out.

    Args:
        clips: All clips of the dataset.
        split: Which part is wanted.
        backbone: Its tokenizer makes tokens of the texts.
        answers: The possible answers.
        room: Most tokens of a text that the backbone can read beside all else; longer texts lose their end.
        dialogues: Gives what was said before a clip, as far as there is room beside its text; None for nothing.

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
            left = None if room is None else room - len(text_ids)
            context = () if dialogues is None else dialogues.tokens(backbone.tokenizer, clip, left)
            made.append(Example(clip.id, text_ids, clip.label, target, context))
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
        text_ids, text_mask = _padded([example.text_ids for example in chosen])
        sequences: dict[str, torch.Tensor] = {}
        if any(example.context_ids for example in chosen):
            context_ids, context_mask = _padded([example.context_ids for example in chosen])
            sequences |= {"context_ids": context_ids, "context_mask": context_mask}
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
        rows = []
        for clip in clips:
            features = stream.get(clip)
            if features is None or not features.valid.any():
                rows.append(np.zeros((0, len(normaliser.names)), np.float32))
            else:
                rows.append(normaliser(features))
        lengths = torch.tensor([len(one) for one in rows])
        values = torch.zeros(len(rows), max(1, int(lengths.max())), len(normaliser.names))
        for row, one in enumerate(rows):
            values[row, : len(one)] = torch.from_numpy(one)
        return values, lengths


def _padded(rows: Sequence[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, L) with zeros behind, and the mask of what is no padding."""
    longest = max(1, *map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[place, : len(row)] = True
    return ids, mask
