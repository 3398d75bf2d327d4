"""acoustic.librosa: features by name with their parameters, each as librosa gives it, in the order asked for."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mse_pipeline.alignment.apply import to_grid
from mse_pipeline.extractors.acoustic import librosa_set
from mse_pipeline.extractors.acoustic.librosa_features import FEATURES
from mse_pipeline.extractors.registry import check, create
from mse_pipeline.media.audio import Audio

HOP, N_FFT = 320, 1024


def voiced(seconds: float = 1.0, pitch: float = 220.0) -> Audio:
    """Half a second of a buzzing tone, and after it faint noise."""
    times = np.arange(round(16000 * seconds)) / 16000
    buzz = sum(np.sin(2 * np.pi * k * pitch * times) / k for k in range(1, 9)) * (times < seconds / 2)
    noise = np.random.default_rng(0).standard_normal(len(times))
    return Audio((0.2 * buzz + 0.001 * noise).astype(np.float32))


def in_librosa(name: str, y: np.ndarray) -> np.ndarray:
    """What librosa itself gives."""
    import librosa

    frames = {"sr": 16000, "n_fft": N_FFT, "hop_length": HOP}
    window = {"frame_length": N_FFT, "hop_length": HOP}
    of = librosa.feature
    pitch = {"fmin": 55.0, "fmax": 1000.0, "sr": 16000, **window}
    return {
        "zero_crossing_rate": lambda: of.zero_crossing_rate(y, **window),
        "rms": lambda: of.rms(y=y, **window),
        "mel": lambda: librosa.power_to_db(of.melspectrogram(y=y, n_mels=64, **frames)),
        "mfcc": lambda: of.mfcc(y=y, n_mfcc=20, **frames),
        "chroma_cqt": lambda: of.chroma_cqt(y=y, sr=16000, hop_length=HOP),
        "chroma_stft": lambda: of.chroma_stft(y=y, **frames),
        "tonnetz": lambda: of.tonnetz(y=y, sr=16000, hop_length=HOP),
        "spectral_centroid": lambda: of.spectral_centroid(y=y, **frames),
        "spectral_bandwidth": lambda: of.spectral_bandwidth(y=y, **frames),
        "spectral_rolloff": lambda: of.spectral_rolloff(y=y, **frames),
        "spectral_flatness": lambda: of.spectral_flatness(y=y, n_fft=N_FFT, hop_length=HOP),
        "spectral_contrast": lambda: of.spectral_contrast(y=y, **frames),
        "f0": lambda: np.stack(librosa.pyin(y, **pitch)).astype(float),
    }[name]()


@pytest.fixture(scope="module")
def together():
    """All features of one sound, with what each dimension is called."""
    extractor = create("acoustic.librosa", {"features": list(FEATURES), "hop_length": HOP, "n_fft": N_FFT})
    return extractor, extractor(voiced())


@pytest.mark.parametrize("name", FEATURES)
def test_each_feature_equals_librosa_alone_and_among_others(name: str, together) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = in_librosa(name, voiced().samples).T
    alone = create("acoustic.librosa", {"features": [name], "hop_length": HOP, "n_fft": N_FFT})
    np.testing.assert_allclose(alone(voiced()).values, expected, rtol=1e-4, atol=1e-4)
    extractor, features = together
    columns = [extractor.names.index(one) for one in alone.names]
    np.testing.assert_array_equal(features.values[:, columns], alone(voiced()).values)
    assert [extractor.units[column] for column in columns] == list(alone.units)


def test_all_features_share_rows_and_have_names_of_their_own(together) -> None:
    extractor, features = together
    assert len(features) == 1 + 16000 // HOP
    assert features.names == extractor.names
    assert len(set(extractor.names)) == len(extractor.names) == len(extractor.units)
    undefined = np.isnan(features.values)
    assert not np.delete(undefined, extractor.names.index("f0"), axis=1).any()
    assert features.valid.all()
    assert extractor.step == 0.02


def test_f0_is_there_with_a_voice_and_undefined_with_a_flag_without_one() -> None:
    features = create("acoustic.librosa", {"features": {"f0": {"fmin": 80, "fmax": 400}}})(voiced())
    f0, flag, _ = features.values.T
    assert np.median(f0[2:12]) == pytest.approx(220.0, rel=0.01)
    assert flag[2:12].all()
    assert np.isnan(f0[-8:]).all()
    assert not flag[-8:].any()
    np.testing.assert_array_equal(np.isnan(f0), flag == 0)
    assert to_grid(features, 1.0).values[0, 0] == pytest.approx(220.0, rel=0.02)


def test_yin_gives_a_frequency_and_no_flag() -> None:
    extractor = create("acoustic.librosa", {"features": {"f0": {"method": "yin", "fmax": 400}}})
    features = extractor(voiced())
    assert extractor.names == ("f0",)
    assert np.median(features.values[2:12, 0]) == pytest.approx(220.0, rel=0.01)


def test_parameters_and_deltas_of_mfcc() -> None:
    extractor = create("acoustic.librosa", {"features": {"rms": {}, "mfcc": {"n_mfcc": 13, "deltas": 2}}})
    features = extractor(voiced())
    assert features.values.shape[1] == 1 + 3 * 13
    assert extractor.names[:2] == ("rms", "mfcc_00")
    assert extractor.names[-1] == "mfcc_delta2_12"


def test_mel_as_power_has_no_unit() -> None:
    extractor = create("acoustic.librosa", {"features": {"mel": {"scale": "power", "n_mels": 32}}})
    assert set(extractor.units) == {""}
    assert (extractor(voiced()).values >= 0).all()


def test_the_default_keeps_the_identity_that_it_had_before_features_had_names() -> None:
    old = {"stream": "acoustic.librosa", "revision": 1, "model": None}
    assert create("acoustic.librosa").identity() == {
        **old,
        "config": {"hop_length": 512, "n_fft": 2048, "n_mfcc": 20},
    }
    named = {"features": {"zero_crossing_rate": None, "mfcc": {"n_mfcc": 13}, "chroma_cqt": {}}}
    assert create("acoustic.librosa", named).identity() == create("acoustic.librosa", {"n_mfcc": 13}).identity()


def test_only_pitch_that_can_be_undefined_has_a_new_identity() -> None:
    def revision(features):
        return create("acoustic.librosa", {"features": features}).identity()["revision"]

    assert revision(["f0", "rms"]) == 2
    assert revision({"f0": {"method": "yin"}}) == revision(["rms", "mel"]) == 1


def test_another_order_or_parameter_is_another_identity() -> None:
    def identity(features):
        return create("acoustic.librosa", {"features": features}).identity()

    assert identity(["rms", "mel"]) != identity(["mel", "rms"])
    assert identity(["mel"]) != identity({"mel": {"n_mels": 40}})
    assert identity(["mel"]) == identity({"mel": {"n_mels": 64, "fmin": 0}})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": ["mfc"]}, "there is no feature mfc; did you mean mfcc?"),
        ({"features": {"mfcc": {"n_mfc": 3}, "rms": {"x": 1}}}, "mfcc has no parameter n_mfc; did you mean n_mfcc?"),
        ({"features": {"mfcc": {"n_mfc": 3}, "rms": {"x": 1}}}, "rms has no parameter x; it has none"),
        ({"features": {"mel": {"n_mels": "many"}}}, "mel.n_mels: "),
        ({"features": {"mel": 64}}, "the parameters of mel are names with values, got 64"),
        ({"features": "mfcc"}, "a list of names"),
        ({"features": ["rms", "rms"]}, "without repetition"),
        ({"features": []}, "a list of names"),
        ({"features": {"mel": {"fmin": 4000, "fmax": 300}}}, "fmax (300 Hz) must be above fmin (4000 Hz)"),
        ({"features": {"mfcc": {"n_mfcc": 40, "n_mels": 20}}}, "n_mfcc (40) must not be more than n_mels (20)"),
        ({"features": {"spectral_contrast": {"n_bands": 8}}}, "lower n_bands or fmin"),
        ({"features": ["f0"], "n_fft": 512}, "needs an n_fft of two periods, 582; got 512"),
        ({"features": ["tonnetz"], "hop_length": 160}, "tonnetz needs a hop_length that is a multiple of 64, got 160"),
        ({"hop_length": 160}, "chroma_cqt needs a hop_length"),
        ({"features": ["mfcc"], "n_mfcc": 13}, "n_mfcc is a parameter of mfcc where features are named"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(options: dict, words: str) -> None:
    ((_, message),) = check({"acoustic.librosa": options})
    assert words in message


def test_the_place_for_compiled_functions_is_found_without_help(monkeypatch, tmp_path) -> None:
    assert librosa_set._can_keep()
    monkeypatch.setattr(librosa_set.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = librosa_set._fallback()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)  # somebody else could put code there
    monkeypatch.setattr(librosa_set.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "own"))
    assert librosa_set._fallback() == tmp_path / "own"
