"""HTML: one file with all that is told of each run, in tables and interactive charts.

All that comes from runs and datasets is escaped. The page's policy lets it load nothing, and run only the scripts that
are written here, which it names by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from mse_pipeline import metrics
from mse_pipeline.report import charts
from mse_pipeline.report.details import Details, HardClip, StreamState, read_details
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

if TYPE_CHECKING:
    from mse_pipeline.store.cache import Cache

UNKNOWN = "not recorded"
_SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)
_STREAMS = (
    "Rows measured: of a visual stream, those with a face.",
    "Not recorded, of features: the cache that was given does not have what the run read.",
)
Pages = Callable[[str, str], str | None]
"""Dataset and clip -> address of the page that `mse inspect` made of it, from the report's folder; None without."""


def to_html(report: Report, cache: Cache | None = None, pages: Pages | None = None) -> str:
    """The page.

    Args:
        report: From `build`.
        cache: Where texts of clips and the state of features are; None for nowhere.
        pages: Where clips have a page of their own; None for nowhere.

    Raises:
        UsageError: Plotly is not installed.
    """
    import jinja2

    charts.require_plotly()
    tables = [_table(table, number, cache, pages) for number, table in enumerate(report.tables, start=1)]
    sources = {row.key: row for table in report.tables for row in table.comparable}
    streams = any(run["streams"] for table in tables for run in table["runs"])
    library = charts.library()
    written = [table.get("seeds", "") for table in tables]
    written += [chart for table in tables for run in table["runs"] for _, chart in run["charts"]]
    source = resources.files("mse_pipeline.report.formats").joinpath("page.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    return template.render(
        policy=_policy([library, *(script for chart in written for script in _SCRIPT.findall(chart))]),
        library=library,
        version=metadata.version("mse-pipeline"),
        split=report.tables[0].split if report.tables else "",
        tables=tables,
        notes=report.notes,
        warnings=report.warnings,
        legend=[*meanings(report.tables), *(_STREAMS if streams else ())],
        sources=list(sources.values()),
        remarks=_remarks(row for table in report.tables for row in table.comparable),
    )


