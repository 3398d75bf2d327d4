"""openSMILE: `acoustic.opensmile`, any of its feature sets and levels, and `acoustic.egemaps`, the usual one.

A set gives low-level descriptors, their changes, or functionals. Units are derived from openSMILE's names.
`acoustic.egemaps` is the short name for the low-level descriptors of eGeMAPSv02.
"""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.acoustic.opensmile_library import Smile
from mse_pipeline.extractors.base import AudioExtractor
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

_LOW_LEVEL = (
    # Of GeMAPS and eGeMAPS: Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)".
    (r"F0semitoneFrom27\.5Hz", "semitones above 27.5 Hz"),
    (r"(alphaRatio|hammarbergIndex)(U?V)?", "dB"),
    (r"slope(U?V)?\d+-\d+", "dB/Hz"),
    (r"shimmerLocaldB|HNRdBACF|logRelF0-H1-(H2|A3)|F[123]amplitudeLogRelF0", "dB"),
    (r"F[123](frequency|bandwidth)", "Hz"),
    # Of the challenges' sets: Eyben 2016, "Real-time Speech and Music Classification by Large Audio Feature Space
    # Extraction".
    (r"F0|F0(final|env|finEnv)", "Hz"),
    (r"logHNR", "dB"),
    (r"pcm_fftMag_spectral(RollOff[\d.]+|Centroid)", "Hz"),
    (r"pcm_fftMag_spectralVariance", "Hz²"),
    (r"lspFreq", "rad"),
)
_WHOLE = {
    "loudnessPeaksPerSec": "1/s",
    "VoicedSegmentsPerSec": "1/s",
    "MeanVoicedSegmentLengthSec": "s",
    "StddevVoicedSegmentLengthSec": "s",
    "MeanUnvoicedSegmentLength": "s",
    "StddevUnvoicedSegmentLength": "s",
    "equivalentSoundLevel_dBp": "dB",
}
_DESCRIPTOR = re.compile(
    r"(?P<base>.+?)_(?P<smoothing>sma(?:3nz|3)?)(?P<delta>_de)?(?:\[\d+\])?(?:_(?P<functional>.+))?"
)
# Functionals in the unit of the descriptor: a value of it, or the difference of two values.
_KEEPING = re.compile(
    r"amean|posamean|qmean|rqmean|max|min|range|stddev|quartile\d|iqr\d-\d|percentile[\d.]+|pctlrange\d-\d"
    r"|peakMean(Abs)?|peakRangeAbs"
)
_SLOPE = re.compile(r"(mean|stddev)(Rising|Falling)Slope")


def unit_of(name: str) -> str:
    """The unit of one of openSMILE's values; empty if it has none, or none is documented.

    Args:
        name: As openSMILE gives it.

    Examples:
        >>> unit_of("F0semitoneFrom27.5Hz_sma3nz"), unit_of("F1frequency_sma3nz_amean"), unit_of("jitterLocal_sma3nz")
        ('semitones above 27.5 Hz', 'Hz', '')
        >>> unit_of("F1frequency_sma3nz_stddevNorm"), unit_of("F0semitoneFrom27.5Hz_sma3nz_meanRisingSlope")
        ('', 'semitones/s')
        >>> unit_of("F0final_sma_de"), unit_of("F0final_sma_quartile1"), unit_of("VoicedSegmentsPerSec")
        ('Hz', 'Hz', '1/s')
    """
    if name in _WHOLE:
        return _WHOLE[name]
    parts = _DESCRIPTOR.fullmatch(name)
    if parts is None:
        return ""
    unit = next((unit for pattern, unit in _LOW_LEVEL if re.fullmatch(pattern, parts["base"])), "")
    # Changes, spreads and differences of pitch are in semitones, without the reference of 27.5 Hz.
    plain = "semitones" if unit.startswith("semitones") else unit
    functional = parts["functional"]
    if functional is None:
        return plain if parts["delta"] else unit
    if _SLOPE.fullmatch(functional) and parts["smoothing"] != "sma":
        return f"{plain}/s" if plain else "1/s"
    if not _KEEPING.fullmatch(functional):
        return ""
    return plain if re.match(r"range|iqr|pctlrange|stddev", functional) else unit


