"""acoustic.librosa: features computed by librosa, chosen by name.

librosa with a place for its compiled functions, so that they are compiled once a machine and not once a process.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError, did_you_mean
from mse_pipeline.extractors.acoustic.librosa_features import (
    F0,
    FEATURES,
    ChromaCqt,
    Feature,
    Mfcc,
    Sound,
    ZeroCrossingRate,
)
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.posix import user
from mse_pipeline.store.features import Features


def import_librosa() -> Any:
    """The library.

    Importing it compiles some twenty functions (numba), in 17 s of CPU time. Numba keeps them beside librosa's own
    files, or in the user's cache folder, from where the next process has them in two seconds together with all else
    that is imported. Where neither can be written, as in a container without a home, numba does not merely compile
    again: it fails. A folder for temporary files then serves as well, for as long as the machine stays up.
    """
    if "NUMBA_CACHE_DIR" not in os.environ and not _can_keep():
        os.environ["NUMBA_CACHE_DIR"] = str(_fallback())
    import librosa

    return librosa


def _can_keep() -> bool:
    """Whether numba finds a place by itself: beside the source files, or in the user's cache folder."""
    spec = importlib.util.find_spec("librosa")
    beside = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "util"]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return any(_writable(folder) for folder in (*beside, Path(home)))


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which may itself still be missing."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _fallback() -> Path:
    """A folder of this user's alone: what lies in it is run."""
    owner = user()
    folder = Path(tempfile.gettempdir()) / f"mse-numba-{'user' if owner is None else owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if owner is not None and (status.st_uid != owner or status.st_mode & 0o022):
        return Path(tempfile.mkdtemp(prefix="mse-numba-"))
    return folder


_NAMES = {kind: name for name, kind in FEATURES.items()}
_MFCC = 20


def _defaults(n_mfcc: int) -> tuple[Feature, ...]:
    return (ZeroCrossingRate(), Mfcc(n_mfcc=n_mfcc), ChromaCqt())


def _chosen(value: Any) -> Any:
    """What a recipe says of the features -> these with their parameters.

    Raises:
        ValueError: It is no list of names and no mapping of names to parameters, or a name or a parameter is wrong; all
            that is wrong is told.
    """
    if value is None or (isinstance(value, tuple) and all(isinstance(item, Feature) for item in value)):
        return value
    given = value if isinstance(value, Mapping) else dict.fromkeys(value) if _is_names(value) else None
    if given is None or not given:
        raise ValueError(f"features is a list of names, or names with parameters, without repetition; got {value!r}")
    made, wrong = [], []
    for name, parameters in given.items():
        if name not in FEATURES:
            near = did_you_mean(str(name), FEATURES) or f"; there are {', '.join(FEATURES)}"
            wrong.append(f"there is no feature {name}{near}")
        elif not isinstance(parameters, Mapping | None):
            wrong.append(f"the parameters of {name} are names with values, got {parameters!r}")
        else:
            try:
                made.append(TypeAdapter(FEATURES[name]).validate_python(dict(parameters or {})))
            except ValidationError as error:
                wrong += [_sentence(name, detail) for detail in error.errors()]
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(made)


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(n, str) for n in value) and len(set(value)) == len(value)


def _sentence(name: str, detail: Any) -> str:
    if detail["type"] == "unexpected_keyword_argument":
        known = [field.name for field in dataclasses.fields(FEATURES[name])]
        near = did_you_mean(str(detail["loc"][-1]), known) or f"; it has {', '.join(known) or 'none'}"
        return f"{name} has no parameter {detail['loc'][-1]}{near}"
    if detail["type"] == "value_error":
        return f"{name}: {detail['ctx']['error']}"
    return f"{'.'.join(map(str, [name, *detail['loc']]))}: {detail['msg']}, got {detail['input']!r}"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LibrosaConfig:
    """Options of `LibrosaSet`.

    Attributes:
        hop_length: Samples (of 16,000 a second) from one row to the next; with chroma_cqt or tonnetz a multiple of
            64, which the seven octaves of the constant-Q transform need.
        n_fft: Samples of the window of all features but chroma_cqt and tonnetz.
        n_mfcc: Number of mel-frequency cepstral coefficients of the default features; where `features` are named, it
            is a parameter of mfcc.
        features: A list of names, or a mapping of names to parameters, in the order of the values. Names are
            zero_crossing_rate, rms, mel, mfcc, chroma_cqt, chroma_stft, tonnetz, spectral_centroid,
            spectral_bandwidth, spectral_rolloff, spectral_flatness, spectral_contrast and f0; None for
            zero_crossing_rate, mfcc and chroma_cqt.
    """

    hop_length: Annotated[int, Field(ge=16, le=16_384)] = 512
    n_fft: Annotated[int, Field(ge=64, le=65_536)] = 2048
    n_mfcc: Annotated[int, Field(ge=1, le=128)] = _MFCC
    features: Annotated[tuple[InstanceOf[Feature], ...] | None, BeforeValidator(_chosen)] = None

    @model_validator(mode="after")
    def _fit_together(self) -> LibrosaConfig:
        if self.features is not None and self.n_mfcc != _MFCC:
            raise ValueError("n_mfcc is a parameter of mfcc where features are named, as in {mfcc: {n_mfcc: 13}}")
        for feature in self.chosen():
            name = _NAMES[type(feature)]
            if self.hop_length % feature.hop_multiple:
                multiple = feature.hop_multiple
                raise ValueError(f"{name} needs a hop_length that is a multiple of {multiple}, got {self.hop_length}")
            if isinstance(feature, F0) and self.n_fft < 2 * SAMPLE_RATE / feature.fmin:
                least = int(np.ceil(2 * SAMPLE_RATE / feature.fmin))
                raise ValueError(
                    f"f0 from {feature.fmin:g} Hz needs an n_fft of two periods, {least}; got {self.n_fft}"
                )
        return self

    def chosen(self) -> tuple[Feature, ...]:
        """The features with their parameters, those of the default where none are named."""
        if self.features is None:
            return _defaults(self.n_mfcc)
        return self.features


