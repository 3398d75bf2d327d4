"""Progress on stderr, with rate and time left: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import math
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
        speed = rate_of(task)
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class TimeColumn(rich_progress.ProgressColumn):
    """Time since the beginning, and to the end as far as it is known."""

    def render(self, task: rich_progress.Task) -> Text:
        """As in "0:00:18 so far, 0:01:00 left"."""
        return Text(_times(task), style="progress.remaining")


def rate_of(task: rich_progress.Task) -> float | None:
    """Items per second of late: of those that were worked on, where the task tells them apart from the others."""
    pace = task.fields.get("worked", task)
    speed: float | None = pace.finished_speed or pace.speed
    return speed


def seconds_left(task: rich_progress.Task) -> float | None:
    """How long a task still takes at its pace of late, or at that since its beginning; None while nothing is done.

    The pace is that of the seconds of media that were worked on, where the task counts them, and else of its items.
    """
    if task.total is None or task.finished:
        return None
    media = task.fields.get("media", task)
    pace: rich_progress.Task = media if media.total else task
    total, done = pace.total or 0.0, pace.completed
    if not done:
        return None
    if pace.time_remaining is not None and not pace.finished:
        return pace.time_remaining
    return (task.elapsed or 0.0) * (total - done) / done


def _times(task: rich_progress.Task) -> str:
    left = seconds_left(task)
    return f"{_clock(task.elapsed or 0.0)} so far" + ("" if left is None else f", {_clock(left)} left")


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
            for task in filter(lambda task: task.visible, self.tasks):
                self.console.print(printable(self.line(task)), markup=False, soft_wrap=True)  # one line in a log
            wait = self._every

    def line(self, task: rich_progress.Task) -> str:
        """What is said of a task."""
        done = f" {task.completed:,.0f} of {task.total:,.0f} {self._unit}," if task.total else ""
        rate, note = rate_of(task), task.fields.get("note")
        speed = f" {rate:.1f}/s," if rate else ""
        return f"{task.description}:{done}{speed} {_times(task)}{f'; {note}' if note else ''}"


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
        TimeColumn(),
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
    """Shows an extraction on a progress display.

    All clips are counted, also those without a file and those that turn out to be in the cache. They cost no time, so
    that the rate is of the clips that were worked on, and the time left of the seconds of media that are.
    """

    def __init__(self, progress: rich_progress.Progress) -> None:
        self._progress = progress
        hidden = [progress.add_task(name, total=None, visible=False) for name in ("worked", "media")]
        self._worked, self._media = (task for task in progress.tasks if task.id in hidden)
        self._task = progress.add_task("extract", total=None, note="")
        self._failed = 0

    def stage(self, text: str) -> None:
        """A new stage begins."""
        self._progress.update(self._task, description=text)

    def begin(self, total: int) -> None:
        """`total` clips will be processed."""
        for hidden in (self._worked, self._media):
            self._progress.reset(hidden.id, total=None)
        paces: dict[str, Any] = {"worked": self._worked, "media": self._media}
        self._progress.reset(self._task, total=total, description="extract", note="", **paces)

    def pace(self, clips: int, seconds: float, left: float) -> None:
        """`clips` more were worked on, of `seconds` of media; such of `left` seconds are still to be worked on."""
        done = self._media.completed + seconds
        self._progress.update(self._worked.id, advance=clips)
        # A new total forgets the pace of late, so it is set anew only where clips turned out to cost no time.
        known = self._media.total is not None and math.isclose(self._media.total, done + left, rel_tol=1e-6)
        self._progress.update(self._media.id, total=None if known else done + left, completed=done)

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
