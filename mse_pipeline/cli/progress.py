"""Progress on stderr, with rate and time left: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich import progress as rich_progress
from rich.text import Text

from mse_pipeline.cli.output import printable, remark, settings, stderr
from mse_pipeline.errors import MseError, explain, goes_on, number_of


class RateColumn(rich_progress.ProgressColumn):
    """Items per second."""

    def render(self, task: rich_progress.Task) -> Text:
        """The rate, or nothing while it is unknown."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class LeftColumn(rich_progress.ProgressColumn):
    """Time to the end, as far as it is known."""

    def render(self, task: rich_progress.Task) -> Text:
        """The time and "left", or nothing."""
        seconds = seconds_left(task)
        return Text("" if seconds is None else f"{_clock(seconds)} left", style="progress.remaining")


def seconds_left(task: rich_progress.Task) -> float | None:
    """How long a task still takes at its pace of late, or at that since its beginning; None while nothing is done."""
    if task.total is None or not task.completed or task.finished:
        return None
    if task.time_remaining is not None:
        return task.time_remaining
    return (task.elapsed or 0.0) * (task.total - task.completed) / task.completed


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class Lines(rich_progress.Progress):
    """Progress for where nothing can be drawn, as in the log of nohup or Slurm: a line a minute.

    The first comes after some seconds, so that short work says nothing and long work shows soon that it goes on.

    Args:
        unit: What is counted.
        first: Seconds to the first line.
        every: Seconds from line to line.
    """

    def __init__(self, unit: str, *, first: float = 10.0, every: float = 60.0) -> None:
        super().__init__(console=stderr(), disable=True)
        self._unit, self._first, self._every = unit, first, every
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to speak."""
        threading.Thread(target=self._speak, daemon=True).start()

    def stop(self) -> None:
        """Say no more."""
        self._ended.set()

    def _speak(self) -> None:
        wait = self._first
        while not self._ended.wait(wait):
            for task in self.tasks:
                self.console.print(printable(self.line(task)), markup=False, soft_wrap=True)  # one line in a log
            wait = self._every

    def line(self, task: rich_progress.Task) -> str:
        """What is said of a task."""
        done = f" {task.completed:,.0f} of {task.total:,.0f} {self._unit}," if task.total else ""
        speed = f" {task.speed:.1f}/s," if task.speed else ""
        left = seconds_left(task)
        so_far = f" {_clock(task.elapsed or 0.0)} so far" + ("" if left is None else f", {_clock(left)} left")
        note = task.fields.get("note")
        return f"{task.description}:{done}{speed}{so_far}{f'; {note}' if note else ''}"


@contextmanager
def bar(unit: str) -> Iterator[rich_progress.Progress]:
    """A progress display for work that the same command can continue later; --quiet hides it.

    Args:
        unit: What is counted, as "clips".

    Raises:
        MseError: An error of the operating system, for example a full disk.
    """
    columns = (
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn(unit),
        RateColumn(),
        rich_progress.TimeElapsedColumn(),
        LeftColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
    )
    console = stderr()
    drawn = console.is_terminal or settings.quiet
    shown = (
        rich_progress.Progress(*columns, console=console, disable=settings.quiet, transient=True)
        if drawn
        else Lines(unit)
    )
    with shown as progress:
        try:
            yield progress
        except OSError as error:
            if isinstance(error, BrokenPipeError) or number_of(error) is None:  # a lock that is held has no number
                raise
            raise MseError(goes_on(explain(error))) from error


class ExtractionBar:
    """Shows an extraction on a progress display."""

    def __init__(self, progress: rich_progress.Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("extract", total=None, note="")
        self._failed = 0

    def stage(self, text: str) -> None:
        """A new stage begins."""
        self._progress.update(self._task, description=text)

    def begin(self, total: int) -> None:
        """`total` clips will be processed."""
        self._progress.reset(self._task, total=total, description="extract", note="")

    def advance(self, clips: int, failed: int) -> None:
        """`clips` more clips are done, `failed` of them with failures."""
        self._failed += failed
        note = f"{self._failed} with failures" if self._failed else ""
        self._progress.update(self._task, advance=clips, note=note)


class TrainingBar:
    """Shows trainings on a progress display: epochs, and the steps of the current epoch."""

    def __init__(self, progress: rich_progress.Progress, what: str) -> None:
        self._progress = progress
        self._what = what
        self._task = progress.add_task(f"{what}: preparing", total=None, note="")
        self._last = ""

    def begin(self, seed: int, epochs: int) -> None:
        """The training of a seed begins."""
        self._last = ""
        self._progress.reset(self._task, total=epochs, description=f"{self._what}, seed {seed}", note="")

    def rate(self, seed: int, rate: float) -> None:
        """A range test found the peak of a seed's learning rate."""
        remark(f"Seed {seed}: the range test chose the learning rate {rate:.2g}.")

    def step(self, done: int, steps: int) -> None:
        """`done` of an epoch's `steps` are done."""
        self._progress.update(self._task, note=f"step {done}/{steps}  {self._last}".rstrip())

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done."""
        scores = "  ".join(f"{name} {value:.3f}" for name, value in list(record["valid"].items())[:2])
        self._last = f"loss {record['loss']:.3f}  valid {scores}"
        note = f"{record['clips_per_second']:.1f} clips/s  {self._last}"
        self._progress.update(self._task, completed=record["epoch"], note=note)