def _policy(scripts: Iterable[str]) -> str:
    digests = dict.fromkeys(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def _remarks(rows: Iterable[PublishedRow]) -> list[tuple[str, str]]:
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            notes.setdefault(row.note, []).append(f"{row.system} ({row.source})")
    return [(", ".join(systems), note) for note, systems in notes.items()]


def _table(table: ResultTable, number: int, cache: Cache | None, pages: Pages | None) -> dict[str, Any]:
    more = beside(table)
    runs = []
    for place, row in enumerate(table.rows):
        cells = [_cell(column, row.cells.get(column.key)) for column in table.columns]
        cells += [(texts[place] or "–", False) for _, texts in more]
        details = read_details(row, table.split, cache)
        size = ", ".join(filter(None, [parameters_text(row.run), memory_text(row.run.peak_memory)]))
        runs.append(
            {
                "name": row.run.name,
                "mark": row.mark,
                "reads": row.reads,
                "origin": row.run.origin,
                "created": row.run.created,
                "parameters": size,
                "seeds": len(row.run.seeds),
                "cells": cells,
                **_run(details, table, f"{number}-{place + 1}", pages),
            }
        )
    read = [f"{what}: {parts}{f' ({which})' if which else ''}" for what, parts, which in coverage_rows(table)]
    sentences = [zeros_sentence(table), *comparison_lines(table), floor_hint(table), *read]
    return {
        "dataset": table.dataset,
        "heads": [*(column.title for column in table.columns), *(head for head, _ in more)],
        "runs": runs,
        "published": [_published(row, table, len(more)) for row in table.comparable],
        "doubts": doubts(table),
        "sentences": [sentence for sentence in sentences if sentence],
        "seeds": charts.to_div(charts.draw_seeds(table), f"seeds-{number}") if table.rows else "",
        "pending": [run.name for run in table.pending],
    }


def _cell(column: Column, cell: Cell | None) -> tuple[str, bool]:
    return ("–", False) if cell is None else (column.text(cell), cell.best)


def _published(row: PublishedRow, table: ResultTable, more: int) -> dict[str, Any]:
    cells = {key: Cell(mean, row.sd.get(key)) for key, mean in row.mean.items()}
    texts = [_cell(column, cells.get(column.key))[0] for column in table.columns]
    return {
        "system": row.system,
        "source": row.source,
        "key": row.key,
        "seeds": row.seeds,
        "cells": [*texts, *["–"] * more],
    }


def _run(details: Details, table: ResultTable, name: str, pages: Pages | None) -> dict[str, Any]:
    classes = details.row.classes
    key = metrics.primary(table.kind)[0]
    main = Column(key, key in metrics.errors(table.kind))
    drawn = {
        "Confusion": None if classes is None else charts.draw_confusion(classes),
        "Predictions beside labels": charts.draw_scatter(details),
        "Errors": charts.draw_errors(details),
        "Calibration": charts.draw_reliability(details),
        "Training loss": charts.draw_curves(details, main, loss=True),
        f"Validation {main.title}": charts.draw_curves(details, main, loss=False),
    }
    missing = []
    if not details.row.predicted.seeds:
        missing.append(f"Predictions of single clips: {UNKNOWN}.")
    if not details.curves:
        missing.append(f"Learning curves: {UNKNOWN}.")
    if not details.streams:
        missing.append("It read no stream of features.")
    alarms = dict.fromkeys(alarm for seed in details.run.seeds for alarm in seed.alarms)
    return {
        "classes": [] if classes is None else list(_classes(details)),
        "charts": [
            (title, charts.to_div(figure, f"run-{name}-chart-{place}"))
            for place, (title, figure) in enumerate(drawn.items())
            if figure is not None
        ],
        "missing": missing,
        "alarms": list(alarms),
        "streams": [_stream(stream) for stream in details.streams],
        "hardest": [_hard(clip, details, pages) for clip in details.hardest],
        "measure": "probability of the label" if classes is not None else "distance",
        "commands": details.commands,
        "environment": details.environment,
    }


def _classes(details: Details) -> Iterable[tuple[str, ...]]:
    table = details.row.classes
    if table is None:
        return
    share = Column("F1", error=False)
    for place, name in enumerate(table.classes):
        f1 = Cell(table.f1[place], None if table.f1_sd is None else table.f1_sd[place])
        values = (share.number(table.precision[place]), share.number(table.recall[place]), share.text(f1))
        yield name, f"{table.support[place]:,}", *values


def _stream(stream: StreamState) -> tuple[str, ...]:
    if stream.done is None:
        return stream.name, stream.read or UNKNOWN, *[UNKNOWN] * 4
    failed = ", ".join(f"{code} {count:,}" for code, count in stream.failed.items()) or "none"
    shares = (UNKNOWN if share is None else f"{100 * share:.1f} %" for share in (stream.valid, stream.defined))
    return stream.name, stream.read or UNKNOWN, f"{stream.done:,}", failed, *shares


def _hard(clip: HardClip, details: Details, pages: Pages | None) -> Mapping[str, Any]:
    dataset = details.run.dataset
    several = len(details.row.predicted.seeds) > 1 and clip.right is not None
    texts = [f"{text} × {count}" if several else text for text, count in clip.predictions]
    number = "" if clip.measure is None else f"{clip.measure:.3f}"
    return {
        "clip": clip.clip,
        "text": clip.text,
        "target": clip.target,
        "predicted": ", ".join(texts),
        "measure": number,
        "page": None if pages is None else pages(dataset, clip.clip),
        "command": shlex.join(["mse", "inspect", clip.clip, "--dataset", dataset]),
    }
