"""openSMILE's library, driven as its Python package drives it, without that package's import of pandas.

The package `opensmile` gives tables of pandas, whose import takes two seconds and 100 MB, which a host of sound alone
would need for nothing else. Of the package only the module that binds the library is used, with the configuration
files beside it.
"""

from __future__ import annotations

import functools
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.extractors.visual.networks import package_folder

SETS = {
    "eGeMAPSv02": "egemaps/v02/eGeMAPSv02",
    "eGeMAPSv01b": "egemaps/v01b/eGeMAPSv01b",
    "eGeMAPSv01a": "egemaps/v01a/eGeMAPSv01a",
    "GeMAPSv01b": "gemaps/v01b/GeMAPSv01b",
    "GeMAPSv01a": "gemaps/v01a/GeMAPSv01a",
    "ComParE_2016": "compare/ComParE_2016",
    "emobase": "emobase/emobase",
    "IS09": "is09-13/IS09_emotion",
    "IS10": "is09-13/IS10_paraling_compat",
    "IS11": "is09-13/IS11_speaker_state",
    "IS12": "is09-13/IS12_speaker_trait_compat",
    "IS13": "is09-13/IS13_ComParE",
}
"""Configuration of each feature set below the package's folder of configurations, as `opensmile.FeatureSet` has it."""

LEVELS = {"lld": "lld", "lld_de": "lld_de", "functionals": "func"}
"""Our names of openSMILE's levels, and the library's."""

_SOURCE, _SINK = "extsource", "extsink"
_LOG_LEVEL = 2  # that of the package


class Smile:
    """One feature set and level.

    Args:
        feature_set: A name of `SETS`.
        level: A name of `LEVELS`.

    Attributes:
        names: What the library calls the D values.
    """

    def __init__(self, feature_set: str, level: str) -> None:
        self._folder = package_folder("opensmile") / "core" / "config"
        self._configuration = str(self._folder / f"{SETS[feature_set]}.conf")
        self._options = {
            "sink": self._folder / "shared" / "standard_external_data_output_single.conf.inc",
            "sinkLevel": LEVELS[level],
            "bufferModeRbConf": self._folder / "shared" / "BufferModeRb.conf.inc",
            "frameModeFunctionalsConf": self._folder / "shared" / "FrameModeFunctionals.conf.inc",
            "source": self._folder / "shared" / "standard_external_wave_input.conf.inc",
        }
        run = self._begin({})
        try:
            count = run.external_sink_get_num_elements(_SINK)
            self.names = tuple(run.external_sink_get_element_name(_SINK, place) for place in range(count))
        finally:
            run.free()

    def __call__(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """The values of some sound.

        Args:
            samples: (N,) float32 in [-1, 1].
            rate: Samples a second.

        Returns:
            (T, D) float32; no row where the sound is shorter than the set's windows.
        """
        rows: list[np.ndarray] = []
        run = self._begin({"sampleRate": rate, "nBits": 16})
        try:
            run.external_sink_set_callback_ex(_SINK, lambda values, when: rows.append(values.copy()))
            run.external_audio_source_write_data(_SOURCE, (samples * 32768).astype(np.int16).tobytes())
            run.external_audio_source_set_eoi(_SOURCE)
            run.run()
        finally:
            run.free()
        return np.concatenate([np.zeros((0, len(self.names)), np.float32), *rows])

    def _begin(self, options: dict[str, Any]) -> Any:
        run = _library().OpenSMILE()
        run.initialize(self._configuration, {**self._options, **options}, _LOG_LEVEL)
        return run


@functools.cache
def _library() -> Any:
    """The module that binds the library, read from its file: under its own name the whole package would be imported."""
    path: Path = package_folder("opensmile") / "core" / "lib.py"
    loader = SourceFileLoader(f"{__name__}_binding", str(path))
    module = types.ModuleType(loader.name)
    module.__file__ = str(path)
    loader.exec_module(module)
    return module