_PITCH = re.compile(r"F0(semitoneFrom27\.5Hz|final)?")
_OF_VOICE = re.compile(
    rf"{_PITCH.pattern}|jitter(Local|DDP)|shimmerLocal(dB)?|HNRdBACF|logRelF0-H1-(H2|A3)|F[123](frequency|bandwidth)"
)
"""Descriptors of voice. Where openSMILE could not measure one it holds 0, but for formants, which it measures in noise,
too: its functionals of them count voiced rows alone (eGeMAPSv02_core.lld.conf.inc, `formantVoiced`)."""
_WITH_FLOOR = re.compile(r"logHNR|F[123]amplitudeLogRelF0")
"""Likewise, but they hold -100 or -201 where nothing is voiced, and 0 is a level that was measured."""
_ENVELOPE = re.compile(r"F0(env|finEnv)")
"""Holds the pitch on where nothing is voiced, and 0 before the first voice."""
_PARTS = re.compile(r"(alphaRatio|hammarbergIndex|spectralFlux|mfcc\d|slope)(?P<unvoiced>U)?V(\d+-\d+)?")
"""Descriptors of which eGeMAPS makes functionals of voiced and of unvoiced rows apart."""
_SEGMENTS = (
    ("MeanVoicedSegmentLengthSec", "StddevVoicedSegmentLengthSec"),
    ("MeanUnvoicedSegmentLength", "StddevUnvoicedSegmentLength"),
)
_COUNTS = re.compile(r"(ff0_(de_)?)?(nnz|numSegments|duration)|_?Turn_\w+")
"""Functionals that are 0 or the clip's length, and rightly so, where nothing is voiced."""

_MIXED = {"IS09": 2, "IS10": 2, "emobase": 2}
"""Rows beside unvoiced ones in which pitch is mixed with the 0 there, of sets that smooth across a voice's edge."""


def _undefined_descriptors(values: np.ndarray, names: Sequence[str], mixed: int = 0) -> np.ndarray:
    """Which values of low-level descriptors openSMILE could not measure, (T, D) bool.

    Args:
        values: (T, D), all rows that openSMILE gave.
        names: Of the descriptors.
        mixed: See `_MIXED`.

    Examples:
        >>> values = np.array([[0.0, -201.0, 1.0], [30.0, -70.0, 1.0], [31.0, 0.0, 1.0], [30.0, -9.0, 1.0]])
        >>> names = ("F0semitoneFrom27.5Hz_sma3nz", "F1amplitudeLogRelF0_sma3nz", "loudness_sma3")
        >>> _undefined_descriptors(values, names).sum(0).tolist()
        [1, 2, 0]
    """
    bases = [name.partition("_sma")[0] for name in names]
    unvoiced = values[:, next(column for column, base in enumerate(bases) if _PITCH.fullmatch(base))] == 0.0
    beside = _widened(unvoiced, mixed)
    floored = _widened(unvoiced, mixed + 1)  # the floor is smoothed as if it were a level
    undefined = np.zeros(values.shape, bool)
    for column, base in enumerate(bases):
        if _OF_VOICE.fullmatch(base):
            undefined[:, column] = beside | (values[:, column] == 0.0)
        elif _WITH_FLOOR.fullmatch(base):
            undefined[:, column] = floored
        elif _ENVELOPE.fullmatch(base):
            undefined[:, column] = _widened(values[:, column] == 0.0, mixed)
    return undefined


def _widened(rows: np.ndarray, by: int) -> np.ndarray:
    """The rows (T, ...) that are True, and those up to `by` before and after one.

    Examples:
        >>> _widened(np.array([True, False, False, False]), 2).tolist()
        [True, True, True, False]
    """
    wide = rows.copy()
    for shift in range(1, by + 1):
        wide[shift:] |= rows[:-shift]
        wide[:-shift] |= rows[shift:]
    return wide


class _Functionals(NamedTuple):
    """The functionals of one descriptor.

    Attributes:
        columns: Their places.
        telling: Places of those that are all 0 where the descriptor was measured nowhere.
        of_voice: Whether it can only be measured where something is voiced.
    """

    columns: list[int]
    telling: list[int]
    of_voice: bool


