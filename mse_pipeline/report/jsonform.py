"""Report -> plain JSON, in the scale of `metrics.evaluate`: fractions, errors in label units, null for undefined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mse_pipeline.report.build import Report
from mse_pipeline.report.published import Published
from mse_pipeline.report.runs import RunGroup, SeedResult
from mse_pipeline.report.table import Row, Table, marks


def to_json(report: Report) -> dict[str, Any]:
    """A value that `json.dumps(..., allow_nan=False)` takes.

    Returns:
        ``{"format": 1, "tables": [...], "notes": [...], "warnings": [...]}``; a table has ``dataset``, ``metrics``,
        ``columns``, ``runs`` (means and every seed; ``partial`` where a split or stream is covered by less than 90 %,
        with ``coverage`` and ``shortcomings``; ``labelled`` is equal for runs on the same clips, labels and texts),
        ``published``, ``pending`` and ``marks``.
    """
    return {
        "format": 1,
        "tables": [_table(table) for table in report.tables],
        "notes": list(report.notes),
        "warnings": list(report.warnings),
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "dataset": table.dataset,
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
        "runs": [_row(row) for row in table.rows],
        "published": [_published(row) for row in table.published],
        "pending": [_run(run) for run in table.pending],
        "marks": marks(table),
    }


def _row(row: Row) -> dict[str, Any]:
    cells = {key: {"mean": _defined(cell.mean), "sd": cell.sd, "best": cell.best} for key, cell in row.cells.items()}
    classes = None if row.classes is None else asdict(row.classes)
    return {
        **_run(row.run),
        "partial": row.partial,
        "test": cells,
        "seeds": [_seed(seed) for seed in row.run.seeds],
        "classes": classes,
    }


def _run(run: RunGroup) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": run.path.as_posix().encode("utf-8", "replace").decode(),
        "backbone": run.backbone,
        "variant": run.variant,
        "streams": dict(run.streams),
        "config_digest": run.config_digest,
        "trainable_parameters": run.trainable_parameters,
        "created": run.created,
        "epoch_seconds": run.epoch_seconds,
        "unfinished": dict(run.unfinished),
        "coverage": None if run.coverage is None else run.coverage.to_plain(),
        "shortcomings": [] if run.coverage is None else list(run.coverage.shortcomings()),
        "data": dict(run.data),
        "labelled": run.labelled or None,
    }


def _seed(seed: SeedResult) -> dict[str, Any]:
    return {
        "seed": seed.seed,
        "best_epoch": seed.best_epoch,
        "epochs": seed.epochs,
        "seconds": seed.seconds,
        "valid": _numbers(seed.valid),
        "test": _numbers(seed.test),
        "alarms": list(seed.alarms),
    }


def _published(row: Published) -> dict[str, Any]:
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
