"""Run files: what a run folder holds, which of its trainings are done, and which of these is the best.

A run may come from a stranger: its JSON is of bounded size and steers no terminal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mse_pipeline import metrics
from mse_pipeline.errors import MseError, UsageError

RUN, RESULT, NORMALISER, ADAPTER = "run.json", "result.json", "normaliser.json", "adapter"
DATA = "data.parquet"
SEED_FOLDER = re.compile(r"seed-(-?\d+)")
_LARGEST = 32 << 20  # bytes; such a file has some thousands
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed, which a prompt may have


def choose_seed(path: Path, seed: int | None) -> tuple[Path, str]:
    """The folder of a seed of a run, and why this one.

    Args:
        path: The run folder.
        seed: Which training; None for the best by its validation split.

    Returns:
        The seed's folder, and the reason as a sentence; empty where there was nothing to choose.

    Raises:
        UsageError: There is no such training, or none that is done.
        MseError: The run's files are damaged.
    """
    done = done_seeds(path)
    if seed is not None:
        if seed not in done:
            raise UsageError(f"{path} has no training with seed {seed}; it has {', '.join(map(str, sorted(done)))}.")
        return done[seed], ""
    if len(done) == 1:
        return next(iter(done.values())), ""
    name, higher = metrics.primary(_kind(path))
    scores = {one: _score(home, name) for one, home in done.items()}
    known = {one: score for one, score in scores.items() if score is not None}
    if not known:
        first = min(done)
        return done[first], f"Seed {first}: no seed tells its {name} on the validation split."
    best = (max if higher else min)(sorted(known), key=lambda one: known[one])
    return done[best], f"Seed {best} of {len(done)}: the best by validation ({name} {known[best]:.4f})."


def done_seeds(path: Path) -> dict[int, Path]:
    """Folders of the trainings that are done, by seed.

    Raises:
        UsageError: There is none.
    """
    found = {int(name[1]): home for home in path.glob("seed-*") if (name := SEED_FOLDER.fullmatch(home.name))}
    done = {seed: home for seed, home in found.items() if (home / RESULT).is_file()}
    if not done:
        raise UsageError(f"{path} has no training that is done: run `mse train` again.")
    return done


def _kind(path: Path) -> str:
    kind = str(read_json(path / RUN).get("metrics"))
    try:
        metrics.primary(kind)
    except ValueError as error:
        raise MseError(f"{path / RUN} is damaged: {error}") from error
    return kind


def _score(home: Path, name: str) -> float | None:
    valid = read_json(home / RESULT).get("valid")
    score = valid.get(name) if isinstance(valid, dict) else None
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file that may be a stranger's.

    Raises:
        MseError: It cannot be read, is no object, is larger than such a file is, or holds control characters.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise MseError(f"{path} is larger than {_LARGEST >> 20} MiB, which no such file is.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MseError(f"{path} cannot be read ({error}). Copy the run again, or train again.") from error
    if not isinstance(value, dict):
        raise MseError(f"{path} holds no JSON object. Copy the run again, or train again.")
    if _has_controls(value):
        raise MseError(f"{path} holds control characters, which no run's does and which would steer a terminal.")
    return value


def _has_controls(value: Any) -> bool:
    if isinstance(value, str):
        return _CONTROL.search(value) is not None
    if isinstance(value, Mapping):
        return any(map(_has_controls, value)) or any(map(_has_controls, value.values()))
    return isinstance(value, list) and any(map(_has_controls, value))
