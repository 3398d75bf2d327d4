"""The closing words of an extraction, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.cli.output import printable

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.extraction.summary import Summary


def show(summary: Summary, console: Console) -> None:
    """Print what was found, made and not made, and where to look."""
    console.print(printable(summary.understood.sentence()), markup=False, soft_wrap=True)
    for note in summary.notes:
        console.print(printable(f"Note: {note}"), markup=False, soft_wrap=True)
    console.print(_splits(summary))
    console.print(_streams(summary))
    rate = f", {summary.processed / summary.seconds:.1f} clips/s" if summary.processed else ""
    console.print(
        f"{summary.processed} of {summary.asked} clips worked on in {summary.seconds:.1f} s{rate}. "
        f"Features: [bold]{escape(str(summary.path))}[/]",
        soft_wrap=True,  # a path in two lines is no path
    )
    if summary.defects:
        told = ", ".join(f"{count} {code}" for code, count in summary.defects.items())
        console.print(
            f"Defects of the corpus: {told}. See {escape(str(summary.path / 'defects.jsonl'))}", soft_wrap=True
        )
    for sentence in summary.instead:
        console.print(escape(sentence), soft_wrap=True)
    if summary.remarks:
        console.print("Remarks: " + ", ".join(f"{count} {code}" for code, count in summary.remarks.items()))
    if summary.failed_clips:
        first = summary.failures[0]
        console.print(
            f"[yellow]{summary.failed_clips} clips lack a stream[/], as {escape(first.clip)}, {escape(first.stream)}: "
            f"{first.code} ({first.stage}): {escape(first.message or '')}\n"
            f"All of them: mse cache show {escape(summary.dataset)} --failures; "
            f"try again: mse extract … --retry-failed"
        )


def _splits(summary: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"Clips of {escape(summary.dataset)}", title_justify="left")
    table.add_column("split")
    table.add_column("found", justify="right")
    if summary.expected:
        table.add_column("expected", justify="right")
    for split in dict.fromkeys([*summary.found, *summary.expected]):
        found, expected = summary.found.get(split, 0), summary.expected.get(split)
        cells = [split, str(found)]
        if summary.expected:
            cells.append(str(expected) if expected == found else f"[yellow]{expected}[/]")
        table.add_row(*cells)
    return table


def _streams(summary: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD, title="Streams", title_justify="left")
    for name, justify in (
        ("stream", "left"),
        ("done", "right"),
        ("new", "right"),
        ("rows", "right"),
        ("valid", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("failed")
    for stream, count in summary.streams.items():
        failed = ", ".join(f"{number} {code}" for code, number in count.failed.items()) or "–"
        share = f"{100 * count.valid / count.rows:.1f} %" if count.rows else "–"
        table.add_row(stream, str(count.done), str(count.made), str(count.rows), share, failed)
    return table
