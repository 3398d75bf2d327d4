"""Run files: what a run folder holds, which of its trainings are done, and which of these is the best.

A run may come from a stranger: its JSON is of bounded size and steers no terminal.

`About` is what a run says of itself (`mse_pipeline.training.job.prepare` gathers it); `environment` is what it was made
with, so that its numbers can be told from those of other versions.
"""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mse_pipeline import metrics
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.recipe import Training
from mse_pipeline.recipe.schema import (
    Alignment,
    ClassificationSection,
    PromptSection,
    RegressionSection,
    StreamName,
)

OF_THE_DATASET = frozenset({"files", "content", "imported"})
"""Parts of a stream's identity that tell whose the values are, not what they are."""


class _Section(BaseModel):
    """Base of what is read; keys of later versions are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StreamAbout(_Section):
    """A stream as the run was trained on it.

    Attributes:
        name: As in ``acoustic.egemaps``.
        version: Its id in the cache.
        alignment: The clock that its rows were put on.
        identity: All that its values depend on, as the cache's manifest had it.
        names: Of its D dimensions on that clock; empty for a stream of words, which is not read itself.
    """

    name: StreamName
    version: str
    alignment: Alignment
    identity: dict[str, Any]
    names: tuple[str, ...] = ()

    @property
    def extracted(self) -> bool:
        """Whether an extractor made it, and not someone else's program."""
        return isinstance(self.identity.get("stream"), str) and isinstance(self.identity.get("config"), dict)


class TextAbout(_Section):
    """Where texts that the corpus lacks are from: the stream of transcripts, and the name of its model.

    Attributes:
        source: ``asr`` where clips without a text have a transcript, ``asr-all`` where all have.
        model: As in ``whisper-base``.
        stream: The stream.
    """

    source: Literal["asr", "asr-all"]
    model: str
    stream: StreamAbout


class BackboneAbout(_Section):
    """The frozen model: what the user called it, where it came from, and the SHA-256 of all its weights.

    Of a GGUF file also how that stores them.
    """

    name: str
    source: str
    revision: str | None
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    dtype: Literal["float32", "float16", "bfloat16"]
    quantization: Literal["4bit", "8bit"] | None = None
    stored_as: str | None = None


class MediaAbout(_Section):
    """How media were decoded: longer clips were cut to their first `max_seconds`; None for no limit."""

    max_seconds: Annotated[float, Field(gt=0)] | None


class PromptAbout(PromptSection):
    """How the backbone was asked; the question is written out."""

    task: str


class About(_Section):
    """What `mse_pipeline.training.job.prepare` gathered; see there.

    `data` is empty in runs of earlier versions, `where` None in runs on all clips.
    """

    dataset: str
    variant: str = ""
    backbone: BackboneAbout
    task: Annotated[ClassificationSection | RegressionSection, Field(discriminator="kind")]
    streams: dict[Literal["acoustic", "visual"], StreamAbout | None]
    words: StreamAbout | None
    text: TextAbout | None = None
    media: MediaAbout
    prompt: PromptAbout
    training: Training
    data: dict[str, str] = Field(default_factory=dict)
    where: str | None = None


_PACKAGES = (
    "mse-pipeline",
    "torch",
    "accelerate",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "h5py",
    "scikit-learn",
)


def describe(device: str, processes: int = 1) -> dict[str, Any]:
    """Versions of Python and of the libraries that shape a result, the machine, and the device.

    Args:
        device: Of this process.
        processes: How many train together.

    Examples:
        >>> sorted(describe("cpu"))
        ['device', 'machine', 'packages', 'processes', 'python', 'system', 'threads']
    """
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return {
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "system": platform.system(),
        "machine": platform.machine(),
        "device": name,
        "processes": processes,
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
