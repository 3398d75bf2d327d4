"""A dry run: all that a training would be, without weights, without a step, and without a file.

An estimate of the memory that a training takes, from shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, Model, TrainedModel, build
from mse_pipeline.adapter.models import find
from mse_pipeline.backbones.answers import Token, example
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.clip import Split
from mse_pipeline.metrics.coverage import Coverage
from mse_pipeline.recipe import PromptSection
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.pack import Pack
from mse_pipeline.task import Classification
from mse_pipeline.training.answering import FittedAtOnce
from mse_pipeline.training.earlier import Standing
from mse_pipeline.training.examples import UNKNOWN, Example, Texts
from mse_pipeline.training.job import Job
from mse_pipeline.training.reading import text_room
from mse_pipeline.training.scoring import MOST_LOGITS, MOST_TOKENS_ELSEWHERE
from mse_pipeline.training.streams import StreamChoice, open_streams

_ADAPTER_COPIES = 5
"""Weights, gradients, AdamW's two moments, and the weights of the best epoch."""
_SQUEEZED = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
"""Bytes a weight: NF4 keeps a float32 scale for each 64 weights; of 8 bits, the scale of each row is nothing."""


@dataclass(frozen=True)
class Load:
    """What one step holds.

    Attributes:
        clips: Clips of a batch, B.
        tokens: Tokens of the longest sequence, T.
        answer_tokens: Of the longest answer, K: logits are made at so many places.
        nodes: Places at which scoring needs logits: the inner nodes of the answers' tree.
        rows: Rows of the longest acoustic and visual sequence together with their dims, as (rows, dims, LSTM width).
    """

    clips: int
    tokens: int
    answer_tokens: int
    nodes: int
    rows: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        weights: The backbone's.
        adapter: Weights, gradients, the optimiser's moments and the best epoch's weights.
        activations: What the backward pass needs of the forward pass.
        logits: Of the answers, over the whole vocabulary.
        scoring: What predicting a split takes at once, in place of activations and logits.
        states: What the backbone keeps of texts that it reads once.
    """

    weights: int
    adapter: int
    activations: int
    logits: int
    scoring: int
    states: int = 0

    @property
    def total(self) -> int:
        """At the peak."""
        return self.weights + self.adapter + self.states + max(self.activations + self.logits, self.scoring)


def estimate(backbone: Backbone, config: AdapterConfig, load: Load, *, checkpointing: bool = False) -> Memory:
    """Estimate the peak of a training step, and of predicting a split.

    The gradient runs through the frozen backbone to the pseudo tokens, so that a step keeps activations as in ordinary
    training, but for one thing: frozen linear layers keep no inputs, since their weights get no gradient. With b bytes
    a number, width d, H the width of all heads together, I that of the MLP, L layers, vocabulary V, and B, T, K of
    `Load`:

    * weights: b a parameter; with a quantization 0.56 (4bit) or 1 (8bit) a weight of the layers' linear maps
    * adapter: 4 bytes times five a parameter (weights, gradients, two moments of AdamW, the best epoch's weights)
    * activations: B T L tokens, of each b (4 H + 3 I) for queries, keys, values and result of the attention and for
      the three vectors of a gated MLP (one, where it is not gated), 4 bytes a number that a norm reads, since norms
      compute in float32, 4 a head, and b T for the row of the attention mask; then b d four times a token for the
      embeddings, and what the LSTMs keep. With gradient checkpointing a layer keeps the b d that it reads, and one
      layer at a time all of that
    * logits: B K V times b + 8, as they come, as log-probabilities, and their gradient; 4 more where b is not float32
    * scoring: as many clips as `score_examples` reads at once on a GPU keep one layer's vectors alone, and their logits
      at the nodes of the answers' tree, N V times b; 4 more likewise

    Not counted: what the framework itself takes (about half a GB on a GPU), fragmentation, and workspaces of kernels.

    Args:
        backbone: The model, or its outline.
        config: Sizes of the adapter.
        load: The largest batch; of one that is cut into parts, the largest part.
        checkpointing: Whether the layers' activations are computed again in the backward pass.
    """
    model = backbone.model
    sizes = model.config.get_text_config()
    number = torch.empty((), dtype=backbone.dtype).element_size()
    width = backbone.hidden_size
    layers = _size(sizes, "num_hidden_layers", 1)
    heads = _size(sizes, "num_attention_heads", 1)
    all_heads = heads * _size(sizes, "head_dim", width // heads)
    inner, inner_vectors = _mlp(model, width)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    vectors = number * (4 * all_heads + inner_vectors * inner)
    token = vectors + 4 * _normed(model, width, layers) + 4 * heads + number * load.tokens
    embeddings = 4 * number * width
    kept = layers * number * width + token if checkpointing else layers * token
    encoders = sum(load.clips * rows * 4 * (dims + 7 * hidden) for rows, dims, hidden in load.rows)
    with torch.device("meta"):
        adapter = sum(parameter.numel() for parameter in build(config).parameters())
    read = load.tokens - load.answer_tokens + load.nodes
    copies = number if number == 4 else number + 4
    scored = max(1, min(MOST_TOKENS_ELSEWHERE // read, MOST_LOGITS // ((load.nodes + 1) * vocabulary)))
    return Memory(
        weights=_weights(backbone),
        adapter=4 * _ADAPTER_COPIES * adapter,
        activations=load.clips * load.tokens * (kept + embeddings) + encoders,
        logits=load.clips * load.answer_tokens * vocabulary * (copies + 8),
        scoring=scored * (read * (vectors + 8 * width) + (load.nodes + 1) * vocabulary * copies),
    )


def _weights(backbone: Backbone) -> int:
    """Bytes of all parameters; of a quantized model also those that an outline does not show."""
    total = float(sum(parameter.numel() * parameter.element_size() for parameter in backbone.model.parameters()))
    if backbone.quantization is None or backbone.device.type != "meta":
        return int(total)
    head = backbone.model.get_output_embeddings()
    for module in backbone.model.modules():
        if isinstance(module, nn.Linear) and module is not head:
            squeezed = _SQUEEZED[backbone.quantization]
            total -= module.weight.numel() * (module.weight.element_size() - squeezed)
    return int(total)


def _size(config: Any, name: str, default: int) -> int:
    value = getattr(config, name, None)
    return int(value) if isinstance(value, int) and value > 0 else default


def _mlp(model: Any, width: int) -> tuple[int, int]:
    """Inner width of the MLPs, and how many vectors of it a token keeps: three where it is gated, else one."""
    config = model.config.get_text_config()
    names = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
    inner = next((size for name in names if (size := _size(config, name, 0))), 4 * width)
    gated = any(name.endswith(("gate_proj", "gate_up_proj", "linear_v")) for name, _ in model.named_modules())
    return inner, 3 if gated else 1


def _normed(model: Any, width: int, layers: int) -> int:
    """Numbers that the norms of one layer read of a token: norms of single heads read all heads."""
    read = 0
    config = model.config.get_text_config()
    heads = _size(config, "num_attention_heads", 1)
    groups = _size(config, "num_key_value_heads", heads)
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" not in type(module).__name__.lower() or not isinstance(weight, torch.Tensor) or weight.ndim != 1:
            continue
        size = len(weight)
        if size < width and "q_norm" in name:
            size *= heads
        elif size < width and "k_norm" in name:
            size *= groups
        read += size
    return math.ceil(read / layers)


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
    """What the backbone would read, in tokens; of a model without one, its texts alone, in its own tokens or words.

    Attributes:
        fixed: Start, tags and task prompt together.
        pseudo: Pseudo tokens, and other positions that are learned.
        text: Lengths of the clips' texts.
        previous: Lengths of previous turns; None where none are read.
        room: Most tokens of a text that the backbone can read; None where it does not say.
        cut: Labelled clips whose text is longer and loses its end.
        answers: How many there are.
        answer_tokens: Lengths of the answers.
        example: One clip's whole sequence; empty without a backbone.
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
        model: Of `mse_pipeline.adapter.models`.
        variant: ``adapter`` or what is left out.
        clips: Labelled clips by split.
        streams: By modality; None for one that is left out.
        adapter: Trainable parameters by part; empty where they are found when the model is fitted.
        kept: Parameters of the model itself that stay as they are.
        fitted: Whether the model takes no steps, but is fitted at once.
        batch: Shapes of what is read of the largest batch, by name.
        backbone: ``name``, ``source``, ``revision``, ``dtype``, ``quantization``, ``stored_as``, ``family``,
            ``parameters``, ``hidden_size``.
        prompt: What is read.
        steps_an_epoch: Steps of the optimiser.
        epochs: The most that are trained.
        seeds: How many trainings.
        batch_size: Clips a step.
        memory: An estimate; `mse_pipeline.training.dry_run.estimate` tells how it is made. None without a backbone:
            what a model of any shape keeps of a pass, nobody knows before.
        coverage: Of how many clips each split is.
        standing: What is there of it already, and what of the data has changed since.
    """

    dataset: str
    model: str
    variant: str
    clips: Mapping[str, int]
    streams: Mapping[str, StreamOutline | None]
    adapter: Mapping[str, int]
    kept: int
    fitted: bool
    batch: Mapping[str, tuple[int, ...]]
    backbone: Mapping[str, Any]
    prompt: PromptOutline
    steps_an_epoch: int
    epochs: int
    seeds: int
    batch_size: int
    memory: Memory | None
    coverage: Coverage
    standing: Standing

    @property
    def trainable(self) -> int:
        """Trainable parameters in all."""
        return sum(self.adapter.values())

    @property
    def model_bytes(self) -> int:
        """Of the model, its gradients, the optimiser's moments and the best epoch's weights."""
        return 4 * (_ADAPTER_COPIES * self.trainable + 2 * self.kept)

    @property
    def steps(self) -> int:
        """Steps of one training that is not stopped early."""
        return self.steps_an_epoch * self.epochs

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        value = asdict(self)
        if self.memory is not None:
            value["memory"]["total"] = self.memory.total
        value["coverage"] = self.coverage.to_plain()
        return {**value, "trainable": self.trainable, "model_bytes": self.model_bytes, "steps": self.steps}


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
            dims=job.normalisers[modality].width,
            clips=len(rows[modality]),
            rows=Lengths.of(rows[modality]),
        )
        for modality, name in choice.names.items()
    }
    prompt = _prompt(job, dataset, wording, labelled)
    settings, backbone = job.settings, job.backbone
    load, kind = _load(job, prompt, outlines, accumulation), find(job.config.model)
    memory = None
    if kind.reads_backbone:
        estimated = estimate(backbone, job.config, load, checkpointing=checkpointing)
        memory = replace(estimated, states=0 if checkpointing else job.kept_bytes)
    fitted = issubclass(kind, FittedAtOnce)
    with torch.device("meta"):
        model = build(job.config)
    return DryRun(
        dataset=dataset.name,
        model=job.config.model,
        variant=choice.variant,
        clips={split.value: len(job.examples[split]) for split in Split},
        streams=outlines,
        adapter={} if fitted else adapter_parts(model),
        kept=sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad),
        fitted=fitted,
        batch=_shapes(job, load.clips, _longest(job, streams, labelled)),
        backbone={
            **{key: job.about["backbone"][key] for key in ("name", "source", "revision", "dtype", "quantization")},
            "stored_as": backbone.stored_as,
            "family": backbone.family,
            "parameters": sum(parameter.numel() for parameter in backbone.model.parameters()),
            "hidden_size": backbone.hidden_size,
        },
        prompt=prompt,
        steps_an_epoch=0 if fitted else math.ceil(len(job.examples[Split.TRAIN]) / settings.batch_size),
        epochs=1 if fitted else settings.epochs,
        seeds=seeds,
        batch_size=settings.batch_size,
        memory=memory,
        coverage=job.coverage,
        standing=standing or Standing(),
    )


def adapter_parts(model: Model) -> dict[str, int]:
    """Trainable parameters by part of a model, in the order in which it was made of them; those of no part last."""
    parts = {name: _trainable(part.parameters()) for name, part in model.named_children()}
    alone = _trainable(model.parameters(recurse=False))
    return {name: count for name, count in parts.items() if count} | ({_ALONE: alone} if alone else {})


_ALONE = "other weights"


def _trainable(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)


def _shapes(job: Job, clips: int, longest: Sequence[Example]) -> dict[str, tuple[int, ...]]:
    """Of what is read of a batch in which a clip is as long as the longest, by name."""
    batch = job.batcher.batch(longest)
    read = {"text": batch.text_ids if job.config.text else None, "acoustic": batch.acoustic, "visual": batch.visual}
    return {name: (clips, *values.shape[1:]) for name, values in read.items() if values is not None}


def _rows(stream: Mapping[str, Features], labelled: Sequence[Example]) -> list[int]:
    """Rows of each clip that the stream has."""
    return [_length(stream, one.clip) for one in labelled if one.clip in stream]


def _length(stream: Mapping[str, Features], clip: str) -> int:
    return stream.length(clip) if isinstance(stream, Pack) else len(stream[clip])


def _longest(job: Job, streams: Mapping[str, Mapping[str, Features]], labelled: Sequence[Example]) -> list[Example]:
    """The clips with the longest text, and with most rows of each stream."""
    tokens = job.batcher.tokens(labelled)
    chosen = {labelled[max(range(len(labelled)), key=lambda place: len(tokens[place][1]))]}
    for stream in streams.values():
        there = [one for one in labelled if one.clip in stream]
        if there:
            chosen.add(max(there, key=lambda one: _length(stream, one.clip)))
    return sorted(chosen, key=lambda one: one.clip)


def _prompt(job: Job, dataset: Dataset, wording: PromptSection, labelled: Sequence[Example]) -> PromptOutline:
    kind, pseudo = find(job.config.model), job.config.pseudo_tokens
    room = text_room(job.backbone, job.prompt, job.answers, pseudo)
    whole, read = Texts(job.backbone), Texts(job.backbone, room)
    whole.make(labelled)
    read.make(labelled)
    texts, kept = [len(whole(one.text)) for one in labelled], [len(read(one.text)) for one in labelled]
    previous = [len(read.before(one)) for one in labelled if one.before]
    first = job.examples[Split.TRAIN][0]
    outline = PromptOutline(
        fixed=0,
        pseudo=0,
        text=Lengths.of(kept) if job.config.text else None,
        previous=Lengths.of(previous),
        room=room,
        cut=sum(before > after for before, after in zip(texts, kept, strict=True)),
        answers=len(job.answers),
        answer_tokens=None,
        example=(),
        example_clip=first.clip,
    )
    if not issubclass(kind, TrainedModel):
        return outline
    # Keys and values that are learned stand before all else, and not where pseudo tokens do.
    prefix = pseudo if kind.past is not TrainedModel.past else 0
    shown = example(
        job.backbone.tokenizer,
        job.backbone.family,
        dataset.manifest.task,
        text=first.text if job.config.text else "",
        label=_label(first, dataset),
        given=wording.task,
        language=wording.language,
        pseudo_tokens=pseudo - prefix,
        label_words=wording.label_words,
        previous=read.before(first),
        room=room,
        place=job.config.place,
        head=job.config.head is not None,
    )
    return replace(
        outline,
        fixed=len(job.prompt),
        pseudo=pseudo,
        answer_tokens=Lengths.of([len(ids) for ids in job.answers.ids]) if job.config.head is None else None,
        example=(Token("prefix", None, "*"),) * prefix + shown,
    )


def _label(one: Example, dataset: Dataset) -> object:
    task = dataset.manifest.task
    if not isinstance(task, Classification):
        return one.label
    return task.classes[one.distribution.index(max(one.distribution)) if one.target == UNKNOWN else one.target]


def _load(job: Job, prompt: PromptOutline, streams: Mapping[str, StreamOutline | None], accumulation: int) -> Load:
    """The largest batch: every clip as long as the longest."""
    answer = prompt.answer_tokens.largest if prompt.answer_tokens else 1
    if job.settings.targets == "distribution":
        answer = len(job.answers.trie.tokens) + 1  # all answers are read, and not the right one alone
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
