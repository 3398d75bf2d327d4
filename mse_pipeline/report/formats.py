"""Formats of a report: tables that fit a terminal, GitHub-flavoured Markdown, and plain JSON.

JSON has the scale of `metrics.evaluate`: fractions, errors in label units, null for undefined.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mse_pipeline import metrics
from mse_pipeline.report.published import PublishedRow
from mse_pipeline.report.runs import RunGroup, StoredSeed
from mse_pipeline.report.table import (
    Cell,
    Column,
    Report,
    ResultRow,
    ResultTable,
    comparison_lines,
    coverage_rows,
    ece_text,
    floor_hint,
    marks,
    memory_text,
    parameters_text,
    seconds_text,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable


def to_json(report: Report) -> dict[str, Any]:
    """A value that `json.dumps(..., allow_nan=False)` takes.

    Returns:
        ``{"format": 1, "tables": [...], "notes": [...], "warnings": [...]}``; a table has ``dataset``, ``split``,
        ``metrics``, ``columns``, ``runs`` (means under the split's name, and every seed; ``settings`` of the training
        in which they differ; ``partial`` where a split or stream is covered by less than 90 %, with ``coverage`` and
        ``shortcomings``; ``labelled`` is equal for runs on the same clips, labels and texts),
        ``published``, ``pending``, ``marks``, and as ``floor`` how to train the floor, where it is missing. ``where``
        is there where the scores are of some clips: by dataset.
    """
    return {
        "format": 1,
        "tables": [_table(table) for table in report.tables],
        "notes": list(report.notes),
        "warnings": list(report.warnings),
        **({"where": {name: dict(one) for name, one in report.where.items()}} if report.where else {}),
    }


def _table(table: ResultTable) -> dict[str, Any]:
    return {
        "dataset": table.dataset,
        "split": table.split,
        "metrics": table.kind,
        "columns": [
            {
                "key": column.key,
                "title": column.title,
                "unit": "label" if column.error else "fraction",
                "higher_is_better": not column.error,
            }
            for column in table.columns
        ],
        "runs": [_row(row, table.split) for row in table.rows],
        "published": [_published_json(row) for row in table.published],
        "pending": [_run(run) for run in table.pending],
        "marks": marks(table),
        "floor": floor_hint(table) or None,
    }


def _row(row: ResultRow, split: str) -> dict[str, Any]:
    cells = {key: {"mean": _defined(cell.mean), "sd": cell.sd, "best": cell.best} for key, cell in row.cells.items()}
    classes = None if row.classes is None else asdict(row.classes)
    return {
        **_run(row.run),
        "partial": row.partial,
        split: cells,
        "settings": dict(row.settings),
        "calibration": {key: {"mean": _defined(cell.mean), "sd": cell.sd} for key, cell in row.calibration.items()},
        "seeds": [_seed(seed) for seed in row.run.seeds],
        "classes": classes,
        **({} if row.comparison is None else {"comparison": asdict(row.comparison)}),
    }


def _run(run: RunGroup) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": run.path.as_posix().encode("utf-8", "replace").decode(),
        "backbone": run.backbone,
        "model": run.model,
        "origin": run.origin,
        "variant": run.variant,
        **({"where": run.where} if run.where else {}),
        "streams": dict(run.streams),
        "config_digest": run.config_digest,
        "trainable_parameters": run.trainable_parameters,
        "total_parameters": run.total_parameters,
        "peak_memory": run.peak_memory,
        "created": run.created,
        "epoch_seconds": run.epoch_seconds,
        "unfinished": dict(run.unfinished),
        "coverage": None if run.coverage is None else run.coverage.to_plain(),
        "shortcomings": [] if run.coverage is None else list(run.coverage.shortcomings()),
        "data": dict(run.data),
        "labelled": run.labelled or None,
    }


def _seed(seed: StoredSeed) -> dict[str, Any]:
    return {
        "seed": seed.seed,
        "best_epoch": seed.best_epoch,
        "epochs": seed.epochs,
        "seconds": seed.seconds,
        "learning_rate": seed.learning_rate,
        "valid": _numbers(seed.valid),
        "test": _numbers(seed.test),
        "calibration": _numbers(seed.calibration),
        "alarms": list(seed.alarms),
    }


def _published_json(row: PublishedRow) -> dict[str, Any]:
    return {
        "system": row.system,
        "source": row.source,
        "citation": row.citation,
        "url": row.url,
        "seeds": row.seeds,
        "test": {key: {"mean": mean, "sd": row.sd.get(key)} for key, mean in row.mean.items()},
        "note": row.note,
    }


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: _defined(value) for key, value in values.items()}


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def to_markdown(report: Report) -> str:
    """A section a dataset: our runs, then the published rows, with their sources below."""
    parts = [_section(table) for table in report.tables]
    for title, sentences in (("Notes", report.notes), ("Not read", report.warnings)):
        if sentences:
            parts.append("\n".join([f"### {title}", "", *(f"- {escape(sentence)}" for sentence in sentences)]))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Text that Markdown and HTML show as it stands, on one line and in one cell.

    Examples:
        >>> print(escape("a|b <i> *c*"))
        a\|b &lt;i&gt; \*c\*
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # The last three keep addresses from turning into links.
    return re.sub(r"([\\`*_{}\[\]|#!~$@]|:(?=//)|(?<=www)\.)", r"\\\1", text)


def _section(table: ResultTable) -> str:
    lines = [f"## {escape(table.dataset)}", ""]
    if table.rows:
        heads = ["run", "backbone and inputs", "parameters", "seeds", *(column.title for column in table.columns)]
        heads += ["ECE ↓"] if table.has_ece else []
        heads.append("s/epoch")
        lines += [_line(escape(head) for head in heads), _line(["---"] * 2 + ["---:"] * (len(heads) - 2))]
    for row in table.rows:
        cells = {
            column.key: _cell(column, row.cells[column.key].mean, row.cells[column.key].sd)
            for column in table.columns
            if column.key in row.cells
        }
        marked = {key: f"**{text}**" if row.cells[key].best else text for key, text in cells.items()}
        size = ", ".join(filter(None, [parameters_text(row.run), memory_text(row.run.peak_memory)]))
        label = [escape(row.mark + row.run.name), escape(f"{row.reads} · {row.run.origin}"), size]
        label.append(str(len(row.run.seeds)))
        beside = [ece_text(row) or "–"] if table.has_ece else []
        lines.append(_cells(label, table.columns, marked, [*beside, seconds_text(row.run.epoch_seconds)]))
    shown = [row for row in table.published if any(column.key in row.mean for column in table.columns)]
    lines += [_published(row, table) for row in shown]
    if table.rows:
        lines += ["", _markdown_legend(table, bool(shown))]
    lines += [f"- {line}" for line in _sources(shown)]
    read = coverage_rows(table)
    if read:
        lines += ["", "| read | clips | runs |", "| --- | --- | --- |"]
        lines += [_line(map(escape, (difference, parts, runs or "all"))) for difference, parts, runs in read]
    for sentence in (*marks(table), *comparison_lines(table), *filter(None, [floor_hint(table)])):
        lines += ["", escape(sentence)]
    pending = ", ".join(escape(run.name) for run in table.pending)
    if pending:
        lines += ["", f"No finished seed yet: {pending}."]
    return "\n".join(lines)


def _published(row: PublishedRow, table: ResultTable) -> str:
    cells = {c.key: _cell(c, row.mean[c.key], row.sd.get(c.key)) for c in table.columns if c.key in row.mean}
    label = [f"*{escape(row.system)}*", f"published ({escape(row.source)})", "", str(row.seeds or "")]
    return _cells(label, table.columns, cells, ["–", ""] if table.has_ece else [""])


def _markdown_legend(table: ResultTable, published: bool) -> str:
    units = "percent, errors in the unit of the labels" if any(c.error for c in table.columns) else "percent"
    split = table.split.capitalize()
    text = (
        f"{split} split; mean ± sample standard deviation over seeds; {units}; seconds an epoch, validation included."
        " Parameters: those trained of all, and the most memory of a training."
    )
    if len(table.rows) > 1:
        text += " Bold: the best of our runs."
    if published:
        text += " Published rows, in italics, are the figures of their sources:"
    return text + ("\n" if published else "")


def _sources(rows: Sequence[PublishedRow]) -> list[str]:
    sources = {row.source: (row.citation, row.url) for row in rows}
    lines = [
        f"{escape(name)}: {escape(citation)}{f', <{url}>' if url else ''}" for name, (citation, url) in sources.items()
    ]
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            notes.setdefault(row.note, []).append(f"{row.system} ({row.source})")
    return lines + [f"{escape(', '.join(systems))}: {escape(note)}" for note, systems in notes.items()]


def _cell(column: Column, mean: float, sd: float | None) -> str:
    return column.number(mean) if sd is None else f"{column.number(mean)} ± {column.number(sd)}"


def _cells(label: list[str], columns: Sequence[Column], cells: Mapping[str, str], beside: Sequence[str]) -> str:
    return _line([*label, *(cells.get(column.key, "–") for column in columns), *beside])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


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


def _coverage(table: ResultTable, console: Console) -> None:
    """Of how many clips the rows are, and what their marks mean."""
    from rich.table import Table as RichTable
    from rich.text import Text

    listed = RichTable.grid(padding=(0, 1, 0, 0))
    for difference, parts, runs in coverage_rows(table):
        listed.add_row(Text(difference), Text(f"{parts}{f'  ({runs})' if runs else ''}"), style="dim")
    if listed.row_count:
        console.print(listed)
    for sentence in marks(table):
        console.print(Text(sentence, style="yellow"))
    for sentence in (*comparison_lines(table), *filter(None, [floor_hint(table)])):
        console.print(Text(sentence, style="dim"))


def _fitted(table: ResultTable, others: Sequence[PublishedRow], width: int) -> tuple[RichTable, tuple[Column, ...]]:
    """The roomiest layout that fits; columns go only when the narrowest does not fit, the least telling ones first."""
    from rich.console import Console

    first = metrics.primary(table.kind)[0]
    columns = table.columns
    measure = Console(width=10_000)
    while True:
        whole = len(columns) == len(table.columns)
        for beside in _besides(table) if whole else ((),):
            for layout in _LAYOUTS if whole else _LAYOUTS[-1:]:
                rendered = _render(table, others, columns, layout, beside)
                if measure.measure(rendered).maximum <= width or (len(columns) == 1 and not beside):
                    return rendered, columns
        spare = [column for key in _SPARE for column in columns if column.key == key]
        spare = spare or [column for column in reversed(columns) if column.key != first]
        columns = tuple(column for column in columns if column != spare[0])


def _besides(table: ResultTable) -> list[tuple[tuple[str, list[str]], ...]]:
    """Columns that are no metrics, as their headings and cells, where there is room: all, without the first, none."""
    found = []
    if table.has_ece:
        found.append(("ECE ↓", [ece_text(row) for row in table.rows]))
    times = [row.run.epoch_seconds for row in table.rows]
    if any(times):
        found.append(("s/epoch", [seconds_text(time) for time in times]))
    return [tuple(found[left:]) for left in range(len(found) + 1)]


def _render(
    table: ResultTable,
    others: Sequence[PublishedRow],
    columns: Sequence[Column],
    layout: tuple[int, int, str],
    beside: Sequence[tuple[str, list[str]]],
) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    name_width, reads_width, join = layout
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
    for title_beside, _ in beside:
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
            Text(row.mark + _named(row.run, name_width - len(row.mark))),
            Text(row.reads + (f" · {row.run.origin}" if row.run.adapted else "")),
            Text(str(len(row.run.seeds))),
        ]
        terminal_table.add_row(
            *label, *cells, *(Text(rows[i]) for _, rows in beside), end_section=last and bool(others)
        )
    for i, other in enumerate(others, start=len(ours)):
        label = [Text(other.system), Text(f"published ({other.source})"), Text(str(other.seeds or ""))]
        terminal_table.add_row(*label, *(Text(texts[c.key][i]) for c in columns), style="dim")
    return terminal_table


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


def _legend(table: ResultTable, columns: Sequence[Column], hidden: int) -> str:
    parts = ["n seeds, mean ± sample sd", "percent" + (", errors in label units" if _errors(columns) else "")]
    if len(table.rows) > 1:
        parts.append("bold: best of our runs")
    left_out = [column.name for column in table.columns if column not in columns]
    if left_out:
        parts.append(f"no room here for {', '.join(left_out)}")
    if hidden > 0:
        parts.append(f"{hidden} more published rows in Markdown and JSON")
    if table.published:
        parts.append("all others are ours")
    return " · ".join(parts)


def _errors(columns: Sequence[Column]) -> bool:
    return any(column.error for column in columns)
