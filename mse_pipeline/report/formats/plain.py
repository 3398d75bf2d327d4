"""Plain values: a report as JSON.

JSON has the scale of `metrics.evaluate`: fractions, errors in label units, null for undefined.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mse_pipeline.report.published import PublishedRow
from mse_pipeline.report.runs import RunGroup, StoredSeed
from mse_pipeline.report.sentences import floor_hint, marks
from mse_pipeline.report.table import Cell, Report, ResultRow, ResultTable


def to_json(report: Report) -> dict[str, Any]:
    """A value that `json.dumps(..., allow_nan=False)` takes.

    Returns:
        ``{"format": 1, "tables": [...], "notes": [...], "warnings": [...]}``; a table has ``dataset``, ``split``,
        ``metrics``, ``columns``, ``runs`` (means under the split's name, and every seed; ``settings`` of the training
        in which they differ; ``partial`` where a split or stream is covered by less than 90 %, with ``coverage`` and
        ``shortcomings``; ``labelled`` is equal for runs on the same clips, labels and texts; ``collapsed``, the seeds
        that give all clips the same answer; ``zeros``, the share of predictions that are exactly 0, and of targets),
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
    cells = {key: {**_cell(cell), "best": cell.best} for key, cell in row.cells.items()}
    classes = None if row.classes is None else asdict(row.classes)
    return {
        **_run(row.run),
        "partial": row.partial,
        split: cells,
        "settings": _strict(dict(row.settings)),
        "calibration": {key: _cell(cell) for key, cell in row.calibration.items()},
        "collapsed": list(row.collapsed),
        "zeros": None if row.zeros is None else {**_cell(row.zeros), "targets": row.zero_targets},
        "seeds": [_seed(seed) for seed in row.run.seeds],
        "classes": classes,
        **({} if row.comparison is None else {"comparison": asdict(row.comparison)}),
    }


def _strict(value: Any) -> Any:
    """A value of a stranger's JSON file, which may hold NaN or Infinity, with null in their place."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def _cell(cell: Cell) -> dict[str, float | None]:
    return {"mean": _defined(cell.mean), "sd": cell.sd}


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
