"""Sentences and texts of a report: what stands around its tables, the same in all formats."""

from __future__ import annotations

from collections.abc import Sequence

from mse_pipeline import metrics
from mse_pipeline.metrics.coverage import NOT_TOLD, is_low, told
from mse_pipeline.report.bootstrap import probability
from mse_pipeline.report.runs import RunGroup
from mse_pipeline.report.table import COLLAPSED, ECE, FLOOR, PARTIAL, Column, ResultRow, ResultTable


def floor_hint(table: ResultTable) -> str:
    """How the floor of a table is trained, as a sentence; empty where it is there."""
    if any(run.model == FLOOR for run in table.runs):
        return ""
    command = f"mse train {table.dataset} --model {FLOOR}"
    return f"The floor of {table.dataset}, a linear model of the same inputs, is not here: {command}"


def parameters_text(run: RunGroup) -> str:
    """How many numbers were trained, and where others were frozen, of how many.

    Examples:
        >>> from types import SimpleNamespace
        >>> parameters_text(SimpleNamespace(trainable_parameters=1200, total_parameters=9000))
        '1,200 of 9,000'
    """
    trained, total = run.trainable_parameters, run.total_parameters
    if trained is None:
        return ""
    return f"{trained:,}" if total in {None, trained} else f"{trained:,} of {total:,}"


def memory_text(size: int | None) -> str:
    """Bytes in GB; empty for None.

    Examples:
        >>> memory_text(1_250_000_000)
        '1.2 GB'
    """
    return "" if size is None else f"{size / 1e9:.1f} GB"


def ece_text(row: ResultRow) -> str:
    """The expected calibration error of a run in percent; empty where it is not told."""
    cell = row.calibration.get(ECE)
    return "" if cell is None else Column(ECE, error=False).number(cell.mean)


def zeros_text(row: ResultRow) -> str:
    """The share of predictions that are exactly 0, in percent; empty where it is not told."""
    return "" if row.zeros is None else Column("zeros", error=False).number(row.zeros.mean)


def beside(table: ResultTable) -> list[tuple[str, list[str]]]:
    """Columns that are no metrics, each as its heading and a cell a row; those that no row tells are left out.

    Calibration error, share of exact zeros, seconds an epoch: the least needed comes first.
    """
    columns = [
        ("ECE ↓", [ece_text(row) for row in table.rows]),
        ("exact 0", [zeros_text(row) for row in table.rows]),
        ("s/epoch", [seconds_text(row.run.epoch_seconds) for row in table.rows]),
    ]
    return [(title, cells) for title, cells in columns if any(cells)]


def zeros_sentence(table: ResultTable, names: Sequence[str] = ()) -> str:
    """What exact zeros are, with the share of such targets and the runs that have more; empty where none tells.

    Args:
        table: Of the report.
        names: What its rows are called; their folders without.
    """
    named = zip(names or _folders(table), table.rows, strict=True)
    told = [(name, row.zeros.mean, row.zero_targets or 0.0) for name, row in named if row.zeros is not None]
    if not told:
        return ""
    targets = " or ".join(sorted({f"{100 * share:.2f}" for _, _, share in told}))
    more = ", ".join(f"{name} {100 * mean:.2f}" for name, mean, share in told if mean > share)
    return (
        f"exact 0: percent of the predictions that are exactly 0 (of the targets {targets}); Has0 counts them as "
        f"positive, Non0 as negative.{f' More than the targets: {more}.' if more else ''}"
    )


def _folders(table: ResultTable) -> list[str]:
    return [row.run.name for row in table.rows]


def seconds_text(seconds: float | None) -> str:
    """Seconds with three digits; empty for None.

    Examples:
        >>> seconds_text(3.4567), seconds_text(61.23), seconds_text(1234.5), seconds_text(None)
        ('3.46', '61.2', '1234', '')
    """
    if seconds is None:
        return ""
    return f"{seconds:.{max(0, 3 - len(str(int(seconds))))}f}"


