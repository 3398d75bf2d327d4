"""Job: all that the trainings of one run share, whatever the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mse_pipeline import metrics
from mse_pipeline.adapter import AdapterConfig
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt, task_prompt
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.training.decoding import check_decoding
from mse_pipeline.training.dialogue import Dialogues
from mse_pipeline.training.examples import Batcher, Example, Texts, examples
from mse_pipeline.training.normaliser import Normaliser, fit_stream
from mse_pipeline.training.objective import class_weights
from mse_pipeline.training.reading import text_room
from mse_pipeline.training.streams import StreamChoice, open_streams


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, on what.

    Attributes:
        backbone: The frozen model.
        settings: The recipe's settings for this backbone.
        config: Sizes of the adapter.
        prompt: The fixed tokens around a clip.
        answers: The possible answers.
        metric_kind: Name under which `metrics.evaluate` knows the numbers.
        examples: Labelled clips by split.
        batcher: Makes batches of them.
        normalisers: By modality.
        about: All of it as plain values, for the run folder; runs with equal values differ by seed alone.
        weights: What the clips of each answer count in the loss; None for all alike.
    """

    backbone: Backbone
    settings: Training
    config: AdapterConfig
    prompt: Prompt
    answers: Answers
    metric_kind: str
    examples: Mapping[Split, Sequence[Example]]
    batcher: Batcher
    normalisers: Mapping[str, Normaliser]
    about: Mapping[str, Any]
    weights: torch.Tensor | None = None


def prepare(
    dataset: Dataset, backbone: Backbone, settings: Training, choice: StreamChoice, wording: PromptSection
) -> Job:
    """Open the features and fit the normalisers; nothing is read of the single clip yet.

    Raises:
        UsageError: A split that training needs has no labelled clip, or the settings do not fit the task.
        MseError: Features are missing or damaged.
    """
    task = dataset.manifest.task
    check_decoding(task, settings.decoding)
    asked = task_prompt(task, wording.task, wording.language, label_words=wording.label_words)
    prompt = Prompt.build(backbone.tokenizer, family=backbone.family, task_prompt=asked, language=wording.language)
    answers = Answers(task, backbone.tokenizer, backbone.family, label_words=wording.label_words)
    silent = "text" in choice.parts
    context = 0 if silent else wording.context
    dialogues = Dialogues(dataset.clips, context, wording.language) if context else None
    room = text_room(backbone, prompt, answers, settings.pseudo_tokens)
    by_split = {split: examples(dataset.clips, split, answers, dialogues) for split in Split}
    for split in (Split.TRAIN, Split.VALID):
        if not by_split[split]:
            raise UsageError(
                f"{dataset.name} has no labelled clip in its {split} split; training needs one to "
                f"{'learn from' if split == Split.TRAIN else 'choose the best epoch by'}."
            )
    streams = open_streams(dataset, choice)
    train = [example.clip for example in by_split[Split.TRAIN]]
    normalisers = {modality: fit_stream(stream, train) for modality, stream in streams.items()}
    dims = {modality: len(normaliser.names) for modality, normaliser in normalisers.items()}
    config = AdapterConfig(
        hidden_size=backbone.hidden_size,
        acoustic_dim=dims.get("acoustic"),
        visual_dim=dims.get("visual"),
        acoustic_hidden=settings.acoustic_hidden,
        visual_hidden=settings.visual_hidden,
        pseudo_tokens=settings.pseudo_tokens,
        dropout=settings.dropout,
        mixer="tgm" not in choice.parts,
        fusion="msf" not in choice.parts,
        text=not silent,
    )
    about = {
        "dataset": dataset.name,
        "variant": choice.variant,
        "without": list(choice.parts),
        "backbone": {
            "name": backbone.name,
            "source": backbone.source,
            "revision": backbone.revision,
            # An outline has no weights: nothing is trained with it, but all else can be told.
            "digest": None if backbone.device.type == "meta" else backbone.digest(),
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "quantization": backbone.quantization,
        },
        "streams": {
            modality: name and {"name": name, **_version(dataset, name)} for modality, name in choice.names.items()
        },
        "prompt": {
            "language": wording.language,
            "task": asked,
            "label_words": wording.label_words,
            "context": context,
        },
        "training": settings.model_dump(mode="json", exclude={"seeds"}),
        "clips": {split.value: len(by_split[split]) for split in Split},
    }
    corpus = str(dataset.manifest.source.get("corpus", dataset.name))
    return Job(
        backbone=backbone,
        settings=settings,
        config=config,
        prompt=prompt,
        answers=answers,
        metric_kind=metrics.kind(corpus, task),
        examples=by_split,
        batcher=Batcher(Texts(backbone, room), streams, normalisers),
        normalisers=normalisers,
        about=about,
        weights=class_weights(settings.class_weights, task, [example.target for example in by_split[Split.TRAIN]]),
    )


def _version(dataset: Dataset, stream: str) -> dict[str, Any]:
    entry = dataset.manifest.streams[stream]
    return {"version": entry.version, "alignment": dict(entry.alignment)}
