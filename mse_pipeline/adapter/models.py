"""Which models can be trained: this package's adapter, what it is compared with, and those of other packages.

All but the adapter are found by entry points of the group ``mse_pipeline.models``, those of this package as well: each
is a subclass of `mse_pipeline.adapter.TrainedModel` or `DirectModel`, which is made of an `AdapterConfig` alone.
"""

from __future__ import annotations

from typing import Any

from mse_pipeline.adapter.base import DirectModel, Model
from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.model import MSEAdapter, TrainedModel
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.plugins import Kind

_MODELS: dict[str, type[Model]] = {"mse-adapter": MSEAdapter}


def _problem_of(found: Any) -> str:
    """What is wrong with what a package offers; empty where nothing is."""
    fits = isinstance(found, type) and issubclass(found, TrainedModel | DirectModel)
    return "" if fits else "is no subclass of mse_pipeline.adapter.TrainedModel or DirectModel"


KIND = Kind("mse_pipeline.models", "model", _problem_of)


def available() -> tuple[str, ...]:
    """Names of the models: those of this package, and those that other installed packages bring."""
    return (*_MODELS, *KIND.discover(_MODELS).plugins)


def check(name: str) -> list[str]:
    """Why a model cannot be had, as sentences without a full stop; empty where it can.

    Examples:
        >>> check("mse-adaptor")[0].partition("; there are")[0]
        'there is no model mse-adaptor; did you mean mse-adapter?'
    """
    try:
        found = _MODELS.get(name) or KIND.find(name, _MODELS)
    except UsageError as error:
        return [str(error).removesuffix(".")]
    known = available()
    missing = f"there is no model {name}{did_you_mean(name, known)}; there are {', '.join(known)}"
    return [] if found else [missing]


def find(name: str) -> type[Model]:
    """The class of a model.

    Raises:
        UsageError: There is no such model, or the package that brings it does not fit.

    Examples:
        >>> find("mse-adapter").__name__
        'MSEAdapter'
    """
    for problem in check(name):
        raise UsageError(f"{problem[0].upper()}{problem[1:]}. Install the package that brings it, or name another.")
    found: type[Model] = _MODELS.get(name) or KIND.find(name, _MODELS)  # type: ignore[assignment]
    return found


def build(config: AdapterConfig) -> Model:
    """The model that a configuration names, with fresh weights.

    Raises:
        UsageError: There is no such model, the package that brings it does not fit, or it refuses the configuration.

    Examples:
        >>> type(build(AdapterConfig(hidden_size=64, acoustic_dim=25, visual_dim=None))).__name__
        'MSEAdapter'
    """
    own = _MODELS.get(config.model)
    if own is not None:
        return own(config)
    made = find(config.model)
    try:
        return made(config)
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(
            f"The model {config.model} cannot be made with the options {dict(config.options)} ({error}); mend "
            "training.model_options."
        ) from error
