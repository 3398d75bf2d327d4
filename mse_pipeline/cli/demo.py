"""mse demo: extract, train and report on a sample corpus, offline, in minutes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet, Seeds, Set, Workers
from mse_pipeline.cli.output import emit_json, note, remark, settings, stdout

_VARIANTS: tuple[tuple[str, ...], ...] = ((), ("acoustic", "visual"))


def command(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the sample corpus, the cache and the runs.")] = Path(
        "demo"
    ),
    backbone: Annotated[
        str, typer.Option(help="A short name, a hub name, a folder or a GGUF file; larger ones than tiny take longer.")
    ] = "tiny",
    workers: Workers = None,
    seeds: Seeds = None,
    changes: Set = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Build a sample corpus of drawn faces and synthetic voices, extract, train and report.

    Nothing is downloaded, but for a --backbone that only the hub has.

    The sentences are the same for all emotions, so a model that reads only the text can only guess.
    """
    from mse_pipeline import recipe, report, sample
    from mse_pipeline.cli.extract import checks, origin_of, show_summary
    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.cli.train import Origin, Request, run
    from mse_pipeline.extraction.run import ExtractionOptions, extract
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.store.storage import write_text

    settled = recipe.with_settings(recipe.load("sample"), changes or (), checks())
    if backbone != "tiny":
        from mse_pipeline import backbones

        backbones.load_tokenizer(backbone)  # a name that leads nowhere is told before minutes of work
    root, runs = folder / "data", folder / "runs"
    remark(f"1/4  Building the sample corpus in {root}")
    sample.build(root, workers=workers or 2)
    remark("2/4  Extracting: mse extract sample")
    cache = open_cache(folder / "cache")
    with bar("clips") as progress:
        options = ExtractionOptions(workers=workers, origin=origin_of("sample", changes or ()))
        summary = extract(settled, root, cache, options, ExtractionBar(progress))
    if not settings.json:
        show_summary(summary, stdout())
    dataset, origin = cache[settled.name], Origin("the recipe sample", tuple(changes or ()))
    for without in _VARIANTS:
        left_out = "".join(f" --without {name}" for name in without)
        remark(f"3/4  Training: mse train sample --backbone {backbone}{left_out}")
        training = settled.training_for(backbone)
        request = Request(
            dataset, settled, training, backbone, without=without, seeds=tuple(seeds or ()), origin=origin
        )
        run(request, runs=runs)
    remark("4/4  Reporting: mse report")
    built = report.build([runs])
    write_text(folder / "report.md", report.to_markdown(built))
    if settings.json:
        emit_json({"extraction": summary.to_dict(), "report": report.to_json(built)})
    else:
        report.to_terminal(built, stdout())
        note(
            f"Kept in {folder}: data, cache, runs, report.md. A second `mse demo` reuses them. Go on with them by\n"
            f"  {sys.argv[0]} train sample --model linear --cache {folder / 'cache'} --runs {folder / 'runs'}",
            wrapped=False,
        )
