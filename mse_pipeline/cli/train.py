"""mse train: the adapter on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Device, Json, Quiet, RunsDir
from mse_pipeline.cli.output import emit_json, remark, settings, stdout
from mse_pipeline.cli.train_request import Request, changed, pick, recipe_of

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.backbones.backbone import Backbone
    from mse_pipeline.training.options import Options
    from mse_pipeline.training.run import SeedResult

_SMALL = 5_000_000  # parameters


def command(
    dataset: Annotated[
        str | None, typer.Argument(help="Dataset in the cache. [default: the only one]", show_default=False)
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="A short name (tiny, llama2), a Hugging Face name, or a folder.")
    ] = "tiny",
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed",
            help="One training a seed; may be given several times. [default: the recipe's]",
            show_default=False,
        ),
    ] = None,
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
    decoding: Annotated[
        str | None,
        typer.Option(help="greedy, likeliest, expected or median. [default: the recipe's]", show_default=False),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(help="none, or balanced: rare classes count as much. [default: the recipe's]", show_default=False),
    ] = None,
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
    revision: Annotated[
        str | None,
        typer.Option(
            help="Branch, tag or commit of the backbone on the hub. [default: the newest]", show_default=False
        ),
    ] = None,
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
    from mse_pipeline.training.options import Options

    opened = pick(open_cache(cache), dataset)
    recipe = recipe_of(opened)
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "decoding": decoding,
        "class_weights": class_weights,
    }
    request = Request(
        dataset=opened,
        recipe=recipe,
        training=changed(recipe.training_for(backbone), changes),
        backbone=backbone,
        dtype=dtype,
        revision=revision,
        quantization=quantization,
        streams={"acoustic": acoustic, "visual": visual},
        without=tuple(without or ()),
        seeds=tuple(seeds or ()),
    )
    options = Options(
        accumulation=accumulate,
        checkpointing=gradient_checkpointing,
        compile=compile_,
        trackers=tuple(trackers or ()),
    )
    if dry_run:
        from mse_pipeline.cli.dry_run import outline_of, show

        show(outline_of(request, options, runs), request.seeds or request.training.seeds, overwrite)
    else:
        _show(run(request, runs=runs, device=device, overwrite=overwrite, options=options))


def _show(results: Sequence[SeedResult]) -> None:
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


def spare_threads(backbone: Backbone) -> None:
    """Compute on one thread with a small model on the CPU: its products are so short that sharing them costs time."""
    import torch

    small = sum(parameter.numel() for parameter in backbone.model.parameters()) < _SMALL
    if small and backbone.device.type == "cpu":
        torch.set_num_threads(1)


def run(
    request: Request, *, runs: Path, device: str = "cpu", overwrite: bool = False, options: Options | None = None
) -> list[SeedResult]:
    """Choose the streams, load the backbone and train, with a progress display."""
    from mse_pipeline import backbones
    from mse_pipeline.cli.progress import TrainingBar, bar
    from mse_pipeline.training.earlier import standing
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.options import Options
    from mse_pipeline.training.processes import join
    from mse_pipeline.training.run import train
    from mse_pipeline.training.trackers import check_trackers

    options = options or Options()
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
        job = prepare(request.dataset, loaded, request.training, choice, request.recipe.prompt)
        seeds = request.seeds or request.training.seeds
        for sentence in standing(job.about, job.data, runs).anew(seeds):
            remark(sentence)
        return train(job, runs, seeds, overwrite=overwrite, progress=shown, options=options)
