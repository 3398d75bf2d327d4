"""Trackers: the scalars of a training, logged to where a team looks at them (through Hugging Face Accelerate)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mse_pipeline.errors import UsageError, did_you_mean

KNOWN = ("tensorboard", "wandb", "trackio")
"""Names of trackers, which are those of their packages."""
PROJECT = "mse"
"""What the runs are grouped under where a tracker has projects."""


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that trackers can be used, before hours are spent.

    Raises:
        UsageError: One is unknown, or its package is missing.

    Examples:
        >>> check_trackers(["tensorbord"])
        Traceback (most recent call last):
        mse_pipeline.errors.UsageError: Tracker 'tensorbord' is none of tensorboard, wandb, trackio; did you mean
        tensorboard?
    """
    for name in names:
        if name not in KNOWN:
            raise UsageError(f"Tracker {name!r} is none of {', '.join(KNOWN)}{did_you_mean(name, KNOWN) or '.'}")
        if find_spec(name) is None:
            raise UsageError(f"Tracker {name} needs its package: install it with `pip install {name}`.")


class Trackers:
    """Logs one training; without names, nothing.

    Args:
        names: Of `KNOWN`.
        folder: Where logs go; trackio keeps its own in ``$TRACKIO_DIR``, where its dashboard looks for them.
        run: What the training is called.
        configuration: Its hyper-parameters, nested as they are.
    """

    def __init__(self, names: Sequence[str], folder: Path, run: str, configuration: Mapping[str, Any]) -> None:
        check_trackers(names)
        self._trackers = [_start(name, folder, run) for name in dict.fromkeys(names)]
        for tracker in self._trackers:
            tracker.store_init_configuration(flat(configuration))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Log an epoch's record: loss, learning rate, metrics as ``valid/NAME``, speed."""
        told = {name: value for name, value in flat(record, "/").items() if name != "epoch"}
        self._log(told, int(record["epoch"]))

    def end(self, scores: Mapping[str, Mapping[str, Any]], epochs: int) -> None:
        """Log the metrics of the best epoch, by split as in ``best/test/NAME``, and close."""
        self._log(flat({"best": scores}, "/"), epochs)
        self.close()

    def close(self) -> None:
        """Have everything written; logging has ended."""
        with redirect_stdout(sys.stderr):
            for tracker in self._trackers:
                tracker.finish()
        self._trackers = []

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        # Some of them make text of what is no number, or refuse it.
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        for tracker in self._trackers:
            tracker.log(numbers, step=step)


def flat(values: Mapping[str, Any], joint: str = ".", above: str = "") -> dict[str, Any]:
    """Nested settings as one level of names, in kinds of values that every tracker takes.

    Examples:
        >>> flat({"backbone": {"name": "tiny", "revision": None}, "seeds": [1, 2]})
        {'backbone.name': 'tiny', 'backbone.revision': 'None', 'seeds': '[1, 2]'}
    """
    made: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            made |= flat(value, joint, f"{above}{name}{joint}")
        else:
            made[above + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return made


def _start(name: str, folder: Path, run: str) -> Any:
    from accelerate import PartialState, tracking

    PartialState()  # the trackers ask it who they are
    folder.mkdir(parents=True, exist_ok=True)
    tracker: Any
    if name == "tensorboard":
        tracker = tracking.TensorBoardTracker(name, logging_dir=folder)
    elif name == "wandb":
        tracker = tracking.WandBTracker(PROJECT, name=run, dir=str(folder))
    else:
        tracker = tracking.TrackioTracker(PROJECT, name=run)
    with redirect_stdout(sys.stderr):  # standard output is for results
        tracker.start()
    return tracker
