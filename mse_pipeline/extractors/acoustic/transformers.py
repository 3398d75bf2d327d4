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
from mse_pipeline.extractors.families import CLAP, LOG_MEL, PATCHED, STACKED, TOWERS, refusal
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
    """Of encoders that begin with convolutions over samples, as wav2vec 2.0 does, or with a filter bank.

    Args:
        kernels: Sizes of the convolutions.
        strides: Their strides.
        paddings: Zeros that each adds at both ends; None for none.

    Examples:
        >>> clock = ConvolutionClock((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        >>> clock.stride, clock.field, clock.centre, clock.rows(16_000)
        (320, 400, 200.0, 49)
        >>> clock.span(1, 3, 16_000)
        slice(320, 1040, None)
        >>> adapted = ConvolutionClock((400, 2, 8), (160, 2, 8), (0, 0, 4))  # SeamlessM4T's, with its adapter
        >>> adapted.stride, adapted.centre, adapted.rows(16_000), adapted.span(0, 2, 16_000)
        (2560, 120.0, 7, slice(0, 4080, None))
    """

    def __init__(self, kernels: Sequence[int], strides: Sequence[int], paddings: Sequence[int] | None = None) -> None:
        paddings = paddings or (0,) * len(kernels)
        self._layers = tuple(zip(kernels, strides, paddings, strict=True))
        steps = [1, *itertools.accumulate(strides, int.__mul__)]
        self.stride = steps[-1]
        self.field = 1 + sum((kernel - 1) * step for kernel, step in zip(kernels, steps[:-1], strict=True))
        """Samples that one row is made of."""
        self._lead = sum(padding * step for padding, step in zip(paddings, steps[:-1], strict=True))
        self.centre = self.field / 2 - self._lead

    def rows(self, samples: int) -> int:
        """Number of rows; 0 for less sound than one row is made of."""
        for kernel, stride, padding in self._layers:
            samples = (
                (samples + 2 * padding - kernel) // stride + 1 if samples and samples + 2 * padding >= kernel else 0
            )
        return samples

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples of some rows: as many as give just these rows."""
        return slice(start * self.stride, min((stop - 1) * self.stride + self.field - self._lead, samples))


class SpectrogramClock(EncoderClock):
    """Of encoders over a centred spectrogram, padded at both ends, as Whisper's: row k lies around sample k * stride.

    Args:
        stride: Samples from one row to the next.
        centre: Sample around which row 0 lies.

    Examples:
        >>> SpectrogramClock(320).rows(16_000), SpectrogramClock(320).span(40, 60, 16_000)
        (50, slice(12800, 16000, None))
    """

    def __init__(self, stride: int, centre: float = 0.0) -> None:
        self.stride = stride
        self.centre = centre

    def rows(self, samples: int) -> int:
        """Number of rows whose centre lies in the sound; one at least where there is any."""
        return max(math.ceil((samples - self.centre) / self.stride), min(samples, 1))

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples around some rows, as far as there are any."""
        return slice(start * self.stride, min(stop * self.stride, samples))


class PatchClock(ConvolutionClock):
    """Of encoders over patches of a filter bank that is padded at its end, as AST: the least sound gives a row, too."""

    def rows(self, samples: int) -> int:
        """Number of rows within the sound; one where it is shorter, but has a frame of the filter bank."""
        return max(super().rows(samples), int(samples >= self._layers[0][0]))

    def span(self, start: int, stop: int, samples: int) -> slice:
        """The samples of some rows."""
        whole = super().span(start, stop, samples)
        return slice(whole.start, min(whole.stop, samples))


_FRAME, _HOP = 400, 160
"""Samples of a frame of Kaldi's filter bank, and from one to the next; the feature extractors fix them."""

_TIED = ("seamless_m4t", "seamless_m4t_v2", "qwen2_audio_encoder")
"""Model types whose last hidden state is their output, although that has fewer rows than the others."""

