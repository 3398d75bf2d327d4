"""Job: all that the trainings of one run share, whatever the seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mse_pipeline import metrics
from mse_pipeline.adapter import AdapterConfig, DirectModel, Model, MSEAdapter
from mse_pipeline.adapter.models import find
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt, task_prompt
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.metrics.coverage import NOT_TOLD, Coverage
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.where import Selection
from mse_pipeline.task import Classification, Task, to_plain
from mse_pipeline.training.earlier import NO_DATA, Data, measure, read_data
from mse_pipeline.training.examples import (
    LABELLED,
    UNKNOWN,
    Batcher,
    Dialogues,
    Example,
    Texts,
    cased,
    examples,
    viewed,
)
from mse_pipeline.training.normaliser import Normaliser, fit_stream
from mse_pipeline.training.objective import class_weights
from mse_pipeline.training.reading import before_pseudo, text_room
from mse_pipeline.training.scoring import Decoding, check_decoding
from mse_pipeline.training.states import CACHE_FAMILIES, PromptStates, kept_bytes
from mse_pipeline.training.stored import StoredTraining
from mse_pipeline.training.streams import (
    MODALITIES,
    StreamChoice,
    only_stream,
    open_streams,
    require_readable,
    stream_names,
)


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
        examples: Clips by split that have a label, or votes where these are learned, or predictions compared with them.
        batcher: Makes batches of them.
        normalisers: By modality.
        about: All of it as plain values, for the run folder; runs with equal values differ by seed alone. It is also
            all that predicting needs, see `mse_pipeline.training.stored`.
        data: What is read of each clip, of which `about` has the digests; empty where nothing is trained.
        coverage: Of how many clips each split is; empty likewise.
        weights: What the clips of each answer count in the loss; None for all alike.
        places: By stream, the options that change no value, such as where a model lies; kept beside `about`.
        states: Of what stands before the pseudo tokens, or of the prompt's beginning alone where the memory does not
            hold them; None where the backbone does not go on from them.
        kept_bytes: Memory that these take when all are made.
        recipe: Where the settings came from, those that the command gave, and the recipe that was made of them; kept
            in run.json, so that a reader can tell. What counts of it is in `about`.
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
    data: Data = NO_DATA
    coverage: Coverage = NOT_TOLD
    weights: torch.Tensor | None = None
    places: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    states: PromptStates | None = None
    kept_bytes: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def description(self, seed: int) -> dict[str, Any]:
        """What an adapter's folder keeps beside the weights, so that it can be put to use without its run folder."""
        return {
            "seed": seed,
            **self.about,
            "metrics": self.metric_kind,
            "places": dict(self.places),
            "normalisers": {modality: one.to_dict() for modality, one in self.normalisers.items()},
        }


