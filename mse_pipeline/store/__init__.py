"""The feature cache: Parquet shards that extraction writes, HDF5 packs that training reads.

Examples:
    >>> from tempfile import mkdtemp
    >>> from mse_pipeline import store
    >>> from mse_pipeline.clip import Clip, Split
    >>> from mse_pipeline.task import Classification
    >>> cache = store.open(mkdtemp())
    >>> clips = [Clip(id="train/a", split=Split.TRAIN, text="hello", label="joy")]
    >>> dataset = cache.create("mine", clips, task=Classification(("joy", "anger")))
    >>> row = store.Features([[0.5, 1.0]], [[0.0, 1.0]], [True], ("AU12", "AU04"))
    >>> dataset.put("visual.action_units", {"train/a": row})
    >>> store.open(cache.path)["mine"]["visual.action_units"]["train/a"].values.tolist()
    [[0.5, 1.0]]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mse_pipeline.store.cache import Cache as Cache
    from mse_pipeline.store.cache import open_cache as open
    from mse_pipeline.store.dataset import Dataset as Dataset
    from mse_pipeline.store.features import Features as Features

_HOMES = {
    "Cache": ("mse_pipeline.store.cache", "Cache"),
    "Dataset": ("mse_pipeline.store.dataset", "Dataset"),
    "Features": ("mse_pipeline.store.features", "Features"),
    "open": ("mse_pipeline.store.cache", "open_cache"),
}
__all__ = ["Cache", "Dataset", "Features", "open"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: pyarrow and h5py are heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
