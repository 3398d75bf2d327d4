"""mse demo: all of it on a sample corpus, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, remark, settings, stdout

_VARIANTS: tuple[tuple[str, ...], ...] = ((), ("acoustic", "visual"))


def command(
    folder: Annotated[Path, typer.Option("--out", help="Where the sample corpus, the cache and the runs go.")] = Path(
        "demo"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: one a core]", show_default=False)
    ] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", help="One training each; may be repeated. [default: the recipe's]", show_default=False),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Build a sample corpus of drawn faces and synthetic voices, extract, train and report. Nothing is downloaded.

    The sentences are the same for all emotions, so that a model that reads the text alone can only guess.
    """
    from mse_pipeline import recipe, report, sample
    from mse_pipeline.cli.extract import show
    from mse_pipeline.cli.progress import ExtractionBar, bar
    from mse_pipeline.cli.train import Request, run
    from mse_pipeline.extraction.run import Options, extract
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.store.storage import write_text

    root, runs = folder / "data", folder / "runs"
    remark(f"1/4  Building the sample corpus in {root}")
    sample.build(root, workers=workers or 2)
    remark("2/4  Extracting: mse extract sample")
    asked = recipe.load("sample")
    cache = open_cache(folder / "cache")
    with bar("clips") as progress:
        summary = extract(asked, root, cache, Options(workers=workers), ExtractionBar(progress))
    if not settings.json:
        show(summary, stdout())
    dataset = cache[asked.name]
    for without in _VARIANTS:
        remark("3/4  Training: mse train sample --backbone tiny" + "".join(f" --without {name}" for name in without))
        training = asked.training_for("tiny")
        run(Request(dataset, asked, training, "tiny", without=without, seeds=tuple(seeds or ())), runs=runs)
    remark("4/4  Reporting: mse report")
    built = report.build([runs])
    write_text(folder / "report.md", report.to_markdown(built))
    if settings.json:
        emit_json({"extraction": summary.to_dict(), "report": report.to_json(built)})
    else:
        report.to_terminal(built, stdout())
        stdout().print(
            f"Kept in {folder}: data, cache, runs, report.md. A second `mse demo` reuses them.", markup=False
        )
