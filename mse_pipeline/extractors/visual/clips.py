"""visual.transformers_clip and visual.transformers_clip_frame: a pretrained encoder on windows of several frames.

Windows of the followed face, or of the whole frame; those of whole frames are encoded while the clip is decoded.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.base import FaceExtractor, StreamedExtractor
from mse_pipeline.extractors.encoder import Encoder, EncoderConfig
from mse_pipeline.extractors.families import Tower, reads, refusal
from mse_pipeline.extractors.pretrained import load_preprocessor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import require_face
from mse_pipeline.extractors.visual.policy import Policy
from mse_pipeline.extractors.visual.transformers import EncodedFace
from mse_pipeline.extractors.visual.whole import FrameConfig
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.store.features import Features

_ANY_LENGTH = ("timesformer", "vjepa2")
"""Model types that take windows of other lengths than they were trained on."""

_TAKES = "encoders of windows of frames: VideoMAE, TimeSformer, ViViT, V-JEPA 2, X-CLIP."


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WindowConfig(EncoderConfig):
    """What both extractors are told of their encoder.

    Attributes:
        window: Frames of a window; None for as many as the model was trained on. TimeSformer and V-JEPA 2 take others.
        hop: Frames from the begin of one window to the next, a window at most; None for half a window.
        pooling: One vector a window: the mean over the patches of all its frames (``mean``), the class token
            (``cls``; of X-CLIP the mean of those of its frames), or what the model itself pools (``pooler``).
        batch: Windows that go through the model at once.
    """

    window: Annotated[int, Field(ge=2, le=256)] | None = None
    hop: Annotated[int, Field(ge=1, le=256)] | None = None
    pooling: Literal["mean", "cls", "pooler"] = "mean"
    batch: Annotated[int, Field(ge=1)] = 2

    @field_validator("pooling")
    @classmethod
    def _of_the_output(cls, pooling: str, info: ValidationInfo) -> str:
        if pooling == "pooler" and (info.data.get("layer"), info.data.get("last")) != (None, None):
            raise ValueError("the model pools its output alone: leave `layer` and `last` out, or take cls or mean")
        return pooling


W = TypeVar("W", bound=WindowConfig)


class WindowEncoder(Encoder[W], Generic[W]):
    """An encoder of windows of frames; the model's own processor resizes, crops and normalises them."""

    modality = "visual"

    def part_of_config(self, config: Any) -> Any:
        """The configuration of the model, or of its vision half, as in X-CLIP."""
        if reads(config) != "windows":
            raise refusal(self.config.model, config, "visual.transformers_clip", _TAKES)
        return getattr(config, "vision_config", config)

    def part_of_model(self, model: Any) -> Any:
        """The model."""
        return model

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return f"visual.transformers_clip takes {_TAKES}"

    def is_spare(self, parameter: str) -> bool:
        """Whether no value depends on a parameter; none does on V-JEPA 2's predictor."""
        pooled = self.config.pooling == "pooler" and "pooler" in parameter
        return (super().is_spare(parameter) and not pooled) or parameter.startswith("predictor.")

    @property
    def tower(self) -> Tower | None:
        """The only part of the model that is loaded; what X-CLIP pools is made by parts beside its vision half."""
        return None if self._pools_beside else super().tower

    @property
    def _pools_beside(self) -> bool:
        return self.config.pooling == "pooler" and self.model_config.model_type == "xclip_vision_model"

    @property
    def width(self) -> int:
        """Values a window."""
        return int(self.model_config.mit_hidden_size) if self._pools_beside else super().width

    @property
    def length(self) -> int:
        """Frames of a window."""
        return self.config.window or self._trained_on

    @property
    def hop(self) -> int:
        """Frames from one window to the next."""
        return self.config.hop or max(self.length // 2, 1)

    @property
    def _trained_on(self) -> int:
        config = self.model_config
        return int(getattr(config, "frames_per_clip", None) or config.num_frames)

    @functools.cached_property
    def processor(self) -> Any:
        """The model's processor of windows, or of pictures, as transformers has it."""
        of_video = (self.folder / "video_preprocessor_config.json").is_file()
        return load_preprocessor("AutoVideoProcessor" if of_video else "AutoImageProcessor", self.folder)

    def _require_layers(self) -> None:
        kind, window, tubelet = self.model_config.model_type, self.length, self._tubelet[0]
        if window != self._trained_on and kind not in _ANY_LENGTH:
            raise UsageError(
                f"{self.config.model} reads windows of {self._trained_on} frames, and `window` asks for {window}: "
                "leave `window` out."
            )
        if window % tubelet:
            raise UsageError(f"{self.config.model} reads {tubelet} frames as one: `window` must be a multiple of that.")
        if self.hop > window:
            raise UsageError(
                f"`hop` is {self.hop} frames, but windows of {self.config.model} have {window}: the frames between "
                f"would be left out. Use 1 to {window}."
            )
        super()._require_layers()

    @property
    def _tubelet(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels of which one token is made."""
        config = self.model_config
        size, frames = config.patch_size if hasattr(config, "patch_size") else 1, getattr(config, "tubelet_size", 1)
        if isinstance(frames, list | tuple):
            return int(frames[0]), int(frames[1]), int(frames[2])
        height, width = (size, size) if isinstance(size, int) else size
        return int(frames), int(height), int(width)

    def encode(self, windows: list[list[np.ndarray]]) -> np.ndarray:
        """Encode windows of `length` frames.

        Args:
            windows: B windows, each of frames (H, W, 3) uint8 RGB.

        Returns:
            (B, D) float32.
        """
        pixels = self._pixels(windows)
        kind = self.model_config.model_type
        if self._pools_beside:
            pooled = self._video_features(pixels)
        elif kind == "vjepa2":
            output = self.run(pixel_values_videos=pixels, skip_predictor=True)
            pooled = self._pooled(output, pixels)
        elif kind == "xclip_vision_model":  # the windows' frames one after the other
            pooled = self._of_frames(self.run(pixel_values=pixels.flatten(0, 1)), len(windows))
        else:
            pooled = self._pooled(self.run(pixel_values=pixels), pixels)
        return np.asarray(pooled.float().cpu().numpy())

    def _pixels(self, windows: list[list[np.ndarray]]) -> Any:
        """The processor's tensor of windows, (B, T, C, H, W), whichever kind of processor the model came with."""
        from transformers.video_processing_utils import BaseVideoProcessor

        options = {"return_tensors": "pt", "input_data_format": "channels_last"}
        if isinstance(self.processor, BaseVideoProcessor):
            videos = [np.stack(window) for window in windows]
            inputs = self.processor(videos=videos, do_sample_frames=False, **options)
        elif "Video" in type(self.processor).__name__ or "Vivit" in type(self.processor).__name__:
            inputs = self.processor(windows, **options)
        else:  # of pictures, as X-CLIP's may be
            inputs = self.processor(images=[frame for window in windows for frame in window], **options)
        pixels = inputs["pixel_values_videos" if "pixel_values_videos" in inputs else "pixel_values"]
        return pixels if pixels.ndim == 5 else pixels.unflatten(0, (len(windows), -1))

    def _pooled(self, output: Any, pixels: Any) -> Any:
        if self.config.pooling == "pooler":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                raise UsageError(f"{self.config.model} pools nothing: take `pooling: mean`.")
            return pooled
        states = self.hidden(output)
        frames, height, width = self._tubelet
        patches = (pixels.shape[1] // frames) * (pixels.shape[-2] // height) * (pixels.shape[-1] // width)
        before = max(states.shape[1] - patches, 0)  # class tokens
        if self.config.pooling == "mean":
            return states[:, before:].mean(1)
        if not before:
            raise UsageError(f"{self.config.model} has no class token: take `pooling: mean`.")
        return states[:, 0]

    def _of_frames(self, output: Any, count: int) -> Any:
        states = self.hidden(output)
        tokens = states[:, :1] if self.config.pooling == "cls" else states[:, 1:]
        return tokens.mean(1).unflatten(0, (count, -1)).mean(1)

    def _video_features(self, pixels: Any) -> Any:
        import torch

        weight = next(self.model.parameters())
        with torch.inference_mode():
            output = self.model.get_video_features(pixel_values=pixels.to(weight.device, weight.dtype))
        return getattr(output, "pooler_output", output)

    def told(self) -> dict[str, Any]:
        """Notes of all features: the model, and how many frames a row is made of."""
        return {**super().told(), "window": self.length, "hop": self.hop}


class Windows:
    """Windows of a sequence of frames that comes one by one; no more frames are kept than are still to be encoded.

    The last window ends with the sequence. A sequence that is shorter than a window is one window, whose last frame is
    repeated.

    Args:
        encoder: What encodes them.
    """

    def __init__(self, encoder: WindowEncoder[Any]) -> None:
        self._encoder = encoder
        self._recent: list[np.ndarray] = []  # frames that a window to come may hold
        self._first = 0  # number of the first of them
        self._next = 0  # frame with which the next window begins
        self._waiting: list[list[np.ndarray]] = []
        self._spans: list[tuple[int, int]] = []
        self._values: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame, (H, W, 3) uint8 RGB."""
        length = self._encoder.length
        self._recent.append(frame)
        count = self._first + len(self._recent)
        if count == self._next + length:
            self._window(self._next, count)
            self._next += self._encoder.hop
        # The last window may begin earlier than the next one: so many frames before the end are kept.
        spare = count - length - self._first
        if spare > 0:
            del self._recent[:spare]
            self._first += spare

    def finish(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """The vectors of all windows, (N, D) float32, and the first frame of each and that behind its last."""
        count = self._first + len(self._recent)
        if count and (not self._spans or self._spans[-1][1] < count):
            self._window(max(count - self._encoder.length, 0), count)
        self._encode()
        return np.concatenate(self._values), self._spans

    def _window(self, start: int, stop: int) -> None:
        frames = self._recent[start - self._first : stop - self._first]
        self._waiting.append(frames + frames[-1:] * (self._encoder.length - len(frames)))
        self._spans.append((start, stop))
        if len(self._waiting) == self._encoder.config.batch:
            self._encode()

    def _encode(self) -> None:
        if self._waiting:
            self._values.append(self._encoder.encode(self._waiting))
            self._waiting = []


def window_times(spans: list[tuple[int, int]], intervals: np.ndarray) -> np.ndarray:
    """The time that each window stands for: up to the middle between its centre and its neighbours'.

    Args:
        spans: First frame of each window, and that behind its last.
        intervals: (T, 2) seconds of the frames.

    Returns:
        (N, 2) float64 seconds, from the first frame's begin to the last one's end without a hole.

    Examples:
        >>> window_times([(0, 4), (2, 6)], np.array([[k, k + 1.0] for k in range(6)])).tolist()
        [[0.0, 3.0], [3.0, 6.0]]
    """
    centres = np.array([(intervals[start, 0] + intervals[stop - 1, 1]) / 2 for start, stop in spans])
    borders = np.concatenate([[intervals[0, 0]], (centres[:-1] + centres[1:]) / 2, [intervals[-1, 1]]])
    return np.stack([borders[:-1], borders[1:]], 1)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualTransformersClipConfig(FaceConfig, WindowConfig):
    """Options of `VisualTransformersClip`: the encoder, and how faces are found."""

    @field_validator("policy")
    @classmethod
    def _of_one_face(cls, policy: Policy) -> Policy:
        if policy == "speaker":
            raise ValueError(
                "windows are made of one face, which `speaker` chooses only after all clips; take `speaking` or another"
            )
        return policy


class VisualTransformersClip(
    EncodedFace, WindowEncoder[VisualTransformersClipConfig], FaceExtractor[VisualTransformersClipConfig]
):
    """Stream ``visual.transformers_clip``, (T, D), one row a window of frames of the followed face.

    VideoMAE (Tong et al. 2022), TimeSformer (Bertasius et al. 2021), ViViT (Arnab et al. 2021), V-JEPA 2 (Assran et al.
    2025), X-CLIP (Ni et al. 2022). In a frame without a face, the window shows that of the frame before, or else that
    of the next. A row counts if the face is in half of its window's frames at least.
    """

    name = "transformers_clip"
    revision = 1
    Config = VisualTransformersClipConfig

    @property
    def step(self) -> float:
        """Seconds from one window to the next."""
        return self.hop / self.config.rate

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face.

        Returns:
            (T, D) features; rows of windows that hardly show the face are zero and not valid.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        self.ready()
        seen = np.flatnonzero(faces.valid)
        windows = Windows(self)
        for k in range(len(faces)):
            before = int(np.searchsorted(seen, k, side="right")) - 1
            windows.add(faces.crops[seen[max(before, 0)]])
        values, spans = windows.finish()
        valid = np.array([2 * faces.valid[start:stop].sum() >= stop - start for start, stop in spans])
        values[~valid] = 0.0
        if not valid.any():
            raise ClipError("no_face", "No window of the clip shows a face in half of its frames.")
        intervals = window_times(spans, faces.intervals)
        return Features(values, intervals, valid, self.names, {**faces.notes, **self.told()})


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualTransformersClipFrameConfig(FrameConfig, WindowConfig):
    """Options of `VisualTransformersClipFrame`: the encoder, and which frames it sees."""


class VisualTransformersClipFrame(
    WindowEncoder[VisualTransformersClipFrameConfig], StreamedExtractor[VisualTransformersClipFrameConfig]
):
    """Stream ``visual.transformers_clip_frame``, (T, D), one row a window of whole frames, with body and place.

    Windows are encoded while the clip is decoded, so that memory does not grow with its length.
    """

    name = "transformers_clip_frame"
    revision = 1
    Config = VisualTransformersClipFrameConfig

    @property
    def frames(self) -> FrameConfig:
        """Which frames it looks at."""
        return FrameConfig(**{f.name: getattr(self.config, f.name) for f in dataclasses.fields(FrameConfig)})

    @property
    def step(self) -> float:
        """Seconds from one window to the next."""
        return self.hop / self.config.rate

    def begin(self) -> FrameWindows:
        """Begin a clip."""
        self.ready()
        return FrameWindows(self)


class FrameWindows:
    """The features of one clip, made of its frames as they come.

    Args:
        encoder: Whose features.
    """

    def __init__(self, encoder: VisualTransformersClipFrame) -> None:
        self._encoder = encoder
        self._windows = Windows(encoder)
        self._intervals: list[np.ndarray] = []

    def add(self, batch: FrameBatch) -> None:
        """Take some more frames."""
        self._intervals.append(batch.intervals)
        for frame in batch.reduced(self._encoder.config.width):
            self._windows.add(frame)

    def finish(self) -> Features:
        """The features of all frames.

        Raises:
            ClipError: `no_video` where there was none.
        """
        if not self._intervals:
            raise ClipError("no_video", "The clip has no frame that could be encoded.")
        values, spans = self._windows.finish()
        intervals = window_times(spans, np.concatenate(self._intervals))
        return Features(values, intervals, np.ones(len(values), bool), self._encoder.names, self._encoder.told())