@functools.lru_cache(maxsize=8)
def _functionals_of_parts(names: tuple[str, ...]) -> list[_Functionals]:
    """The functionals that openSMILE makes of some rows alone, those of pitch first."""
    groups: dict[str, _Functionals] = {}
    segments = {name: mean for mean, deviation in _SEGMENTS for name in (mean, deviation)}
    for column, name in enumerate(names):
        parts = _DESCRIPTOR.fullmatch(name)
        key, of_voice = segments.get(name), False
        if parts is not None and not _COUNTS.fullmatch(parts["functional"] or ""):
            part = _PARTS.fullmatch(parts["base"])
            of_voice = part is None or not part["unvoiced"]
            if part or any(kind.fullmatch(parts["base"]) for kind in (_OF_VOICE, _WITH_FLOOR, _ENVELOPE)):
                key = f"{parts['base']}{parts['delta'] or ''}"
        if key is not None:
            group = groups.setdefault(key, _Functionals([], [], of_voice))
            group.columns.append(column)
            if not name.endswith("_flatness"):  # 1 of nothing
                group.telling.append(column)
    return sorted(groups.values(), key=lambda group: not _PITCH.fullmatch(names[group.columns[0]].partition("_sma")[0]))


def _undefined_functionals(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Which functionals openSMILE made of no row at all, (T, D) bool.

    Args:
        values: (T, D).
        names: Of the functionals.

    Examples:
        >>> names = ("F0semitoneFrom27.5Hz_sma3nz_amean", "F1amplitudeLogRelF0_sma3nz_amean", "loudness_sma3_amean")
        >>> _undefined_functionals(np.array([[0.0, -201.0, 0.5], [30.0, -9.0, 0.5]]), names).tolist()
        [[True, True, False], [False, False, False]]
    """
    undefined = np.zeros(values.shape, bool)
    unvoiced = np.zeros(len(values), bool)
    for place, group in enumerate(_functionals_of_parts(names)):
        empty = (values[:, group.telling] == 0.0).all(axis=1)
        if place == 0:
            unvoiced = empty
        undefined[:, group.columns] = (empty | (unvoiced & group.of_voice))[:, None]
    return undefined


HOP = 0.01
"""Seconds from one row of descriptors to the next, in every set."""

Level = Literal["lld", "lld_de", "functionals"]
FeatureSet = Literal[
    "eGeMAPSv02",
    "eGeMAPSv01b",
    "eGeMAPSv01a",
    "GeMAPSv01b",
    "GeMAPSv01a",
    "ComParE_2016",
    "emobase",
    "IS09",
    "IS10",
    "IS11",
    "IS12",
    "IS13",
]

SHORTEST: dict[str, float] = {
    **dict.fromkeys(("eGeMAPSv02", "eGeMAPSv01b", "eGeMAPSv01a", "GeMAPSv01b", "GeMAPSv01a"), 0.06),
    **dict.fromkeys(("ComParE_2016", "IS13"), 0.06),
    **dict.fromkeys(("IS10", "IS11", "IS12"), 0.07),
    "emobase": 0.04,
    "IS09": 0.025,
}
"""Length in seconds of the longest analysis window of each set; openSMILE gives no row for shorter sound."""

C = TypeVar("C")


class SmileExtractor(AudioExtractor[C]):
    """Runs one feature set of openSMILE.

    Row k of descriptors is measured on the 20 to 70 ms of sound from 10 k ms on. It stands for the 10 ms from there,
    and the last row for the rest. Functionals have one row for the whole clip, or one row a window, which stands for
    the time up to the middle between it and its neighbours.

    Pitch and all else that only a voice has is NaN where nothing is voiced, or where openSMILE could not measure it; so
    are changes of these, which are those of five rows, and functionals that it makes of no row. openSMILE itself writes
    0, -100 or -201 there.
    """

    @property
    @abstractmethod
    def feature_set(self) -> str:
        """OpenSMILE's name of the set."""

    @property
    @abstractmethod
    def level(self) -> str:
        """``lld``, ``lld_de`` or ``functionals``."""

    @property
    def window(self) -> float | None:
        """Seconds of sound of one row of functionals; None for the whole clip."""
        return None

    @property
    def hop(self) -> float:
        """Seconds from one row of functionals to the next."""
        return HOP

    @property
    def step(self) -> float | None:
        """10 ms for descriptors; for functionals the windows' distance, or None for one row a clip."""
        if self.level != "functionals":
            return HOP
        return None if self.window is None else self.hop

    @property
    def names(self) -> tuple[str, ...]:
        """As openSMILE names them."""
        return _smile(self.feature_set, self.level).names

    @property
    def units(self) -> tuple[str, ...]:
        """Derived from the names."""
        return tuple(map(unit_of, self.names))

    def load(self, device: str = "cpu") -> None:
        """Read openSMILE's configuration; it runs on the CPU whatever the device."""
        super().load(device)
        _smile(self.feature_set, self.level)

    def __call__(self, audio: Audio) -> Features:
        """Extract.

        Args:
            audio: The clip's sound.

        Returns:
            (T, D) features with intervals from 0 to the sound's end.

        Raises:
            ClipError: `too_short` for less sound than the set's longest analysis window.
        """
        shortest = SHORTEST[self.feature_set]
        if audio.duration < shortest:
            family = "eGeMAPS" if self.feature_set.startswith("eGeMAPS") else self.feature_set
            raise ClipError(
                "too_short",
                f"The sound lasts {1000 * audio.duration:.1f} ms; {family} needs {1000 * shortest:.0f} ms.",
            )
        if self.level == "functionals":
            windows = _windows(audio.duration, self.window, self.hop)
            parts = [audio.samples[round(b * audio.rate) : round(e * audio.rate)] for b, e in windows]
            values = np.concatenate([self._process(part, audio.rate) for part in parts])
            values[_undefined_functionals(values, self.names)] = np.nan
            middles = windows.mean(1)
            starts = np.append(0.0, (middles[1:] + middles[:-1]) / 2)
        else:
            values = self._process(audio.samples, audio.rate)
            values[self._undefined(values, audio)] = np.nan
            starts = np.arange(len(values)) * HOP
            # openSMILE's smoothing filters give more rows, after the end of the sound.
            within = starts < audio.duration
            values, starts = values[within], starts[within]
        ends = np.append(starts[1:], audio.duration)
        return Features(values, np.stack([starts, ends], 1), np.ones(len(values), bool), self.names)

    def _undefined(self, values: np.ndarray, audio: Audio) -> np.ndarray:
        """Which values of descriptors, or of their changes, are not defined."""
        mixed = _MIXED.get(self.feature_set, 0)
        if self.level == "lld":
            return _undefined_descriptors(values, self.names, mixed)
        # A change of 0 may be that of a steady voice: whether there is one, the descriptors tell.
        names = _smile(self.feature_set, "lld").names
        undefined = _widened(_undefined_descriptors(self._process(audio.samples, audio.rate, "lld"), names, mixed), 2)
        columns = [names.index(name.replace("_de", "", 1)) for name in self.names]
        rows = np.minimum(np.arange(len(values)), len(undefined) - 1)
        return undefined[rows][:, columns]

    def _process(self, samples: np.ndarray, rate: int, level: str | None = None) -> np.ndarray:
        return _smile(self.feature_set, level or self.level)(samples, rate)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class OpensmileConfig:
    """Options of `Opensmile`.

    Attributes:
        set: openSMILE's feature set; eGeMAPSv02, GeMAPSv01b and ComParE_2016 are those of today's papers, the others
            are for comparison with earlier ones.
        level: lld for low-level descriptors every 10 ms, lld_de for their changes (not with GeMAPS and eGeMAPS),
            functionals for statistics of them over the clip or over windows.
        window: Seconds of sound of one row of functionals; None for one row over the whole clip. What is left of a
            clip at its end has a window that reaches back; a clip shorter than a window has one row.
        hop: Seconds from one window to the next; None for windows side by side.
    """

    set: FeatureSet = "eGeMAPSv02"
    level: Level = "lld"
    window: Annotated[float, Field(ge=0.1, le=3600.0)] | None = None
    hop: Annotated[float, Field(ge=0.01, le=3600.0)] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> OpensmileConfig:
        if self.level == "lld_de" and "GeMAPS" in self.set:
            raise ValueError(f"{self.set} has no level lld_de; it has lld and functionals")
        if self.level != "functionals" and (self.window is not None or self.hop is not None):
            raise ValueError(
                f"window and hop are for level functionals; descriptors (here {self.level}) are every 10 ms"
            )
        if self.hop is not None and self.window is None:
            raise ValueError("hop needs a window")
        if self.hop is not None and self.window is not None and self.hop > self.window:
            raise ValueError(f"hop ({self.hop:g} s) must not be longer than window ({self.window:g} s)")
        return self


class Opensmile(SmileExtractor[OpensmileConfig]):
    """Stream ``acoustic.opensmile``: any feature set and level of openSMILE.

    Eyben et al. 2010, "openSMILE: the Munich versatile and fast open-source audio feature extractor".

    Examples:
        >>> from mse_pipeline import extractors
        >>> whole = extractors.create("acoustic.opensmile", {"level": "functionals"})
        >>> len(whole.names), whole.step
        (88, None)
        >>> extractors.create("acoustic.opensmile", {"set": "ComParE_2016"}).units[0]
        'Hz'
    """

    name = "opensmile"
    revision = 2
    Config = OpensmileConfig

    @property
    def feature_set(self) -> str:
        """The option `set`."""
        return self.config.set

    @property
    def level(self) -> str:
        """The option `level`."""
        return self.config.level

    @property
    def window(self) -> float | None:
        """The option `window`."""
        return self.config.window

    @property
    def hop(self) -> float:
        """The option `hop`, or the window's length."""
        return self.config.hop or self.config.window or HOP


def _windows(duration: float, window: float | None, hop: float) -> np.ndarray:
    """Begin and end in seconds of the windows over a clip, (W, 2).

    Examples:
        >>> _windows(2.5, 1.0, 1.0).tolist()
        [[0.0, 1.0], [1.0, 2.0], [1.5, 2.5]]
        >>> _windows(0.5, 1.0, 1.0).tolist(), _windows(2.5, None, 1.0).tolist()
        ([[0.0, 0.5]], [[0.0, 2.5]])
    """
    if window is None or duration <= window:
        return np.array([[0.0, duration]])
    count = int((duration - window) / hop + 1e-9) + 1
    begins = np.arange(count) * hop
    # A rest of less than a sample gets no window.
    if begins[-1] + window < duration - 1e-4:
        begins = np.append(begins, duration - window)
    return np.stack([begins, begins + window], 1)


_smile = functools.lru_cache(maxsize=8)(Smile)
"""openSMILE, configured; once a process for each set and level."""


NAMES = (
    "Loudness_sma3",
    "alphaRatio_sma3",
    "hammarbergIndex_sma3",
    "slope0-500_sma3",
    "slope500-1500_sma3",
    "spectralFlux_sma3",
    "mfcc1_sma3",
    "mfcc2_sma3",
    "mfcc3_sma3",
    "mfcc4_sma3",
    "F0semitoneFrom27.5Hz_sma3nz",
    "jitterLocal_sma3nz",
    "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz",
    "logRelF0-H1-H2_sma3nz",
    "logRelF0-H1-A3_sma3nz",
    "F1frequency_sma3nz",
    "F1bandwidth_sma3nz",
    "F1amplitudeLogRelF0_sma3nz",
    "F2frequency_sma3nz",
    "F2bandwidth_sma3nz",
    "F2amplitudeLogRelF0_sma3nz",
    "F3frequency_sma3nz",
    "F3bandwidth_sma3nz",
    "F3amplitudeLogRelF0_sma3nz",
)
"""openSMILE's names of the 25 descriptors; written out, so that openSMILE need not be loaded for them."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EgemapsConfig:
    """Options of `Egemaps`.

    Attributes:
        version: Version of the feature set (Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set").
    """

    version: Literal["v02"] = "v02"


class Egemaps(SmileExtractor[EgemapsConfig]):
    """Stream ``acoustic.egemaps``, (T, 25), one row every 10 ms: what ``acoustic.opensmile`` makes by default.

    Other sets and levels: `Opensmile`.
    """

    name = "egemaps"
    revision = 2
    Config = EgemapsConfig

    @property
    def feature_set(self) -> str:
        """The set eGeMAPS in its version."""
        return f"eGeMAPS{self.config.version}"

    @property
    def level(self) -> str:
        """Low-level descriptors."""
        return "lld"

    @property
    def names(self) -> tuple[str, ...]:
        """The descriptors, as openSMILE names them."""
        return NAMES
