"""openSMILE's library, driven as its Python package drives it, without that package's import of pandas.

The package `opensmile` gives tables of pandas, whose import takes two seconds and 100 MB, which a host of sound alone
would need for nothing else. Of the package only the module that binds the library is used, with the configuration
files beside it.
"""

from __future__ import annotations

import ctypes
import functools
import re
import tempfile
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
        self._configuration = self._folder / f"{SETS[feature_set]}.conf"
        self._lean = without_functionals(self._configuration) if level != "functionals" else None
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
        rows: list[bytes] = []
        run = self._begin({"sampleRate": rate, "nBits": 16})
        try:
            sink = _collect(run, rows)  # for as long as the library may call it
            run.external_audio_source_write_data(_SOURCE, (samples * 32768).astype(np.int16).tobytes())
            run.external_audio_source_set_eoi(_SOURCE)
            run.run()
        finally:
            run.free()
            del sink
        return np.frombuffer(b"".join(rows), np.float32).reshape(-1, len(self.names)).copy()

    def _begin(self, options: dict[str, Any]) -> Any:
        run, given = _library().OpenSMILE(), {**self._options, **options}
        if self._lean is None:
            run.initialize(str(self._configuration), given, _LOG_LEVEL)
            return run
        with tempfile.TemporaryDirectory() as folder:  # it is read here alone
            path = Path(folder) / self._configuration.name
            path.write_text(self._lean, encoding="utf-8")
            run.initialize(str(path), given, _LOG_LEVEL)
        return run


def without_functionals(configuration: Path) -> str | None:
    """A set's configuration without its functionals, which openSMILE would compute although nobody reads them.

    Low-level descriptors do not depend on them; a tenth of the time does.

    Args:
        configuration: Of a set, as the package has it.

    Returns:
        Its text, with the files that it includes named in full; None where it is not written as that of a set whose
        functionals can be left out.
    """
    text = configuration.read_text(encoding="utf-8")
    kept, files = re.subn(r"^\\\{[^}\\]*\.func\.conf\.inc\}[^\S\n]*\n", "", text, flags=re.MULTILINE)
    kept, instances = re.subn(r"^instance\[funcconcat\]\.type[^\n]*\n", "", kept, flags=re.MULTILINE)
    kept, sections = re.subn(r"^\[funcconcat:[^\n]*\n(?:[^\[\\\n][^\n]*\n|\n)*", "", kept, flags=re.MULTILINE)
    if not files or instances != 1 or sections != 1 or "func" in kept:
        return None
    return re.sub(
        r"^\\\{([^}\\]+)\}", lambda found: rf"\{{{configuration.parent / found[1]}}}", kept, flags=re.MULTILINE
    )


def _collect(run: Any, rows: list[bytes]) -> Any:
    """Have each row's float32 values appended to `rows`; returns what must live as long as the run.

    The package's own way makes two arrays of each row, which takes longer than openSMILE needs for some rows.
    """
    library = _library()

    @library.ExternalSinkCallback
    def take(values: Any, count: int, _: Any) -> int:
        rows.append(ctypes.string_at(values, 4 * count))
        return 1

    run._check_smile_result(library.smileapi.smile_extsink_set_data_callback(run._smileobj, _SINK.encode(), take, None))
    return take


@functools.cache
def _library() -> Any:
    """The module that binds the library, read from its file: under its own name the whole package would be imported."""
    path: Path = package_folder("opensmile") / "core" / "lib.py"
    loader = SourceFileLoader(f"{__name__}_binding", str(path))
    module = types.ModuleType(loader.name)
    module.__file__ = str(path)
    loader.exec_module(module)
    return module
