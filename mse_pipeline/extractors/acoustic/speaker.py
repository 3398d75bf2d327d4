"""acoustic.speaker: who speaks, as a vector.

Two kinds of models: the voice encoder whose weights the wheel of Resemblyzer brings (its code is not used), and the
models of transformers with an x-vector head.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.extractors.encoder import windows
from mse_pipeline.extractors.torch_file import read_checkpoint, tensors
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.store.features import Features

RESEMBLYZER = "resemblyzer"
"""The option `model` that stands for the weights in the wheel of that name."""

_BATCH = 16  # windows of 1.6 s, whose order and number change no value
_SHORTEST = 0.1  # seconds


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SpeakerConfig:
    """Options of `Speaker`.

    Attributes:
        model: ``resemblyzer`` for the weights in that package's wheel; a file of the same kind (``.pt``); or a folder
            or hub name of a model of transformers with an x-vector head, such as microsoft/wavlm-base-plus-sv.
        revision: Commit, tag or branch of a hub name.
        granularity: ``utterance``: one row a clip; ``window``: a row for each window.
        window: Seconds that one vector is made of; by default 1.6 for Resemblyzer, and 30 for x-vectors, whose model
            hears a shorter clip as a whole.
        hop: Seconds from window to window; by default 0.77 for Resemblyzer, and half a window for x-vectors.
    """

    model: str = RESEMBLYZER
    revision: str | None = None
    granularity: Literal["utterance", "window"] = "utterance"
    window: Annotated[float, Field(ge=0.4, le=120.0)] | None = None
    hop: Annotated[float, Field(ge=0.05, le=120.0)] | None = None

    @field_validator("hop")
    @classmethod
    def _no_gap(cls, hop: float | None, info: ValidationInfo) -> float | None:
        window = info.data.get("window")
        if hop is not None and window is not None and hop > window:
            raise ValueError(f"windows of {window:g} s that begin every {hop:g} s leave sound out")
        return hop


class Voices(ABC):
    """A model that makes a vector of a voice.

    Attributes:
        dim: Values of a vector.
        window: Seconds of sound that a vector is made of by default.
        hop: Seconds from one to the next by default.
        digest: Of its weights.
    """

    dim: int
    window: float
    hop: float
    digest: str

    @abstractmethod
    def spans(self, samples: int, window: int, hop: int) -> list[slice]:
        """The pieces of a sound that vectors are made of; the last may reach beyond its end.

        Args:
            samples: Length of the sound.
            window: Samples of a piece.
            hop: Samples from piece to piece.
        """

    @abstractmethod
    def load(self, device: str) -> None:
        """Load the network."""

    @abstractmethod
    def vectors(self, samples: np.ndarray, spans: Sequence[slice]) -> np.ndarray:
        """(n, dim) float32 of some pieces of one length."""


class Resemblyzer(Voices):
    """Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification", with the weights of Resemblyzer 0.1.4.

    Three LSTM layers read 40 mel bands every 10 ms; their last state, projected and without its negative part, is the
    voice. Quiet sound is made louder, to -30 dBFS. Resemblyzer also cuts out pauses before, by webrtcvad, which here is
    left to whoever wants it.

    Args:
        path: A checkpoint with ``model_state``.
    """

    window, hop = 1.6, 0.77
    _FFT, _STEP, _MELS, _LEVEL = 400, 160, 40, -30.0
    _UNUSED = frozenset({"similarity_weight", "similarity_bias"})  # of the loss
    _COVERAGE = 0.75  # least share of sound in the last piece

    def __init__(self, path: Path) -> None:
        self._path = path
        self.digest = pretrained.file_digest(path, models_folder() / ".digests")

    @functools.cached_property
    def _state(self) -> dict[str, Any]:
        found = read_checkpoint(self._path).get("model_state")
        state = {name: value for name, value in tensors(found or {}).items() if name not in self._UNUSED}
        if "linear.weight" not in state or "lstm.weight_ih_l0" not in state:
            raise UsageError(
                f"{self._path} is not a checkpoint of Resemblyzer's voice encoder: it lacks lstm.weight_ih_l0 or "
                "linear.weight in model_state. Give pretrained.pt of its wheel, or a folder of transformers."
            )
        return state

    @functools.cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Rows of the last layer."""
        return int(self._state["linear.weight"].shape[0])

    def load(self, device: str) -> None:
        """Make the network of the weights."""
        import torch

        layers = sum(name.startswith("lstm.weight_ih_") for name in self._state)
        hidden = self._state["lstm.weight_hh_l0"].shape[1] if "lstm.weight_hh_l0" in self._state else 0
        with torch.device("meta"):
            network = torch.nn.ModuleDict(
                {
                    "lstm": torch.nn.LSTM(self._MELS, max(hidden, 1), layers, batch_first=True),
                    "linear": torch.nn.Linear(max(hidden, 1), self.dim),
                }
            )
        try:
            network.load_state_dict({name: value.clone() for name, value in self._state.items()}, assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise MseError(f"The parameters in {self._path} are not those of a voice encoder: {reason}") from error
        self._network = network.to(torch.device(device)).eval().requires_grad_(False)
        self._device = torch.device(device)

    def spans(self, samples: int, window: int, hop: int) -> list[slice]:
        """As Resemblyzer cuts: whole steps of the spectrogram; a last piece with too little sound is left out."""
        length, step = round(window / self._STEP), max(round(hop / self._STEP), 1)
        frames = math.ceil((samples + 1) / self._STEP)
        starts = [k * self._STEP for k in range(0, max(1, frames - length + step + 1), step)]
        size = length * self._STEP
        if len(starts) > 1 and samples - starts[-1] < self._COVERAGE * size:
            starts.pop()
        return [slice(start, start + size) for start in starts]

    def vectors(self, samples: np.ndarray, spans: Sequence[slice]) -> np.ndarray:
        """Unit vectors of some pieces; a few at a time go through the network."""
        gain = self._gain(samples)
        some = (spans[k : k + _BATCH] for k in range(0, len(spans), _BATCH))
        return np.concatenate([self._batch(samples, each, gain) for each in some])

    def _batch(self, samples: np.ndarray, spans: Sequence[slice], gain: float) -> np.ndarray:
        import torch

        first, last = spans[0].start, spans[-1].stop
        # A row of the spectrogram is made of the samples around it: half a window before the first piece and behind it.
        half = self._FFT // 2
        heard = samples[max(first - half, 0) : last + half] * gain
        before = half - min(first, half)
        heard = np.pad(heard, (before, max(last - first + 2 * half - before - len(heard), 0)))
        mels = self._mels(heard.astype(np.float32))
        pieces = [mels[(span.start - first) // self._STEP : (span.stop - first) // self._STEP] for span in spans]
        with torch.inference_mode():
            _, (states, _) = self._network["lstm"](torch.from_numpy(np.stack(pieces)).to(self._device))
            raw = torch.relu(self._network["linear"](states[-1])).cpu().numpy()
        return _unit(raw)

    def _gain(self, samples: np.ndarray) -> float:
        level = 10.0 * math.log10(float(np.mean(np.square(samples), dtype=np.float64)) + 1e-20)
        return float(10.0 ** (max(self._LEVEL - level, 0.0) / 20.0)) if level > -120.0 else 1.0

    def _mels(self, heard: np.ndarray) -> np.ndarray:
        """(rows, 40): the power in each band, no logarithm."""
        import librosa

        mels = librosa.feature.melspectrogram(
            y=heard, sr=SAMPLE_RATE, n_fft=self._FFT, hop_length=self._STEP, n_mels=self._MELS, center=False
        )
        return np.asarray(mels.T, np.float32)


class XVectors(Voices):
    """A model of transformers with an x-vector head (WavLM, UniSpeech-SAT, wav2vec 2.0, data2vec).

    Snyder et al. 2018, "X-Vectors: Robust DNN Embeddings for Speaker Recognition".

    Args:
        folder: The model's folder.
        name: How messages call it.
    """

    window, hop = 30.0, 15.0

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        config = pretrained.config(folder)
        if not any("XVector" in one for one in getattr(config, "architectures", None) or ()):
            raise UsageError(
                f"{name} is a {config.model_type!r} model without an x-vector head: acoustic.speaker takes models for "
                "speaker verification, such as microsoft/wavlm-base-plus-sv. acoustic.transformers gives hidden states."
            )
        self.dim = int(config.xvector_output_dim)
        self.digest = pretrained.digest(folder)

    def load(self, device: str) -> None:
        """Load the model."""
        self._model = _load_xvectors(self._folder, self.digest, device)
        self._processor = pretrained.load_preprocessor("AutoFeatureExtractor", self._folder)
        if self._processor.sampling_rate != SAMPLE_RATE:
            raise UsageError(
                f"{self._folder} hears {self._processor.sampling_rate} samples a second, not {SAMPLE_RATE}."
            )

    def spans(self, samples: int, window: int, hop: int) -> list[slice]:
        """Pieces of one length, the last shifted back; a shorter sound is one piece."""
        return [slice(each.start, each.stop) for each in windows(samples, window, window - hop)]

    def vectors(self, samples: np.ndarray, spans: Sequence[slice]) -> np.ndarray:
        """Unit vectors of some pieces, one after the other: the model has no use for a batch on a CPU."""
        import torch

        device = next(self._model.parameters()).device
        found = []
        for span in spans:
            inputs = self._processor(samples[span], sampling_rate=SAMPLE_RATE, return_tensors="pt")
            with torch.inference_mode():
                found.append(self._model(inputs["input_values"].to(device)).embeddings.float().cpu().numpy())
        return _unit(np.concatenate(found))


@functools.lru_cache(maxsize=2)
def _load_xvectors(folder: Path, content: str, device: str) -> Any:
    """A model with its x-vector head; one for each content and process.

    Raises:
        MseError: It cannot be loaded, or its weights are incomplete.
    """
    import torch
    from transformers import AutoModelForAudioXVector

    try:
        model, report = AutoModelForAudioXVector.from_pretrained(
            str(folder), weights_only=True, output_loading_info=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # transformers and safetensors raise a dozen unrelated types
        raise MseError(f"The model in {folder} cannot be loaded: {pretrained.first_line(error)}.") from error
    gaps = sorted(name for name in report["missing_keys"] if not name.endswith("masked_spec_embed"))
    if gaps:
        raise MseError(
            f"The weights in {folder} lack {len(gaps)} parameters of its configuration; the first is {gaps[0]}. Fetch "
            "the whole model again."
        )
    return model.eval().requires_grad_(False).to(torch.device(device))


class Speaker(AudioExtractor[SpeakerConfig]):
    """Stream ``acoustic.speaker``: unit vectors, near for the same voice; (1, D), or (T, D), a row a window.

    D is 256 for Resemblyzer and what the model says for x-vectors (512). The vector of a clip is the mean of its
    windows', brought to length 1 again.
    """

    name, revision, Config = "speaker", 1, SpeakerConfig
    not_values = frozenset({"model", "revision"})
    tried = True

    @functools.cached_property
    def voices(self) -> Voices:
        """The model that the options name, without its network."""
        model = self.config.model
        path = Path(_wheel() if model == RESEMBLYZER else model).expanduser()
        if path.is_file():
            return Resemblyzer(path)
        return XVectors(pretrained.find(model, self.config.revision), model)

    @property
    def names(self) -> tuple[str, ...]:
        """``speaker_000`` and so on."""
        return tuple(f"speaker_{k:03d}" for k in range(256 if self.config.model == RESEMBLYZER else self.voices.dim))

    @property
    def step(self) -> float | None:
        """Seconds from one row to the next; None for one row a clip."""
        if self.config.granularity == "utterance":
            return None
        return self.config.hop or self.voices.hop

    def load(self, device: str = "cpu") -> None:
        """Load the network.

        Raises:
            MseError: The model is missing, broken or of another kind.
        """
        super().load(device)
        self.voices.load(self.device)
        self._loaded = True

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return "acoustic.speaker takes Resemblyzer's weights, and models of transformers with an x-vector head."

    def model_digest(self) -> str:
        """Digest of the weights."""
        return self.voices.digest

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            One row a clip; or one a window, with the time that it was made of.

        Raises:
            ClipError: `too_short` for less than 0.1 s.
        """
        if not hasattr(self, "_loaded"):
            self.load(self.device)
        if audio.duration < _SHORTEST:
            raise ClipError("too_short", f"The sound lasts {1000 * audio.duration:.1f} ms; a voice needs 100 ms.")
        window = self.config.window or self.voices.window
        hop = min(self.config.hop or (self.voices.hop if self.config.window is None else window / 2), window)
        spans = self.voices.spans(len(audio.samples), round(window * SAMPLE_RATE), round(hop * SAMPLE_RATE))
        values = self.voices.vectors(audio.samples, spans)
        if self.config.granularity == "utterance":
            values, intervals = _unit(values.mean(0, keepdims=True)), np.array([[0.0, audio.duration]])
        else:
            ends = [min(span.stop / SAMPLE_RATE, audio.duration) for span in spans]
            ends[-1] = audio.duration
            intervals = np.array([[span.start / SAMPLE_RATE, end] for span, end in zip(spans, ends, strict=True)])
        return Features(values, intervals, np.ones(len(values), bool), self.names, {"windows": len(spans)})


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(n, D) vectors of length 1; one of zeros stays so."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _wheel() -> str:
    """The weights in the installed wheel; the package is not imported.

    Raises:
        UsageError: It is not installed.
    """
    found = importlib.util.find_spec(RESEMBLYZER)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "pretrained.pt"
        if path.is_file():
            return str(path)
    raise UsageError(
        "acoustic.speaker needs the weights in the wheel of resemblyzer (17 MB): pip install --no-deps resemblyzer. "
        "Its own dependencies are not needed. Or give a model with an x-vector head as option `model`."
    )
