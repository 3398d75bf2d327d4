"""Learning rate: a range test, which finds the peak of the schedule before a training begins (Smith 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError
from mse_pipeline.training.batches import epoch_batches
from mse_pipeline.training.examples import Example
from mse_pipeline.training.job import Job
from mse_pipeline.training.processes import ALONE, Processes
from mse_pipeline.training.step import PLAIN, Diverged, Learner, TrainingOptions

STEPS = 100
"""Steps of a range test."""
LOWEST, HIGHEST = 1e-5, 1.0
"""Rates of its first and its last step."""
LEAST, MOST = 1e-4, 1e-2
"""Rates that are chosen at least and at most: AdamW on an adapter is slow below and unsteady above."""
SMOOTHING = 0.8
"""Share of the smoothed loss that stays at each step."""
FIRST = 10
"""Steps whose smoothed loss is where the fall begins: their rates move nothing yet."""
DIVERGED = 1.25
"""A smoothed loss so many times the least one ends the test."""
FALL = 0.05
"""Share of the loss at the beginning by which it falls at least, if the fall is to tell anything."""


def range_test(
    job: Job,
    seed: int,
    options: TrainingOptions = PLAIN,
    processes: Processes = ALONE,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> tuple[list[float], list[float]]:
    """Train from the first weights with a rate that rises by the same factor each step, until the loss diverges.

    All else is as the training will be: batch size, augmentation, clipping. Batches are drawn from the seed, by a
    generator of their own; what was learned is thrown away.

    Args:
        job: What is trained, on what.
        seed: Of the training.
        options: How a step is carried out.
        processes: Who trains together; all get the same.
        on_step: Told after each step how many are done, and how many there are at most.

    Returns:
        The rate and the loss before it of each step, as far as losses are finite.
    """
    learner = Learner(replace(job, settings=job.settings.model_copy(update={"average": 0.0})), seed, options, processes)
    rates = [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]
    losses: list[float] = []
    try:
        learner.take_rate(rates[0])
        for loss in learner.steps(_batches(job, seed), 1, 0):
            losses.append(loss)
            on_step(len(losses), STEPS)
            if len(losses) == STEPS or has_diverged(losses):
                break
            learner.take_rate(rates[len(losses)])
    except Diverged:
        on_step(STEPS, STEPS)  # a loss that is no number ends the test, as one that has risen again does
    return rates[: len(losses)], losses


def _batches(job: Job, seed: int) -> Iterator[Sequence[Example]]:
    """`STEPS` batches, of as many epochs as that takes."""
    train = job.examples[Split.TRAIN]
    lengths, order = job.batcher.lengths(train), torch.Generator().manual_seed(seed)
    left = STEPS
    while left:
        for batch in epoch_batches(lengths, job.settings.batch_size, order)[:left]:
            left -= 1
            yield [train[place] for place in batch]


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the smoothed loss has risen again."""
    smoothed = smooth(losses)[FIRST - 1 :]
    return bool(smoothed) and smoothed[-1] > DIVERGED * min(smoothed)


def halfway(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the smoothed loss has fallen half of the way to its least, between `LEAST` and `MOST`.

    Where a hundred noisy losses fall fastest, or are least, differs a hundredfold from seed to seed; where half of the
    fall is done, a few times. A loss that does not fall tells where it diverges, and the rate is a tenth of that.

    Args:
        rates: Rising; the last one is where the loss diverges.
        losses: That of each.

    Raises:
        ValueError: The loss diverges too soon.

    Examples:
        >>> rates = [1e-5 * 10 ** (step / 20) for step in range(100)]
        >>> round(halfway(rates, [2.0] * 50 + [1.0] * 50), 5)
        0.00447
    """
    if len(losses) <= FIRST:
        raise ValueError(f"the loss diverges within {FIRST} steps, at rates around {LOWEST:g}")
    smoothed = smooth(losses)
    first, least = smoothed[FIRST - 1], min(smoothed[FIRST - 1 :])
    if first - least < FALL * first:
        rate = rates[-1] / 10
    else:
        rate = next(
            rate
            for rate, loss in zip(rates, smoothed, strict=True)
            if rate >= rates[FIRST - 1] and loss <= (first + least) / 2
        )
    return min(max(rate, LEAST), MOST)


def smooth(losses: Sequence[float]) -> list[float]:
    """Exponential moving average of losses, without the bias of its beginning.

    Examples:
        >>> [round(loss, 2) for loss in smooth([2.0, 2.0, 1.0])]
        [2.0, 2.0, 1.59]
    """
    total, made = 0.0, []
    for count, loss in enumerate(losses, start=1):
        total = SMOOTHING * total + (1 - SMOOTHING) * loss
        made.append(total / (1 - SMOOTHING**count))
    return made


def find_rate(
    job: Job,
    seed: int,
    options: TrainingOptions = PLAIN,
    processes: Processes = ALONE,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> float:
    """The rate that a range test finds for the peak of a training's schedule.

    Args:
        job: What is trained, on what.
        seed: Of the training: the same seed, the same rate.
        options: How a step is carried out.
        processes: Who trains together; all get the same.
        on_step: As in `range_test`.

    Raises:
        MseError: The loss diverges too soon.
    """
    rates, losses = range_test(job, seed, options, processes, on_step)
    try:
        rate = halfway(rates, losses)
    except ValueError as error:
        raise MseError(
            f"The range test of seed {seed} found no learning rate: {error}. Give a number, as in --learning-rate 1e-3."
        ) from error
    # Sums that processes add up in another order must not make another training.
    return float(processes.from_main(rate))
