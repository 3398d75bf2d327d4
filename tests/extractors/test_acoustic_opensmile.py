"""acoustic.opensmile: every set and level equals openSMILE, covers the sound, and is known before it runs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.acoustic.opensmile import SHORTEST, unit_of
from mse_pipeline.extractors.acoustic.opensmile_library import LEVELS, SETS, without_functionals
from mse_pipeline.extractors.registry import check, create
from mse_pipeline.extractors.visual.networks import package_folder
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
        smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel(LEVELS[level]))
    return smile.process_signal(audio.samples, 16000)


@pytest.mark.parametrize(("feature_set", "level"), PAIRS)
def test_each_set_and_level_equals_opensmile(feature_set: str, level: str) -> None:
    audio = noise(0.5)
    expected = opensmile_frame(feature_set, level, audio)
    extractor = create("acoustic.opensmile", {"set": feature_set, "level": level})
    features = extractor(audio)
    rows = len(features)
    defined = ~np.isnan(features.values)
    np.testing.assert_array_equal(features.values[defined], expected.to_numpy(np.float32)[:rows][defined])
    assert features.valid.all()
    assert features.names == extractor.names == tuple(expected.columns)
    assert len(extractor.units) == len(features.names)
    assert features.intervals[0, 0] == 0.0
    assert features.intervals[-1, 1] == audio.duration
    np.testing.assert_array_equal(features.intervals[1:, 0], features.intervals[:-1, 1])
    assert (features.intervals[:, 1] > features.intervals[:, 0]).all()
    assert rows == 1 if level == "functionals" else len(expected) - rows <= 1  # filters that go on past the end


def test_functionals_are_left_out_where_the_set_is_written_so(tmp_path: Path) -> None:
    folder = package_folder("opensmile") / "core" / "config"
    lean = {name: without_functionals(folder / f"{place}.conf") for name, place in SETS.items()}
    assert {name for name, text in lean.items() if text} >= {"eGeMAPSv02", "GeMAPSv01b", "IS09"}
    assert not any("func" in text for text in lean.values() if text)
    other = tmp_path / "other.conf"
    other.write_text("\\{my.func.conf.inc}\n[funcconcat:cVectorConcat]\nwriter.dmLevel = func\n")
    assert without_functionals(other) is None


@pytest.mark.parametrize("feature_set", sorted(SHORTEST))
def test_the_shortest_sound_is_told_exactly(feature_set: str) -> None:
    shortest = SHORTEST[feature_set]
    for level in LEVELS:
        if level != "lld_de" or "GeMAPS" not in feature_set:
            extractor = create("acoustic.opensmile", {"set": feature_set, "level": level})
            assert extractor(noise(shortest)).valid.all()
            with pytest.raises(ClipError, match=f"needs {1000 * shortest:.0f} ms") as caught:
                extractor(noise(shortest - 1 / 16000))
            assert caught.value.code == "too_short"


VOICE = re.compile(
    r"(F0|jitter|shimmer|HNR|logHNR|logRelF0|F[123](frequency|bandwidth|amplitude)).*"
    r"|(alphaRatio|hammarbergIndex|slope|spectralFlux|mfcc\d)U?V.*|(Mean|Stddev)(V|Unv)oicedSegmentLength(Sec)?"
)
"""What only a voice has, or what openSMILE makes of voiced or of unvoiced rows alone."""


def spoken(seconds: float = 1.0) -> Audio:
    """Noise, and in its middle half a buzz of 150 Hz."""
    times = np.arange(round(16000 * seconds)) / 16000
    buzz = sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 20))
    inside = (times >= seconds / 4) & (times < 3 * seconds / 4)
    return Audio((0.1 * buzz * inside + 0.02 * noise(seconds).samples).astype(np.float32))


@pytest.mark.parametrize(("feature_set", "level"), PAIRS)
@pytest.mark.parametrize("sound", ["noise", "silence"])
def test_without_a_voice_nothing_of_voice_is_defined_and_all_else_is(feature_set: str, level: str, sound: str) -> None:
    audio = noise(0.5) if sound == "noise" else Audio(np.zeros(8000, np.float32))
    features = create("acoustic.opensmile", {"set": feature_set, "level": level})(audio)
    undefined = np.isnan(features.values)
    of_voice = np.array([bool(VOICE.fullmatch(name)) for name in features.names])
    assert not undefined[:, ~of_voice].any()
    counted = re.compile(r".*(nnz|numSegments|duration|Turn_\w+)|(Mean|Stddev)UnvoicedSegmentLength|.*UV.*")
    kept = {name for name, gone in zip(features.names, undefined.all(0), strict=True) if not gone and VOICE.match(name)}
    assert all(counted.fullmatch(name) for name in kept), kept
    assert features.valid.all()


@pytest.mark.parametrize("feature_set", [name for name in SHORTEST if "GeMAPS" in name])
def test_descriptors_of_voice_are_defined_where_pitch_is(feature_set: str) -> None:
    audio = spoken()
    features = create("acoustic.opensmile", {"set": feature_set})(audio)
    given = opensmile_frame(feature_set, "lld", audio)
    voiced = given["F0semitoneFrom27.5Hz_sma3nz"].to_numpy()[: len(features)] > 0
    assert 30 < voiced.sum() < 70
    for name, column in zip(features.names, features.values.T, strict=True):
        if "amplitude" in name:  # openSMILE's smoothing mixes -201 into the rows beside unvoiced ones
            inner = voiced & np.roll(voiced, 1) & np.roll(voiced, -1)
            np.testing.assert_array_equal(~np.isnan(column), inner)
            assert column[inner].min() > -100.0
        elif name.endswith("_sma3nz"):
            measured = voiced & (given[name].to_numpy()[: len(features)] != 0.0)
            np.testing.assert_array_equal(~np.isnan(column), measured)
        else:
            assert np.isfinite(column).all(), name


@pytest.mark.parametrize("feature_set", ["ComParE_2016", "IS09", "IS10", "IS11", "IS12", "IS13", "emobase"])
def test_pitch_of_the_challenges_is_that_of_the_voice_alone(feature_set: str) -> None:
    features = create("acoustic.opensmile", {"set": feature_set})(spoken())
    pitch = features.values[:, features.names.index("F0final_sma" if "F0final_sma" in features.names else "F0_sma")]
    assert 0.2 < np.isfinite(pitch).mean() < 0.7
    # Within a semitone: no row is a mix of 150 Hz and of 0.
    assert np.nanmin(pitch) > 141.0
    assert np.nanmax(pitch) < 159.0


@pytest.mark.parametrize("feature_set", ["ComParE_2016", "IS09", "IS10", "IS11", "IS12", "IS13", "emobase"])
def test_changes_are_defined_within_a_voice_and_not_at_its_edges(feature_set: str) -> None:
    changes = create("acoustic.opensmile", {"set": feature_set, "level": "lld_de"})(spoken())
    pitch = next(column for column, name in enumerate(changes.names) if name in ("F0final_sma_de", "F0_sma_de"))
    defined = np.isfinite(changes.values[:, pitch])
    assert 0.1 < defined.mean() < 0.7
    # A step from 0 to 150 Hz would be a change of 15 Hz a row and more.
    assert np.nanmax(np.abs(changes.values[:, pitch])) < 3.0


def test_functionals_of_a_voice_are_all_defined() -> None:
    assert np.isfinite(create("acoustic.opensmile", {"level": "functionals"})(spoken()).values).all()


def test_a_clip_of_voice_alone_has_no_functionals_of_what_is_unvoiced() -> None:
    times = np.arange(16000) / 16000
    buzz = Audio((0.1 * sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 20))).astype(np.float32))
    features = create("acoustic.opensmile", {"level": "functionals"})(buzz)
    undefined = {name for name, gone in zip(features.names, np.isnan(features.values[0]), strict=True) if gone}
    assert undefined == {name for name in features.names if "UV" in name or "UnvoicedSegmentLength" in name}


def test_windows_without_a_voice_lack_what_the_others_have() -> None:
    extractor = create("acoustic.opensmile", {"level": "functionals", "window": 0.5})
    features = extractor(Audio(np.concatenate([spoken().samples[4000:12000], noise(0.5).samples])))
    undefined = np.isnan(features.values[:, features.names.index("F0semitoneFrom27.5Hz_sma3nz_amean")])
    assert undefined.tolist() == [False, True]


def test_egemaps_is_its_default_under_a_name_and_a_key_of_its_own() -> None:
    audio = noise(1.0)
    assert create("acoustic.egemaps")(audio).equals(create("acoustic.opensmile")(audio))
    assert create("acoustic.egemaps").units == create("acoustic.opensmile").units
    assert create("acoustic.egemaps").identity() == {
        "stream": "acoustic.egemaps",
        "revision": 2,
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
        expected = opensmile_frame("eGeMAPSv02", "functionals", part).to_numpy(np.float32)[0]
        np.testing.assert_array_equal(row, np.where(np.isnan(row), np.nan, expected))
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
