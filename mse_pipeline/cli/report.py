"""mse report: tables of the results of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet, Where
from mse_pipeline.cli.output import emit_json, remark, settings, stdout


def command(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, or folders of them. [default: runs]", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Show the results on this split, test or valid.")] = "test",
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the tables to a Markdown file.")
    ] = None,
    bootstrap: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="DRAWS",
            help="Compare each run with the best one of its table by a paired bootstrap of so many draws, as 1000.",
        ),
    ] = 0,
    where: Where = None,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print tables of all runs: mean and standard deviation over seeds, beside the published numbers.

    With --where the scores are of some clips alone, by the runs' predictions and the datasets in the cache.
    """
    from mse_pipeline import report
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.store.storage import write_text

    opened = None if where is None else open_cache(cache)
    built = report.build(runs or [Path("runs")], split, where=where, cache=opened, draws=bootstrap)
    if markdown is not None:
        write_text(markdown, report.to_markdown(built))
        remark(f"Written: {markdown}")
    if settings.json:
        emit_json(report.to_json(built))
    else:
        report.to_terminal(built, stdout())