class LibrosaSet(AudioExtractor[LibrosaConfig]):
    """Stream ``acoustic.librosa``, (T, 33) by default, one row every `hop_length` samples.

    Windows are centred: row k lies around sample k * hop_length, and stands for the time up to the middle
    between it and its neighbours. What a window sees beyond the sound's ends is silence (for the zero crossing
    rate: the first and last sample). Of sound shorter than the lowest notes' filters, about half a second, the
    chroma is therefore only as sharp as so little sound allows.

    Examples:
        >>> from mse_pipeline import extractors
        >>> voice = extractors.create("acoustic.librosa", {"features": {"f0": {"fmax": 500}, "rms": {}}})
        >>> voice.names, voice.units
        (('f0', 'f0_voiced', 'f0_voiced_probability', 'rms'), ('Hz', '', '', ''))
    """

    name = "librosa"
    revision = 1
    Config = LibrosaConfig

    @property
    def names(self) -> tuple[str, ...]:
        """By default zero_crossing_rate, mfcc_00, ..., chroma_c, ..., chroma_b."""
        return tuple(name for feature in self.config.chosen() for name in feature.names())

    @property
    def units(self) -> tuple[str, ...]:
        """Those of the features."""
        return tuple(unit for feature in self.config.chosen() for unit in feature.units())

    @property
    def step(self) -> float:
        """The hop in seconds."""
        return self.config.hop_length / SAMPLE_RATE

    def identity(self) -> dict[str, Any]:
        """As of old for the features of old, so that what is in caches stays theirs; else with the chosen features."""
        told, chosen = super().identity(), self.config.chosen()
        if any(isinstance(feature, F0) and feature.method == "pyin" for feature in chosen):
            told["revision"] = 2  # 1 had 0 where there is no voice; nothing else differs
        del told["config"]["features"]
        coefficients = next((feature.n_mfcc for feature in chosen if isinstance(feature, Mfcc)), _MFCC)
        if chosen == _defaults(coefficients):
            told["config"]["n_mfcc"] = coefficients
        else:
            del told["config"]["n_mfcc"]
            told["config"]["features"] = [{"name": _NAMES[type(one)], **dataclasses.asdict(one)} for one in chosen]
        return told

    def load(self, device: str = "cpu") -> None:
        """Import librosa; it runs on the CPU whatever the device."""
        super().load(device)
        import_librosa()  # so that the first clip does not wait for it

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, D) features with T = 1 + N // hop_length.

        Raises:
            ClipError: `too_short` for less than one hop.
        """
        config, y = self.config, audio.samples
        if len(y) < config.hop_length:
            raise ClipError("too_short", f"The sound has {len(y)} samples; one row needs {config.hop_length}.")
        sound = Sound(import_librosa(), y, audio.rate, config.hop_length, config.n_fft)
        with warnings.catch_warnings():
            # librosa warns where a window is longer than the sound, and where silence has no tuning.
            warnings.filterwarnings("ignore", message="n_fft=")
            warnings.filterwarnings("ignore", message="Trying to estimate tuning")
            parts = [feature.compute(sound) for feature in config.chosen()]
        values = np.concatenate(parts).T
        return Features(values, self._intervals(len(values), audio), np.ones(len(values), bool), self.names)

    def _intervals(self, rows: int, audio: Audio) -> np.ndarray:
        borders = (np.arange(rows + 1) - 0.5) * self.config.hop_length / audio.rate
        borders[0], borders[-1] = 0.0, audio.duration
        return np.stack([borders[:-1], borders[1:]], 1)
