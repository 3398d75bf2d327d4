"""Predictions as files: Parquet, CSV or JSON lines by the file's ending, and never into a run folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError
from mse_pipeline.metrics.coverage import NOT_TOLD, Coverage
from mse_pipeline.prediction.result import ClipPrediction, answer_names
from mse_pipeline.store.atomic import aside, write_text
from mse_pipeline.task import Task
from mse_pipeline.training.run_files import RUN
from mse_pipeline.training.stored import Stored

SUFFIXES = (".parquet", ".csv", ".jsonl")
_PLAIN = ("clip", "media", "split", "seed", "target", "prediction", "confidence", "deviation")


def check_outside(path: Path, stored: Stored, option: str) -> None:
    """Refuse a place inside of the run, whose files are its results.

    Args:
        path: Where something is to be written.
        stored: The run.
        option: Which option names the place.

    Raises:
        UsageError: It lies in the run's folder.
    """
    folder = stored.folder.resolve()
    own = {stored.path.resolve(), folder, *(above for above in folder.parents[:2] if (above / RUN).is_file())}
    if any(path.resolve().is_relative_to(one) for one in own):
        raise UsageError(
            f"{option} {path} lies in the run's own folder, which is never written to: give another place."
        )


def check_out(path: Path, stored: Stored) -> None:
    """Refuse a file that could not, or must not, be written, before the work is done.

    Raises:
        UsageError: Its ending is unknown, it is a folder, or it lies in the run's folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {path}: predictions are written as {', '.join(SUFFIXES)}, by the file's ending.")
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: give a file.")
    check_outside(path, stored, "--out")


def write(path: Path, predictions: Sequence[ClipPrediction], task: Task, coverage: Coverage = NOT_TOLD) -> None:
    """Write one row a clip, the file whole or not at all.

    Probabilities are a list in Parquet, whose metadata ``mse.answers`` names them, a column each in CSV
    (``p_joy``), and an object in JSON lines.

    Args:
        path: The file.
        predictions: The rows; what a clip lacks stands in its remarks.
        task: What is predicted.
        coverage: Of a split, kept as the metadata ``mse.coverage`` of Parquet.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        lines = (json.dumps(one.to_dict(), ensure_ascii=False) for one in predictions)
        write_text(path, "".join(f"{line}\n" for line in lines))
    elif suffix == ".csv":
        write_text(path, _csv(predictions, task))
    else:
        _write_parquet(path, predictions, task, coverage)


def _columns(predictions: Sequence[ClipPrediction]) -> dict[str, list[Any]]:
    columns = {name: [getattr(one, name) for one in predictions] for name in _PLAIN}
    filled = {name: values for name, values in columns.items() if name in {"clip", "prediction"} or any(
        value is not None for value in values
    )}  # fmt: skip
    return {**filled, "remarks": ["; ".join(told(remark) for remark in one.remarks) for one in predictions]}


def told(remark: Any) -> str:
    """A remark as a short text: its code, and which features it is about."""
    return remark.code if remark.stream is None else f"{remark.code} ({remark.stream})"


def _csv(predictions: Sequence[ClipPrediction], task: Task) -> str:
    names = answer_names(task)
    columns = _columns(predictions)
    columns |= {f"p_{name}": [one.probabilities.get(name) for one in predictions] for name in names}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def _write_parquet(path: Path, predictions: Sequence[ClipPrediction], task: Task, coverage: Coverage) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = answer_names(task)
    lists = [[one.probabilities[name] for name in names] if one.probabilities else None for one in predictions]
    columns = {**_columns(predictions), "probabilities": pa.array(lists, pa.list_(pa.float64()))}
    metadata = {"mse.answers": json.dumps(names, ensure_ascii=False), "mse.coverage": json.dumps(coverage.to_plain())}
    table = pa.table(columns).replace_schema_metadata(metadata)
    with aside(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
