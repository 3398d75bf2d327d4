"""mse recipes: list, show and copy the recipes of the package, and check a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mse_pipeline.cli.options import Debug, Json, Quiet, Set
from mse_pipeline.cli.output import emit_json, printable, settings, stdout
from mse_pipeline.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Recipes and feature sets: list, show, copy and check them.")

Name = Annotated[str, typer.Argument(help="A recipe (meld), a feature set (ssl-large), or a file of one (my.yaml).")]


@app.command("list")
def list_(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the recipes and the feature sets of the package, each with one line."""
    from mse_pipeline import recipe
    from mse_pipeline.recipe.reading import file_of, summary

    rows = {
        kind: [{"name": name, "summary": summary(file_of(name)[0])} for name in names]
        for kind, names in (("recipes", recipe.names()), ("features", recipe.feature_sets()))
    }
    if settings.json:
        emit_json(rows)
        return
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    for kind, title in (("recipes", "Recipes: mse extract NAME"), ("features", "Sets: mse extract … --features NAME")):
        table = Table("name", "what it is", box=SIMPLE_HEAD, title=title, title_justify="left")
        for row in rows[kind]:
            table.add_row(row["name"], escape(row["summary"]))
        stdout().print(table)


@app.command("show")
def show(name: Name, changes: Set = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print a recipe or feature set as YAML; with --set, the whole recipe with the changed settings."""
    from mse_pipeline.recipe.reading import file_of

    path, _ = file_of(name)
    read = _read(name, changes or ())
    if settings.json:
        emit_json({"name": name, "recipe": read})
    elif changes:
        import yaml

        text = yaml.safe_dump(_without_nulls(read), sort_keys=False, allow_unicode=True, width=100)
        stdout().print(printable(text).rstrip(), markup=False, soft_wrap=True)
    else:
        stdout().print(printable(path.read_text(encoding="utf-8-sig")).rstrip(), markup=False, soft_wrap=True)


@app.command("copy")
def copy(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file, ending in .yaml.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Copy a recipe or feature set, with its comments, to a file that you can change."""
    from mse_pipeline.recipe.reading import file_of
    from mse_pipeline.store.storage import write_text

    if file.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(f"The name of a recipe's file must end in .yaml, got {file}.")
    if file.is_dir():
        raise UsageError(f"{file} is a folder. Give the name of a file in it.")
    if file.exists() and not force:
        raise UsageError(f"{file} exists already. Use --force to overwrite it.")
    write_text(file, file_of(name)[0].read_text(encoding="utf-8-sig"))
    if settings.json:
        emit_json({"name": name, "file": str(file)})
    else:
        stdout().print(f"Copied to {file}.", markup=False, soft_wrap=True)


@app.command("check")
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recipe's or feature set's file, or a name.")],
    changes: Set = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show all errors of a file at once, each with its line, and try the models that are on this machine.

    Exit code 2 if there are any.
    """
    from mse_pipeline.recipe.reading import file_of

    _, features = file_of(file)
    read, kind = _read(file, changes or ()), "feature set" if features else "recipe"
    streams = list(read["streams"])
    _try_models(read["streams"])
    if settings.json:
        emit_json({"file": file, "kind": kind, "name": read["name"], "streams": streams, "sound": True})
    else:
        sentence = f"{file} is a valid {kind}, with {', '.join(streams) or 'no streams'}."
        stdout().print(printable(sentence), markup=False, soft_wrap=True)


def _try_models(streams: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Refuse models that do not fit their extractors; one that would have to be downloaded is left to the extraction.

    Raises:
        UsageError: A model does not fit.
    """
    from mse_pipeline.extractors import create, pretrained
    from mse_pipeline.extractors.trial import require_fit

    for stream, options in streams.items():
        model, revision = (options or {}).get("model"), (options or {}).get("revision")
        if isinstance(model, str) and pretrained.here(model, revision):
            require_fit(create(stream, options))


def _read(name: str, changes: Sequence[str]) -> dict[str, Any]:
    """A recipe or feature set as plain values.

    Raises:
        UsageError: The file has errors, or settings are given for a feature set.
    """
    from mse_pipeline import recipe
    from mse_pipeline.cli.extract import check_streams, checks
    from mse_pipeline.recipe.reading import file_of

    if not file_of(name)[1]:
        return recipe.with_settings(recipe.load(name, checks()), changes, checks()).to_dict()
    if changes:
        raise UsageError(
            f"--set changes a recipe, but {name} is a feature set. Use mse extract … --features {name} --set …"
        )
    return recipe.load_features(name, (check_streams,)).to_dict()


def _without_nulls(plain: dict[str, Any]) -> dict[str, Any]:
    """Without empty sections, which no file contains."""
    return {name: section for name, section in plain.items() if section is not None}
