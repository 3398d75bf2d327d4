"""Which models can be trained beside a frozen backbone: this package's adapter, and those of other packages.

Another package adds one by an entry point of the group ``mse_pipeline.models``: a subclass of
`mse_pipeline.adapter.model.TrainedModel`, which is made of an `AdapterConfig` alone.
"""

from __future__ import annotations

from typing import Any

from mse_pipeline.adapter.config import AdapterConfig
from mse_pipeline.adapter.model import MSEAdapter, TrainedModel
from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.plugins import Kind

_MODELS: dict[str, type[TrainedModel]] = {"mse-adapter": MSEAdapter}


def _problem_of(found: Any) -> str:
    """What is wrong with what a package offers; empty where nothing is."""
    fits = isinstance(found, type) and issubclass(found, TrainedModel)
    return "" if fits else "is no subclass of mse_pipeline.adapter.TrainedModel"


KIND = Kind("mse_pipeline.models", "model", _problem_of)


def available() -> tuple[str, ...]:
    """Names of the models: those of this package, and those that other installed packages bring."""
    return (*_MODELS, *KIND.discover(_MODELS).plugins)


def check(name: str) -> list[str]:
    """Why a model cannot be had, as sentences without a full stop; empty where it can.

    Examples:
        >>> check("mse-adaptor")
        ['there is no model mse-adaptor; did you mean mse-adapter?; there are mse-adapter']
    """
    try:
        found = _MODELS.get(name) or KIND.find(name, _MODELS)
    except UsageError as error:
        return [str(error).removesuffix(".")]
    known = available()
    missing = f"there is no model {name}{did_you_mean(name, known)}; there are {', '.join(known)}"
    return [] if found else [missing]


def build(config: AdapterConfig) -> TrainedModel:
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
    for problem in check(config.model):
        raise UsageError(f"{problem[0].upper()}{problem[1:]}. Install the package that brings it, or name another.")
    try:
        made: TrainedModel = KIND.find(config.model, _MODELS)(config)  # type: ignore[misc]
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(
            f"The model {config.model} cannot be made with the options {dict(config.options)} ({error}); mend "
            "training.model_options."
        ) from error
    return made
