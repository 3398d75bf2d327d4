"""mse train: the adapter on cached features."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.cache import pick
from mse_pipeline.cli.options import (
    CacheDir,
    Debug,
    Decoding,
    Device,
    Json,
    Quiet,
    Revision,
    RunsDir,
    Seeds,
    Set,
    Where,
    within,
)
from mse_pipeline.cli.outline import outline_of, show_outline
from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.adapter import AdapterConfig
    from mse_pipeline.backbones.backbone import Backbone
    from mse_pipeline.recipe import Recipe, Training
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.store.where import Selection
    from mse_pipeline.training.run import SeedResult
    from mse_pipeline.training.step import TrainingOptions
    from mse_pipeline.training.streams import StreamChoice

_SMALL = 5_000_000  # parameters


_TRAINING, _ADAPTER, _BACKBONE, _RUN = "Training", "Adapter", "Backbone", "Run"
"""Headings of the help."""


def _setting(panel: str, help_: str = "", **more: Any) -> Any:
    """An option that takes the place of a recipe's setting of the same name."""
    told = f"{help_} [default: the recipe's]".lstrip()
    return typer.Option(help=told, show_default=False, rich_help_panel=panel, **more)


def command(
    dataset: Annotated[
        str | None, typer.Argument(help="Dataset in the cache. [default: the only one]", show_default=False)
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe, or file of one, whose settings of the training hold. [default: that of the dataset]",
            show_default=False,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    changes: Annotated[list[str] | None, within(_TRAINING, Set)] = None,
    where: Annotated[str | None, within(_TRAINING, Where)] = None,
    seeds: Annotated[list[int] | None, within(_TRAINING, Seeds)] = None,
    epochs: Annotated[int | None, _setting(_TRAINING, min=1)] = None,
    batch_size: Annotated[int | None, _setting(_TRAINING, "Clips a step.", min=1)] = None,
    learning_rate: Annotated[
        str | None,
        _setting(_TRAINING, "Peak of the schedule, or auto: found by a short range test.", metavar="RATE|auto"),
    ] = None,
    warm_up: Annotated[float | None, _setting(_TRAINING, "Share of all steps in which the rate rises.")] = None,
    weight_decay: Annotated[float | None, _setting(_TRAINING, "Of AdamW.")] = None,
    adam_epsilon: Annotated[float | None, _setting(_TRAINING, "Of AdamW.")] = None,
    clip_norm: Annotated[float | None, _setting(_TRAINING, "Largest norm of all gradients together.")] = None,
    patience: Annotated[int | None, _setting(_TRAINING, "Epochs without a better score before the end.")] = None,
    class_weights: Annotated[str | None, _setting(_TRAINING, "none, or balanced: rare classes count as much.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="What is trained: mse-adapter, or what it is compared with, as linear (docs/models.md). [default: the "
            "recipe's, mse-adapter]",
            show_default=False,
            rich_help_panel=_ADAPTER,
        ),
    ] = None,
    acoustic: Annotated[
        str | None, typer.Option(help="Acoustic stream, if the dataset has several.", rich_help_panel=_ADAPTER)
    ] = None,
    visual: Annotated[
        str | None, typer.Option(help="Visual stream, if the dataset has several.", rich_help_panel=_ADAPTER)
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            help="Leave out acoustic, visual, text, tgm or msf, to see what each is good for; may be given several "
            "times. acoustic and visual: text only.",
            rich_help_panel=_ADAPTER,
        ),
    ] = None,
    encoder: Annotated[
        str | None, _setting(_ADAPTER, "What reads a stream's rows: lstm, attentive or bilstm-attentive.")
    ] = None,
    answer: Annotated[
        str | None, _setting(_ADAPTER, "Who answers: spelled (the backbone's own words) or head (a trained layer).")
    ] = None,
    pseudo_tokens: Annotated[int | None, _setting(_ADAPTER, "Tokens that the adapter makes for a clip.")] = None,
    dropout: Annotated[float | None, _setting(_ADAPTER, "Share of the encoders' states dropped in training.")] = None,
    decoding: Annotated[str | None, within(_ADAPTER, Decoding)] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="A short name (tiny, llama2), a hub name, a folder, or a GGUF file. [default: tiny, or none for a "
            "model that reads none]",
            show_default=False,
            rich_help_panel=_BACKBONE,
        ),
    ] = None,
    revision: Annotated[str | None, within(_BACKBONE, Revision)] = None,
    dtype: Annotated[
        str,
        typer.Option(help="Number format of the backbone: float32, bfloat16, float16.", rich_help_panel=_BACKBONE),
    ] = "float32",
    quantization: Annotated[
        str | None,
        typer.Option(
            help="4bit or 8bit: squeeze the backbone's linear layers; needs a CUDA GPU and bitsandbytes.",
            rich_help_panel=_BACKBONE,
        ),
    ] = None,
    device: Annotated[str, within(_BACKBONE, Device)] = "cpu",
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Compute activations twice instead of keeping them.",
            rich_help_panel=_BACKBONE,
        ),
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Put the backbone through torch.compile.", rich_help_panel=_BACKBONE)
    ] = False,
    cache: Annotated[str | None, within(_RUN, CacheDir)] = None,
    runs: Annotated[Path, within(_RUN, RunsDir)] = Path("runs"),
    accumulate: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="PARTS",
            help="Read each batch in so many parts: less memory, same result.",
            rich_help_panel=_RUN,
        ),
    ] = 1,
    trackers: Annotated[
        list[str] | None,
        typer.Option(
            "--tracker",
            help="Log to tensorboard, wandb or trackio too; may be given several times.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train again what is done.", rich_help_panel=_RUN)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell what would be trained, with memory and a whole prompt; loads no weights and writes nothing.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the adapter, or another model, while the backbone stays frozen. Seeds that are done are not trained again.

    Several processes train together under `accelerate launch` or `torchrun` (docs/training.md).
    """
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.training.step import TrainingOptions

    opened = pick(open_cache(cache), dataset, "mse train")
    used, origin = training_recipe(opened, recipe, changes or ())
    remark(f"Settings of the training: {origin}.")
    named = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": None if learning_rate is None else parse_rate(learning_rate),
        "warm_up": warm_up,
        "weight_decay": weight_decay,
        "adam_epsilon": adam_epsilon,
        "clip_norm": clip_norm,
        "patience": patience,
        "class_weights": class_weights,
        "model": model,
        "encoder": encoder,
        "answer": answer,
        "pseudo_tokens": pseudo_tokens,
        "dropout": dropout,
        "decoding": decoding,
    }
    asked = changed(used.training_for(backbone or ""), {"model": model}).model
    require_model(asked)
    backbone = settled_backbone(backbone, asked)
    require_one_source({**named, "seeds": seeds and " ".join(map(str, seeds))}, changes or (), backbone)
    request = Request(
        dataset=opened,
        recipe=used,
        training=changed(used.training_for(backbone), named),
        backbone=backbone,
        dtype=dtype,
        revision=revision,
        quantization=quantization,
        streams={"acoustic": acoustic, "visual": visual},
        without=tuple(without or ()),
        seeds=tuple(seeds or ()),
        origin=origin,
        selection=None if where is None else select_clips(opened, where),
    )
    options = TrainingOptions(
        accumulation=accumulate,
        checkpointing=gradient_checkpointing,
        compile=compile_,
        trackers=tuple(trackers or ()),
    )
    if dry_run:
        show_outline(outline_of(request, options, runs), request, overwrite)
    else:
        show_results(run(request, runs=runs, device=device, overwrite=overwrite, options=options))


def select_clips(dataset: Dataset, where: str) -> Selection:
    """The clips of a dataset that meet --where; how many are left out is told.

    Raises:
        UsageError: The condition cannot be used, or no clip meets it.
    """
    from mse_pipeline.store.where import select

    selection = select(dataset, where)
    for sentence in (selection.sentence(), *selection.remarks):
        remark(sentence)
    return selection


def require_model(name: str) -> None:
    """Refuse a model that there is not, before a run folder is made.

    Raises:
        UsageError: There is none of that name, or the package that brings it does not fit.
    """
    from mse_pipeline.adapter import models

    for problem in models.check(name):
        raise UsageError(f"--model {name}: {problem}.")


def settled_backbone(given: str | None, model: str) -> str:
    """The backbone that is asked for, by default the built-in one, or `NONE` for a model that reads none.

    Raises:
        UsageError: One is given that the model would not read.
    """
    from mse_pipeline.adapter.models import find
    from mse_pipeline.backbones.none import NONE
    from mse_pipeline.backbones.registry import TINY

    if find(model).reads_backbone:
        return given or TINY
    if given is not None:
        raise UsageError(f"--model {model} reads no backbone: leave --backbone {given} out.")
    return NONE


def load_backbone(request: Request, device: str) -> Backbone:
    """The backbone of a request, on a device."""
    from mse_pipeline import backbones
    from mse_pipeline.backbones.none import NONE, none

    if request.backbone == NONE:
        return none(device)
    return backbones.load(
        request.backbone,
        dtype=request.dtype,
        device=device,
        revision=request.revision,
        quantization=request.quantization,
    )


@dataclass(frozen=True)
class Origin:
    """Where the settings of a training came from.

    Attributes:
        source: In words, as in ``the recipe meld``.
        settings: What the command changed of them, each as KEY=VALUE.
    """

    source: str = "defaults"
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.source + (f", with --set {' --set '.join(self.settings)}" if self.settings else "")


def training_recipe(dataset: Dataset, named: str | None, changes: Sequence[str]) -> tuple[Recipe, Origin]:
    """The recipe of a training: the one named, else the package's where the dataset came of it, else the recorded one.

    Args:
        dataset: Its features are made: only settings of the training count.
        named: Name or file of a recipe.
        changes: Settings put over it, each KEY=VALUE.

    Raises:
        UsageError: There is no such recipe, or a setting is wrong or is one of the features.
    """
    from mse_pipeline import recipe

    source = dataset.manifest.source
    known, given = source.get("recipe"), source.get("settings", ())
    if named is not None:
        from mse_pipeline.cli.extract import checks

        base, origin = recipe.load(named, checks()), f"the recipe {named}"
        _remark_features(base, dataset, named)
    elif known in recipe.names() and not recipe.sections_of(given) & set(recipe.AFTER_EXTRACTION):
        base, origin = recipe.load(str(known)), f"the recipe {known} of this version"
    else:
        base, origin = recipe_of(dataset), f"the recipe that {dataset.name} recorded when its features were made"
        origin += "" if known is None else f" (for another: --recipe {known})"
    return recipe.with_settings(base, changes, sections=recipe.AFTER_EXTRACTION), Origin(origin, tuple(changes))


def recipe_of(dataset: Dataset) -> Recipe:
    """The recipe that the dataset was extracted with; one of defaults for a dataset that was made without."""
    from pydantic import ValidationError

    from mse_pipeline.recipe import Recipe

    plain = dict(dataset.manifest.recipe) or {"version": 1, "name": dataset.name, "corpus": {"name": "table"}}
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise UsageError(
            f"The recipe that {dataset.path / 'dataset.json'} holds is not one of this version; "
            f"run `mse extract {dataset.name}` again."
        ) from error


def _remark_features(named: Recipe, dataset: Dataset, shown: str) -> None:
    """Tell where a recipe says something else of the features than they were made with."""
    recorded, asked = dataset.manifest.recipe, named.to_dict()
    sections = [key for key in ("media", "streams", "alignment") if key in recorded and recorded[key] != asked[key]]
    if sections:
        remark(
            f"{shown} differs from what {dataset.name} was extracted with in {', '.join(sections)}; the features stay "
            f"as they are. For others: mse extract {shown}"
        )


def parse_rate(text: str) -> float | str:
    """A learning rate as the command line has it: what is no number is looked at with the other settings.

    Examples:
        >>> parse_rate("1e-3"), parse_rate("auto")
        (0.001, 'auto')
    """
    try:
        return float(text)
    except ValueError:
        return text


def require_one_source(named: Mapping[str, Any], changes: Sequence[str], backbone: str) -> None:
    """Refuse a setting that an option of its own and --set both give: which one holds would be a secret.

    Args:
        named: What the options say of the training's settings; None where nothing.
        changes: What --set says, each KEY=VALUE.
        backbone: The one that is trained with.

    Raises:
        UsageError: A setting is given twice.

    Examples:
        >>> require_one_source({"epochs": 3}, ["training.patience=2"], "tiny")
        >>> require_one_source({"epochs": 3}, ["training.epochs=2"], "tiny")
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: --epochs 3 and --set training.epochs=2 both say what epochs is; keep one.
    """
    from mse_pipeline import recipe

    said = recipe.training_settings(changes, backbone)
    twice = [name for name, value in named.items() if value is not None and name in said]
    if twice:
        pairs = [f"{_option(name)} {named[name]} and --set {said[name]} both say what {name} is" for name in twice]
        raise UsageError(f"{'; '.join(pairs)}; keep one.")


def _option(setting: str) -> str:
    """The option of a setting of the training."""
    return "--seed" if setting == "seeds" else f"--{setting.replace('_', '-')}"


def changed(training: Training, changes: Mapping[str, Any]) -> Training:
    """Settings with what the command line says of them.

    Raises:
        UsageError: A value is impossible.
    """
    from pydantic import ValidationError

    from mse_pipeline.recipe.problems import describe

    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return type(training).model_validate({**training.model_dump(), **given})
    except ValidationError as error:
        wrong = [f"{_option(str(place[0]))}: {message}" for place, message in describe(error, type(training))]
        raise UsageError(f"{'; '.join(wrong)}.") from error


@dataclass(frozen=True)
class Request:
    """A training as it was asked for.

    Attributes:
        dataset: In the cache.
        recipe: Of the training; its features are the dataset's.
        training: Settings for this backbone, changed by the command line.
        backbone: Short name, hub name, folder or GGUF file.
        dtype: Number format of the backbone.
        revision: Of the backbone on the hub; None for the newest.
        quantization: ``4bit`` or ``8bit``; None for none.
        streams: Stream by modality, where one was named.
        without: What is left out.
        seeds: One training each; empty for the recipe's.
        origin: Where the recipe came from.
        selection: The clips of --where; None for all.
    """

    dataset: Dataset
    recipe: Recipe
    training: Training
    backbone: str
    dtype: str = "float32"
    revision: str | None = None
    quantization: str | None = None
    streams: Mapping[str, str | None] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    origin: Origin = Origin()
    selection: Selection | None = None

    def record(self) -> dict[str, Any]:
        """What run.json keeps: where the settings came from, what the command changed, and what it made of them."""
        used = self.recipe.model_copy(update={"training": self.training}).to_dict()
        sections = {name: used[name] for name in ("prompt", "training")}
        clips = {} if self.selection is None else {"clips": self.selection.to_plain()}
        return {"from": self.origin.source, "settings": list(self.origin.settings), **clips, **sections}

    def choose(self) -> StreamChoice:
        """The streams that are read; what is left out unasked is told.

        Raises:
            UsageError: What was asked for does not exist, or leaves nothing.
        """
        from mse_pipeline.training.streams import choose_streams

        choice = choose_streams(self.dataset, asked=self.streams, without=self.without, model=self.training.model)
        for reason in choice.left_out:
            remark(reason)
        return choice


def run(
    request: Request,
    *,
    runs: Path,
    device: str = "cpu",
    overwrite: bool = False,
    options: TrainingOptions | None = None,
) -> list[SeedResult]:
    """Choose the streams, load the backbone and train, with a progress display."""
    from mse_pipeline.adapter.models import find
    from mse_pipeline.cli.progress import TrainingBar, bar
    from mse_pipeline.training.earlier import standing
    from mse_pipeline.training.examples import remark_on_case
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.processes import join
    from mse_pipeline.training.run import train
    from mse_pipeline.training.step import TrainingOptions
    from mse_pipeline.training.trackers import check_trackers

    options = options or TrainingOptions()
    check_trackers(options.trackers)
    processes = join(device)
    choice = request.choose()
    model = request.training.model
    with bar("epochs") as progress:
        what = choice.variant if model == "mse-adapter" else model
        shown = TrainingBar(progress, f"{request.dataset.name}, {what}")
        with processes.first_on_each_machine():
            # What is to be sharded may be more than a device holds: it goes there in parts.
            loaded = load_backbone(request, "cpu" if processes.sharded else processes.device)
        if loaded.remark:
            remark(loaded.remark)
        wording = request.recipe.prompt
        job = prepare(request.dataset, loaded, request.training, choice, wording, selection=request.selection)
        job = replace(job, recipe=request.record())
        spare_threads(loaded, job.config)
        capitals = remark_on_case(request.dataset.clips, wording.case) if job.config.text else ""
        if capitals:
            remark(capitals)
        whole = request.training.seeds
        seeds = request.seeds or (whole if find(request.training.model).seeded else whole[:1])
        for sentence in standing(job.about, job.data, runs).anew(seeds):
            remark(sentence)
        return train(job, runs, seeds, overwrite=overwrite, progress=shown, options=options)


def spare_threads(backbone: Backbone, config: AdapterConfig) -> None:
    """Compute on one thread with small models on the CPU: their products are so short that sharing them costs time."""
    import torch

    from mse_pipeline.adapter import build

    with torch.device("meta"):
        models = (backbone.model, build(config))
    small = sum(parameter.numel() for model in models for parameter in model.parameters()) < _SMALL
    if small and backbone.device.type == "cpu":
        torch.set_num_threads(1)


def show_results(results: Sequence[SeedResult]) -> None:
    """Print the scores of each seed, of how many clips they are, and where the run lies."""
    if settings.json:
        seeds = [{**one.result, "reused": one.reused, "changed": list(one.changed)} for one in results]
        emit_json({"run": str(results[0].folder.parent), "seeds": seeds})
        return
    from mse_pipeline.training.earlier import clock

    console = stdout()
    for result in results:
        when = result.result.get("finished", "")
        scores = result.result["test"] or result.result["valid"]
        told = "  ".join(f"{name} {value:.4f}" for name, value in scores.items() if value is not None)
        console.print(
            f"seed {result.seed}: {'test' if result.result['test'] else 'valid'}  {told}"
            f"{f'  (done before) on the same data, at {clock(str(when))}' if result.reused else ''}",
            markup=False,
            soft_wrap=True,
        )
        for alarm in result.result["alarms"]:
            remark(f"seed {result.seed}: {alarm}")
    _show_coverage(results[0].result.get("coverage"), console)
    run = results[0].folder.parent
    table = "mse report" if run.parent == Path("runs") else f"mse report {shlex.quote(str(run.parent))}"
    console.print(f"Run: {run}    Table: {table}", markup=False, soft_wrap=True)


def _show_coverage(stored: Any, console: Console) -> None:
    """Of how many clips of each split the result is, and how many had each stream."""
    from mse_pipeline.metrics.coverage import Coverage, told

    coverage = Coverage.from_plain(stored or {})
    for stream in (None, *coverage.streams) if coverage.splits else ():
        note(f"{stream or 'clips read'}: {told(coverage.parts(stream))}", console)
