"""The common part of the encoders of sound, pictures and text: windows, a frozen model, and the choice of its layer.

Long sequences are encoded in windows; each row is taken from the window in which it is farthest from the borders.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.base import Extractor
from mse_pipeline.extractors.families import TOWERS, Tower
from mse_pipeline.extractors.trial import try_out
from mse_pipeline.model_files import weight_files


@dataclasses.dataclass(frozen=True)
class Window:
    """A piece of a sequence and the part of it that is kept.

    Attributes:
        start: First row.
        stop: Row after the last.
        keep_start: First row that is taken from this window.
        keep_stop: Row after the last one that is taken from it.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def kept(self) -> slice:
        """The rows of the sequence that are taken from this window."""
        return slice(self.keep_start, self.keep_stop)

    @property
    def inner(self) -> slice:
        """The same rows, counted from the window's own beginning."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def windows(rows: int, length: int, overlap: int) -> list[Window]:
    """Cover a sequence with windows of one length, the last of them shifted back so that it ends with the sequence.

    Equal lengths go through a model in one batch without padding, which many speech encoders cannot mask.

    Args:
        rows: Of the sequence.
        length: Rows of a window; a shorter sequence is one window.
        overlap: Rows that a window shares with its neighbour, fewer than `length`.

    Examples:
        >>> [(w.start, w.stop, w.keep_start, w.keep_stop) for w in windows(10, 6, 2)]
        [(0, 6, 0, 5), (4, 10, 5, 10)]
        >>> windows(5, 6, 2)
        [Window(start=0, stop=5, keep_start=0, keep_stop=5)]
    """
    if not 0 <= overlap < length:
        raise ValueError(f"Windows of {length} rows cannot overlap by {overlap}.")
    starts = [*range(0, max(rows - length, 0), length - overlap), max(rows - length, 0)]
    return keep([(start, min(start + length, rows)) for start in starts])


def keep(spans: Sequence[tuple[int, int]]) -> list[Window]:
    """Divide a sequence's rows among windows that cover it, in the order of their starts.

    Two neighbours meet in the middle of their shared rows; the ends of the sequence do not count as borders.

    Examples:
        >>> [w.kept for w in keep([(0, 8), (4, 12)])]
        [slice(0, 6, None), slice(6, 12, None)]
    """
    seams = [(stop + start) // 2 for (_, stop), (start, _) in itertools.pairwise(spans)]
    borders = [spans[0][0], *seams, spans[-1][1]]
    return [Window(*span, first, last) for span, first, last in zip(spans, borders[:-1], borders[1:], strict=True)]


def batches(of: Sequence[Window], size: int) -> Iterator[list[Window]]:
    """At most `size` windows at a time, all of one length."""
    batch: list[Window] = []
    for window in of:
        if batch and (len(batch) == size or window.stop - window.start != batch[0].stop - batch[0].start):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


_ONLY_TRAINED_WITH = ("masked_spec_embed", "mask_token")
"""Parameters that only training uses; checkpoints often lack them, and no feature depends on them."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EncoderConfig:
    """Options of every pretrained encoder.

    Attributes:
        model: A folder as `save_pretrained` or ``hf download`` writes it, or a hub name.
        revision: Commit, tag or branch of a hub name.
        layer: Index among the model's hidden states: 0 is what goes into the first layer, 1 what the first layer
            gives, -1 what the last one gives; None for the model's output itself, which in many models is
            normalised once more.
        last: The mean of so many last hidden states instead of one.
        precision: Number format in which the model computes; features are float32 all the same.
    """

    model: str
    revision: str | None = None
    layer: int | None = None
    last: Annotated[int, Field(ge=1)] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    @field_validator("last")
    @classmethod
    def _one_choice(cls, last: int | None, info: ValidationInfo) -> int | None:
        if last is not None and info.data.get("layer") is not None:
            raise ValueError("give either `layer` or `last`, not both")
        return last


