"""A dry run: all that a training would be, without weights, without a step, and without a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mse_pipeline.adapter import MSEAdapter
from mse_pipeline.backbones.example import Token, example
from mse_pipeline.clip import Split
from mse_pipeline.metrics.coverage import Coverage
from mse_pipeline.recipe import PromptSection
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.pack import Pack
from mse_pipeline.task import Classification
from mse_pipeline.training.earlier import Standing
from mse_pipeline.training.examples import Example, Texts
from mse_pipeline.training.job import Job
from mse_pipeline.training.memory import Load, Memory, estimate
from mse_pipeline.training.reading import text_room
from mse_pipeline.training.streams import StreamChoice, open_streams


@dataclass(frozen=True)
class Lengths:
    """Lengths in a few numbers.

    Attributes:
        median: Of all.
        most: The 95th percentile.
        largest: Of all.
    """

    median: int
    most: int
    largest: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Lengths | None:
        """Summarise; None of nothing.

        Examples:
            >>> Lengths.of([1, 2, 3, 4, 100])
            Lengths(median=3, most=100, largest=100)
        """
        if not len(values):
            return None
        median, most = np.percentile(np.asarray(values), (50, 95), method="nearest").tolist()
        return cls(int(median), int(most), int(max(values)))


@dataclass(frozen=True)
class StreamOutline:
    """One stream as a training would read it.

    Attributes:
        name: As in ``acoustic.egemaps``.
        dims: Values a row.
        clips: Labelled clips that have it.
        rows: Lengths of these, in rows.
    """

    name: str
    dims: int
    clips: int
    rows: Lengths | None


@dataclass(frozen=True)
class PromptOutline:
    """What the backbone would read, in tokens.

    Attributes:
        fixed: Start, tags and task prompt together.
        pseudo: Pseudo tokens.
        text: Lengths of the clips' texts.
        previous: Lengths of previous turns; None where none are read.
        room: Most tokens of a text that the backbone can read; None where it does not say.
        cut: Labelled clips whose text is longer and loses its end.
        answers: How many there are.
        answer_tokens: Lengths of the answers.
        example: One clip's whole sequence.
        example_clip: Its id.
    """

    fixed: int
    pseudo: int
    text: Lengths | None
    previous: Lengths | None
    room: int | None
    cut: int
    answers: int
    answer_tokens: Lengths | None
    example: tuple[Token, ...]
    example_clip: str


@dataclass(frozen=True)
class DryRun:
    """What a training would be.

    Attributes:
        dataset: Its name.
        variant: ``adapter`` or what is left out.
        clips: Labelled clips by split.
        streams: By modality; None for one that is left out.
        adapter: Trainable parameters by part.
        backbone: ``name``, ``source``, ``revision``, ``dtype``, ``quantization``, ``family``, ``parameters``,
            ``hidden_size``.
        prompt: What is read.
        steps_an_epoch: Steps of the optimiser.
        epochs: The most that are trained.
        seeds: How many trainings.
        batch_size: Clips a step.
        memory: An estimate; `mse_pipeline.training.memory.estimate` tells how it is made.
        coverage: Of how many clips each split is.
        standing: What is there of it already, and what of the data has changed since.
    """

    dataset: str
    variant: str
    clips: Mapping[str, int]
    streams: Mapping[str, StreamOutline | None]
    adapter: Mapping[str, int]
    backbone: Mapping[str, Any]
    prompt: PromptOutline
    steps_an_epoch: int
    epochs: int
    seeds: int
    batch_size: int
    memory: Memory
    coverage: Coverage
    standing: Standing

    @property
    def trainable(self) -> int:
        """Trainable parameters in all."""
        return sum(self.adapter.values())

    @property
    def steps(self) -> int:
        """Steps of one training that is not stopped early."""
        return self.steps_an_epoch * self.epochs

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        value = asdict(self)
        value["memory"]["total"] = self.memory.total
        value["coverage"] = self.coverage.to_plain()
        return {**value, "trainable": self.trainable, "steps": self.steps}


def dry_run(
    job: Job,
    dataset: Dataset,
    choice: StreamChoice,
    wording: PromptSection,
    *,
    seeds: int = 1,
    accumulation: int = 1,
    checkpointing: bool = False,
    standing: Standing | None = None,
) -> DryRun:
    """Tell what a training would be. Nothing is trained or written.

    Args:
        job: Made with the outline of a backbone, or with a loaded one.
        dataset: What it was made of.
        choice: Likewise.
        wording: Likewise.
        seeds: How many trainings there would be.
        accumulation: Parts that a batch is cut into, of which one is in memory at a time.
        checkpointing: Whether the layers' activations are computed again in the backward pass.
        standing: What is there of it already.
    """
    labelled = [one for split in Split for one in job.examples[split]]
    streams = open_streams(dataset, choice)
    rows = {modality: _rows(stream, labelled) for modality, stream in streams.items()}
    outlines = {
        modality: None
        if modality not in streams
        else StreamOutline(
            name=str(name),
            dims=len(job.normalisers[modality].names),
            clips=len(rows[modality]),
            rows=Lengths.of(rows[modality]),
        )
        for modality, name in choice.names.items()
    }
    prompt = _prompt(job, dataset, wording, labelled)
    settings, backbone = job.settings, job.backbone
    return DryRun(
        dataset=dataset.name,
        variant=choice.variant,
        clips={split.value: len(job.examples[split]) for split in Split},
        streams=outlines,
        adapter=adapter_parts(job),
        backbone={
            **{key: job.about["backbone"][key] for key in ("name", "source", "revision", "dtype", "quantization")},
            "family": backbone.family,
            "parameters": sum(parameter.numel() for parameter in backbone.model.parameters()),
            "hidden_size": backbone.hidden_size,
        },
        prompt=prompt,
        steps_an_epoch=math.ceil(len(job.examples[Split.TRAIN]) / settings.batch_size),
        epochs=settings.epochs,
        seeds=seeds,
        batch_size=settings.batch_size,
        memory=estimate(backbone, job.config, _load(job, prompt, outlines, accumulation), checkpointing=checkpointing),
        coverage=job.coverage,
        standing=standing or Standing(),
    )


def adapter_parts(job: Job) -> dict[str, int]:
    """Trainable parameters by part of the adapter, in the order in which a clip passes them."""
    with torch.device("meta"):
        adapter = MSEAdapter(job.config)
    return {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in adapter.named_children()
        if part is not None
    }


def _rows(stream: Mapping[str, Features], labelled: Sequence[Example]) -> list[int]:
    """Rows of each clip that the stream has."""
    there = [one.clip for one in labelled if one.clip in stream]
    if isinstance(stream, Pack):
        return [stream.length(clip) for clip in there]
    return [len(stream[clip]) for clip in there]


def _prompt(job: Job, dataset: Dataset, wording: PromptSection, labelled: Sequence[Example]) -> PromptOutline:
    room = text_room(job.backbone, job.prompt, job.answers, job.settings.pseudo_tokens)
    whole, read = Texts(job.backbone), Texts(job.backbone, room)
    whole.make(labelled)
    read.make(labelled)
    texts, kept = [len(whole(one.text)) for one in labelled], [len(read(one.text)) for one in labelled]
    previous = [len(read.before(one)) for one in labelled if one.before]
    first = job.examples[Split.TRAIN][0]
    return PromptOutline(
        fixed=len(job.prompt),
        pseudo=job.settings.pseudo_tokens,
        text=Lengths.of(kept) if job.config.text else None,
        previous=Lengths.of(previous),
        room=room,
        cut=sum(before > after for before, after in zip(texts, kept, strict=True)),
        answers=len(job.answers),
        answer_tokens=Lengths.of([len(ids) for ids in job.answers.ids]),
        example=example(
            job.backbone.tokenizer,
            job.backbone.family,
            dataset.manifest.task,
            text=first.text if job.config.text else "",
            label=_label(first, dataset),
            given=wording.task,
            language=wording.language,
            pseudo_tokens=job.settings.pseudo_tokens,
            label_words=wording.label_words,
            previous=read.before(first),
            room=room,
        ),
        example_clip=first.clip,
    )


def _label(one: Example, dataset: Dataset) -> object:
    task = dataset.manifest.task
    return task.classes[one.target] if isinstance(task, Classification) else one.label


def _load(job: Job, prompt: PromptOutline, streams: Mapping[str, StreamOutline | None], accumulation: int) -> Load:
    """The largest batch: every clip as long as the longest."""
    answer = prompt.answer_tokens.largest if prompt.answer_tokens else 1
    read = prompt.fixed + prompt.pseudo
    read += sum(part.largest for part in (prompt.text, prompt.previous) if part is not None)
    if prompt.room is not None and prompt.previous is not None:
        read = min(read, prompt.fixed + prompt.pseudo + prompt.room)
    hidden = {"acoustic": job.settings.acoustic_hidden, "visual": job.settings.visual_hidden}
    return Load(
        clips=math.ceil(min(job.settings.batch_size, len(job.examples[Split.TRAIN])) / accumulation),
        tokens=read + answer - 1,
        answer_tokens=answer,
        nodes=len(job.answers.trie.tokens),
        rows=tuple(
            (one.rows.largest, one.dims, hidden[modality])
            for modality, one in streams.items()
            if one is not None and one.rows is not None
        ),
    )
