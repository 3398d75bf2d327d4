"""Paths -> Report: everything that the terminal, Markdown and JSON forms show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mse_pipeline.errors import UsageError
from mse_pipeline.report.predictions import ClassTable, class_table
from mse_pipeline.report.runs import RunGroup, find
from mse_pipeline.report.table import Table, tables


@dataclass(frozen=True)
class Report:
    """Tables by dataset, and sentences on what a reader of them must know.

    Attributes:
        tables: One a dataset.
        notes: On the runs: seeds that are not in the means, signs of collapse.
        warnings: On the files: folders and predictions that could not be read.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def build(paths: Iterable[str | Path]) -> Report:
    """Reads runs and sets them beside each other and the published numbers.

    Args:
        paths: Run folders, or folders of them (as ``runs``).

    Raises:
        UsageError: There is no run below any of the paths.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    found = find(paths)
    if not found.runs:
        raise UsageError(
            " ".join(["There is no run to report; `mse train` makes one under runs/.", *found.warnings[:5]])
        )
    warnings = list(found.warnings)
    classes: dict[str, ClassTable | None] = {}
    for run in found.runs:
        classes[str(run.path)], unread = class_table(run)
        warnings += unread
    made = tables(found.runs, classes)
    notes = [note for table in made for run in table.runs for note in _notes(run)]
    return Report(made, tuple(notes), tuple(warnings))


def _notes(run: RunGroup) -> list[str]:
    notes = [f"{run.name}, {seed}: {reason}; not averaged." for seed, reason in run.unfinished.items()]
    alarms: dict[str, list[int]] = {}
    for result in run.seeds:
        for alarm in result.alarms:
            alarms.setdefault(alarm, []).append(result.seed)
    notes += [f"{run.name}, seed {', '.join(map(str, seeds))}: {alarm}" for alarm, seeds in alarms.items()]
    return notes
