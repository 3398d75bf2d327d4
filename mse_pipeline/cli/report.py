"""mse report: tables of the results of runs, as files and figures too, and two runs clip by clip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet, Where
from mse_pipeline.cli.output import emit_json, remark, settings, stdout

if TYPE_CHECKING:
    from mse_pipeline.report import Report
    from mse_pipeline.report.formats.page import Pages
    from mse_pipeline.report.pair import Pair
    from mse_pipeline.store.cache import Cache


def command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run folders, or folders of them; two run folders are compared clip by clip. [default: runs]",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--runs", metavar="DIR", help="Folder of runs, as of mse train.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="Show the results on this split, test or valid.")] = "test",
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Also write the report to a file, in the format of its ending: .md, .tex, .csv, .json or .html. May "
            "be given several times.",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also draw each figure as PNG and PDF into this folder.", show_default=False),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips",
            metavar="FILE",
            help="Of two runs: write all clips with label, both predictions and text to a .csv or .json file.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Of two runs: how many of the clips that changed are listed.")] = 20,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Order runs by a metric, best first, as weight_F1 or MAE, or by ECE, name, created, parameters or "
            "seconds. [default: by backbone, then what is left out]",
            show_default=False,
        ),
    ] = None,
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
    from mse_pipeline.report import formats, pair
    from mse_pipeline.store.cache import open_cache
    from mse_pipeline.store.storage import write_text

    files, paths = list(out or []), [*(runs or []), *([folder] if folder else [])] or [Path("runs")]
    for file in files:
        formats.check_file(file)
    for path in filter(None, (markdown, figures, clips)):
        formats.check_folder(path)
    if clips is not None:
        pair.check_file(clips)
    if any(file.suffix.lower() in formats.HTML for file in files):
        formats.require_page()
    opened = open_cache(cache) if where is not None else _cache_of_texts(cache, files, paths)
    built = report.build(paths, split, where=where, cache=opened, draws=bootstrap, sort=sort)
    if markdown is not None:
        write_text(markdown, report.to_markdown(built))
        remark(f"Written: {markdown}")
    for file in files:
        formats.write(built, file, opened, _pages_from(file))
        remark(f"Written: {file}")
    if figures is not None:
        _draw(built, figures)
    compared = _compare(built, paths, bootstrap, opened)
    if clips is not None:
        pair.write(pair.require(compared, paths), clips)
        remark(f"Written: {clips}")
    if settings.json:
        emit_json({**report.to_json(built), **({} if compared is None else {"pair": pair.to_plain(compared)})})
        return
    report.to_terminal(built, stdout())
    if compared is not None:
        pair.show(compared, stdout(), limit)


def _are_two_runs(paths: list[Path]) -> bool:
    return len(paths) == 2 and all((path / "run.json").is_file() for path in paths)


def _cache_of_texts(cache: str | None, files: list[Path], paths: list[Path]) -> Cache | None:
    """The cache, where what is asked for shows texts of clips; None where it does not, or where it is out of reach."""
    from mse_pipeline.errors import UsageError
    from mse_pipeline.report.formats import HTML
    from mse_pipeline.store.cache import open_cache

    if not _are_two_runs(paths) and not any(file.suffix.lower() in HTML for file in files):
        return None
    try:
        return open_cache(cache)
    except UsageError as error:
        remark(f"Texts of clips are left out: {error}")
        return None


def _pages_from(file: Path) -> Pages:
    """Where the pages of `mse inspect` lie in its default folder, seen from a report's file."""
    from mse_pipeline.cli.inspect import FOLDER, page_name

    def address(dataset: str, clip: str) -> str | None:
        page = FOLDER / page_name(dataset, clip)
        return quote(Path(os.path.relpath(page, file.parent)).as_posix()) if page.is_file() else None

    return address


def _draw(built: Report, folder: Path) -> None:
    from mse_pipeline.report.figures import draw_all

    new = not folder.exists()
    drawn = draw_all(built, folder)
    remark(f"{len(drawn)} figures, each as PNG and PDF, in {folder}{', a new folder' if new else ''}.")


def _compare(built: Report, paths: list[Path], draws: int, cache: Cache | None) -> Pair | None:
    """The comparison of two run folders clip by clip; None where anything else was asked for."""
    from mse_pipeline.errors import MseError
    from mse_pipeline.report import bootstrap, pair

    if not _are_two_runs(paths):
        return None
    try:
        rows = pair.rows_of(built.tables, paths)
        return None if rows is None else pair.compare_clips(*rows, cache=cache, draws=draws or bootstrap.DRAWS)
    except MseError as error:
        remark(f"Not compared clip by clip: {error}")
        return None
