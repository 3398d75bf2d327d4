"""mse extractors: list extractors with dimensions, units, licence and what is missing; list feature sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.compare import compare
from mse_pipeline.cli.options import Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, note, printable, settings, stdout
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.extractors.describe import Description

_NOTHING = "–"
app = typer.Typer(
    invoke_without_command=True,
    help="Extractors: list them, show the dimensions of one, and what is missing to use it. Without a command: list.",
)
app.command("compare")(compare)


@app.callback()
def _main(context: typer.Context, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    if context.invoked_subcommand is None:
        _list()


@app.command("list")
def list_(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the extractors with dimensions, step, licence and whether they can run here."""
    _list()


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of an extractor; see mse extractors.")],
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Option of the extractor that changes its dimensions; may be given several times.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show an extractor's options, and the name and unit of every dimension."""
    from mse_pipeline.extractors.describe import describe

    description = describe(name, parse_options(options or []))
    if settings.json:
        emit_json(description.to_dict())
    else:
        show_one(description, stdout())


@app.command("sets")
def sets(
    name: Annotated[str | None, typer.Argument(help="Set to show. [default: list all]", show_default=False)] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List named feature sets. `mse extract DATASET --features NAME` uses one instead of the recipe's streams."""
    from mse_pipeline import recipe
    from mse_pipeline.extractors import registry

    feature_sets = [recipe.load_features(feature_set) for feature_set in ([name] if name else recipe.feature_sets())]
    rows = [{**feature_set.to_dict(), "dims": registry.dims(feature_set.streams)} for feature_set in feature_sets]
    if settings.json:
        emit_json(rows[0] if name else {"sets": rows})
    elif name:
        show_set(rows[0], stdout())
    else:
        show_sets(rows, stdout())


def _list() -> None:
    from mse_pipeline.extractors import registry

    rows = listed()
    refused = dict(registry.KIND.discover(registry.built_in()).refused)
    if settings.json:
        emit_json({"extractors": rows, "refused": refused})
    else:
        show_list(rows, refused, stdout())


def listed() -> list[dict[str, Any]]:
    """All extractors as plain JSON values."""
    from mse_pipeline.extractors.describe import step_of
    from mse_pipeline.extractors.registry import available

    rows = []
    for name, entry in sorted(available().items()):
        missing = entry.missing()
        rows.append(
            {
                "name": name,
                "dim": entry.dim,
                "step": step_of(name),
                "summary": entry.summary,
                "licence": entry.licence,
                "needs": entry.needs,
                "model": entry.model,
                "size": entry.size,
                "brought_by": entry.brought_by or "mse-pipeline",
                "ready": not missing,
                "missing": missing,
            }
        )
    return rows


def show_list(rows: Sequence[Mapping[str, Any]], refused: Mapping[str, str], console: Console) -> None:
    """Print one row an extractor, and below it what is missing."""
    table = _table("extractor", "dims", "every", "ready", "licence", right=(1, 2))
    for row in rows:
        dims = "by option" if row["dim"] is None else f"{row['dim']:,}"
        ready = "[green]yes[/]" if row["ready"] else "[yellow]missing[/]"
        table.add_row(_text(row["name"]), dims, every(row["step"]), ready, _text(row["licence"]))
    for column in (0, 1, 2, 3):
        table.columns[column].no_wrap = True
    console.print(table)
    for row in rows:
        if row["missing"]:
            note(f"{row['name']}: {row['missing']}", console)
    for message in refused.values():
        console.print(f"Not usable: {printable(message)}", markup=False)
    note("Options and dimensions of an extractor: mse extractors show NAME; feature sets: mse extractors sets", console)


def _table(*names: str, right: Sequence[int] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column, name in enumerate(names):
        table.add_column(name, justify="right" if column in right else "left")
    return table


def _text(text: str) -> str:
    """Text of other packages, without markup and without control characters."""
    return escape(printable(text))


def every(step: float | None) -> str:
    """A step in words.

    Examples:
        >>> every(0.01), every(0.2), every(1.0), every(None)
        ('10 ms', '200 ms', '1 s', '–')
    """
    if step is None:
        return _NOTHING
    return f"{step:g} s" if step >= 1 else f"{1000 * step:.4g} ms"


def parse_options(texts: list[str]) -> dict[str, Any]:
    """Options as a command line gives them, with values as a recipe would write them.

    Examples:
        >>> parse_options(["set=ComParE_2016", "window=2.5", "features=[mfcc, f0]"])
        {'set': 'ComParE_2016', 'window': 2.5, 'features': ['mfcc', 'f0']}

    Raises:
        UsageError: A text has no equals sign, or a value that a recipe cannot have.
    """
    from mse_pipeline.recipe.settings import parse_value

    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise UsageError(f"--set takes KEY=VALUE, as in --set level=functionals; got {text!r}.")
        if key.strip() in options:
            raise UsageError(f"--set {key.strip()} is given twice; keep one.")
        try:
            options[key.strip()] = parse_value(value)
        except ValueError as error:
            raise UsageError(f"--set {key.strip()}: {error}.") from None
    return options


def show_one(description: Description, console: Console) -> None:
    """Print all that is known of an extractor."""
    facts = Table.grid(padding=(0, 2))
    size = "" if description.size is None else f", {description.size / 1e6:.1f} MB"
    dims = _NOTHING if description.dimensions is None else f"{len(description.dimensions):,}"
    for name, text in (
        ("extractor", f"{description.name}, revision {description.revision}"),
        ("makes", description.summary),
        ("dimensions", dims),
        ("every", every(description.step)),
        ("licence", description.licence),
        ("model", f"{description.model}{size}" if description.model else _NOTHING),
        ("needs", description.needs or _NOTHING),
        ("ready", description.missing or "yes"),
        ("comes with", description.brought_by),
    ):
        facts.add_row(name, _text(text))
    console.print(facts)
    console.print()
    console.print(_flowing(description.text), markup=False)
    options = _table("option", "default", "what it may be, and what it does")
    options.columns[0].no_wrap = True
    for option in description.options:
        default = "must be given" if option.required else _value(option.default)
        options.add_row(_text(option.name), _text(default), _text(f"{option.kind}. {option.meaning}"))
    if description.options:
        console.print(options)
    if description.dimensions is None:
        console.print(description.unknown, markup=False)
        return
    defined = any(dimension.definition for dimension in description.dimensions)
    values = _table("", "dimension", "unit", *(("what it is",) if defined else ()), right=(0,))
    for number, dimension in enumerate(description.dimensions):
        cells = (str(number), _text(dimension.name), _text(dimension.unit or _NOTHING))
        values.add_row(*cells, *((_text(dimension.definition),) if defined else ()))
    console.print(values)


def _flowing(text: str) -> str:
    """Paragraphs without their line breaks and without the marks of reStructuredText."""
    paragraphs = printable(text).replace("``", "`").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _value(value: Any) -> str:
    """A value as a recipe writes it.

    Examples:
        >>> _value({"mfcc": {"n_mfcc": 13}, "rms": None}), _value((0.6, 5.0)), _value(True)
        ('{mfcc: {n_mfcc: 13}, rms: }', '[0.6, 5]', 'true')
    """
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{key}: {_value(item) if item is not None else str()}' for key, item in value.items())}}}"
        )
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def show_set(row: Mapping[str, Any], console: Console) -> None:
    """Print a feature set with what it reproduces."""
    console.print(_flowing(row["comment"]), markup=False)
    console.print()
    table = _table("stream", "dims", "options", right=(1,))
    for stream, options in row["streams"].items():
        dim = row["dims"][stream]
        lines = "\n".join(f"{key}: {_value(value)}" for key, value in options.items())
        table.add_row(_text(stream), "by model" if dim is None else f"{dim:,}", _text(lines or _NOTHING))
    console.print(table)
    console.print(f"Alignment: {_clock(row['alignment'])}", markup=False)


def _clock(alignment: Mapping[str, Any]) -> str:
    """An alignment in words."""
    if alignment["kind"] == "grid":
        return f"grid of {every(alignment['step'])}"
    return "own clocks" if alignment["kind"] == "none" else str(alignment["kind"])


def show_sets(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print one row a feature set."""
    table = _table("set", "what it is, and its streams with their dims")
    table.columns[0].no_wrap = True
    for row in rows:
        dims = (f"{name} ({'by model' if dim is None else f'{dim:,}'})" for name, dim in row["dims"].items())
        lines = [f"{row['summary']}; {_clock(row['alignment'])}", *dims]
        table.add_row(_text(row["name"]), _text("\n".join(lines)))
    console.print(table)
    note("What a set reproduces: mse extractors sets NAME. To use a set: mse extract DATASET --features NAME", console)
