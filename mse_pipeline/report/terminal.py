"""Report -> tables in a terminal, fitted to its width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mse_pipeline import metrics
from mse_pipeline.report.build import Report
from mse_pipeline.report.published import Published
from mse_pipeline.report.runs import RunGroup
from mse_pipeline.report.table import Cell, Column, Table, coverage_rows, marks, seconds_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

OTHERS = 5
"""How many systems of other papers are shown; Markdown and JSON have all of them."""
NOTES = 8
"""How many notes, and how many warnings, are shown."""
_LAYOUTS = ((44, 48, " ± "), (34, 30, " ± "), (28, 26, "±"), (24, 22, "±"))
"""From roomy to narrow: widest run name, widest description, how mean and deviation are joined."""
_SPARE = ("Non0_F1_score", "Has0_F1_score", "Mult_acc_5", "Mult_acc_3", "R_squre", "Mult_acc_2_weak", "F1_score")
"""Metrics that say what others nearly say: the first to go where a terminal is narrow."""


def to_terminal(report: Report, console: Console) -> None:
    """Prints the tables and what one must know to read them. Names of runs are shown as they stand, never as markup.

    Args:
        report: From `build`.
        console: Its width decides how many columns are shown; those left out are told.
    """
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in report.tables:
        console.print()
        if table.rows:
            others = [row for row in table.published if any(c.key in row.mean for c in table.columns)]
            shown = [*(row for row in others if row.own), *[row for row in others if not row.own][:OTHERS]]
            rendered, columns = _fitted(table, shown, console.width)
            console.print(rendered)
            console.print(Text(_legend(table, columns, len(others) - len(shown)), style="dim"))
            _coverage(table, console)
        else:
            console.print(Text(f"{table.dataset}: no run has a finished seed yet.", style="bold"))
    for sentences, sign, style in ((report.notes, "!", "yellow"), (report.warnings, "-", "dim")):
        if not sentences:
            continue
        listed = RichTable.grid(padding=(0, 1, 0, 0))
        for sentence in sentences[:NOTES]:
            listed.add_row(Text(sign, style=style), Text(sentence))
        if len(sentences) > NOTES:
            listed.add_row("", Text(f"… and {len(sentences) - NOTES} more: Markdown and JSON have all.", style="dim"))
        console.print()
        console.print(listed)


def _coverage(table: Table, console: Console) -> None:
    """Of how many clips the rows are, and what their marks mean."""
    from rich.table import Table as RichTable
    from rich.text import Text

    listed = RichTable.grid(padding=(0, 1, 0, 0))
    for what, parts, runs in coverage_rows(table):
        listed.add_row(Text(what), Text(f"{parts}{f'  ({runs})' if runs else ''}"), style="dim")
    if listed.row_count:
        console.print(listed)
    for sentence in marks(table):
        console.print(Text(sentence, style="yellow"))


def _fitted(table: Table, others: Sequence[Published], width: int) -> tuple[RichTable, tuple[Column, ...]]:
    """The roomiest layout that fits; columns go only when the narrowest does not fit, the least telling ones first."""
    from rich.console import Console

    first = metrics.primary(table.kind)[0]
    columns = table.columns
    measure = Console(width=10_000)
    while True:
        whole = len(columns) == len(table.columns)
        for timed in (True, False) if whole else (False,):
            for layout in _LAYOUTS if whole else _LAYOUTS[-1:]:
                rendered = _render(table, others, columns, layout, timed=timed)
                if measure.measure(rendered).maximum <= width or (len(columns) == 1 and not timed):
                    return rendered, columns
        spare = [column for key in _SPARE for column in columns if column.key == key]
        spare = spare or [column for column in reversed(columns) if column.key != first]
        columns = tuple(column for column in columns if column != spare[0])


def _render(
    table: Table,
    others: Sequence[Published],
    columns: Sequence[Column],
    layout: tuple[int, int, str],
    *,
    timed: bool,
) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    name_width, reads_width, join = layout
    title = Text.assemble((table.dataset, "bold"), ("  test split", "dim"))
    made = RichTable(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("run", max_width=name_width, no_wrap=True, overflow="ellipsis")
    made.add_column("reads", max_width=reads_width, overflow="fold")
    made.add_column("n", justify="right", no_wrap=True)
    for column in columns:
        # With a column's numbers padded to one shape, the left edge lines up the decimal points.
        made.add_column(column.title, justify="left", no_wrap=True)
    times = [row.run.epoch_seconds for row in table.rows]
    if timed and any(times):
        made.add_column("s/epoch", justify="right", no_wrap=True)
    ours = [row.cells for row in table.rows]
    theirs = [{key: Cell(mean, row.sd.get(key)) for key, mean in row.mean.items()} for row in others]
    texts = {column.key: _aligned(column, [*ours, *theirs], join) for column in columns}
    for i, row in enumerate(table.rows):
        cells = [
            Text(texts[c.key][i], style="bold green" if c.key in row.cells and row.cells[c.key].best else "")
            for c in columns
        ]
        last = i == len(table.rows) - 1
        label = [
            Text(row.mark + _named(row.run, name_width - len(row.mark))),
            Text(row.reads),
            Text(str(len(row.run.seeds))),
        ]
        time = [Text(seconds_text(times[i]))] if timed else []
        made.add_row(*label, *cells, *time, end_section=last and bool(others))
    for i, other in enumerate(others, start=len(ours)):
        label = [Text(other.system), Text(f"published ({other.source})"), Text(str(other.seeds or ""))]
        made.add_row(*label, *(Text(texts[c.key][i]) for c in columns), style="dim")
    return made


def _named(run: RunGroup, width: int) -> str:
    """A run's name, or where that is too long, what tells it apart: its variant and its digest."""
    if len(run.name) <= width:
        return run.name
    return f"{run.variant[: width - 9]} {run.config_digest[:8]}"


def _aligned(column: Column, rows: Sequence[Mapping[str, Cell]], join: str) -> list[str]:
    """A column's cells, with means and deviations below each other."""
    cells = [row.get(column.key) for row in rows]
    means = ["–" if cell is None else column.number(cell.mean) for cell in cells]
    sds = ["" if cell is None or cell.sd is None else column.number(cell.sd) for cell in cells]
    left, right = max(map(len, means)), max(map(len, sds))
    return [
        f"{mean:>{left}}" + (f"{join}{sd:>{right}}" if sd else " " * (len(join) + right if right else 0))
        for mean, sd in zip(means, sds, strict=True)
    ]


def _legend(table: Table, columns: Sequence[Column], hidden: int) -> str:
    parts = ["n seeds, mean ± sample sd", "percent" + (", errors in label units" if _errors(columns) else "")]
    if len(table.rows) > 1:
        parts.append("bold: best of our runs")
    left_out = [column.name for column in table.columns if column not in columns]
    if left_out:
        parts.append(f"no room here for {', '.join(left_out)}")
    if hidden > 0:
        parts.append(f"{hidden} more published rows in Markdown and JSON")
    return " · ".join(parts)


def _errors(columns: Sequence[Column]) -> bool:
    return any(column.error for column in columns)
