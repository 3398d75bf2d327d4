"""mse report: tables of the results of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, remark, settings, stdout


def command(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, or folders of them. [default: runs]", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Show the results on this split, test or valid.")] = "test",
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the tables to a Markdown file.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print tables of all runs: mean and standard deviation over seeds, beside the published numbers."""
    from mse_pipeline import report
    from mse_pipeline.store.storage import write_text

    built = report.build(runs or [Path("runs")], split)
    if markdown is not None:
        write_text(markdown, report.to_markdown(built))
        remark(f"Written: {markdown}")
    if settings.json:
        emit_json(report.to_json(built))
    else:
        report.to_terminal(built, stdout())
