"""acoustic.transformers: hidden states of a pretrained speech encoder.

Frame clocks: which samples a speech encoder's rows are made of, and which time they stand for.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.extractors.encoder import Encoder, EncoderConfig, Window, batches, windows
from mse_pipeline.extractors.pretrained import load_preprocessor
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.store.features import Features


class EncoderClock(ABC):
    """The rows of an encoder on its samples.

    Attributes:
        stride: Samples from one row to the next.
        centre: Sample in the middle of what row 0 is made of.
    """

    stride: int
    centre: float

    @abstractmethod
    def rows(self, samples: int) -> int:
        """Number of rows that so many samples give."""

    @abstractmethod
    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples that rows `start` to `stop` (exclusive) are made of.

        Args:
            start: First row.
            stop: Row behind the last.
            samples: Length of the sound.
        """

    def intervals(self, samples: int, rate: int) -> np.ndarray:
        """The time that each row stands for: up to the middle between its centre and its neighbours'.

        Args:
            samples: Length of the sound.
            rate: Samples a second.

        Returns:
            (T, 2) float64 seconds, from 0 to the sound's end without a hole.
        """
        borders = self.centre + (np.arange(self.rows(samples) + 1) - 0.5) * self.stride
        borders[0], borders[-1] = 0.0, samples
        return np.stack([borders[:-1], borders[1:]], 1) / rate


class ConvolutionClock(EncoderClock):
    """Of encoders that begin with unpadded convolutions over samples, as wav2vec 2.0 does.

    Args:
        kernels: Sizes of the convolutions.
        strides: Their strides.

    Examples:
        >>> clock = ConvolutionClock((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        >>> clock.stride, clock.field, clock.centre, clock.rows(16_000)
        (320, 400, 200.0, 49)
        >>> clock.span(1, 3, 16_000)
        slice(320, 1040, None)
    """

    def __init__(self, kernels: Sequence[int], strides: Sequence[int]) -> None:
        self._layers = tuple(zip(kernels, strides, strict=True))
        steps = [1, *itertools.accumulate(strides, int.__mul__)]
        self.stride = steps[-1]
        self.field = 1 + sum((kernel - 1) * step for kernel, step in zip(kernels, steps[:-1], strict=True))
        """Samples that one row is made of."""
        self.centre = self.field / 2

    def rows(self, samples: int) -> int:
        """Number of rows; 0 for less sound than one row is made of."""
        for kernel, stride in self._layers:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples of some rows: as many as give just these rows."""
        return slice(start * self.stride, (stop - 1) * self.stride + self.field)


class SpectrogramClock(EncoderClock):
    """Of encoders over a centred spectrogram, padded at both ends, as Whisper's: row k lies around sample k * stride.

    Args:
        stride: Samples from one row to the next.

    Examples:
        >>> SpectrogramClock(320).rows(16_000), SpectrogramClock(320).span(40, 60, 16_000)
        (50, slice(12800, 16000, None))
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.centre = 0.0

    def rows(self, samples: int) -> int:
        """Number of rows whose centre lies in the sound."""
        return math.ceil(samples / self.stride)

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples around some rows, as far as there are any."""
        return slice(start * self.stride, min(stop * self.stride, samples))


MEL_TYPES = ("whisper",)
"""Model types that read a log-mel spectrogram of a fixed length."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AcousticTransformersConfig(EncoderConfig):
    """Options of `AcousticTransformers`.

    Attributes:
        window: Seconds that are encoded at once; a clip up to this length is one window. Whisper takes 30 at most.
        overlap: Seconds that neighbouring windows share; half of it is each row's least distance from a border.
        batch: Windows that go through the model at once.
    """

    window: Annotated[float, Field(ge=0.1, le=3600.0)] = 30.0
    overlap: Annotated[float, Field(ge=0.0)] = 6.0
    batch: Annotated[int, Field(ge=1)] = 2

    @field_validator("overlap")
    @classmethod
    def _shorter(cls, overlap: float, info: ValidationInfo) -> float:
        if overlap > info.data.get("window", np.inf) / 2:
            raise ValueError(f"windows of {info.data['window']:g} s can overlap by half of that at most")
        return overlap