_TAKES = (
    "encoders of samples (wav2vec2, hubert, wavlm, data2vec-audio, ...), Whisper, w2v-BERT 2.0, AST, and the audio "
    "encoders of CLAP, SeamlessM4T and Qwen2-Audio."
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AcousticTransformersConfig(EncoderConfig):
    """Options of `AcousticTransformers`.

    Attributes:
        window: Seconds that are encoded at once; a clip up to this length is one window. Whisper and Qwen2-Audio take
            30 at most; where nothing else is said, AST and CLAP get the 10 that they take.
        overlap: Seconds that neighbouring windows share, half a window at most; half of it is each row's least
            distance from a border.
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
    """Stream ``acoustic.transformers``, (T, D), one row every 20 ms in most models.

    wav2vec 2.0, HuBERT, WavLM, data2vec and their like read samples (Baevski et al. 2020, "wav2vec 2.0"), Whisper's
    encoder a log-mel spectrogram that is padded with silence to 30 s (Radford et al. 2022, "Robust Speech
    Recognition via Large-Scale Weak Supervision"); of its rows those within the sound are kept. Qwen2-Audio's encoder
    does the same, attends to the sound alone and gives a row every 40 ms (Chu et al. 2024). w2v-BERT 2.0 and
    SeamlessM4T's speech encoder read a filter bank, two frames as one (Seamless Communication 2023); behind
    SeamlessM4T's adapter a row comes every 160 ms. AST (Gong et al. 2021) reads patches of a filter bank: a row every
    100 ms is the mean over its frequencies. CLAP's encoder (Wu et al. 2023) hears 48 kHz, to which the sound is
    resampled, and gives a row every 312.5 ms.

    Longer sound goes through in windows of one length, so that nothing is ever padded but the spectrograms of fixed
    length. Each window gives what the plain call of transformers gives for its samples, the feature extractor's
    normalisation included: most of these models normalise within the network over all that they hear anyway.
    """

    name = "transformers"
    Config = AcousticTransformersConfig

    def part_of_config(self, config: Any) -> Any:
        """The configuration, where it is that of a speech encoder."""
        if config.model_type in (*LOG_MEL, *STACKED, *PATCHED, *CLAP):
            return TOWERS[config.model_type].part_of_config(config) if config.model_type in TOWERS else config
        if hasattr(config, "conv_kernel") and not hasattr(config, "squeeze_factor"):
            return config
        raise refusal(self.config.model, config, "acoustic.transformers", _TAKES)

    def part_of_model(self, model: Any) -> Any:
        """The model."""
        return model

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return f"acoustic.transformers takes {_TAKES}"

    @property
    def kind(self) -> str:
        """The model's type."""
        return str(self.model_config.model_type)

    @property
    def width(self) -> int:
        """Values a row."""
        config = self.model_config
        if self.kind == "clap_audio_model":  # its configuration names the width of the first layers
            return int(config.patch_embeds_hidden_size) * 2 ** (len(config.depths) - 1)
        adapted = self._adapters and hasattr(config, "output_hidden_size")
        return int(config.output_hidden_size if adapted else config.hidden_size)

    @property
    def hidden_layers(self) -> int:
        """Layers of the encoder."""
        config = self.model_config
        return int(getattr(config, "speech_encoder_layers", None) or config.num_hidden_layers)

    @property
    def _at_output(self) -> bool:
        """Whether rows are those of the model's output, which may be fewer than those of its layers."""
        tied = self.kind in _TIED and (self.config.layer in (-1, self.hidden_layers) or self.config.last == 1)
        return self._plain or tied

    @property
    def _adapters(self) -> tuple[int, int, int, int] | None:
        """Kernel, stride, padding and number of the convolutions behind the last layer; None where there are none."""
        config = self.model_config
        if not getattr(config, "add_adapter", False) or not self._at_output:
            return None
        if hasattr(config, "adaptor_kernel_size"):
            kernel, stride = int(config.adaptor_kernel_size), int(config.adaptor_stride)
        else:
            kernel, stride = int(config.adapter_kernel_size), int(config.adapter_stride)
        return kernel, stride, stride // 2 if self.kind in STACKED else 1, int(config.num_adapter_layers)

    def _require_layers(self) -> None:
        if self.kind == "clap_audio_model" and not self._plain:
            raise UsageError(
                f"The layers of {self.config.model} have maps of several sizes: leave out `layer` and `last`."
            )
        mixed = self.kind in _TIED and (self.config.last or 0) > 1
        if mixed and (self.kind == "qwen2_audio_encoder" or self.model_config.add_adapter):
            raise UsageError(
                f"The output of {self.config.model} has fewer rows a second than its layers, so that `last` cannot "
                "average them. Use `layer`."
            )
        super()._require_layers()

    @property
    def step(self) -> float:
        """Seconds from one row to the next."""
        return self.clock.stride / SAMPLE_RATE

    @functools.cached_property
    def clock(self) -> EncoderClock:
        """The model's rows on its samples."""
        config = self.model_config
        if self.kind in LOG_MEL:
            hop = int(self.processor.hop_length)
            pooled = self.kind == "qwen2_audio_encoder" and self._at_output
            return SpectrogramClock(4 * hop, float(hop)) if pooled else SpectrogramClock(2 * hop)
        if self.kind in CLAP:
            stride = self._most * SAMPLE_RATE / _clap_rows(config)
            return SpectrogramClock(round(stride), stride / 2)
        if self.kind in PATCHED:
            patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[-1]
            return PatchClock((_FRAME, patch), (_HOP, config.time_stride))
        if self.kind in STACKED:
            layers = [(_FRAME, _HOP, 0), (self.processor.stride, self.processor.stride, 0)]
        else:
            layers = [
                (kernel, stride, 0) for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True)
            ]
        if self._adapters is not None:
            kernel, stride, padding, count = self._adapters
            layers += [(kernel, stride, padding)] * count
        kernels, strides, paddings = zip(*layers, strict=True)
        return ConvolutionClock(kernels, strides, paddings)

    @functools.cached_property
    def _most(self) -> float:
        """Seconds that the model takes at once."""
        if self.kind in LOG_MEL:
            return float(self.processor.n_samples / SAMPLE_RATE)
        if self.kind in CLAP:
            return float(self.processor.max_length_s)
        if self.kind in PATCHED:
            clock: Any = self.clock
            frames = int(self.model_config.max_length)
            return float(clock.span(0, clock.rows(_FRAME + (frames - 1) * _HOP), 1 << 60).stop / SAMPLE_RATE)
        return np.inf

    @property
    def window(self) -> float:
        """Seconds that are encoded at once."""
        return min(self.config.window, self._most)

    @functools.cached_property
    def processor(self) -> Any:
        """The model's feature extractor, as transformers has it.

        Raises:
            UsageError: The folder has none, or one for another sampling rate.
        """
        processor = load_preprocessor("AutoFeatureExtractor", self.folder)
        if processor.sampling_rate != SAMPLE_RATE and self.kind not in CLAP:
            raise UsageError(
                f"{self.config.model} hears {processor.sampling_rate} samples a second; clips are decoded to "
                f"{SAMPLE_RATE}. Take a model for {SAMPLE_RATE}."
            )
        return processor

    def prepare(self) -> None:
        """Refuse windows that are longer than what the model takes; the default becomes what it takes."""
        if self._most < self.config.window != AcousticTransformersConfig.window:
            raise UsageError(
                f"{self.config.model} takes {self._most:g} s at once, and `window` asks for {self.config.window:g} s."
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
        length = max(self.clock.rows(round(self.window * SAMPLE_RATE)), 1)
        overlap = min(round(self.config.overlap / self.step), (length + 1) // 2, length - 1)
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
        inputs = self._inputs(sounds)
        states = self.hidden(self.run(**inputs))
        if self.kind in PATCHED:  # two tokens of the whole, then the patches, those of one frequency together
            count = (self.model_config.num_mel_bins - self.clock_patch) // self.model_config.frequency_stride + 1
            return states[:, 2:].unflatten(1, (count, -1)).mean(1)
        if self.kind in CLAP:  # maps of frequency and time
            return states.mean(2).transpose(1, 2)
        return states

    def _inputs(self, sounds: list[np.ndarray]) -> dict[str, Any]:
        import torch

        if self.kind in CLAP:
            # One at a time: of several sounds, its feature extractor treats one, drawn by lot, as longer than it is.
            heard = [self._plain_inputs(_resampled(sound, self.processor.sampling_rate)) for sound in sounds]
            return {name: torch.cat([one[name] for one in heard]) for name in ("input_features", "is_longer")}
        if self.kind == "qwen2_audio_encoder":
            inputs = self._plain_inputs(sounds, return_attention_mask=True)
            return {"input_features": inputs["input_features"], "attention_mask": _attended(inputs["attention_mask"])}
        inputs = self._plain_inputs(sounds)
        if self.kind in STACKED:
            return {name: inputs[name] for name in ("input_features", "attention_mask")}
        name = "input_features" if "input_features" in inputs else "input_values"
        return {name: inputs[name]}

    def _plain_inputs(self, sounds: Any, **more: Any) -> Any:
        return self.processor(sounds, sampling_rate=self.processor.sampling_rate, return_tensors="pt", **more)

    @property
    def clock_patch(self) -> int:
        """Frequencies of a patch."""
        size = self.model_config.patch_size
        return int(size if isinstance(size, int) else size[0])


def _clap_rows(config: Any) -> int:
    """Rows of CLAP's last map: its spectrogram is cut into as many parts as fill a square."""
    stride = config.patch_stride if isinstance(config.patch_stride, int) else config.patch_stride[1]
    return int(config.spec_size // config.num_mel_bins * (config.spec_size // stride // 2 ** (len(config.depths) - 1)))


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """Sound at another rate, band-limited; what lies above 8 kHz is not there."""
    from scipy.signal import resample_poly

    common = math.gcd(rate, SAMPLE_RATE)
    return np.asarray(resample_poly(samples, rate // common, SAMPLE_RATE // common), np.float32)


def _attended(mask: Any) -> Any:
    """What Qwen2-Audio's encoder attends to: the sound, not the silence behind it, as in the whole model.

    Args:
        mask: (B, M) of the spectrogram's frames, 1 within the sound.

    Returns:
        (B, 1, S, S) float, 0 for rows that are attended to, S of them for every two frames.
    """
    import torch

    lengths = (mask.sum(-1) - 1) // 2 + 1
    rows = torch.arange((mask.shape[1] - 1) // 2 + 1)
    padding = rows[None] >= lengths[:, None]
    bias = torch.zeros(len(mask), 1, len(rows), len(rows))
    return bias.masked_fill(padding[:, None, None], torch.finfo(torch.bfloat16).min)
