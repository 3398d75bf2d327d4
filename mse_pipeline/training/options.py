"""Options: how a training is carried out, where that changes its speed and its memory but not its result."""

from __future__ import annotations

from dataclasses import dataclass

from mse_pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Not part of a run's configuration: the same run goes on with other options, on another machine.

    Attributes:
        accumulation: Parts that a step's batch is read in, one after the other: less memory, equal gradients.
        checkpointing: The backbone's activations are computed again in the backward pass instead of being kept.
        compile: The backbone's forward pass goes through torch.compile.
        trackers: Where scalars are logged besides the run folder: names of `trackers.KNOWN`.

    Raises:
        UsageError: `accumulation` is not a whole number from 1.

    Examples:
        >>> Options(accumulation=4).trackers
        ()
    """

    accumulation: int = 1
    checkpointing: bool = False
    compile: bool = False
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.accumulation, int) or self.accumulation < 1:
            raise UsageError(f"A batch is accumulated of 1 part or more, not of {self.accumulation}.")


PLAIN = Options()
