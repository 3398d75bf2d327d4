"""Checkpoint: a training as it stands at one step, so that it goes on as if it had never been interrupted."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mse_pipeline.errors import MseError
from mse_pipeline.store.storage import aside
from mse_pipeline.training.processes import ALONE, Processes

FORMAT = 3


@dataclass
class TrainingState:
    """How far a training is.

    Attributes:
        epoch: The epoch that is being trained, from 1.
        step: Steps of it that are done.
        losses: Their losses.
        seconds: Time that they took, interruptions left out.
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

    def keep_if_best(self, score: float, state: dict[str, torch.Tensor]) -> None:
        """Keep the weights of the epoch if no epoch before had its score."""
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self.epoch
            self.best_state = {name: value.detach().clone() for name, value in state.items()}

    def end_epoch(self, record: dict[str, Any], order: torch.Tensor) -> None:
        """Go on to the next epoch, which begins with the generator in the state `order`."""
        self.history.append(record)
        self.epoch, self.step, self.losses, self.seconds, self.order = self.epoch + 1, 0, [], 0.0, order


class TrainingCheckpoint:
    """Saves and restores a training.

    Of several processes the main one alone saves and reads: after every step all are in the same state, and the
    others may run on machines that do not see the file. Random numbers are not saved, since each step draws its own.

    Args:
        path: The file; None to save nothing.
        parts: What has a state: adapter, optimiser, schedule.
        of: Which training it is, on which data: what another one saved is not gone on with.
        processes: Who trains together.
        every: Seconds between two savings within an epoch.
    """

    def __init__(
        self,
        path: Path | None,
        parts: dict[str, Any],
        processes: Processes = ALONE,
        every: float = 60.0,
        of: str = "",
    ) -> None:
        self._path, self._parts, self._processes, self._every, self._of = path, parts, processes, every, of
        self._saved = time.monotonic()

    def save(self, progress: TrainingState) -> None:
        """Write everything, whole or not at all."""
        if self._path is None or not self._processes.main:
            return
        state = {
            "format": FORMAT,
            "of": self._of,
            "progress": asdict(progress),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }
        # By way of memory: torch's own writer says of a full disk that the file's name is invalid.
        held = io.BytesIO()
        torch.save(state, held)
        with aside(self._path) as temporary:
            temporary.write_bytes(held.getbuffer())
        self._saved = time.monotonic()

    def save_if_due(self, progress: TrainingState) -> None:
        """Save if the last time is long ago."""
        if self._path is not None and time.monotonic() - self._saved >= self._every:
            self.save(progress)

    def restore(self) -> TrainingState | None:
        """Set everything as it was saved; None, with nothing changed, where nothing was saved of this training.

        Raises:
            MseError: The file is damaged or of another version.
        """
        if self._path is None:
            return None
        state = self._processes.from_main(self._read(self._path) if self._processes.main else None)
        if state is None:
            return None
        with self._usable(self._path):
            progress = TrainingState(**state["progress"])
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
        return progress

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        with self._usable(path):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise ValueError(f"it has format {state['format']}, not {FORMAT}")
            return state if state["of"] == self._of else None

    @contextmanager
    def _usable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # torch raises errors of many kinds for damaged files
            raise MseError(
                f"The checkpoint {path} cannot be used ({type(error).__name__}: {error}). "
                "Give --overwrite to train this seed from its beginning."
            ) from error

    def remove(self) -> None:
        """Remove what was saved."""
        if self._path is not None and self._processes.main:
            self._path.unlink(missing_ok=True)
