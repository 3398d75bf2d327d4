"""visual.transformers, visual.transformers_frame: a pretrained vision encoder on the followed face, on whole frames."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.base import FaceExtractor, FrameExtractor
from mse_pipeline.extractors.encoder import Encoder, EncoderConfig
from mse_pipeline.extractors.pretrained import load_preprocessor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.extractors.visual.whole import FrameConfig, Frames
from mse_pipeline.store.features import Features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PictureConfig(EncoderConfig):
    """What both vision extractors are told of their encoder.

    Attributes:
        pooling: One vector a picture: that of the class token (``cls``), the mean over the patches (``mean``), or
            what the model itself pools (``pooler``), as CLIP's normalised class token before its projection.
        batch: Pictures that go through the model at once.
    """

    pooling: Literal["cls", "mean", "pooler"] = "cls"
    batch: Annotated[int, Field(ge=1)] = 16

    @field_validator("pooling")
    @classmethod
    def _of_the_output(cls, pooling: str, info: ValidationInfo) -> str:
        if pooling == "pooler" and (info.data.get("layer"), info.data.get("last")) != (None, None):
            raise ValueError("the model pools its output alone: leave `layer` and `last` out, or take cls or mean")
        return pooling


P = TypeVar("P", bound=PictureConfig)


class PictureEncoder(Encoder[P], Generic[P]):
    """A vision encoder on pictures of any size; the model's image processor resizes, crops and normalises them."""

    modality = "visual"
    revision = 2

    def part_of_config(self, config: Any) -> Any:
        """The configuration of the model, or of its vision half where it has one for texts beside it, as CLIP."""
        part = getattr(config, "vision_config", config)
        if hasattr(part, "hidden_size") and (hasattr(part, "image_size") or hasattr(part, "patch_size")):
            return part
        raise UsageError(
            f"{self.config.model} is a {config.model_type!r} model: visual.transformers takes vision transformers "
            "(CLIP, DINOv2, ViT, ...), whose configuration names hidden_size and patch_size."
        )

    def part_of_model(self, model: Any) -> Any:
        """The vision half, where the model has one for texts beside it."""
        return getattr(model, "vision_model", model)

    def is_spare(self, parameter: str) -> bool:
        """Whether no value depends on a parameter; on the pooler's they may."""
        return super().is_spare(parameter) and not (self.config.pooling == "pooler" and "pooler" in parameter)

    @functools.cached_property
    def processor(self) -> Any:
        """The model's image processor, as transformers has it."""
        return load_preprocessor("AutoImageProcessor", self.folder)

    def load(self, device: str = "cpu") -> None:
        """Load the model and try it on one black picture, so that options that do not fit are told before any clip.

        Raises:
            MseError: As `Encoder.load`, or the model has no class token or pools nothing.
        """
        super().load(device)
        side = 64
        encoded = self.encode([np.zeros((side, side, 3), np.uint8)])
        if encoded.shape != (1, len(self.names)):
            raise UsageError(
                f"{self.config.model} gives {encoded.shape[1:]} values a picture where its configuration names "
                f"{len(self.names)}: visual.transformers takes vision transformers of one resolution."
            )

    def encode(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Encode pictures, a batch at a time.

        Args:
            pictures: Each (H, W, 3) uint8 RGB.

        Returns:
            (N, D) float32.
        """
        parts = [
            self._pooled(pictures[start : start + self.config.batch])
            for start in range(0, len(pictures), self.config.batch)
        ]
        return np.concatenate(parts)

    def _pooled(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        inputs = self.processor(images=list(pictures), return_tensors="pt", input_data_format="channels_last")
        pixels = inputs["pixel_values"]
        output = self.run(pixel_values=pixels)
        if self.config.pooling == "pooler":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                raise UsageError(f"{self.config.model} pools nothing: take `pooling: cls` or `pooling: mean`.")
            return np.asarray(pooled.float().cpu().numpy())
        states = self.hidden(output)
        extra = self._tokens_before_patches(states, pixels)
        if self.config.pooling == "mean":
            return np.asarray(states[:, extra:].mean(1).cpu().numpy())
        if extra == 0:
            raise UsageError(f"{self.config.model} has no class token: take `pooling: mean` or `pooling: pooler`.")
        return np.asarray(states[:, 0].cpu().numpy())

    def _tokens_before_patches(self, states: Any, pixels: Any) -> int:
        """How many tokens stand before those of the patches: class token, registers; 0 where patches are merged."""
        if states.ndim != 3:
            raise UsageError(
                f"{self.config.model} gives feature maps and no tokens: take `pooling: pooler`, or another model."
            )
        patch = getattr(self.model_config, "patch_size", None)
        height, width = (patch, patch) if isinstance(patch, int) else tuple(patch or (0, 0))
        if not height or not width:
            return 0
        return max(states.shape[1] - (pixels.shape[-2] // height) * (pixels.shape[-1] // width), 0)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualTransformersConfig(FaceConfig, PictureConfig):
    """Options of `VisualTransformers`: the encoder, and how faces are found."""


class VisualTransformers(PictureEncoder[VisualTransformersConfig], FaceExtractor[VisualTransformersConfig]):
    """Stream ``visual.transformers``, (T, D), one row a sampled frame: the followed face as a vision encoder sees it.

    Any vision transformer: ViT and its facial-expression kin (Dosovitskiy et al. 2021, "An Image is Worth 16x16
    Words"), CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"),
    DINOv2 (Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision").
    """

    name = "transformers"
    revision = 2
    Config = VisualTransformersConfig

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    @property
    def step(self) -> float:
        """Seconds from one sampled frame to the next."""
        return 1.0 / self.config.rate

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces, and of the encoder's files."""
        own = f"{self.face.weights_digest()} {super().model_digest()}"
        return hashlib.blake2b(own.encode(), digest_size=16).hexdigest()

    def __call__(self, faces: Faces) -> Features:
        """Extract.

        Args:
            faces: The followed face.

        Returns:
            (T, D) features; rows without a face are zero and not valid.

        Raises:
            ClipError: `no_face` where no frame has a face.
        """
        require_face(faces)
        self.ready()
        values = np.zeros((len(faces), len(self.names)), np.float32)
        values[faces.valid] = self.encode(faces.crops[faces.valid])
        return Features(values, faces.intervals, faces.valid, self.names, {**faces.notes, **self.told()})


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualTransformersFrameConfig(FrameConfig, PictureConfig):
    """Options of `VisualTransformersFrame`: the encoder, and which frames it sees."""


class VisualTransformersFrame(
    PictureEncoder[VisualTransformersFrameConfig], FrameExtractor[VisualTransformersFrameConfig]
):
    """Stream ``visual.transformers_frame``, (T, D), one row a sampled frame: the whole frame, with body and place.

    What of a wide frame the encoder sees is up to its image processor: CLIP's and DINOv2's keep the middle square.
    """

    name = "transformers_frame"
    Config = VisualTransformersFrameConfig

    @property
    def frames(self) -> FrameConfig:
        """Which frames it looks at."""
        return FrameConfig(**{f.name: getattr(self.config, f.name) for f in dataclasses.fields(FrameConfig)})

    @property
    def step(self) -> float:
        """Seconds from one sampled frame to the next."""
        return 1.0 / self.config.rate

    def __call__(self, frames: Frames) -> Features:
        """Extract.

        Args:
            frames: The clip's sampled frames.

        Returns:
            (T, D) features, all rows valid.

        Raises:
            ClipError: `no_video` for a clip without any frame.
        """
        if not len(frames):
            raise ClipError("no_video", "The clip has no frame that could be encoded.")
        self.ready()
        values = self.encode(frames.pixels)
        return Features(values, frames.intervals, np.ones(len(frames), bool), self.names, self.told())
