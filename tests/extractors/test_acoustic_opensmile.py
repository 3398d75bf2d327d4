"""acoustic.opensmile: every set and level equals openSMILE, covers the sound, and is known before it runs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.acoustic.opensmile import LEVELS, SHORTEST, unit_of
from mse_pipeline.extractors.registry import check, create
from mse_pipeline.media.audio import Audio

PAIRS = [
    (feature_set, level)
    for feature_set in SHORTEST
    for level in LEVELS
    if not (level == "lld_de" and "GeMAPS" in feature_set)
]


def noise(seconds: float, seed: int = 0) -> Audio:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))
    return Audio(samples.astype(np.float32))


def opensmile_frame(feature_set: str, level: str, audio: Audio):
    import opensmile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[LEVELS[level]])
    return smile.process_signal(audio.samples, 16000)


@pytest.mark.parametrize(("feature_set", "level"), PAIRS)
def test_each_set_and_level_equals_opensmile(feature_set: str, level: str) -> None:
    audio = noise(0.5)
    expected = opensmile_frame(feature_set, level, audio)
    extractor = create("acoustic.opensmile", {"set": feature_set, "level": level})
    features = extractor(audio)
    rows = len(features)
    np.testing.assert_array_equal(features.values, expected.to_numpy(np.float32)[:rows])
    assert features.names == extractor.names == tuple(expected.columns)
    assert len(extractor.units) == len(features.names)
    assert features.intervals[0, 0] == 0.0
    assert features.intervals[-1, 1] == audio.duration
    np.testing.assert_array_equal(features.intervals[1:, 0], features.intervals[:-1, 1])
    assert (features.intervals[:, 1] > features.intervals[:, 0]).all()
    assert rows == 1 if level == "functionals" else len(expected) - rows <= 1  # filters that go on past the end


@pytest.mark.parametrize("feature_set", sorted(SHORTEST))
def test_the_shortest_sound_is_told_exactly(feature_set: str) -> None:
    shortest = SHORTEST[feature_set]
    for level in LEVELS:
        if level != "lld_de" or "GeMAPS" not in feature_set:
            extractor = create("acoustic.opensmile", {"set": feature_set, "level": level})
            assert np.isfinite(extractor(noise(shortest)).values).all()
            with pytest.raises(ClipError, match=f"needs {1000 * shortest:.0f} ms") as caught:
                extractor(noise(shortest - 1 / 16000))
            assert caught.value.code == "too_short"


@pytest.mark.parametrize("options", [{}, {"level": "functionals"}, {"set": "ComParE_2016"}])
def test_silence_is_finite(options: dict) -> None:
    silence = Audio(np.zeros(8000, np.float32))
    assert np.isfinite(create("acoustic.opensmile", options)(silence).values).all()


def test_egemaps_is_its_default_under_a_name_and_a_key_of_its_own() -> None:
    audio = noise(1.0)
    assert create("acoustic.egemaps")(audio).equals(create("acoustic.opensmile")(audio))
    assert create("acoustic.egemaps").units == create("acoustic.opensmile").units
    assert create("acoustic.egemaps").identity() == {
        "stream": "acoustic.egemaps",
        "revision": 1,
        "config": {"version": "v02"},
        "model": None,
    }


def test_functionals_of_windows_are_those_of_the_windows_sound() -> None:
    audio = noise(2.3)
    extractor = create("acoustic.opensmile", {"level": "functionals", "window": 1.0, "hop": 0.5})
    features = extractor(audio)
    begins = [0.0, 0.5, 1.0, 1.3]  # the last reaches back from the end
    for row, begin in zip(features.values, begins, strict=True):
        part = Audio(audio.samples[round(begin * 16000) :][:16000])
        np.testing.assert_array_equal(row, opensmile_frame("eGeMAPSv02", "functionals", part).to_numpy(np.float32)[0])
    np.testing.assert_allclose(features.intervals, [[0, 0.75], [0.75, 1.25], [1.25, 1.65], [1.65, 2.3]])
    assert extractor.step == 0.5


def test_a_clip_shorter_than_a_window_has_one_row_of_all_its_sound() -> None:
    audio = noise(0.7)
    windowed = create("acoustic.opensmile", {"level": "functionals", "window": 1.0})
    whole = create("acoustic.opensmile", {"level": "functionals"})
    assert windowed(audio).equals(whole(audio))
    assert whole.step is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"set": "eGeMAPSv02", "level": "lld_de"}, "eGeMAPSv02 has no level lld_de; it has lld and functionals."),
        ({"window": 1.0}, "window and hop are for level functionals"),
        ({"level": "functionals", "hop": 1.0}, "hop needs a window."),
        ({"level": "functionals", "window": 1.0, "hop": 2.0}, "hop (2 s) must not be longer than window (1 s)."),
    ],
)
def test_options_that_do_not_fit_together_are_told(options: dict, words: str) -> None:
    ((place, message),) = check({"acoustic.opensmile": options})
    assert place == "acoustic.opensmile"
    assert words in message


def test_an_unknown_set_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'eGeMAPSv02', .*'IS13'.* got 'eGeMAPS'"):
        create("acoustic.opensmile", {"set": "eGeMAPS"})


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Loudness_sma3", ""),
        ("slope0-500_sma3", "dB/Hz"),
        ("slopeUV0-500_sma3nz_amean", "dB/Hz"),
        ("alphaRatioV_sma3nz_amean", "dB"),
        ("F0semitoneFrom27.5Hz_sma3nz_pctlrange0-2", "semitones"),
        ("loudness_sma3_meanRisingSlope", "1/s"),
        ("equivalentSoundLevel_dBp", "dB"),
        ("pcm_fftMag_spectralVariance_sma", "Hz²"),
        ("pcm_fftMag_spectralRollOff25.0_sma_de_quartile1", "Hz"),
        ("lspFreq_sma[3]", "rad"),
        ("F0final_sma_kurtosis", ""),
        ("F0final__Turn_numOnsets", ""),
        ("mfcc_sma_de[4]_amean", ""),
    ],
)
def test_units_are_told_from_the_names(name: str, unit: str) -> None:
    assert unit_of(name) == unit