def prepare(
    dataset: Dataset,
    backbone: Backbone,
    settings: Training,
    choice: StreamChoice,
    wording: PromptSection,
    *,
    selection: Selection | None = None,
) -> Job:
    """Open the features and fit the normalisers; nothing is read of the single clip yet.

    Args:
        dataset: The dataset in the cache.
        backbone: The frozen model.
        settings: The recipe's settings for this backbone.
        choice: What is read.
        wording: How the backbone is asked.
        selection: The clips that are trained and tested on; None for all. Previous turns are read of all.

    Raises:
        UsageError: A split that training needs has no labelled clip, or the settings do not fit the task.
        MseError: Features are missing or damaged.
    """
    task = dataset.manifest.task
    check_decoding(task, settings.decoding)
    asked = task_prompt(task, wording.task, wording.language, label_words=wording.label_words)
    prompt = Prompt.build(backbone.tokenizer, family=backbone.family, task_prompt=asked, language=wording.language)
    kind = find(settings.model)
    options = kind.planned(
        kind.settled(settings.model_options), backbone, lambda: adapter_size(dataset, backbone, settings)
    )
    pseudo = kind.positions(options, settings.pseudo_tokens)
    backbone = kind.reads_with(options, backbone)
    require_readable(settings.model, kind, {m for m, name in choice.names.items() if name}, choice.parts)
    answers = _answers(task, backbone, kind, wording, head=settings.answer == "head")
    head = answers.by_head
    silent = "text" in choice.parts
    context = 0 if silent else wording.context
    clips = cased(dataset.clips, wording.case)
    dialogues = Dialogues(clips, context, wording.language) if context else None
    room = text_room(backbone, prompt, answers, pseudo)
    by_split = {
        split: examples(
            clips,
            split,
            answers,
            dialogues,
            distributions=reads_votes(split, task, settings),
            own_labels=split == Split.TRAIN and kind.reads_own_labels(options),
        )
        for split in Split
    }
    if settings.targets == "distribution":
        _require_votes(dataset, by_split[Split.TRAIN])
    if selection is not None:
        by_split = {split: [one for one in every if one.clip in selection.kept] for split, every in by_split.items()}
    for split in (Split.TRAIN, Split.VALID):
        if not by_split[split] or (split == Split.VALID and _unlabelled(by_split[split])):
            raise UsageError(
                f"{dataset.name} has no labelled clip in its {split} split"
                f"{'' if selection is None else f' that meets --where {selection.where!r}'}; training needs one to "
                f"{'learn from' if split == Split.TRAIN else 'choose the best epoch by'}."
            )
    opened = open_streams(dataset, choice)
    streams = viewed(opened, kind)
    learned = by_split[Split.TRAIN]
    if kind.reads_own_labels(options):
        read = (*(() if silent else ("text",)), *streams)
        options = kind.with_own_labels(options, [name for name in read if not has_own_labels(learned, name)])
    train = [example.clip for example in learned]
    share = settings.defined_share
    normalisers = {modality: fit_stream(stream, train, share=share) for modality, stream in streams.items()}
    dims = {modality: normaliser.width for modality, normaliser in normalisers.items()}
    config = AdapterConfig(
        hidden_size=backbone.hidden_size,
        acoustic_dim=dims.get("acoustic"),
        visual_dim=dims.get("visual"),
        acoustic_hidden=settings.acoustic_hidden,
        visual_hidden=settings.visual_hidden,
        pseudo_tokens=pseudo,
        dropout=settings.dropout,
        mixer="tgm" not in choice.parts,
        fusion="msf" not in choice.parts,
        text=not silent,
        model=settings.model,
        options=options,
        encoder=settings.encoder,
        place=settings.place,
        pseudo_size=embedding_size(backbone) if settings.pseudo_scale == "matched" else None,
        head=answers.head_outputs if head else None,
        residual=kind.fuses and settings.residual,
        members=settings.members if issubclass(kind, MSEAdapter) else 1,
    )
    wording = wording.model_copy(update={"task": asked, "context": context})
    by_name = {str(choice.names[modality]): stream for modality, stream in opened.items()}
    data = read_data(dataset.clips, by_split, by_name)
    about = {
        **_about_inputs(dataset, choice, opened),
        "backbone": _about_backbone(backbone),
        "prompt": wording.to_dict(),
        "training": {name: value for name, value in settings.to_dict().items() if name != "seeds"},
        "clips": {split.value: len(by_split[split]) for split in Split},
        "data": data.digests(),
        **({"model": identity} if (identity := kind.identity(options)) else {}),
        **({} if selection is None else {"where": selection.where}),
    }
    batcher = Batcher(Texts(backbone, room), streams, normalisers)
    read_before = _read_before(config, prompt, batcher, [one for every in by_split.values() for one in every])
    go_on = config.pseudo_tokens > 0 or config.head is None  # or nothing of the backbone is computed in training
    kept = None if kind.steers_backbone else kept_bytes(backbone, read_before, go_on=go_on)
    return Job(
        backbone=backbone,
        settings=settings,
        config=config,
        prompt=prompt,
        answers=answers,
        metric_kind=metric_kind(dataset),
        examples=by_split,
        batcher=batcher,
        normalisers=normalisers,
        about=about,
        data=data,
        coverage=measure(dataset, by_split, by_name),
        weights=class_weights(
            settings.class_weights,
            task,
            [example.target for example in learned if not example.distribution],
            [example.distribution for example in learned if example.distribution],
        ),
        places=_places(dataset, about),
        states=_states(backbone, kind, None if kept is None else read_before, go_on=go_on),
        kept_bytes=kept or 0,
    )


def _answers(task: Task, backbone: Backbone, kind: type[Model], wording: PromptSection, *, head: bool) -> Answers:
    """All possible answers; a model that answers itself writes none of them, and no tokenizer is asked."""
    direct = issubclass(kind, DirectModel)
    words = wording.label_words and not direct
    return Answers(task, backbone.tokenizer, backbone.family, label_words=words, head=head or direct)


def reads_votes(split: Split, task: Task, settings: Training) -> bool:
    """Whether the annotators' votes of a split are read: in training only where they are learned.

    Predictions are compared with them whatever was learned.
    """
    return isinstance(task, Classification) and (split != Split.TRAIN or settings.targets == "distribution")