C = TypeVar("C", bound=EncoderConfig)


class Encoder(Extractor[C], Generic[C]):
    """An extractor whose values are hidden states of a pretrained model.

    Two folders with the same files are the same model: keys depend on the files' content, not on the name in the
    recipe or on the folder. The name is in the features' notes, for people.
    """

    revision = 1
    not_values = frozenset({"model", "revision", "batch"})
    tried = True

    @functools.cached_property
    def folder(self) -> Path:
        """Folder of the model; the model is downloaded if it is missing."""
        return pretrained.find(self.config.model, self.config.revision)

    @functools.cached_property
    def model_config(self) -> Any:
        """The part of the model's configuration that describes this encoder.

        Raises:
            UsageError: The model is of another kind.
        """
        return self.part_of_config(pretrained.config(self.folder))

    @abstractmethod
    def part_of_config(self, config: Any) -> Any:
        """The part of a model's configuration that describes this encoder; refuses models of another kind."""

    @abstractmethod
    def part_of_model(self, model: Any) -> Any:
        """The part of a whole model that is run."""

    @property
    def names(self) -> tuple[str, ...]:
        """Model type and number, as in ``wavlm_0000``."""
        return tuple(f"{self.model_config.model_type}_{k:04d}" for k in range(self.width))

    @property
    def width(self) -> int:
        """Values a row."""
        return int(self.model_config.hidden_size)

    def model_digest(self) -> str:
        """Digest of the model's files; see `pretrained.digest`."""
        return pretrained.digest(self.folder)

    def load(self, device: str = "cpu") -> None:
        """Load the model and try it on a made input, so that what does not fit is told before any clip.

        Raises:
            MseError: The model is missing, broken, of another kind, or does not fit the options.
        """
        super().load(device)
        self._require_layers()
        content = pretrained.digest(self.folder)
        tower = self.tower
        whole, missing = load_model(self.folder, content, self.config.precision, self.device, tower=tower)
        self.model = whole if tower is not None else self.part_of_model(whole)
        try:
            self._require_weights(whole, missing)
            self.prepare()
            try_out(self)
        except MseError:
            del self.model
            raise

    def prepare(self) -> None:
        """What is still to be done once the model is loaded.

        Raises:
            UsageError: The model does not fit the options.
        """

    def unload(self) -> None:
        """Give up the model's memory, as far as no other extractor of this process uses it."""
        self.__dict__.pop("model", None)
        load_model.cache_clear()

    @property
    def tower(self) -> Tower | None:
        """The only part of the model that is loaded; None for the whole."""
        return TOWERS.get(pretrained.config(self.folder).model_type)

    def _require_weights(self, whole: Any, missing: tuple[str, ...]) -> None:
        used = {id(weight) for weight in self.model.parameters()}
        weights = dict(whole.named_parameters())
        gaps = [name for name in missing if name not in weights or id(weights[name]) in used]
        needed = [name for name in gaps if not self.is_spare(name)]
        if needed:
            raise MseError(
                f"The weights in {self.folder} lack {len(needed)} parameters of its configuration; the first is "
                f"{needed[0]}. The checkpoint is incomplete, or weights and configuration belong to two models: fetch "
                "the whole model again."
            )

    def is_spare(self, parameter: str) -> bool:
        """Whether no value depends on a parameter, so that a checkpoint may lack it."""
        return "pooler" in parameter or parameter.rsplit(".", 1)[-1] in _ONLY_TRAINED_WITH

    def ready(self) -> None:
        """Load the model if it is not loaded yet."""
        if not hasattr(self, "model"):
            self.load(self.device)

    def run(self, **inputs: Any) -> Any:
        """The model's output for tensors. They are moved to its device and, unless they are indices, to its precision.

        Flags are passed on as they are. Hidden states are kept only if the options choose one of them.
        """
        import torch

        weight = next(self.model.parameters())
        moved = {
            name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in inputs.items()
        }
        with torch.inference_mode():
            return self.model(**moved, output_hidden_states=not self._plain)

    def hidden(self, output: Any) -> Any:
        """The chosen hidden states of an output, (B, T, D) float32 on the model's device."""
        states = getattr(output, "last_hidden_state" if self._plain else "hidden_states", None)
        if states is None:
            raise UsageError(f"{self.config.model} gives no hidden states. {self.takes()}")
        if self._plain:
            return states.float()
        if self.config.layer is not None:
            return states[self.config.layer].float()
        total = states[-1].float()
        for state in states[len(states) - (self.config.last or 1) : -1]:
            total = total + state.float()
        return total / (self.config.last or 1)

    def told(self) -> dict[str, Any]:
        """Notes of all features: the model's hub name, or the name of its folder."""
        folder = Path(self.config.model).expanduser()
        return {"model": folder.resolve().name if folder.is_dir() else self.config.model}

    @property
    def _plain(self) -> bool:
        return self.config.layer is None and self.config.last is None

    @property
    def hidden_layers(self) -> int:
        """Layers of the encoder; its hidden states are one more."""
        return int(self.model_config.num_hidden_layers)

    def _require_layers(self) -> None:
        if self._plain:
            _ = self.model_config  # a model of another kind is told as such
            return
        states = self.hidden_layers + 1
        layer, last = self.config.layer, self.config.last
        if layer is not None and not -states <= layer < states:
            raise UsageError(
                f"{self.config.model} has {states} hidden states, 0 to {states - 1} or -{states} to -1: there is no "
                f"layer {layer}."
            )
        if last is not None and last > states:
            raise UsageError(
                f"{self.config.model} has {states} hidden states, but `last` is {last}. Use 1 to {states}."
            )


