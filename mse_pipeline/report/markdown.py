"""Report -> GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mse_pipeline.report.build import Report
from mse_pipeline.report.published import Published
from mse_pipeline.report.table import Column, Table, coverage_rows, marks, seconds_text


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


def _section(table: Table) -> str:
    lines = [f"## {escape(table.dataset)}", ""]
    if table.rows:
        heads = ["run", "backbone and inputs", "parameters", "seeds", *(column.title for column in table.columns)]
        heads.append("s/epoch")
        lines += [_line(escape(head) for head in heads), _line(["---"] * 2 + ["---:"] * (len(heads) - 2))]
    for row in table.rows:
        cells = {
            column.key: _cell(column, row.cells[column.key].mean, row.cells[column.key].sd)
            for column in table.columns
            if column.key in row.cells
        }
        marked = {key: f"**{text}**" if row.cells[key].best else text for key, text in cells.items()}
        parameters = "" if row.run.trainable_parameters is None else f"{row.run.trainable_parameters:,}"
        label = [escape(row.mark + row.run.name), escape(row.reads), parameters, str(len(row.run.seeds))]
        lines.append(_cells(label, table.columns, marked, seconds_text(row.run.epoch_seconds)))
    shown = [row for row in table.published if any(column.key in row.mean for column in table.columns)]
    lines += [_published(row, table.columns) for row in shown]
    if table.rows:
        lines += ["", _legend(table, bool(shown))]
    lines += [f"- {line}" for line in _sources(shown)]
    read = coverage_rows(table)
    if read:
        lines += ["", "| read | clips | runs |", "| --- | --- | --- |"]
        lines += [_line(map(escape, (what, parts, runs or "all"))) for what, parts, runs in read]
    for sentence in marks(table):
        lines += ["", escape(sentence)]
    pending = ", ".join(escape(run.name) for run in table.pending)
    if pending:
        lines += ["", f"No finished seed yet: {pending}."]
    return "\n".join(lines)


def _published(row: Published, columns: Sequence[Column]) -> str:
    cells = {c.key: _cell(c, row.mean[c.key], row.sd.get(c.key)) for c in columns if c.key in row.mean}
    label = [f"*{escape(row.system)}*", f"published ({escape(row.source)})", "", str(row.seeds or "")]
    return _cells(label, columns, cells, "")


def _legend(table: Table, published: bool) -> str:
    units = "percent, errors in the unit of the labels" if any(c.error for c in table.columns) else "percent"
    text = f"Test split; mean ± sample standard deviation over seeds; {units}; seconds an epoch, validation included."
    if len(table.rows) > 1:
        text += " Bold: the best of our runs."
    if published:
        text += " Published rows, in italics, are the figures of their sources:"
    return text + ("\n" if published else "")


def _sources(rows: Sequence[Published]) -> list[str]:
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


def _cells(label: list[str], columns: Sequence[Column], cells: Mapping[str, str], time: str) -> str:
    return _line([*label, *(cells.get(column.key, "–") for column in columns), time])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
