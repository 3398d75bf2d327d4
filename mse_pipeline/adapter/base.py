"""Model: what every trained model has in common, whether it speaks through a frozen backbone or answers itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.errors import UsageError, did_you_mean


class Model(nn.Module, ABC):
    """What is trained. Subclass `TrainedModel` or `DirectModel`.

    A model is made of its configuration alone, so that a folder of weights beside that configuration restores it;
    `state_dict` holds all that it learns.

    Args:
        config: Its sizes, and in ``config.options`` its own settings.

    Attributes:
        reads_backbone: Whether it needs a frozen language model.
        modalities: Which streams it can read, of acoustic and visual; the others are left out.
        parts: What of the MSE-Adapter it can be trained without, for ablations.
        seeded: Whether two seeds make two models; of one that is fitted at once the first seed is enough.
        steers_backbone: Whether the backbone reads the same text otherwise as the model learns, so that nothing of what
            it has read can be kept over the steps.
        fuses: Whether it has a vector of each clip that a head may read (``training.residual``). Others pass that
            setting over, as they do widths that they have no use for.
        adapted: In which respect it is not what its paper describes, for reports; empty where it is. See `adaptation`.
        defaults: Its own settings with their default values, which also tell their types; None for a model that
            looks at its settings itself.
        may_be_0: Those of them that are a number above 0 by default, and may be 0.
        options: `defaults`, and over them what the configuration says.
    """

    reads_backbone: ClassVar[bool] = True
    modalities: ClassVar[tuple[str, ...]] = ("acoustic", "visual")
    parts: ClassVar[tuple[str, ...]] = ("tgm", "msf", "text")
    seeded: ClassVar[bool] = True
    steers_backbone: ClassVar[bool] = False
    fuses: ClassVar[bool] = False
    adapted: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any] | None] = None
    may_be_0: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.options = self.settled(config.options)

    @classmethod
    def settled(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The model's settings: its defaults, and over them what is given.

        Raises:
            UsageError: It has no such setting, or the value is of another type than the default, or below 1, or below
            0 where the default is 0 or it `may_be_0`.
        """
        if cls.defaults is None:
            return dict(given)
        for name, value in given.items():
            if name not in cls.defaults:
                raise UsageError(
                    f"training.model_options has no {name} for this model{did_you_mean(name, cls.defaults)}; it has "
                    f"{', '.join(cls.defaults) or 'no options'}."
                )
            wanted = type(cls.defaults[name])
            fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise UsageError(f"training.model_options.{name} must be as {cls.defaults[name]!r}, but is {value!r}.")
            if wanted is int and cls.defaults[name] >= 0:
                least = 1 if cls.defaults[name] and name not in cls.may_be_0 else 0
                if value < least:
                    raise UsageError(
                        f"training.model_options.{name} must be a whole number from {least}, but is {value}."
                    )
        return {**cls.defaults, **given}

    @classmethod
    def view(cls, features: Any) -> Any:
        """What the model reads of a clip's `Features`, before they are normalised: by default all of them."""
        return features

    @classmethod
    def view_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the values of a row that `view` makes of features with these names."""
        return names

    @classmethod
    def planned(cls, options: Mapping[str, Any], backbone: Any, matched: Callable[[], int]) -> dict[str, Any]:
        """Settings as a configuration holds them: with the backbone's sizes, so far as the model is made of them.

        Args:
            options: As `settled` gives them.
            backbone: The frozen model, or its outline.
            matched: Tells how many parameters the MSE-Adapter has on the same dataset and backbone.

        Raises:
            UsageError: The model cannot be made for this backbone.
        """
        return dict(options)

    @classmethod
    def positions(cls, options: Mapping[str, Any], asked: int) -> int:
        """Positions that the backbone reads beside prompt and text.

        Args:
            options: As `planned` gives them.
            asked: ``training.pseudo_tokens``.
        """
        return asked

    @classmethod
    def identity(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """What else than the recipe's settings shapes the result, as weights of another model; by default nothing.

        Args:
            options: As `planned` gives them.
        """
        return {}

    @classmethod
    def adaptation(cls, config: AdapterConfig) -> str:
        """In which respect a model of these settings is not what its paper describes; by default `adapted`."""
        return cls.adapted

    @classmethod
    def reads_own_labels(cls, options: Mapping[str, Any]) -> bool:
        """Whether it learns a label of each modality, where clips have one; by default not.

        Args:
            options: As `planned` gives them.
        """
        return False

    @classmethod
    def with_own_labels(cls, options: Mapping[str, Any], unlabelled: Collection[str]) -> dict[str, Any]:
        """Settings with what is decided by which labels there are; called where `reads_own_labels`.

        Args:
            options: As `planned` gives them.
            unlabelled: The modalities that are read, of text, acoustic and visual, of which no clip of the train split
                has a label.

        Raises:
            UsageError: A label that is asked for is not there.
        """
        return dict(options)

    @classmethod
    def reads_with(cls, options: Mapping[str, Any], backbone: Any) -> Any:
        """Of a model without a backbone, what stands in its place, with the tokenizer of its own; else the backbone.

        Args:
            options: As `planned` gives them.
            backbone: What the job has.
        """
        return backbone

    def begin(self, backbone: Any) -> None:
        """Take first weights from elsewhere, before the first step: by default those of the constructor stay."""

    def write_beside(self, folder: Path) -> None:
        """Write what others read of the model into folders of their own below its folder; by default nothing."""

    def memory(self) -> dict[str, Any]:
        """What a training knows of its clips beside the weights, by name; by default nothing.

        It goes on with it after an interruption, and a finished model does without. Each has `state_dict` and
        `load_state_dict`, as optimisers have.
        """
        return {}

    def after_step(self, gather: Callable[[list[Any]], list[Any]]) -> None:
        """Take note of the step's clips, once the weights have changed; by default nothing.

        Args:
            gather: Makes one list of those of all processes that train together, the same in each.
        """

    @contextmanager
    def in_force(self, backbone: Any) -> Iterator[None]:
        """While this lasts, the frozen backbone computes with what the model adds inside of it; by default nothing."""
        yield


class DirectModel(Model):
    """A model that answers itself, without a backbone: a batch in, one value a class, or one for the number.

    Classes are answered by the softmax of the values. A number is the middle of a Laplace distribution over all
    numbers of one decimal, whose width is learned and the same for all clips, so that the loss is the absolute error,
    as far as such answers go; the value is from -1 to 1, the ends of the task's range.

    Attributes:
        width: Of numbers, how unsure the model is; None for classes.
    """

    reads_backbone: ClassVar[bool] = False
    parts: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        if config.head is None:
            raise UsageError(f"The model {config.model} answers itself: set head in its configuration.")
        self.outputs = config.head
        self.width = nn.Parameter(torch.tensor(-1.5)) if config.head == 1 else None

    @abstractmethod
    def forward(self, batch: Any) -> torch.Tensor:
        """Values (B, outputs) float32 of a `mse_pipeline.training.reading.Batch`."""

    def extra_loss(self, loss_of: Any) -> torch.Tensor | None:
        """What the last pass in training adds to the loss, beside the answers; None for nothing.

        Args:
            loss_of: Tells the loss of other values (B, outputs), as of a branch of the model, for the same clips: a
                `mse_pipeline.training.answering.BatchLoss`.
        """
        return None
