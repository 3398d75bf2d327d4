"""Progress bars on stderr, with rate and time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich import progress as rich_progress
from rich.text import Text

from mse_pipeline.cli.output import remark, settings, stderr
from mse_pipeline.errors import MseError, explain, goes_on, number_of


class RateColumn(rich_progress.ProgressColumn):
    """Items per second."""

    def render(self, task: rich_progress.Task) -> Text:
        """The rate, or nothing while it is unknown."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def bar(unit: str) -> Iterator[rich_progress.Progress]:
    """A progress display for work that the same command can continue later; --quiet hides it.

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
        rich_progress.TextColumn("left"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
    )
    with rich_progress.Progress(*columns, console=stderr(), disable=settings.quiet, transient=True) as progress:
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