def _require_votes(dataset: Dataset, train: Sequence[Example]) -> None:
    """Refuse to learn distributions where there is none."""
    if not isinstance(dataset.manifest.task, Classification):
        raise UsageError(
            "training.targets: distribution is for classes, and this task is to predict a number: set it to label, or "
            "leave it out."
        )
    if not any(example.distribution for example in train):
        raise UsageError(
            f"training.targets is distribution, but no clip in the train split of {dataset.name} has annotators' "
            "votes. In a table of clips they stand in columns votes_CLASS, or in a column votes as joy:3;anger:1 "
            "(docs/tables.md); extract the dataset again with them, or set targets to label."
        )


def has_own_labels(chosen: Sequence[Example], modality: str) -> bool:
    """Whether some clip has a label of the modality alone."""
    place = LABELLED.index(modality)
    return any(one.own_targets[place] != UNKNOWN for one in chosen)


def _unlabelled(chosen: Sequence[Example]) -> bool:
    return all(example.target == UNKNOWN for example in chosen)


def _read_before(
    config: AdapterConfig, prompt: Prompt, batcher: Batcher, chosen: Sequence[Example]
) -> set[tuple[int, ...]]:
    """Token ids of all that stands before the pseudo tokens of some clips."""
    spoken = batcher.tokens(chosen) if config.text else [((), ())]
    return {before_pseudo(prompt, config.place, context=context, text=text) for context, text in spoken}


def _states(
    backbone: Backbone, kind: type[Model], expected: Collection[tuple[int, ...]] | None, *, go_on: bool = True
) -> PromptStates | None:
    """States of what is expected, or of the prompt's beginning alone; None for an outline, and where none are kept."""
    if backbone.family not in CACHE_FAMILIES or backbone.device.type == "meta" or kind.steers_backbone:
        return None
    if expected is None:
        return PromptStates(backbone, only_beginning=True)
    return PromptStates(backbone, expected, go_on=go_on)


def adapter_size(dataset: Dataset, backbone: Backbone, settings: Training) -> int:
    """How many parameters the MSE-Adapter has with these settings, on the dataset's streams.

    Raises:
        UsageError: The dataset has several streams of a modality.
    """
    try:
        streams = [only_stream(dataset, modality)[0] for modality in MODALITIES]
    except UsageError as error:
        raise UsageError(
            f"training.model_options.budget: matched counts the MSE-Adapter on the dataset's streams, and {error} "
            "Here, set the number of tokens, or r, instead."
        ) from error
    dims = [None if name is None else len(stream_names(dataset[name])) for name in streams]
    sizes = {name: getattr(settings, name) for name in ("acoustic_hidden", "visual_hidden", "pseudo_tokens", "encoder")}
    config = AdapterConfig(hidden_size=backbone.hidden_size, acoustic_dim=dims[0], visual_dim=dims[1], **sizes)
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MSEAdapter(config).parameters())


def embedding_size(backbone: Backbone) -> float:
    """Root mean square of the values of the backbone's token embeddings, the median over (some thousand) tokens.

    Examples:
        >>> from mse_pipeline.backbones import load
        >>> 0 < embedding_size(load("tiny")) < 10
        True
    """
    if backbone.device.type == "meta":
        return 1.0  # an outline has no weights
    count = len(backbone.tokenizer)
    ids = torch.linspace(0, count - 1, min(count, _SAMPLED_TOKENS)).round().long()
    with torch.no_grad():
        sizes = backbone.embed(ids.to(backbone.device)).float().pow(2).mean(1).sqrt()
    return round(float(sizes.median()), 6)


_SAMPLED_TOKENS = 4096


def _about_backbone(backbone: Backbone) -> dict[str, Any]:
    return {
        "name": backbone.name,
        "source": backbone.source,
        "revision": backbone.revision,
        # An outline has no weights: nothing is trained with it, but all else can be told.
        "digest": None if backbone.device.type == "meta" else backbone.digest(),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "quantization": backbone.quantization,
        **({"stored_as": backbone.stored_as} if backbone.stored_as else {}),  # runs of folders keep their digests
    }


def _about_inputs(
    dataset: Dataset, choice: StreamChoice, streams: Mapping[str, Mapping[str, Features]]
) -> dict[str, Any]:
    """What is read, and what is to be predicted of it."""
    return {
        "dataset": dataset.name,
        "metrics": metric_kind(dataset),
        "variant": choice.variant,
        "without": list(choice.parts),
        "task": to_plain(dataset.manifest.task),
        "streams": {
            modality: name and {**_identity(dataset, name), "names": list(stream_names(streams[modality]))}
            for modality, name in choice.names.items()
        },
        "words": _words(dataset, choice),
        **_text(dataset, choice),
        "media": {"max_seconds": dict(dataset.manifest.recipe.get("media", {})).get("max_seconds")},
    }


