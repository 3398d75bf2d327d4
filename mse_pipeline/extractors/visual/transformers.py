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

from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.base import FaceExtractor, FrameExtractor
from mse_pipeline.extractors.encoder import Encoder, EncoderConfig
from mse_pipeline.extractors.families import reads, refusal
from mse_pipeline.extractors.pretrained import load_preprocessor
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import face_config, require_face
from mse_pipeline.extractors.visual.whole import FrameConfig, Frames
from mse_pipeline.store.features import Features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PictureConfig(EncoderConfig):
    """What both vision extractors are told of their encoder.

    Attributes:
        pooling: One vector a picture: that of the class token (``cls``), the mean over the patches or the feature map
            (``mean``), or what the model itself pools (``pooler``), as CLIP's normalised class token before its
            projection; ``auto`` is ``cls``, and ``pooler`` for networks without tokens, as EfficientNet and ResNet.
        batch: Pictures that go through the model at once.
    """

    pooling: Literal["auto", "cls", "mean", "pooler"] = "auto"
    batch: Annotated[int, Field(ge=1)] = 16

    @field_validator("pooling")
    @classmethod
    def _of_the_output(cls, pooling: str, info: ValidationInfo) -> str:
        if pooling == "pooler" and (info.data.get("layer"), info.data.get("last")) != (None, None):
            raise ValueError("the model pools its output alone: leave `layer` and `last` out, or take cls or mean")
        return pooling


P = TypeVar("P", bound=PictureConfig)

_MAPS = ("depths", "hidden_sizes", "hidden_dim", "depth_multiplier", "neck_hidden_sizes")
"""Entries of the configurations of networks with feature maps."""


_TAKES = "encoders of pictures: vision transformers (CLIP, DINOv2, ViT, ...) and EfficientNet, ResNet, ConvNeXt, Swin."


