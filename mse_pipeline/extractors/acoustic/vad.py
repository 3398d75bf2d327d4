"""acoustic.vad: how likely it is that somebody speaks, by Silero VAD; and the stretches of speech that it tells.

The network is that of the package silero-vad (MIT), whose wheel has the weights. It is written here in PyTorch and
hears many rows in one call, while the package runs a TorchScript file row by row; both give the same values. (The
wheel's file of safetensors holds the weights of another release.)
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.extractors.pretrained import file_digest
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.store.features import Features

HOP = 512
"""Samples a row is made of: 32 ms."""

THRESHOLD = 0.5
"""Probability from which on a row is speech, as silero-vad has it."""

_CONTEXT = 64  # samples before a row that are heard with it
_BLOCK = 1024  # rows at once: half a minute
_FALL = 0.15  # speech goes on until the probability is so much below the threshold
_SHORTEST_SILENCE = 0.1  # seconds; shorter gaps are within speech
_SHORTEST_SPEECH = 0.1  # seconds; what is shorter is a click
_FILE = "silero_vad.jit"


def weights_file() -> Path:
    """The file of the weights in the installed package silero-vad.

    Raises:
        MseError: The package is not installed, or has no such file.
    """
    found = importlib.util.find_spec("silero_vad")  # not imported: that would set torch's threads to one
    if found is None or found.origin is None:
        raise MseError("Voices are found with silero-vad, which is not installed: pip install 'silero-vad>=6.2'")
    file = Path(found.origin).parent / "data" / _FILE
    if not file.is_file():
        raise MseError(f"The installed silero-vad has no {file}: pip install --upgrade 'silero-vad>=6.2'")
    return file


def speech_probabilities(samples: np.ndarray) -> np.ndarray:
    """How likely speech is in each row of `HOP` samples; the last row is filled up with silence.

    Args:
        samples: (N,) float32 mono sound, 16,000 samples a second.

    Returns:
        (T,) float32 from 0 to 1. Memory is bounded, however long the sound is.

    Raises:
        MseError: The package silero-vad is missing.

    Examples:
        >>> speech_probabilities(np.zeros(16_000, np.float32)).shape
        (32,)
    """
    import torch
    from torch.nn import functional

    network = _network(weights_file())
    rows = math.ceil(len(samples) / HOP)
    heard = np.zeros(rows, np.float32)
    state: Any = None
    with torch.inference_mode():
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            block = np.zeros(_CONTEXT + count * HOP, np.float32)
            begin = first * HOP - _CONTEXT
            part = samples[max(begin, 0) : (first + count) * HOP]
            block[max(-begin, 0) : max(-begin, 0) + len(part)] = part
            frames = torch.from_numpy(block).unfold(0, _CONTEXT + HOP, HOP)
            value = functional.pad(frames[:, None], (0, _CONTEXT), "reflect")
            value = functional.conv1d(value, network["stft.forward_basis_buffer"], stride=128)
            value = (value[:, :129] ** 2 + value[:, 129:] ** 2).sqrt()
            for layer, stride in enumerate((1, 2, 2, 1)):
                weight, bias = (network[f"encoder.{layer}.reparam_conv.{kind}"] for kind in ("weight", "bias"))
                value = functional.conv1d(value, weight, bias, stride=stride, padding=1).relu()
            value, state = network["lstm"](value[:, :, 0][None], state)
            weight, bias = (network[f"decoder.decoder.2.{kind}"] for kind in ("weight", "bias"))
            value = functional.conv1d(value[0].relu()[:, :, None], weight, bias)
            heard[first : first + count] = value[:, 0, 0].sigmoid().numpy()
    return heard


@functools.lru_cache(maxsize=1)
def _network(file: Path) -> dict[str, Any]:
    """The weights by name, those of the LSTM as a module."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch would rather have another format than the package has
        weights: dict[str, Any] = dict(torch.jit.load(str(file), "cpu")._model.state_dict())
    lstm = torch.nn.LSTM(128, 128, batch_first=True).eval().requires_grad_(False)
    lstm.load_state_dict(
        {f"{name}_l0": weights.pop(f"decoder.rnn.{name}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    )
    return {**weights, "lstm": lstm}


def speech_segments(probabilities: np.ndarray, threshold: float = THRESHOLD) -> list[tuple[float, float]]:
    """When somebody speaks.

    Speech begins where the probability reaches the threshold, and ends where it has fallen well below it; short gaps
    are part of it, and what lasts less than 0.1 s is none.

    Args:
        probabilities: (T,) of rows of `HOP` samples, as `speech_probabilities` gives them.
        threshold: From which on a row is speech; with 0 all of it is.

    Returns:
        (begin, end) in seconds, in order.

    Examples:
        >>> speech_segments(np.array([0.0, 0.9, 0.4, 0.9, 0.4, 0.2, 0.1, 0.1, 0.1, 0.6, 0.0]))
        [(0.032, 0.16)]
    """
    segments: list[list[int]] = []
    speaks = False
    for row, probability in enumerate(probabilities.tolist()):
        starts = not speaks and probability >= threshold
        if starts and segments and (row - segments[-1][1]) * HOP < _SHORTEST_SILENCE * SAMPLE_RATE:
            segments[-1][1] = row + 1
        elif starts:
            segments.append([row, row + 1])
        speaks = starts or (speaks and probability >= threshold - _FALL)
        if speaks:
            segments[-1][1] = row + 1
    times = [(begin * HOP / SAMPLE_RATE, end * HOP / SAMPLE_RATE) for begin, end in segments]
    return [(begin, end) for begin, end in times if end - begin >= _SHORTEST_SPEECH]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VadConfig:
    """Options of `Vad`.

    Attributes:
        threshold: Probability from which on a row is speech: by it the notes and the remark `no_speech` are made.
    """

    threshold: Annotated[float, Field(gt=0, lt=1)] = THRESHOLD


class Vad(AudioExtractor[VadConfig]):
    """Stream ``acoustic.vad``, (T, 1): the probability of speech, one row every 32 ms.

    The notes tell when somebody speaks (``speech``, begin and end in seconds) and which share of the clip that is
    (``speech_share``). A clip in which nobody does has the remark `no_speech`.
    """

    name = "vad"
    revision = 1
    Config = VadConfig

    @property
    def names(self) -> tuple[str, ...]:
        """Of the one value: speech_probability."""
        return ("speech_probability",)

    @property
    def step(self) -> float:
        """Seconds from one row to the next."""
        return HOP / SAMPLE_RATE

    def load(self, device: str = "cpu") -> None:
        """Load the network, which always runs on the CPU: it takes a hundredth of the sound's time there.

        Raises:
            MseError: The package silero-vad is missing.
        """
        super().load(device)
        _network(weights_file())

    def model_digest(self) -> str:
        """Digest of the file of the weights."""
        return file_digest(weights_file(), models_folder() / ".digests")

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, 1) features of rows of 32 ms, the last of which ends with the sound.

        Raises:
            ClipError: `too_short` where there is no sound at all.
        """
        if audio.rate != SAMPLE_RATE:
            raise UsageError(f"acoustic.vad hears {SAMPLE_RATE:,} samples a second, but clips have {audio.rate:,}.")
        probabilities = speech_probabilities(audio.samples)
        if not len(probabilities):
            raise ClipError("too_short", "There is no sound.")
        segments = speech_segments(probabilities, self.config.threshold)
        borders = np.minimum(np.arange(len(probabilities) + 1) * self.step, audio.duration)
        spoken = sum(min(end, audio.duration) - begin for begin, end in segments)
        notes: dict[str, Any] = {"speech": segments, "speech_share": spoken / audio.duration}
        if not segments:
            notes["remark"] = no_speech(float(probabilities.max()), self.config.threshold)
        return Features(
            probabilities[:, None],
            np.stack([borders[:-1], borders[1:]], 1),
            np.ones(len(probabilities), bool),
            self.names,
            notes,
        )


def no_speech(highest: float, threshold: float) -> dict[str, str]:
    """The remark about a clip in which nobody speaks.

    Args:
        highest: Largest probability of speech.
        threshold: From which on it would be speech.
    """
    message = f"Nobody speaks: the probability of speech is {highest:.2f} at most, below {threshold:g} for 0.1 s."
    return {"code": "no_speech", "message": message}