def metric_kind(dataset: Dataset) -> str:
    """Name under which `metrics.evaluate` knows a dataset's numbers."""
    corpus = str(dataset.manifest.source.get("corpus", dataset.name))
    return metrics.kind(corpus, dataset.manifest.task)


def _identity(dataset: Dataset, stream: str) -> dict[str, Any]:
    entry = dataset.manifest.streams[stream]
    return {
        "name": stream,
        "version": entry.version,
        "alignment": dict(entry.alignment),
        "identity": dict(entry.identity),
    }


def _words(dataset: Dataset, choice: StreamChoice) -> dict[str, Any] | None:
    """The stream of words that the features were put on; None where they were not."""
    for name in filter(None, choice.names.values()):
        words = dataset.manifest.streams[name].alignment.get("stream")
        if words is not None:
            return _identity(dataset, str(words))
    return None


def _text(dataset: Dataset, choice: StreamChoice) -> dict[str, Any]:
    """Where texts are from that speech recognition wrote; nothing where the corpus has all, or none is read."""
    told = dataset.manifest.source.get("text")
    if "text" in choice.parts or told is None or all(clip.text_from is None for clip in dataset.clips):
        return {}
    stream = _identity(dataset, str(told["stream"]))
    return {"text": {"source": told["source"], "model": told["model"], "stream": stream}}


def _places(dataset: Dataset, about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the streams' options in the recipe those that their identity leaves out: they change no value."""
    text = dict(about.get("text") or {}).get("stream")
    streams = [one["name"] for one in (*about["streams"].values(), about["words"], text) if one]
    found: dict[str, dict[str, Any]] = {}
    for name in streams:
        options = dict(dataset.manifest.recipe.get("streams", {}).get(name) or {})
        known = {"extractor", *dataset.manifest.streams[name].identity.get("config", {})}
        beside = {option: value for option, value in options.items() if option not in known}
        found |= {name: beside} if beside else {}
    return found


def restore(
    stored: StoredTraining,
    backbone: Backbone,
    clips: Sequence[Clip],
    streams: Mapping[str, Mapping[str, Features]],
    decoding: Decoding | None = None,
) -> Job:
    """What predicting needs of the job that a run was, from its folder alone; the clips may be any.

    Args:
        stored: What the folder says.
        backbone: The one that the run was trained with.
        clips: What is predicted; those without a label too, whose examples have `UNKNOWN` as their target.
        streams: Their features, by modality.
        decoding: In place of the run's own.

    Raises:
        UsageError: Settings, task and backbone do not fit each other, or a label is none of the task's.
    """
    about = stored.about
    settings = about.training.model_copy(update={"decoding": decoding} if decoding else {})
    check_decoding(stored.task, settings.decoding)
    wording = about.prompt
    prompt = Prompt.build(
        backbone.tokenizer, family=backbone.family, task_prompt=wording.task, language=wording.language
    )
    kind = find(stored.config.model)
    backbone = kind.reads_with(kind.settled(stored.config.options), backbone)
    answers = _answers(stored.task, backbone, kind, wording, head=stored.config.head is not None)
    clips = cased(clips, wording.case)
    in_dialogues = any(clip.dialogue is not None and clip.turn is not None for clip in clips)
    dialogues = Dialogues(clips, wording.context, wording.language) if wording.context and in_dialogues else None
    room = text_room(backbone, prompt, answers, stored.config.pseudo_tokens)
    return Job(
        backbone=backbone,
        settings=settings,
        config=stored.config,
        prompt=prompt,
        answers=answers,
        metric_kind=stored.metric_kind,
        examples={
            split: every_example(
                clips, split, answers, dialogues, distributions=reads_votes(split, stored.task, settings)
            )
            for split in Split
        },
        batcher=Batcher(Texts(backbone, room), viewed(streams, kind), stored.normalisers),
        normalisers=stored.normalisers,
        about=about.model_dump(mode="json"),
        # Each text is read once.
        states=_states(backbone, kind, None),
    )


def every_example(
    clips: Sequence[Clip],
    split: Split,
    answers: Answers,
    dialogues: Dialogues | None = None,
    *,
    distributions: bool = False,
) -> list[Example]:
    """The clips of a split in their order, those without a label too: their target is `UNKNOWN`.

    Raises:
        UsageError: A label does not belong to the task.
    """
    made = examples(clips, split, answers, dialogues, distributions=distributions)
    labelled = {example.clip: example for example in made}
    return [
        labelled.get(clip.id)
        or Example(clip.id, clip.text, "", UNKNOWN, () if dialogues is None else tuple(dialogues.lines(clip)))
        for clip in clips
        if clip.split == split
    ]
