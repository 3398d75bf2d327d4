"""CSV: a row a run or published row, for pandas, R or a spreadsheet.

Values have the scale of `metrics.evaluate`: fractions, errors in label units; a cell is empty where nothing is told.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mse_pipeline.report.published import PublishedRow
from mse_pipeline.report.table import ECE, Cell, Report, ResultRow, ResultTable

FIRST = (
    *("dataset", "split", "origin", "run", "backbone", "model", "variant", "reads", "seeds"),
    *("partial", "collapsed", "trainable_parameters", "total_parameters", "peak_memory", "epoch_seconds"),
)
"""Columns before those of the metrics; ``origin`` is ``ours`` or the source of a published row."""
LAST = ("alarms", "note", "source", "config_digest", "path")


def to_csv(report: Report) -> str:
    """All tables below each other: a metric has a column for its mean, and one named ``METRIC_sd``."""
    metrics = list(dict.fromkeys(column.key for table in report.tables for column in table.columns))
    measures = [*metrics, ECE, "zeros"]
    heads = [*FIRST, *(name for key in measures for name in (key, f"{key}_sd")), *LAST]
    rows = [row for table in report.tables for row in (*_ours(table), *_published(table))]
    filled = [head for head in heads if head in FIRST or head in LAST or any(row.get(head) is not None for row in rows)]
    return write_csv(filled, ([row.get(head) for head in filled] for row in rows))


def write_csv(heads: Sequence[str], rows: Any) -> str:
    """Rows of cells as CSV; None and numbers that are not finite are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_text(cell) for cell in row] for row in rows)
    return out.getvalue()


def _text(cell: Any) -> Any:
    return "" if cell is None or (isinstance(cell, float) and not math.isfinite(cell)) else cell


def _ours(table: ResultTable) -> list[dict[str, Any]]:
    return [_run(row, table) for row in table.rows]


def _run(row: ResultRow, table: ResultTable) -> dict[str, Any]:
    run = row.run
    zeros = {} if row.zeros is None else {"zeros": row.zeros}
    return {
        "dataset": table.dataset,
        "split": table.split,
        "origin": run.origin,
        "run": run.name,
        "backbone": run.backbone,
        "model": run.model,
        "variant": run.variant,
        "reads": row.reads,
        "seeds": len(run.seeds),
        "partial": int(row.partial),
        "collapsed": len(row.collapsed),
        "trainable_parameters": run.trainable_parameters,
        "total_parameters": run.total_parameters,
        "peak_memory": run.peak_memory,
        "epoch_seconds": run.epoch_seconds,
        **_measures({**row.calibration, **row.cells, **zeros}),
        "alarms": " ".join(dict.fromkeys(alarm for seed in run.seeds for alarm in seed.alarms)),
        "config_digest": run.config_digest,
        "path": run.path.as_posix().encode("utf-8", "replace").decode(),
    }


def _published(table: ResultTable) -> list[dict[str, Any]]:
    return [
        {
            "dataset": table.dataset,
            "split": table.split,
            "origin": f"published ({row.source})",
            "run": row.system,
            "seeds": row.seeds,
            **_measures(_cells(row)),
            "note": row.note,
            "source": " ".join(filter(None, [row.citation, row.url])),
        }
        for row in table.comparable
    ]


def _cells(row: PublishedRow) -> dict[str, Cell]:
    return {key: Cell(mean, row.sd.get(key)) for key, mean in row.mean.items()}


def _measures(cells: Mapping[str, Cell]) -> dict[str, Any]:
    return {name: value for key, cell in cells.items() for name, value in ((key, cell.mean), (f"{key}_sd", cell.sd))}
