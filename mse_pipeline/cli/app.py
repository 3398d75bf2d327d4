"""The command line, put together from a module a command."""

from __future__ import annotations

from typing import Annotated

import typer

from mse_pipeline import __version__
from mse_pipeline.cli import (
    adapters,
    backbones,
    cache,
    cite,
    datasets,
    demo,
    doctor,
    evaluate,
    exchange,
    extract,
    extractors,
    inspect,
    predict,
    recipes,
    report,
    selftest,
    train,
    ui,
)
from mse_pipeline.cli.examples import add_examples

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Raw video of emotion and sentiment datasets in; aligned features, a trained adapter and a table out.",
)
app.command("extract")(extract.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("report")(report.command)
app.command("demo")(demo.command)
app.command("doctor")(doctor.command)
app.command("ui")(ui.command)
app.command("selftest")(selftest.command)
app.command("cite")(cite.command)
app.command("inspect")(inspect.command)
app.command("import")(exchange.bring)
app.command("export")(exchange.export)
app.add_typer(cache.app, name="cache")
app.add_typer(datasets.app, name="datasets")
app.add_typer(recipes.app, name="recipes")
app.add_typer(backbones.app, name="backbones")
app.add_typer(adapters.app, name="adapters")
app.add_typer(extractors.app, name="extractors")
add_examples(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mse {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of `mse` itself."""