class AcousticTransformers(Encoder[AcousticTransformersConfig], AudioExtractor[AcousticTransformersConfig]):
    """Stream ``acoustic.transformers``, (T, D), one row every 20 ms in all models that are in use.

    wav2vec 2.0, HuBERT, WavLM, data2vec and their like read samples (Baevski et al. 2020, "wav2vec 2.0"), Whisper's
    encoder a log-mel spectrogram that is padded with silence to 30 s (Radford et al. 2022, "Robust Speech
    Recognition via Large-Scale Weak Supervision"); of its rows those within the sound are kept.

    Longer sound goes through in windows of one length, so that nothing is ever padded but Whisper's spectrogram.
    Each window gives what the plain call of transformers gives for its samples, the feature extractor's
    normalisation included: most of these models normalise within the network over all that they hear anyway.
    """

    name = "transformers"
    Config = AcousticTransformersConfig

    def part_of_config(self, config: Any) -> Any:
        """The configuration, where it is that of a speech encoder."""
        if config.model_type in MEL_TYPES or (hasattr(config, "conv_kernel") and not hasattr(config, "squeeze_factor")):
            return config
        raise UsageError(
            f"{self.config.model} is a {config.model_type!r} model: acoustic.transformers takes encoders of samples "
            "(wav2vec2, hubert, wavlm, data2vec-audio, ...) and Whisper."
        )

    def part_of_model(self, model: Any) -> Any:
        """The encoder; Whisper's decoder is dropped."""
        return model.get_encoder() if model.config.model_type in MEL_TYPES else model

    @property
    def step(self) -> float:
        """Seconds from one row to the next."""
        return self.clock.stride / SAMPLE_RATE

    @functools.cached_property
    def clock(self) -> EncoderClock:
        """The model's rows on its samples."""
        config = self.model_config
        if config.model_type in MEL_TYPES:
            return SpectrogramClock(2 * self.processor.hop_length)
        return ConvolutionClock(config.conv_kernel, config.conv_stride)

    @functools.cached_property
    def processor(self) -> Any:
        """The model's feature extractor, as transformers has it.

        Raises:
            UsageError: The folder has none, or one for another sampling rate.
        """
        processor = load_preprocessor("AutoFeatureExtractor", self.folder)
        if processor.sampling_rate != SAMPLE_RATE:
            raise UsageError(
                f"{self.config.model} hears {processor.sampling_rate} samples a second; clips are decoded to "
                f"{SAMPLE_RATE}. Take a model for {SAMPLE_RATE}."
            )
        return processor

    def load(self, device: str = "cpu") -> None:
        """Load the model; see `Encoder.load`."""
        super().load(device)
        if self.model_config.model_type in MEL_TYPES:
            most = self.processor.n_samples / SAMPLE_RATE
            if self.config.window > most:
                raise UsageError(
                    f"{self.config.model} takes {most:g} s at once, and `window` asks for {self.config.window:g} s."
                )

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, D) features; row t stands for the time around the middle of the samples that it is made of.

        Raises:
            ClipError: `too_short` for less sound than one row is made of (25 ms for wav2vec 2.0 and its like).
        """
        self.ready()
        rows = self.clock.rows(len(audio.samples))
        if rows == 0:
            raise ClipError(
                "too_short",
                f"The sound lasts {1000 * audio.duration:.1f} ms, less than one row of {self.config.model} is made of.",
            )
        values = np.empty((rows, len(self.names)), np.float32)
        length = max(self.clock.rows(round(self.config.window * SAMPLE_RATE)), 1)
        overlap = min(round(self.config.overlap / self.step), length - 1)
        for some in batches(windows(rows, length, overlap), self.config.batch):
            encoded = self._encode([self._heard(window, rows, audio) for window in some])
            for window, states in zip(some, encoded, strict=True):
                values[window.kept] = states[window.inner].cpu().numpy()
        intervals = self.clock.intervals(len(audio.samples), audio.rate)
        return Features(values, intervals, np.ones(rows, bool), self.names, self.told())

    def _heard(self, window: Window, rows: int, audio: Audio) -> np.ndarray:
        """A window's samples; the only window of a clip hears all of it, with what is too little for another row."""
        if (window.start, window.stop) == (0, rows):
            return audio.samples
        return audio.samples[self.clock.span(window.start, window.stop, len(audio.samples))]

    def _encode(self, sounds: list[np.ndarray]) -> Any:
        """Hidden states of sounds of one length, (B, T, D)."""
        inputs = self.processor(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        name = "input_features" if "input_features" in inputs else "input_values"
        return self.hidden(self.run(**{name: inputs[name]}))
