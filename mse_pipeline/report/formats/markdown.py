"""GitHub-flavoured Markdown: a section a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mse_pipeline.report.published import PublishedRow
from mse_pipeline.report.sentences import (
    beside,
    comparison_lines,
    coverage_rows,
    doubts,
    floor_hint,
    meanings,
    memory_text,
    parameters_text,
    zeros_sentence,
)
from mse_pipeline.report.table import Cell, Column, Report, ResultTable


def to_markdown(report: Report) -> str:
    """A section a dataset: our runs, then the published rows, with their sources below."""
    parts = [_section(table) for table in report.tables]
    legend = meanings(report.tables)
    if legend:
        legend.append("Parameters: those trained of all, and the most memory of a training. s/epoch with validation.")
        parts.append("\n".join(["### How to read it", "", *(f"- {escape(sentence)}" for sentence in legend)]))
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
    more = beside(table)
    if table.rows:
        lines += [f"{table.split.capitalize()} split.", ""]
        heads = ["run", "backbone and inputs", "parameters", "seeds", *(column.title for column in table.columns)]
        heads += [head for head, _ in more]
        lines += [_line(escape(head) for head in heads), _line(["---"] * 2 + ["---:"] * (len(heads) - 2))]
    for number, row in enumerate(table.rows):
        cells = {c.key: c.text(row.cells[c.key]) for c in table.columns if c.key in row.cells}
        marked = {key: f"**{text}**" if row.cells[key].best else text for key, text in cells.items()}
        size = ", ".join(filter(None, [parameters_text(row.run), memory_text(row.run.peak_memory)]))
        label = [escape(row.mark + row.run.name), escape(f"{row.reads} · {row.run.origin}"), size]
        label.append(str(len(row.run.seeds)))
        lines.append(_cells(label, table.columns, marked, [texts[number] or "–" for _, texts in more]))
    shown = table.comparable
    lines += [_published(row, table, len(more)) for row in shown]
    lines += ["", "Sources of the published rows, in italics:", ""] if shown else []
    lines += [f"- {line}" for line in _sources(shown)]
    read = coverage_rows(table)
    if read:
        lines += ["", "| read | clips | runs |", "| --- | --- | --- |"]
        lines += [_line(map(escape, (difference, parts, runs or "all"))) for difference, parts, runs in read]
    sentences = [zeros_sentence(table), *doubts(table), *comparison_lines(table), floor_hint(table)]
    for sentence in filter(None, sentences):
        lines += ["", escape(sentence)]
    pending = ", ".join(escape(run.name) for run in table.pending)
    if pending:
        lines += ["", f"Without a result on the {table.split} split: {pending}."]
    return "\n".join(lines)


def _published(row: PublishedRow, table: ResultTable, more: int) -> str:
    cells = {c.key: c.text(Cell(row.mean[c.key], row.sd.get(c.key))) for c in table.columns if c.key in row.mean}
    label = [f"*{escape(row.system)}*", f"published ({escape(row.source)})", "", str(row.seeds or "")]
    return _cells(label, table.columns, cells, ["–"] * more)


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


def _cells(label: list[str], columns: Sequence[Column], cells: Mapping[str, str], beside: Sequence[str]) -> str:
    return _line([*label, *(cells.get(column.key, "–") for column in columns), *beside])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
