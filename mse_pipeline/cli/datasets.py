"""mse datasets: list and describe the known datasets, check a raw folder, and write its clips as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.extract import resolve
from mse_pipeline.cli.options import Debug, Encoding, FollowLinks, Json, MediaRoot, Quiet, Root, Set, Target, Workers
from mse_pipeline.cli.output import complain, emit_json, note, printable, remark, settings, stdout
from mse_pipeline.clip import Split
from mse_pipeline.places import is_local
from mse_pipeline.task import to_plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from mse_pipeline.checking.report import CheckReport, Spread
    from mse_pipeline.corpora.base import DatasetEntry

_VALUES = 6  # of a property, at most
_NOTHING = "–"
app = typer.Typer(
    no_args_is_help=True, help="Datasets: list them, show one, check a raw folder, and write its clips as a table."
)


@app.command("list")
def list_(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the datasets with task, language, labels, clips, licence and source."""
    from mse_pipeline.corpora import entries

    datasets, refused = entries()
    if settings.json:
        emit_json({"datasets": [to_dict(entry) for entry in datasets], "refused": refused})
    else:
        show_list(datasets, refused, stdout())


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a dataset; see mse datasets list.")],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what is known of a dataset: folder layouts, official counts, known defects."""
    from mse_pipeline.corpora import find

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
    changes: Set = None,
    workers: Workers = None,
    digests: Annotated[
        bool,
        typer.Option("--digests", help="Also find files with the same content; reads files of the same size in full."),
    ] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Also decode every file to its end, to find damaged and truncated ones.")
    ] = False,
    quality: Annotated[
        bool,
        typer.Option("--quality", help="Also measure loudness, noise and the face of every clip; takes its time."),
    ] = False,
    speech: Annotated[
        bool, typer.Option("--speech", help="Also listen to every file, to find clips in which nobody speaks.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="Longest time for one file; then it is reported and skipped."),
    ] = 120.0,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a table with one row per clip.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many examples of each kind of defect are shown.")] = 3,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if the clips differ from the official counts.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check every media file of a folder without extracting: counts, lengths, media streams and all defects."""
    from mse_pipeline.checking import run
    from mse_pipeline.checking.report import write_csv
    from mse_pipeline.cli.progress import bar

    recipe, folder = resolve(
        target, None, changes, encoding=encoding, root=root, media_root=media_root, follow_links=follow_links
    )
    with bar("files") as progress:
        report = run.check(
            recipe,
            folder,
            workers=workers,
            digests=digests,
            decode=decode,
            quality=quality,
            speech=speech,
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
        complain("--strict: the clips differ from the official counts. " + " ".join(report.count_differences))
        raise typer.Exit(1)


@app.command("export")
def export(
    target: Target,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table to write: clips.parquet or clips.csv.")],
    root: Root = None,
    encoding: Encoding = None,
    media_root: MediaRoot = None,
    follow_links: FollowLinks = False,
    changes: Set = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the clips as a table; the corpus `table` reads the same clips from it."""
    from mse_pipeline.checking import run
    from mse_pipeline.corpora.overview import overview

    recipe, folder = resolve(
        target, None, changes, encoding=encoding, root=root, media_root=media_root, follow_links=follow_links
    )
    corpus = run.read(recipe, folder)
    understood = overview(corpus.clips, corpus.task)
    notes = [*corpus.notes, *run.export(out, corpus.clips, corpus.task)]
    home = corpus.media_folder
    if not is_local(home) or not out.resolve().is_relative_to(home):
        notes.append(f"Media paths start from {home}. Put the table there before you read it.")
    if settings.json:
        plain = {"clips": len(corpus.clips), "understood": understood.to_dict(), "notes": notes}
        emit_json({"dataset": recipe.name, "path": str(out), **plain})
        return
    note(understood.sentence())
    stdout().print(f"{len(corpus.clips):,} clips written to {out}.", markup=False)
    for sentence in notes:
        remark(sentence)


def to_dict(entry: DatasetEntry) -> dict[str, Any]:
    """An entry as plain JSON values."""
    predicts = entry.predicts and to_plain(entry.predicts)
    clips = sum(entry.splits.values()) or None
    return {**asdict(entry), "predicts": predicts, "clips": clips, "supported": True}  # each comes with its reader


def show_list(entries: Sequence[DatasetEntry], refused: Mapping[str, str], console: Console) -> None:
    """Print one row per dataset, and why a dataset of another package cannot be used."""
    names = ("dataset", "language", "train", "valid", "test", "task")
    table = _table(None, names, numbers=range(2, 5))
    for column in table.columns[:5]:
        column.no_wrap = True
    for entry in entries:
        counts = [f"{entry.splits[split]:,}" if entry.splits else _NOTHING for split in Split]
        _add(table, (entry.name, entry.language or "any", *counts, entry.task))
    console.print(table)
    note("Labels, licence, source, layouts and known defects of one: mse datasets show NAME")
    for sentence in refused.values():
        complain(sentence)


def _table(title: str | None, names: Iterable[str], numbers: Iterable[int] = ()) -> Table:
    right = set(numbers)
    table = Table(box=SIMPLE_HEAD, title=None if title is None else escape(title), title_justify="left")
    for column, name in enumerate(names):
        table.add_column(name, justify="right" if column in right else "left")
    return table


def _add(table: Table, cells: Iterable[str]) -> None:
    # What label files and file names hold is text: neither markup of ours nor commands to the terminal.
    table.add_row(*(escape(printable(cell)) for cell in cells))


def show_entry(entry: DatasetEntry, console: Console) -> None:
    """Print all that is known of a dataset."""
    counts = ", ".join(f"{split} {number:,}" for split, number in entry.splits.items())
    table = Table.grid(padding=(0, 2))
    for name, text in (
        ("dataset", f"{entry.name}: {entry.title}"),
        ("task", entry.task),
        ("language", entry.language or "any"),
        ("labels", entry.labels),
        ("splits", "; ".join(filter(None, (counts, entry.splits_from))) or "what the table says"),
        ("licence", entry.licence),
        ("source", entry.source),
        ("layouts", "\n".join(entry.layouts)),
        ("known defects", "\n".join(entry.defects) or _NOTHING),
        ("reader", f"mse datasets check {entry.name} --root DIR"),
    ):
        _add(table, (name, text))
    console.print(table)


class CheckBar:
    """Shows a check on a progress display."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("check", total=None, note="")

    def stage(self, text: str, total: int | None = None) -> None:
        """A new stage begins, of so many files."""
        self._progress.reset(self._task, total=total, description=text, note="")

    def advance(self, files: int) -> None:
        """So many more files are through."""
        self._progress.update(self._task, advance=files)


def show_report(report: CheckReport, console: Console, examples: int) -> None:
    """Print what a check found."""
    note(report.understood.sentence(), console)
    console.print(_splits(report))
    if report.labels:
        console.print(_labels(report))
    if any(part.labels for part in report.splits.values()):
        console.print(_spreads("Labels", {str(s): part.labels for s, part in report.splits.items()}))
    lengths = {str(split): part.seconds for split, part in report.splits.items()}
    console.print(_spreads("Seconds a clip", lengths, hours=True))
    console.print(_media(report))
    if report.quality:
        console.print(_spreads("Quality of the clips", report.qualities, first="measure"))
    console.print(_defects(report, examples) if report.defects else "No defect was found.")
    for sentence in report.notes:
        note(f"Note: {sentence}", console)
    rate = len(report.files) / report.seconds if report.seconds else 0.0
    note(f"{len(report.files):,} files probed in {report.seconds:.1f} s, {rate:.0f} a second.", console)


def _splits(report: CheckReport) -> Table:
    title = f"Clips of {report.dataset} in {report.root}"
    table = _table(title, ("split", "found", "expected", "with media", "readable"), numbers=range(1, 5))
    for split, part in report.splits.items():
        expected = _NOTHING if part.expected is None else f"{part.expected:,}"
        differs = part.expected is not None and part.expected != part.found
        table.add_row(
            str(split),
            f"{part.found:,}",
            f"[yellow]{expected}[/]" if differs else expected,
            f"{part.with_media:,}",
            f"{part.readable:,}",
        )
    return table


def _labels(report: CheckReport) -> Table:
    splits = list(report.splits)
    table = _table("Clips a label", ("label", *map(str, splits), "all"), numbers=range(1, len(splits) + 2))
    for name, counts in report.labels.items():
        _add(table, (name, *(f"{counts[split]:,}" for split in splits), f"{sum(counts.values()):,}"))
    return table


def _spreads(title: str, spreads: Mapping[str, Spread | None], hours: bool = False, first: str = "split") -> Table:
    names = (first, "clips", "min", "median", "mean", "max", *(("hours",) if hours else ()))
    table = _table(title, names, numbers=range(1, len(names)))
    for split, spread in spreads.items():
        if spread is None:
            _add(table, (split, "0", *[_NOTHING] * (len(names) - 2)))
            continue
        values = (spread.minimum, spread.median, spread.mean, spread.maximum)
        total = (f"{spread.total / 3600:.2f}",) if hours else ()
        _add(table, (split, f"{spread.count:,}", *(f"{value:.3f}" for value in values), *total))
    return table


def _media(report: CheckReport) -> Table:
    table = _table(f"Media files ({len(report.files):,})", ("property", "files"))
    for name, values in report.media.items():
        texts = [f"{value} ({number:,})" for value, number in list(values.items())[:_VALUES]]
        more = len(values) - len(texts)
        _add(table, (name, ", ".join(texts) + (f" and {more:,} more" if more else "")))
    return table


def _defects(report: CheckReport, examples: int) -> Table:
    table = _table("Defects", ("code", "count", "as in"), numbers=range(1, 2))
    for code, defects in report.by_code().items():
        _add(table, (code, f"{len(defects):,}", "\n".join(defect.message for defect in defects[:examples])))
    return table