def coverage_rows(table: ResultTable) -> list[tuple[str, str, str]]:
    """What is read, of how many clips of each split, and by which runs, where these are not all of the table's.

    Examples:
        >>> coverage_rows(ResultTable("meld", "meld", (), (), ()))
        []
    """
    texts: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        coverage = row.run.coverage or NOT_TOLD
        for stream in (None, *coverage.streams) if coverage.splits else ():
            parts = coverage.parts(stream)
            text = f"{told(parts)}{f' {PARTIAL}' if is_low(parts) else ''}"
            texts.setdefault((stream or "clips read", text), []).append(row.run.name)
    every = len(table.rows)
    return [(what, text, "" if len(names) == every else ", ".join(names)) for (what, text), names in texts.items()]


def meanings(tables: Sequence[ResultTable]) -> list[str]:
    """What the numbers and signs of all tables mean, each once, for the end of a page."""
    shown = [table for table in tables if table.rows]
    if not shown:
        return []
    errors = any(column.error for table in shown for column in table.columns)
    sentences = [
        f"Mean ± sample standard deviation over n seeds, in percent{', errors in the unit of the labels' * errors}."
    ]
    if any(len(table.rows) > 1 for table in shown):
        sentences.append("Bold: the best of our runs.")
    if any(table.comparable for table in shown):
        sentences.append("Published rows are the figures of their sources; all others are ours.")
    return sentences + _signs(shown)


def _signs(tables: Sequence[ResultTable]) -> list[str]:
    rows = [row for table in tables for row in table.rows]
    sentences = []
    if any(row.partial for row in rows):
        sentences.append(
            f"{PARTIAL}: less than 90 % of a split was read, or had a stream: not to be compared with published rows."
        )
    if any(row.other_data for row in rows):
        sentences.append(
            "Rows with another number behind data are of other clips, splits, labels or texts: not to be compared."
        )
    return sentences


def marks(table: ResultTable, names: Sequence[str] = ()) -> list[str]:
    """What the marks in a table mean and what else is to be known of single rows, as sentences.

    Args:
        table: Of the report.
        names: What its rows are called; their folders without.
    """
    return [*_signs([table]), *doubts(table, names)]


def doubts(table: ResultTable, names: Sequence[str] = ()) -> list[str]:
    """What makes single rows doubtful, as sentences; arguments as of `marks`."""
    sentences = []
    called = names or _folders(table)
    for name, row in zip(called, table.rows, strict=True):
        if row.collapsed:
            seeds = f"seed {', '.join(map(str, row.collapsed))}"
            sentences.append(f"{COLLAPSED} {name}: all predictions of {seeds} are the same: it has collapsed.")
    untold = ", ".join(name for name, row in zip(called, table.rows, strict=True) if row.run.coverage is None)
    if untold:
        sentences.append(f"An earlier version of mse trained {untold}, and did not keep of how many clips it is.")
    read: dict[str, set[str]] = {}
    for row in table.rows:
        for stream in row.run.streams.values():
            read.setdefault(stream, set()).add(row.run.data.get(stream, ""))
    differing = ", ".join(stream for stream, digests in read.items() if len(digests - {""}) > 1)
    if differing:
        sentences.append(
            f"Not all rows read the same features {differing}: of some clips they were made anew in between."
        )
    return sentences


def comparison_lines(table: ResultTable) -> list[str]:
    """The comparisons of a table, a sentence a row."""
    lines = []
    for row in table.rows:
        found = row.comparison
        if found is not None:
            column = Column(found.metric, found.metric in metrics.errors(table.kind))
            low, high = (column.number(value) for value in (found.low, found.high))
            lines.append(
                f"{row.run.name} against {found.against}: {column.name} {column.number(found.difference)} "
                f"(95 % from {low} to {high}, {probability(found.p)}, paired bootstrap over {found.clips:,} clips)"
            )
    return lines
