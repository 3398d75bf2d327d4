"""Tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mse_pipeline import metrics
from mse_pipeline.report.published import PublishedRow
from mse_pipeline.report.sentences import (
    beside,
    comparison_lines,
    coverage_rows,
    doubts,
    floor_hint,
    meanings,
    zeros_sentence,
)
from mse_pipeline.report.table import Cell, Column, Report, ResultTable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

OTHERS = 5
"""How many systems of other papers are shown; Markdown and JSON have all of them."""
NOTES = 8
"""How many notes, and how many warnings, are shown."""
_LAYOUTS = ((44, 48, " ± ", 80), (34, 30, " ± ", 0), (28, 26, "±", 0), (24, 22, "±", 0))
"""From roomy to narrow: widest run name, widest description, how mean and deviation are joined, longest setting in the
description; 0 where settings stand below the table."""
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
            others = table.comparable
            shown = [*(row for row in others if row.own), *[row for row in others if not row.own][:OTHERS]]
            rendered, columns, layout = _fitted(table, shown, console.width)
            console.print(rendered)
            if not layout[-1]:
                _settings(table, layout, console)
            if left_out := _left_out(table, columns, rendered, len(others) - len(shown)):
                console.print(Text(left_out, style="dim"))
            _coverage(table, console)
        else:
            console.print(Text(f"{table.dataset}: no run has a result on the {table.split} split.", style="bold"))
    if legend := "\n".join(meanings(report.tables)):
        console.print()
        console.print(Text(legend, style="dim"))
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


def _coverage(table: ResultTable, console: Console) -> None:
    """Of how many clips the rows are, and what makes single ones doubtful."""
    from rich.table import Table as RichTable
    from rich.text import Text

    listed = RichTable.grid(padding=(0, 1, 0, 0))
    for difference, parts, runs in coverage_rows(table):
        listed.add_row(Text(difference), Text(f"{parts}{f'  ({runs})' if runs else ''}"), style="dim")
    if listed.row_count:
        console.print(listed)
    for sentence in doubts(table):
        console.print(Text(sentence, style="yellow"))
    for sentence in filter(None, (zeros_sentence(table), *comparison_lines(table), floor_hint(table))):
        console.print(Text(sentence, style="dim"))


_Layout = tuple[int, int, str, int]


def _settings(table: ResultTable, layout: _Layout, console: Console) -> None:
    """In what the trainings of the rows differ, where their descriptions have no room for it."""
    from rich.table import Table as RichTable
    from rich.text import Text

    listed = RichTable.grid(padding=(0, 1, 0, 0))
    for row in table.rows:
        if row.settings:
            listed.add_row(Text(row.run.short_name(layout[0])), Text(row.describe_settings(40)), style="dim")
    if listed.row_count:
        console.print(listed)


def _fitted(
    table: ResultTable, others: Sequence[PublishedRow], width: int
) -> tuple[RichTable, tuple[Column, ...], _Layout]:
    """The roomiest layout that fits; columns go only when the narrowest does not fit, the least telling ones first."""
    from rich.console import Console

    first = metrics.primary(table.kind)[0]
    columns, further = table.columns, beside(table)
    measure = Console(width=10_000)
    while True:
        whole = len(columns) == len(table.columns)
        for left in range(len(further) + 1) if whole else [len(further)]:
            for layout in _LAYOUTS if whole else _LAYOUTS[-1:]:
                rendered = _render(table, others, columns, layout, further[left:])
                if measure.measure(rendered).maximum <= width or (len(columns) == 1 and left == len(further)):
                    return rendered, columns, layout
        spare = [column for key in _SPARE for column in columns if column.key == key]
        spare = spare or [column for column in reversed(columns) if column.key != first]
        columns = tuple(column for column in columns if column != spare[0])


def _render(
    table: ResultTable,
    others: Sequence[PublishedRow],
    columns: Sequence[Column],
    layout: _Layout,
    further: Sequence[tuple[str, list[str]]],
) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    name_width, reads_width, join, longest = layout
    title = Text.assemble((table.dataset, "bold"), (f"  {table.split} split", "dim"))
    terminal_table = RichTable(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    terminal_table.add_column("run", max_width=name_width, no_wrap=True, overflow="ellipsis")
    terminal_table.add_column("reads", max_width=reads_width, overflow="fold")
    terminal_table.add_column("n", justify="right", no_wrap=True)
    for column in columns:
        # With a column's numbers padded to one shape, the left edge lines up the decimal points.
        terminal_table.add_column(column.title, justify="left", no_wrap=True)
    for title_beside, _ in further:
        terminal_table.add_column(title_beside, justify="right", no_wrap=True)
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
            Text(row.mark + row.run.short_name(name_width - len(row.mark))),
            Text(row.describe(longest) + (f" · {row.run.origin}" if row.run.adapted else "")),
            Text(str(len(row.run.seeds))),
        ]
        terminal_table.add_row(
            *label, *cells, *(Text(rows[i]) for _, rows in further), end_section=last and bool(others)
        )
    for i, other in enumerate(others, start=len(ours)):
        label = [Text(other.system), Text(f"published ({other.source})"), Text(str(other.seeds or ""))]
        terminal_table.add_row(*label, *(Text(texts[c.key][i]) for c in columns), style="dim")
    return terminal_table


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


def _left_out(table: ResultTable, columns: Sequence[Column], rendered: RichTable, hidden: int) -> str:
    """What of a table has no place here; empty where all has."""
    parts = []
    there = {column.header for column in rendered.columns}
    left_out = [column.name for column in table.columns if column not in columns]
    left_out += [title.rstrip(" ↓↑") for title, _ in beside(table) if title not in there]
    if left_out:
        parts.append(f"no room here for {', '.join(left_out)}")
    if hidden > 0:
        parts.append(f"{hidden} more published rows in Markdown and JSON")
    return " · ".join(parts)
