"""What `mse train` is asked for: the same for a training and for its dry run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mse_pipeline.cli.output import remark
from mse_pipeline.errors import UsageError

if TYPE_CHECKING:
    from mse_pipeline.recipe import Recipe, Training
    from mse_pipeline.store.cache import Cache
    from mse_pipeline.store.dataset import Dataset
    from mse_pipeline.training.streams import StreamChoice


@dataclass(frozen=True)
class Request:
    """A training as it was asked for.

    Attributes:
        dataset: In the cache.
        recipe: That it was extracted with.
        training: Settings for this backbone, changed by the command line.
        backbone: Short name, hub name or folder.
        dtype: Number format of the backbone.
        revision: Of the backbone on the hub; None for the newest.
        quantization: ``4bit`` or ``8bit``; None for none.
        streams: Stream by modality, where one was named.
        without: What is left out.
        seeds: One training each; empty for the recipe's.
    """

    dataset: Dataset
    recipe: Recipe
    training: Training
    backbone: str
    dtype: str = "float32"
    revision: str | None = None
    quantization: str | None = None
    streams: Mapping[str, str | None] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def choose(self) -> StreamChoice:
        """The streams that are read; what is left out unasked is told.

        Raises:
            UsageError: What was asked for does not exist, or leaves nothing.
        """
        from mse_pipeline.training.streams import choose_streams

        choice = choose_streams(self.dataset, asked=self.streams, without=self.without)
        for reason in choice.left_out:
            remark(reason)
        return choice


def pick(cache: Cache, name: str | None) -> Dataset:
    """The dataset asked for, or the only one.

    Raises:
        UsageError: There is none, or there are several and none is named.
    """
    if name is not None:
        return cache[name]
    known = list(cache)
    if len(known) == 1:
        return cache[known[0]]
    if not known:
        raise UsageError(f"The cache {cache.path} is empty. Extract features first, as in: mse extract meld --root DIR")
    raise UsageError(f"The cache {cache.path} has several datasets; name one: mse train {' | '.join(known)}")


def recipe_of(dataset: Dataset) -> Recipe:
    """The recipe that the dataset was extracted with; one of defaults for a dataset that was made without."""
    from pydantic import ValidationError

    from mse_pipeline.recipe import Recipe

    plain = dict(dataset.manifest.recipe) or {"version": 1, "name": dataset.name, "corpus": {"name": "table"}}
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise UsageError(
            f"The recipe that {dataset.path / 'dataset.json'} holds is not one of this version; "
            f"run `mse extract {dataset.name}` again."
        ) from error


def changed(training: Training, changes: Mapping[str, Any]) -> Training:
    """Settings with what the command line says of them.

    Raises:
        UsageError: A value is impossible.
    """
    from pydantic import ValidationError

    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return type(training).model_validate({**training.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{name} {first['input']}: {first['msg']}.") from error
