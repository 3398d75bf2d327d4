"""mse datasets: what there is, what a folder really holds, and its clips as a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse_pipeline.cli.extract import placed, resolve
from mse_pipeline.cli.options import Debug, Encoding, FollowLinks, Json, MediaRoot, Quiet, Root
from mse_pipeline.cli.output import complain, emit_json, printable, remark, settings, stdout
from mse_pipeline.places import is_local, place

if TYPE_CHECKING:
    from mse_pipeline.recipe import Recipe

app = typer.Typer(no_args_is_help=True, help="Datasets: what there is, and what a folder of one really holds.")

Target = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="A dataset (meld), a recipe file (my.yaml), or a clip table (clips.csv)."),
]


@app.command("list")
def list_(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the datasets with task, language, labels, clips, licence and source."""
    from mse_pipeline.checking.catalogue import ENTRIES
    from mse_pipeline.cli.datasets_show import show_list, to_dict

    if settings.json:
        emit_json({"datasets": [to_dict(entry) for entry in ENTRIES]})
    else:
        show_list(ENTRIES, stdout())


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a dataset, as mse datasets list tells it.")],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show all that is known of a dataset: layouts, official counts, known defects."""
    from mse_pipeline.checking.catalogue import find
    from mse_pipeline.cli.datasets_show import show_entry, to_dict

    entry = find(name)
    if settings.json:
        emit_json(to_dict(entry))
    else:
        show_entry(entry, stdout())


@app.command("check")
def check(
    target: Target,
    root: Root = None,
    encoding: Encoding = None,
    media_root: MediaRoot = None,
    follow_links: FollowLinks = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: one a core]", show_default=False)
    ] = None,
    digests: Annotated[
        bool, typer.Option("--digests", help="Also find files of equal content; reads files of equal size in full.")
    ] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Also decode every file to its end, to find what is damaged or cut off.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="What a file may take before it is given up.")
    ] = 120.0,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one row a clip.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each kind of defect.")] = 3,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 if the official clip counts are not met.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Probe every media file of a folder without extracting, and tell counts, lengths, streams and all defects."""
    from mse_pipeline.checking import run
    from mse_pipeline.checking.report import write_csv
    from mse_pipeline.cli.datasets_show import CheckBar, show_report
    from mse_pipeline.cli.progress import bar

    recipe, folder = _resolve(target, root, encoding, media_root, follow_links)
    with bar("files") as progress:
        report = run.check(
            recipe,
            folder,
            workers=workers,
            digests=digests,
            decode=decode,
            timeout=timeout,
            progress=CheckBar(progress),
        )
    if csv is not None:
        write_csv(csv, report)
        remark(f"Written: {csv}")
    if settings.json:
        emit_json(report.to_dict(examples))
    else:
        show_report(report, stdout(), examples)
    if strict and report.count_differences:
        complain("--strict: the corpus is not as officially described. " + " ".join(report.count_differences))
        raise typer.Exit(1)


@app.command("export")
def export(
    target: Target,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table to write: clips.parquet or clips.csv.")],
    root: Root = None,
    encoding: Encoding = None,
    media_root: MediaRoot = None,
    follow_links: FollowLinks = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the clips as a table, which the corpus `table` reads back to the same clips."""
    from mse_pipeline.checking import run
    from mse_pipeline.checking.clip_table import export as write
    from mse_pipeline.corpora.overview import overview

    recipe, folder = _resolve(target, root, encoding, media_root, follow_links)
    corpus = run.read(recipe, folder)
    understood = overview(corpus.clips, corpus.task)
    notes = [*corpus.notes, *write(out, corpus.clips, corpus.task)]
    home = corpus.media_folder
    if not is_local(home) or not out.resolve().is_relative_to(home):
        notes.append(f"Media paths start from {home}: put the table there to read it back.")
    if settings.json:
        told = {"clips": len(corpus.clips), "understood": understood.to_dict(), "notes": notes}
        emit_json({"dataset": recipe.name, "path": str(out), **told})
        return
    stdout().print(printable(understood.sentence()), markup=False)
    stdout().print(f"{len(corpus.clips):,} clips written to {out}.", markup=False)
    for note in notes:
        remark(note)


def _resolve(
    target: str, root: str | None, encoding: str | None, media_root: str | None, follow_links: bool
) -> tuple[Recipe, str | Path]:
    """As `mse extract` resolves it; a corpus that no recipe is about is read with its reader's own defaults."""
    from mse_pipeline import corpora, recipe

    if encoding is None and target in corpora.available() and target not in recipe.names():
        plain = {"version": 1, "name": target, "corpus": {"name": target}}
        folder = root or place(os.environ.get("MSE_DATA", "data")) / target
        made = recipe.Recipe.model_validate(plain)
        return placed(made, folder, Path(), media_root=media_root, follow_links=follow_links), folder
    return resolve(target, encoding=encoding, root=root, media_root=media_root, follow_links=follow_links)
