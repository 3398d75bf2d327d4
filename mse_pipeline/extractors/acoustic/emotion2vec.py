"""acoustic.emotion2vec: emotion2vec and emotion2vec+ from their published weight files, without funasr or fairseq."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.acoustic.transformers import AcousticTransformersConfig, ConvolutionClock
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.extractors.encoder import Encoder, batches, windows
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.store.features import Features

if TYPE_CHECKING:
    from mse_pipeline.extractors.acoustic.emotion2vec_network import NetworkConfig

FILES = ("*.safetensors", "*.pt", "*.pth")
"""What is looked for in a folder, and fetched from the hub; the first kind that is there is taken."""
BESIDE = ("config.yaml", "tokens.txt")
_EPSILON = 1e-5  # of the layer norm over a sound


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Emotion2vecConfig(AcousticTransformersConfig):
    """Options of `Emotion2vec`.

    Attributes:
        model: A published weight file (``model.pt``, ``emotion2vec_base.pt``, or safetensors of the same names), the
            folder that holds it, or a hub name such as emotion2vec/emotion2vec_plus_base.
        output: ``features``: the rows of the network; ``emotions``: the probabilities of the classes, for files with
            a head (emotion2vec+).
        granularity: ``frame``: 50 rows a second; ``utterance``: one row a clip, of the mean of all rows.
        window: Seconds that are encoded at once; a clip up to this length is one window.
        batch: Windows that go through the model at once.
    """

    output: Literal["features", "emotions"] = "features"
    granularity: Literal["frame", "utterance"] = "frame"
    batch: Annotated[int, Field(ge=1)] = 1


class Emotion2vec(Encoder[Emotion2vecConfig], AudioExtractor[Emotion2vecConfig]):
    """Stream ``acoustic.emotion2vec``, (T, D) every 20 ms, or (1, D); D is 768 or 1024, with ``emotions`` 9.

    Ma et al. 2024, "emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation". The whole sound is
    brought to mean 0 and variance 1 first, as the published models want it. Longer sound goes through in windows, as
    `acoustic.transformers` has it.

    The head of emotion2vec+ was trained on the mean of a clip's rows, and gives with ``granularity: utterance`` what
    FunASR gives; of single rows it is an estimate.
    """

    name = "emotion2vec"
    Config = Emotion2vecConfig

    @functools.cached_property
    def folder(self) -> Path:
        """The weight file; fetched from the hub if it is missing."""
        return _weights(self.config.model, self.config.revision)

    @functools.cached_property
    def model_config(self) -> NetworkConfig:
        """What the weight file holds."""
        from mse_pipeline.extractors.acoustic.emotion2vec_network import network_config

        return network_config(self.folder, self.model_digest())

    def part_of_config(self, config: Any) -> Any:
        """The configuration itself: the file holds nothing else."""
        return config

    def part_of_model(self, model: Any) -> Any:
        """The model itself."""
        return model

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return "acoustic.emotion2vec takes published weight files of emotion2vec and emotion2vec+."

    def model_digest(self) -> str:
        """Digest of the weights, and of the settings and names of classes beside them."""
        beside = [path for name in BESIDE if (path := self.folder.with_name(name)).is_file()]
        return pretrained.folder_digest([self.folder, *beside], models_folder() / ".digests")

    @property
    def names(self) -> tuple[str, ...]:
        """``emotion2vec_0000`` and so on, or the classes."""
        if self.config.output == "features":
            return super().names
        return tuple(name for name, used in zip(self.model_config.classes, self._used, strict=True) if used)

    @property
    def _used(self) -> list[bool]:
        """Which of the head's classes count."""
        from mse_pipeline.extractors.acoustic.emotion2vec_network import NO_CLASS

        if not self.model_config.classes:
            raise UsageError(
                f"{self.config.model} has no head for emotions. Take `output: features`, or one of emotion2vec+ "
                "(emotion2vec_plus_seed, emotion2vec_plus_base, emotion2vec_plus_large)."
            )
        return [not name.startswith(NO_CLASS) for name in self.model_config.classes]

    @property
    def step(self) -> float | None:
        """Seconds from one row to the next; None for one row a clip."""
        return self.clock.stride / SAMPLE_RATE if self.config.granularity == "frame" else None

    @functools.cached_property
    def clock(self) -> ConvolutionClock:
        """The model's rows on its samples."""
        _, kernels, strides = zip(*self.model_config.convolutions, strict=True)
        return ConvolutionClock(kernels, strides)

    def load(self, device: str = "cpu") -> None:
        """Load the network.

        Raises:
            MseError: The file is missing, broken, of another model, or does not fit the options.
        """
        from mse_pipeline.extractors.acoustic.emotion2vec_network import load_network

        self.device = str(device)
        self._require_layers()
        if self.config.output == "emotions":
            self._require_head()
        self.model = load_network(self.folder, self.model_digest(), self.config.precision, self.device)

    def _require_head(self) -> None:
        """Whether there is a head, and it reads what the options choose."""
        if any(self._used) and not self._plain:
            raise UsageError("The head for emotions reads the model's output: leave `layer` and `last` out.")

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, D) features, row t around the middle of the samples that it is made of; or (1, D).

        Raises:
            ClipError: `too_short` for less sound than one row is made of (25 ms).
        """
        self.ready()
        rows = self.clock.rows(len(audio.samples))
        if rows == 0:
            raise ClipError(
                "too_short",
                f"The sound lasts {1000 * audio.duration:.1f} ms, less than one row of {self.config.model} is made of.",
            )
        if self.config.granularity == "utterance":
            total = sum(states.sum(0, dtype=np.float64) for _, states in self._states(audio, rows))
            values, intervals = np.asarray(total)[None] / rows, np.array([[0.0, audio.duration]])
        else:
            values = np.concatenate([states for _, states in self._states(audio, rows)])
            intervals = self.clock.intervals(len(audio.samples), audio.rate)
        if self.config.output == "emotions":
            values = _softmax(values[:, self._used])
        return Features(values, intervals, np.ones(len(values), bool), self.names, self.told())

    def _states(self, audio: Audio, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
        """The chosen states, or the head's sums, of one window's rows after the other, (T, D) float32."""
        import torch

        mean, scale = _level(audio.samples) if self.model_config.normalize else (0.0, 1.0)
        length = max(self.clock.rows(round(self.config.window * SAMPLE_RATE)), 1)
        overlap = min(round(self.config.overlap * SAMPLE_RATE / self.clock.stride), length - 1)
        for some in batches(windows(rows, length, overlap), self.config.batch):
            heard = np.stack(
                [audio.samples[self.clock.span(each.start, each.stop, len(audio.samples))] for each in some]
            )
            samples = torch.from_numpy((heard - mean) * scale).float()
            states = self.hidden(self.run(samples=samples))
            if self.config.output == "emotions":
                with torch.inference_mode():
                    states = self.model.proj(states.to(self.model.proj.weight.dtype)).float()
            for each, own in zip(some, states.cpu().numpy(), strict=True):
                yield each.kept, own[each.inner]


def _level(samples: np.ndarray) -> tuple[float, float]:
    """The mean of a sound, and the factor that brings its variance to 1."""
    mean = float(samples.mean(dtype=np.float64))
    return mean, float(1.0 / np.sqrt(samples.var(dtype=np.float64) + _EPSILON))


def _softmax(sums: np.ndarray) -> np.ndarray:
    powers = np.exp(sums - sums.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _weights(model: str, revision: str | None) -> Path:
    """The weight file that the option `model` names.

    Raises:
        UsageError: There is none, or a folder has several.
        MseError: It must be fetched from the hub, which cannot be reached.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path
    folder = path if path.is_dir() else pretrained.find_files(model, revision, (*FILES, *BESIDE))
    for pattern in FILES:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            found = [path for path in found if path.stem == "model"] or found
        if len(found) > 1:
            raise UsageError(f"{folder} has several weight files: {', '.join(map(str, found))}. Give one as `model`.")
        if found:
            return found[0]
    raise UsageError(
        f"{folder} has no weight file of emotion2vec ({', '.join(FILES)}). Give the folder that FunASR or the hub "
        "downloaded, with its model.pt, or the file itself."
    )
