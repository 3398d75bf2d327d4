"""mse extractors: what there is, with dimensions, units, licence and what is missing; and named feature sets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, settings, stdout
from mse_pipeline.errors import UsageError

app = typer.Typer(
    invoke_without_command=True,
    help="Extractors: what there is, what each dimension is, and what is missing to use it. Alone it lists them.",
)


@app.callback()
def _main(context: typer.Context, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    if context.invoked_subcommand is None:
        _list()


@app.command("list")
def list_(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the extractors with dimensions, step, licence and whether they can run here."""
    _list()


def _list() -> None:
    from mse_pipeline.cli.extractors_show import listed, show_list
    from mse_pipeline.extractors import plugins, registry

    rows = listed()
    refused = plugins.discover(registry.built_in()).refused
    if settings.json:
        emit_json({"extractors": rows, "refused": refused})
    else:
        show_list(rows, refused, stdout())


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of an extractor, as mse extractors lists it.")],
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option that decides about the dimensions; may be given several times.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show an extractor's options, and the name and unit of every dimension."""
    from mse_pipeline.cli.extractors_show import show_one
    from mse_pipeline.extractors.describe import describe

    told = describe(name, parse_options(options or []))
    if settings.json:
        emit_json(told.to_dict())
    else:
        show_one(told, stdout())


@app.command("sets")
def sets(
    name: Annotated[str | None, typer.Argument(help="Show this set; without it all are listed.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List named feature sets, which `mse extract DATASET --features NAME` takes in place of a recipe's streams."""
    from mse_pipeline import recipe
    from mse_pipeline.cli.extractors_show import show_set, show_sets
    from mse_pipeline.extractors import registry

    found = [recipe.load_features(one) for one in ([name] if name else recipe.feature_sets())]
    rows = [{**one.to_dict(), "dims": registry.dims(one.streams)} for one in found]
    if settings.json:
        emit_json(rows[0] if name else {"sets": rows})
    elif name:
        show_set(rows[0], stdout())
    else:
        show_sets(rows, stdout())


def parse_options(texts: list[str]) -> dict[str, Any]:
    """Options as a command line gives them, with values as a recipe would write them.

    Examples:
        >>> parse_options(["set=ComParE_2016", "window=2.5", "features=[mfcc, f0]"])
        {'set': 'ComParE_2016', 'window': 2.5, 'features': ['mfcc', 'f0']}

    Raises:
        UsageError: One has no equals sign, or a value that a recipe could not have.
    """
    from mse_pipeline.recipe.yaml_text import parse

    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise UsageError(f"--set takes KEY=VALUE, as in --set level=functionals; got {text!r}.")
        content, _, problems = parse(f"value: {value}".encode(), f"value of --set {key}")
        if problems or list(content) != ["value"]:
            raise UsageError(f"--set {key} cannot be read; write the value as in a recipe, got {value!r}.")
        options[key.strip()] = content["value"]
    return options