@functools.lru_cache(maxsize=4)
def load_model(
    folder: Path,
    content: str,
    precision: str,
    device: str,
    kind: str = "AutoModel",
    *,
    tower: Tower | None = None,
) -> tuple[Any, tuple[str, ...]]:
    """A model, or one part of it, and the names of the parameters that its weights lack.

    One for each content and process. Of weights in safetensors, those of other parts are not read.

    Args:
        folder: The model's folder.
        content: Digest of its files.
        precision: Name of a torch dtype.
        device: Where it runs.
        kind: Class of transformers that chooses the model's class, as in ``AutoModelForCTC``.
        tower: The only part that is loaded; None for the whole.

    Raises:
        UsageError: The weights hold more than tensors.
        MseError: They are damaged.
    """
    import pickle

    import torch
    import transformers

    safe = weight_files(folder)[0].suffix == ".safetensors"
    # transformers and safetensors raise a dozen unrelated types, bare Exception among them.
    try:
        part: dict[str, Any] = {}
        with _quiet():
            loads: Any = getattr(transformers, kind)
            if tower is not None:
                config = tower.part_of_config(pretrained.config(folder))
                loads, part = tower.load_class(config), {"config": config, "key_mapping": tower.renamed(config)}
            model, report = loads.from_pretrained(
                str(folder),
                **part,
                dtype=getattr(torch, precision),
                use_safetensors=safe,
                weights_only=True,
                output_loading_info=True,
                trust_remote_code=False,
                local_files_only=True,
            )
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"The weights in {folder} hold more than tensors, possibly code, and were not loaded. Use a "
            "checkpoint with .safetensors files."
        ) from error
    except Exception as error:
        if "mismatched_sizes" in str(error):
            raise MseError(
                f"The weights in {folder} have other shapes than its config.json says: weights and "
                "configuration belong to two models. Fetch the whole model again."
            ) from error
        raise MseError(f"The model in {folder} cannot be loaded: {pretrained.first_line(error)}.") from error
    return model.eval().requires_grad_(False).to(torch.device(device)), tuple(sorted(report["missing_keys"]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' bar and its report on unused weights, which every base model of a larger one has."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