class PictureEncoder(Encoder[P], Generic[P]):
    """A vision encoder on pictures of any size; the model's image processor resizes, crops and normalises them."""

    modality = "visual"
    revision = 2

    def part_of_config(self, config: Any) -> Any:
        """The configuration of the model, or of its vision half where it has one for texts beside it, as CLIP."""
        if reads(config) != "pictures":
            raise refusal(self.config.model, config, self.stream, _TAKES)
        return getattr(config, "vision_config", config)

    def part_of_model(self, model: Any) -> Any:
        """The vision half, where the model has one for texts beside it."""
        return getattr(model, "vision_model", model)

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return f"{self.stream} takes {_TAKES}"

    @functools.cached_property
    def has_maps(self) -> bool:
        """Whether the model's layers have feature maps of several sizes, as EfficientNet and Swin, instead of tokens.

        Read from the file alone: it is a part of the stream's identity, which is made without transformers.
        """
        plain = pretrained.plain_config(self.folder)
        part = plain.get("vision_config")
        if isinstance(part, dict):
            return any(name in part for name in _MAPS)
        return "hidden_size" not in plain or any(name in plain for name in _MAPS)

    @property
    def pooling(self) -> str:
        """How one vector is made of a picture."""
        if self.config.pooling != "auto":
            return self.config.pooling
        return "pooler" if self.has_maps else "cls"

    def identity(self) -> dict[str, Any]:
        """With the pooling that is used."""
        whole = super().identity()
        return {**whole, "config": {**whole["config"], "pooling": self.pooling}}

    @functools.cached_property
    def width(self) -> int:
        """Values a picture; of feature maps found by running the network without its weights."""
        if not self.has_maps:
            return super().width
        import torch
        from transformers import AutoModel

        config = self.model_config
        side = config.image_size if isinstance(getattr(config, "image_size", None), int) else 224
        try:
            with torch.device("meta"), torch.inference_mode():
                pixels = torch.empty(1, getattr(config, "num_channels", 3), side, side)
                output = AutoModel.from_config(config).eval()(pixel_values=pixels)
            pooled = getattr(output, "pooler_output", None)
            return int(self._of_map(output.last_hidden_state, None).shape[1] if pooled is None else pooled.shape[1])
        except Exception as error:
            raise UsageError(
                f"{self.config.model} is a {config.model_type!r} model, of which visual.transformers cannot tell how "
                f"many values it gives ({pretrained.first_line(error)}). {self.takes()}"
            ) from error

    def _require_layers(self) -> None:
        if self.has_maps and not self._plain:
            raise UsageError(
                f"The layers of {self.config.model} have feature maps of several sizes: leave out `layer` and `last`."
            )
        super()._require_layers()

    def is_spare(self, parameter: str) -> bool:
        """Whether no value depends on a parameter; on the pooler's they may."""
        return super().is_spare(parameter) and not (self.pooling == "pooler" and "pooler" in parameter)

    @functools.cached_property
    def processor(self) -> Any:
        """The model's image processor, as transformers has it."""
        return load_preprocessor("AutoImageProcessor", self.folder)

    def prepare(self) -> None:
        """Encode one black picture, so that options that do not fit are told before any clip.

        Raises:
            UsageError: The model has no class token or pools nothing.
        """
        if self.has_maps and self.pooling == "cls":
            raise self._without_class_token()
        try:
            encoded = self.encode([np.zeros((64, 64, 3), np.uint8)])
        except MseError:
            raise
        except Exception as error:
            raise UsageError(
                f"{self.stream} cannot use {self.config.model}: it fails on one picture "
                f"({pretrained.first_line(error)}). {self.takes()}"
            ) from error
        if encoded.shape != (1, self.width):
            raise UsageError(
                f"{self.config.model} gives {encoded.shape[1:]} values a picture where its configuration names "
                f"{self.width}: visual.transformers takes encoders of one resolution."
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
        if self.pooling == "pooler":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                others = "`pooling: mean`" if self.has_maps else "`pooling: cls` or `pooling: mean`"
                raise UsageError(f"{self.config.model} pools nothing: take {others}.")
            return np.asarray(pooled.flatten(1).float().cpu().numpy())
        states = self.hidden(output)
        if self.has_maps:
            return np.asarray(self._of_map(states, self.width).cpu().numpy())
        extra = self._tokens_before_patches(states, pixels)
        if self.pooling == "mean":
            return np.asarray(states[:, extra:].mean(1).cpu().numpy())
        if extra == 0:
            raise self._without_class_token()
        return np.asarray(states[:, 0].cpu().numpy())

    def _without_class_token(self) -> UsageError:
        return UsageError(f"{self.config.model} has no class token: take `pooling: mean` or `pooling: pooler`.")

    @staticmethod
    def _of_map(states: Any, width: int | None) -> Any:
        """The mean over a map: (B, D, H, W), (B, H, W, D) as in DiNAT, or merged patches (B, N, D) as in Swin."""
        if states.ndim == 3:
            return states.mean(1)
        last = width is not None and states.shape[1] != width == states.shape[-1]
        return states.mean((1, 2) if last else (2, 3))

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


class EncodedFace:
    """What extractors have in common that show the followed face to a chosen model; stands before the other bases."""

    config: Any

    @property
    def face(self) -> FaceConfig:
        """How faces are found."""
        return face_config(self.config)

    def model_digest(self) -> str:
        """Digest of the weights that find and know faces, and of the model's files."""
        of_model: str = super().model_digest()  # type: ignore[misc]
        own = f"{self.face.weights_digest()} {of_model}"
        return hashlib.blake2b(own.encode(), digest_size=16).hexdigest()


class VisualTransformers(
    EncodedFace, PictureEncoder[VisualTransformersConfig], FaceExtractor[VisualTransformersConfig]
):
    """Stream ``visual.transformers``, (T, D), one row a sampled frame: the followed face as a vision encoder sees it.

    Any vision transformer: ViT and its facial-expression kin (Dosovitskiy et al. 2021, "An Image is Worth 16x16
    Words"), CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"),
    DINOv2 (Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision"). And networks without
    patches, of whose last feature map one vector is made: EfficientNet, ResNet, ConvNeXt, Swin and their like.
    """

    name = "transformers"
    revision = 2
    Config = VisualTransformersConfig

    @property
    def step(self) -> float:
        """Seconds from one sampled frame to the next."""
        return 1.0 / self.config.rate

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
