"""visual.timm and visual.timm_frame: an image model of timm before its classifier, on the face or on frames."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, MseError, UsageError, did_you_mean
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.base import Extractor, FaceExtractor, FrameExtractor
from mse_pipeline.extractors.trial import try_out
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces
from mse_pipeline.extractors.visual.mtcnn import require_face
from mse_pipeline.extractors.visual.transformers import EncodedFace
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.extractors.visual.whole import FrameConfig, Frames
from mse_pipeline.model_files import weight_files
from mse_pipeline.store.features import Features


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TimmConfig:
    """What both extractors are told of their model.

    Attributes:
        model: A folder with config.json and model.safetensors, as timm and the hub write it; a hub name, as
            timm/efficientnet_b0.ra_in1k; or a .safetensors file, with the option `architecture`.
        architecture: timm's name of the architecture, as efficientnet_b0, for a file, which does not tell it.
        revision: Commit, tag or branch of a hub name.
        precision: Number format in which the model computes; features are float32 all the same.
        batch: Pictures that go through the model at once.
    """

    model: str
    architecture: str | None = None
    revision: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    batch: Annotated[int, Field(ge=1)] = 16


T = TypeVar("T", bound=TimmConfig)


class TimmEncoder(Extractor[T], Generic[T]):
    """A model of timm on pictures of any size, resized, cropped and normalised as its own data configuration says.

    Its weights are read from safetensors alone: those of timm's older releases are pickled, and a pickle may hold code.
    """

    modality = "visual"
    revision = 1
    not_values = frozenset({"model", "revision", "batch"})
    tried = True

    @functools.cached_property
    def weights(self) -> Path:
        """The file of the weights; a model of the hub is downloaded if it is missing.

        Raises:
            UsageError: There is none, or it is not of safetensors.
        """
        file = Path(self.config.model).expanduser()
        if not file.is_file():
            found = weight_files(pretrained.find(self.config.model, self.config.revision))
            file = found[0]
            if len(found) > 1:
                raise UsageError(f"The weights in {file.parent} lie in {len(found)} files; visual.timm reads one.")
        if file.suffix != ".safetensors":
            raise UsageError(
                f"The weights {file} are no .safetensors file, and others may hold code: convert them with "
                "`safetensors.torch.save_file(model.state_dict(), 'model.safetensors')`, or take another model."
            )
        return file

    @functools.cached_property
    def _plain(self) -> dict[str, Any]:
        """The configuration beside the weights; empty for a file alone."""
        config = self.weights.with_name("config.json")
        return pretrained.plain_config(self.weights.parent) if config.is_file() else {}

    @functools.cached_property
    def architecture(self) -> str:
        """The name that timm has for the architecture.

        Raises:
            UsageError: Nothing tells it, or timm does not know it.
        """
        import timm

        told = self.config.architecture or self._plain.get("architecture")
        if not isinstance(told, str):
            hint = ""
            if "model_type" in self._plain:
                hint = f" Its config.json is that of a {self._plain['model_type']!r} model of transformers: use "
                hint += "visual.transformers."
            raise UsageError(
                f"Nothing says which architecture of timm the weights {self.weights} are of: give the option "
                f"`architecture`, as in efficientnet_b0.{hint}"
            )
        if not timm.is_model(told):
            raise UsageError(
                f"timm {timm.__version__} has no architecture {told!r}"
                f"{did_you_mean(told, timm.list_models()) or '; `timm.list_models()` lists those that it has.'}"
            )
        return told

    @property
    def names(self) -> tuple[str, ...]:
        """Architecture and number, as in ``efficientnet_b0_0000``."""
        return tuple(f"{self.architecture.partition('.')[0]}_{k:04d}" for k in range(self.width))

    @functools.cached_property
    def width(self) -> int:
        """Values a picture: those before the classifier."""
        import torch

        with torch.device("meta"):
            network = self._network()
        return int(getattr(network, "head_hidden_size", None) or network.num_features)

    def _network(self) -> Any:
        """The network without its classifier and without weights, as the configuration beside them says."""
        import timm

        arguments = self._plain.get("model_args") or {}
        strange = [name for name in arguments if name in inspect.signature(timm.create_model).parameters]
        if strange:
            raise UsageError(f"{self.weights.with_name('config.json')} sets {strange[0]!r}, which no model may set.")
        released = {name: value for name, value in (self._plain.get("pretrained_cfg") or {}).items() if name in _DATA}
        try:
            return timm.create_model(
                self.architecture, pretrained=False, pretrained_cfg_overlay=released, num_classes=0, **arguments
            )
        except Exception as error:
            raise UsageError(
                f"timm cannot make the architecture {self.architecture} of {self.config.model} "
                f"({pretrained.first_line(error)})."
            ) from error

    def model_digest(self) -> str:
        """Digest of the weights and of the configuration beside them."""
        memory = models_folder() / ".digests"
        weights = pretrained.file_digest(self.weights, memory)
        # Of the configuration, only what changes values: a file alone and a folder of the same are one model.
        told = {name: self._plain.get(name) for name in ("architecture", "model_args")}
        data = {name: (self._plain.get("pretrained_cfg") or {}).get(name) for name in _DATA}
        described = json.dumps([told, data], sort_keys=True)
        return hashlib.blake2b(f"{weights} {described}".encode(), digest_size=16).hexdigest()

    def load(self, device: str = "cpu") -> None:
        """Load the model and try it on a made input.

        Raises:
            MseError: timm is not installed, or the weights are missing, damaged or of another architecture.
        """
        super().load(device)
        try:
            import timm.data
        except ImportError as error:
            raise UsageError(f'{self.stream} needs the package timm: `pip install "mse-pipeline[timm]"`.') from error
        import torch
        from safetensors.torch import load_file

        network = self._network()
        try:
            state = load_file(self.weights)
        except Exception as error:  # safetensors' own errors, and those of the system
            raise MseError(f"The weights {self.weights} cannot be read: {pretrained.first_line(error)}.") from error
        own = network.state_dict()
        missing = sorted(name for name, value in own.items() if name not in state or state[name].shape != value.shape)
        if missing:
            raise UsageError(
                f"The weights {self.weights} are not those of {self.architecture}: {len(missing)} parameters are "
                f"missing or of another shape; the first is {missing[0]}."
            )
        network.load_state_dict({name: state[name] for name in own})
        self._transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
        dtype = getattr(torch, self.config.precision)
        self.model = network.eval().requires_grad_(False).to(torch.device(device), dtype)
        try:
            try_out(self)
        except MseError:
            self.unload()
            raise

    def unload(self) -> None:
        """Give up the model's memory."""
        self.__dict__.pop("model", None)

    def takes(self) -> str:
        """Which models it takes, as a sentence."""
        return f"{self.stream} takes image models of timm."

    def encode(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Encode pictures, a batch at a time.

        Args:
            pictures: Each (H, W, 3) uint8 RGB.

        Returns:
            (N, D) float32.
        """
        if not hasattr(self, "model"):
            self.load(self.device)
        size = self.config.batch
        return np.concatenate([self._encode(pictures[k : k + size]) for k in range(0, len(pictures), size)])

    def _encode(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        import torch
        from PIL import Image

        weight = next(self.model.parameters())
        pixels = torch.stack([self._transform(Image.fromarray(np.ascontiguousarray(one))) for one in pictures])
        with torch.inference_mode():
            states = self.model.forward_features(pixels.to(weight.device, weight.dtype))
            pooled = self.model.forward_head(states, pre_logits=True)
        return np.asarray(pooled.float().cpu().numpy())

    def told(self) -> dict[str, Any]:
        """Notes of all features: the model, its architecture and, where its configuration tells it, its licence."""
        place = Path(self.config.model).expanduser()
        licence = (self._plain.get("pretrained_cfg") or {}).get("license")
        return {
            "model": place.resolve().name if place.exists() else self.config.model,
            "architecture": self.architecture,
            **({"licence": str(licence)} if licence else {}),
        }


_DATA = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode", "fixed_input_size", "pool_size")
"""What of a released configuration says how pictures are prepared."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualTimmConfig(FaceConfig, TimmConfig):
    """Options of `VisualTimm`: the model, and how faces are found."""


class VisualTimm(EncodedFace, TimmEncoder[VisualTimmConfig], FaceExtractor[VisualTimmConfig]):
    """Stream ``visual.timm``, (T, D), one row a sampled frame: the followed face as an image model of timm sees it.

    The values are what the model's classifier would read: its pooled features (Wightman 2019, "PyTorch Image Models").
    """

    name = "timm"
    Config = VisualTimmConfig

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
        values = np.zeros((len(faces), self.width), np.float32)
        values[faces.valid] = self.encode(faces.crops[faces.valid])
        return Features(values, faces.intervals, faces.valid, self.names, {**faces.notes, **self.told()})


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisualTimmFrameConfig(FrameConfig, TimmConfig):
    """Options of `VisualTimmFrame`: the model, and which frames it sees."""


class VisualTimmFrame(TimmEncoder[VisualTimmFrameConfig], FrameExtractor[VisualTimmFrameConfig]):
    """Stream ``visual.timm_frame``, (T, D), one row a sampled frame: the whole frame, with body and place."""

    name = "timm_frame"
    Config = VisualTimmFrameConfig

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
        values = self.encode(frames.pixels)
        return Features(values, frames.intervals, np.ones(len(frames), bool), self.names, self.told())
