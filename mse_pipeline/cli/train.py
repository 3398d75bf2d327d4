"""mse train: the adapter on cached features; with --dry-run, what a training would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Decoding, Device, Json, Quiet, Revision, RunsDir, Seeds, Set
from mse_pipeline.cli.output import emit_json, remark, settings, stdout
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mse_pipeline.backbones.answers import Token
    from mse_pipeline.backbones.backbone import Backbone
    from mse_pipeline.recipe import Recipe, Training
    from mse_pipeline.store.cache import Cache
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.training.dry_run import DryRun, Lengths, Memory
    from mse_pipeline.training.job import StreamChoice
    from mse_pipeline.training.run import SeedResult
    from mse_pipeline.training.step import TrainingOptions

_PARTS = {
    "acoustic": "acoustic encoder",
    "visual": "visual encoder",
    "mixer": "text-guide mixer (TGM)",
    "fusion": "multi-scale fusion (MSF)",
    "projector": "projector",
}
_SMALL = 5_000_000  # parameters


def command(
    dataset: Annotated[
        str | None, typer.Argument(help="Dataset in the cache. [default: the only one]", show_default=False)
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="A short name (tiny, llama2), a hub name, a folder, or a GGUF file.")
    ] = "tiny",
    seeds: Seeds = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            help="Leave out acoustic, visual, text, tgm or msf, to see what each is good for; may be given several "
            "times. acoustic and visual: text only.",
        ),
    ] = None,
    acoustic: Annotated[str | None, typer.Option(help="Acoustic stream, if the dataset has several.")] = None,
    visual: Annotated[str | None, typer.Option(help="Visual stream, if the dataset has several.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="[default: the recipe's]", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="[default: the recipe's]", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: the recipe's]", show_default=False)] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="What is trained beside the backbone. [default: the recipe's, mse-adapter]", show_default=False
        ),
    ] = None,
    decoding: Decoding = None,
    class_weights: Annotated[
        str | None,
        typer.Option(help="none, or balanced: rare classes count as much. [default: the recipe's]", show_default=False),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe, or file of one, whose settings of the training hold. [default: that of the dataset]",
            show_default=False,
        ),
    ] = None,
    changes: Set = None,
    cache: CacheDir = None,
    runs: RunsDir = Path("runs"),
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="Number format of the backbone: float32, bfloat16, float16.")] = "float32",
    accumulate: Annotated[
        int, typer.Option(min=1, metavar="PARTS", help="Read each batch in so many parts: less memory, same result.")
    ] = 1,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Compute activations twice instead of keeping them.")
    ] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="Put the backbone through torch.compile.")] = False,
    trackers: Annotated[
        list[str] | None,
        typer.Option("--tracker", help="Log to tensorboard, wandb or trackio too; may be given several times."),
    ] = None,
    quantization: Annotated[
        str | None,
        typer.Option(help="4bit or 8bit: squeeze the backbone's linear layers; needs a CUDA GPU and bitsandbytes."),
    ] = None,
    revision: Revision = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is done.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell what would be trained, with memory and a whole prompt; loads no weights and writes nothing.",
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the adapter while the backbone stays frozen. Seeds that are done are not trained again.

    Several processes train together under `accelerate launch` or `torchrun` (docs/training.md).
    """
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.training.step import TrainingOptions

    opened = pick(open_cache(cache), dataset)
    used, origin = training_recipe(opened, recipe, changes or ())
    remark(f"Settings of the training: {origin}.")
    named = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "model": model,
        "decoding": decoding,
        "class_weights": class_weights,
    }
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
    )
    require_model(request.training.model)
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


def require_model(name: str) -> None:
    """Refuse a model that there is not, before a run folder is made.

    Raises:
        UsageError: There is none of that name, or the package that brings it does not fit.
    """
    from mse_pipeline.adapter import models

    for problem in models.check(name):
        raise UsageError(f"--model {name}: {problem}.")


def pick(cache: Cache, name: str | None) -> Dataset:
    """The dataset asked for, or the only one.

    Raises:
        UsageError: There is none, or there are several and none is named.
    """
    if name is not None:
        return cache[name]
    known = list(cache)
    if len(known) == 1:
        return cache[known[0]]
    if not known:
        raise UsageError(f"The cache {cache.path} is empty. Extract features first, as in: mse extract meld --root DIR")
    raise UsageError(f"The cache {cache.path} has several datasets; name one: mse train {' | '.join(known)}")


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


