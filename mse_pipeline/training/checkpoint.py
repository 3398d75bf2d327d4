"""Checkpoint: a training as it stands at one step, so that it goes on as if it had never been interrupted."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.errors import MseError
from mse_pipeline.store.atomic import aside

FORMAT = 1


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: The epoch that is being trained, from 1.
        step: Steps of it that are done.
        losses: Their losses.
        seconds: Time that the epoch took before an interruption.
        order: State of the generator that shuffles, at the epoch's beginning.
        history: Records of the epochs that are done.
        best_score: Validation score of the best epoch, larger is better.
        best_epoch: Its number, 0 before the first.
        best_state: The adapter's weights then.
    """

    order: torch.Tensor
    epoch: int = 1
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_score: float = float("-inf")
    best_epoch: int = 0
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)


class Checkpoint:
    """Saves and restores a training.

    Args:
        path: The file; None to save nothing.
        parts: What has a state: adapter, optimiser, schedule.
        every: Seconds between two savings within an epoch.
    """

    def __init__(self, path: Path | None, parts: dict[str, Any], every: float = 60.0) -> None:
        self._path, self._parts, self._every = path, parts, every
        self._saved = time.monotonic()

    def save(self, progress: Progress) -> None:
        """Write everything, whole or not at all."""
        if self._path is None:
            return
        state = {
            "format": FORMAT,
            "progress": asdict(progress),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        with aside(self._path) as temporary:
            torch.save(state, temporary)
        self._saved = time.monotonic()

    def save_if_due(self, progress: Progress) -> None:
        """Save if the last time is long ago."""
        if self._path is not None and time.monotonic() - self._saved >= self._every:
            self.save(progress)

    def restore(self) -> Progress | None:
        """Set everything as it was saved; None, with nothing changed, where nothing was saved.

        Raises:
            MseError: The file is damaged or of another training.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise ValueError(f"it has format {state['format']}, not {FORMAT}")
            progress = Progress(**state["progress"])
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
            torch.set_rng_state(state["random"])
            if state["random_cuda"] and torch.cuda.is_available():
                torch.cuda.set_rng_state_all(state["random_cuda"])
        except Exception as error:  # torch raises errors of many kinds for damaged files
            raise MseError(
                f"The checkpoint {self._path} cannot be used ({type(error).__name__}: {error}). "
                "Give --overwrite to train this seed from its beginning."
            ) from error
        return progress

    def remove(self) -> None:
        """Remove what was saved."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
