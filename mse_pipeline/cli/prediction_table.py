"""What was predicted, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mse_pipeline.report.runs import shown
from mse_pipeline.task import Classification, Task

if TYPE_CHECKING:
    from rich.console import Console

    from mse_pipeline.prediction import ClipPrediction

_BAR = 10  # characters of a whole bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SHOWN = 200
_TOLD = 8


def show(found: Sequence[ClipPrediction], task: Task, console: Console) -> None:
    """Print a row a clip, and below the table what its remarks mean."""
    classes = isinstance(task, Classification)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("clip", overflow="fold")
    table.add_column("prediction", style="bold")
    table.add_column("confidence" if classes else "± sd", no_wrap=True)
    if classes:
        table.add_column("next", style="dim")
    table.add_column("remarks", overflow="fold")
    for one in found[:_SHOWN]:
        table.add_row(*_cells(one, classes))
    console.print(table)
    if len(found) > _SHOWN:
        console.print(f"and {len(found) - _SHOWN:,} more clips; --out FILE writes all of them.")
    _tell_remarks(found, console)


def _cells(one: ClipPrediction, classes: bool) -> list[str]:
    remarks = ", ".join(
        f"[{'red' if one.prediction is None else 'yellow'}]{escape(code)}[/]"
        for code in dict.fromkeys(remark.code for remark in one.remarks)
    )
    name = escape(shown(one.clip, 120))
    if one.prediction is None:
        return [name, "[red]–[/]", "", *([""] if classes else []), remarks]
    if not isinstance(one.prediction, str):
        return [name, f"{one.prediction:.2f}", f"{one.deviation or 0.0:.2f}", remarks]
    others = sorted(
        ((share, other) for other, share in one.probabilities.items() if other != one.prediction), reverse=True
    )
    following = f"{shown(others[0][1], 30)} {others[0][0]:.0%}" if others else ""
    return [name, escape(shown(one.prediction, 40)), _bar(one.confidence or 0.0), escape(following), remarks]


def _bar(share: float) -> str:
    """A share as a bar and a number.

    Examples:
        >>> _bar(0.5)
        '█████      50%'
    """
    eighths = round(share * _BAR * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{bar:<{_BAR}} {share:>4.0%}"


def _tell_remarks(found: Sequence[ClipPrediction], console: Console) -> None:
    """Each kind of remark once, by the first clip that has it."""
    kinds: dict[tuple[str, str | None], tuple[str, str, int]] = {}
    for one in found:
        for remark in one.remarks:
            clip, message, count = kinds.get((remark.code, remark.stream), (one.clip, remark.message, 0))
            kinds[remark.code, remark.stream] = (clip, message, count + 1)
    for (code, stream), (clip, message, count) in list(kinds.items())[:_TOLD]:
        of = f" ({escape(stream)})" if stream else ""
        more = f" and {count - 1:,} more" if count > 1 else ""
        console.print(f"[bold]{escape(code)}[/]{of}: {escape(shown(clip, 120))}{more}: {escape(shown(message, 400))}")