def changed(training: Training, changes: Mapping[str, Any]) -> Training:
    """Settings with what the command line says of them.

    Raises:
        UsageError: A value is impossible.
    """
    from pydantic import ValidationError

    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return type(training).model_validate({**training.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{name} {first['input']}: {first['msg']}.") from error


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

    def record(self) -> dict[str, Any]:
        """What run.json keeps: where the settings came from, what the command changed, and what it made of them."""
        used = self.recipe.model_copy(update={"training": self.training}).to_dict()
        sections = {name: used[name] for name in ("prompt", "training")}
        return {"from": self.origin.source, "settings": list(self.origin.settings), **sections}

    def choose(self) -> StreamChoice:
        """The streams that are read; what is left out unasked is told.

        Raises:
            UsageError: What was asked for does not exist, or leaves nothing.
        """
        from mse_pipeline.training.job import choose_streams

        choice = choose_streams(self.dataset, asked=self.streams, without=self.without)
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
    from mse_pipeline import backbones
    from mse_pipeline.cli.progress import TrainingBar, bar
    from mse_pipeline.training.earlier import standing
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.processes import join
    from mse_pipeline.training.run import train
    from mse_pipeline.training.step import TrainingOptions
    from mse_pipeline.training.trackers import check_trackers

    options = options or TrainingOptions()
    check_trackers(options.trackers)
    processes = join(device)
    choice = request.choose()
    with bar("epochs") as progress:
        shown = TrainingBar(progress, f"{request.dataset.name}, {choice.variant}")
        with processes.first_on_each_machine():
            # What is to be sharded may be more than a device holds: it goes there in parts.
            loaded = backbones.load(
                request.backbone,
                dtype=request.dtype,
                device="cpu" if processes.sharded else processes.device,
                revision=request.revision,
                quantization=request.quantization,
            )
        spare_threads(loaded)
        if loaded.remark:
            remark(loaded.remark)
        job = prepare(request.dataset, loaded, request.training, choice, request.recipe.prompt)
        job = replace(job, recipe=request.record())
        seeds = request.seeds or request.training.seeds
        for sentence in standing(job.about, job.data, runs).anew(seeds):
            remark(sentence)
        return train(job, runs, seeds, overwrite=overwrite, progress=shown, options=options)


def spare_threads(backbone: Backbone) -> None:
    """Compute on one thread with a small model on the CPU: its products are so short that sharing them costs time."""
    import torch

    small = sum(parameter.numel() for parameter in backbone.model.parameters()) < _SMALL
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
    console.print(f"Run: {results[0].folder.parent}    Table: mse report", markup=False, soft_wrap=True)


def _show_coverage(stored: Any, console: Console) -> None:
    """Of how many clips of each split the result is, and how many had each stream."""
    from mse_pipeline.metrics.coverage import Coverage, told

    coverage = Coverage.from_plain(stored or {})
    for stream in (None, *coverage.streams) if coverage.splits else ():
        console.print(f"{stream or 'clips read'}: {told(coverage.parts(stream))}", markup=False)


def outline_of(request: Request, options: TrainingOptions, runs: Path) -> DryRun:
    """What `mse train` would do with the same options; the backbone's weights are neither loaded nor fetched."""
    from mse_pipeline.backbones.loading import outline
    from mse_pipeline.training.dry_run import dry_run
    from mse_pipeline.training.earlier import standing
    from mse_pipeline.training.job import prepare

    choice, wording = request.choose(), request.recipe.prompt
    drawn = outline(request.backbone, request.dtype, revision=request.revision, quantization=request.quantization)
    if drawn.remark:
        remark(drawn.remark)
    job = prepare(request.dataset, drawn, request.training, choice, wording)
    return dry_run(
        job,
        request.dataset,
        choice,
        wording,
        seeds=len(request.seeds or request.training.seeds),
        accumulation=options.accumulation,
        checkpointing=options.checkpointing,
        standing=standing(job.about, job.data, runs),
    )


def show_outline(told: DryRun, request: Request, overwrite: bool = False) -> None:
    """Print it, and what a training of these seeds would find done."""
    seeds = request.seeds or request.training.seeds
    if settings.json:
        emit_json({**told.to_json(), "recipe": request.record()})
        return
    from rich.text import Text

    console = stdout()
    console.print(Text.assemble((told.dataset, "bold"), f", {told.variant}, on {told.backbone['name']}"))
    for table in (_data(told), _adapter(told), _reading(told), _work(told)):
        console.print(table)
    console.print(_prompt(told.prompt.example, told.prompt.example_clip))
    reused = () if overwrite else told.standing.reused(seeds)
    for sentence in (*told.coverage.shortcomings(), *reused, *told.standing.anew(seeds)):
        console.print(sentence, markup=False)
    console.print("Nothing was trained or written. Memory is an estimate of the peak; ids of tokens: --json.")


def _data(told: DryRun) -> Table:
    from rich.markup import escape

    table = _table(
        "\nWhat is read",
        ("", "left"),
        ("clips", "right"),
        ("dims", "right"),
        ("median", "right"),
        ("95 %", "right"),
        ("max", "right"),
        ("", "left"),
    )
    for split, count in told.clips.items():
        table.add_row(f"{split} split", f"{count:,}")
    for modality, stream in told.streams.items():
        if stream is None:
            table.add_row(modality, "–", "", "", "", "", "left out")
        else:
            table.add_row(escape(stream.name), f"{stream.clips:,}", str(stream.dims), *_three(stream.rows), "rows")
    prompt = told.prompt
    if prompt.text is None:
        table.add_row("text", "–", "", "", "", "", "left out")
    else:
        cut = f", {prompt.cut:,} cut to {prompt.room:,}" if prompt.cut else ""
        table.add_row("text", f"{sum(told.clips.values()):,}", "", *_three(prompt.text), f"tokens{cut}")
    if prompt.previous is not None:
        table.add_row("previous turns", "", "", *_three(prompt.previous), "tokens")
    return table


def _adapter(told: DryRun) -> Table:
    table = _table("\nParameters", ("", "left"), ("", "right"))
    for name, count in told.adapter.items():
        table.add_row(_PARTS.get(name, name), f"{count:,}")
    table.add_section()
    table.add_row("adapter, trained", f"{told.trainable:,}", style="bold")
    table.add_row("backbone, frozen", f"{told.backbone['parameters']:,}")
    return table


def _reading(told: DryRun) -> Table:
    prompt = told.prompt
    table = _table("\nA sequence, in tokens", ("", "left"), ("median", "right"), ("max", "right"))
    text, previous = prompt.text, prompt.previous
    table.add_row("start, tags and task prompt", str(prompt.fixed), str(prompt.fixed))
    table.add_row("pseudo tokens", str(prompt.pseudo), str(prompt.pseudo))
    table.add_row("text", *((str(text.median), str(text.largest)) if text else ("–", "–")))
    if previous is not None:
        table.add_row("previous turns", str(previous.median), str(previous.largest))
    answers = prompt.answer_tokens
    table.add_row(
        f"answer, one of {prompt.answers}", *((str(answers.median), str(answers.largest)) if answers else ("–", "–"))
    )
    return table


def _work(told: DryRun) -> Table:
    table = _table("\nWork and memory", ("", "left"), ("", "right"), ("", "left"))
    table.add_row("steps an epoch", f"{told.steps_an_epoch:,}", f"of {told.batch_size} clips")
    table.add_row("steps of a training", f"{told.steps:,}", f"at most, in {told.epochs} epochs")
    table.add_row("trainings", str(told.seeds), "one a seed")
    table.add_section()
    memory = told.memory
    numbers = told.backbone["quantization"] or told.backbone["dtype"]
    table.add_row("backbone's weights", size(memory.weights), str(numbers))
    table.add_row("adapter and optimiser", size(memory.adapter), "float32")
    table.add_row("activations of a step", size(memory.activations), "every clip as long as the longest")
    table.add_row("logits of a step", size(memory.logits), "")
    table.add_row("predicting a split", size(memory.scoring), "in place of activations and logits")
    table.add_section()
    table.add_row("memory, at the peak", size(memory.total), _where(memory), style="bold")
    return table


def _prompt(tokens: tuple[Token, ...], clip: str) -> Table:
    """A row a part; tokens are set apart by bars, spaces and line ends in them are written out."""
    from rich.text import Text

    table = _table(f"\nThe whole sequence of {clip}", ("part", "left"), ("n", "right"), ("tokens", "left"))
    for part, group in groupby(tokens, key=lambda token: token.part):
        line, own = Text(), list(group)
        for place, token in enumerate(own):
            line.append("│" if place else "", style="dim")
            line.append(token.piece.replace("\n", "\\n").replace(" ", "␣"))
        table.add_row(part, str(len(own)), line)
    return table


def _where(memory: Memory) -> str:
    return "in a step" if memory.activations + memory.logits >= memory.scoring else "in predicting a split"


def _three(lengths: Lengths | None) -> tuple[str, str, str]:
    if lengths is None:
        return "–", "–", "–"
    return f"{lengths.median:,}", f"{lengths.most:,}", f"{lengths.largest:,}"


def size(count: int) -> str:
    """Bytes, to be read.

    Examples:
        >>> size(999), size(12_345_678), size(14_000_000_000)
        ('0.0 MB', '12.3 MB', '14.0 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _table(title: str, *columns: tuple[str, str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        show_header=any(name for name, _ in columns),
        pad_edge=False,
    )
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table
