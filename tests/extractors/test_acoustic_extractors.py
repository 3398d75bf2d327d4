"""The acoustic extractors equal their libraries, cover the sound, and take silence and short sound."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.registry import create
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import decode


def noise(samples: int, seed: int = 0) -> Audio:
    return Audio((0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32))


def assert_covers(intervals: np.ndarray, end: float) -> None:
    assert intervals[0, 0] == 0.0
    assert intervals[-1, 1] == pytest.approx(end, abs=1e-9)
    np.testing.assert_array_equal(intervals[1:, 0], intervals[:-1, 1])
    assert (intervals[:, 1] > intervals[:, 0]).all()


@pytest.mark.parametrize("samples", [960, 961, 1120, 16000, 16080])
def test_egemaps_equals_opensmile_and_covers_the_sound(samples: int) -> None:
    import opensmile

    audio = noise(samples)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    expected = smile.process_signal(audio.samples, 16000)
    features = create("acoustic.egemaps")(audio)
    defined = np.isfinite(features.values)
    np.testing.assert_allclose(features.values[defined], expected.to_numpy()[defined], atol=1e-5)
    assert defined[:, :10].all()  # what needs no voice
    assert features.names == tuple(expected.columns)
    np.testing.assert_allclose(features.intervals[:, 0], expected.index.get_level_values("start").total_seconds())
    assert features.valid.all()
    assert_covers(features.intervals, audio.duration)


def test_egemaps_refuses_sound_shorter_than_its_window() -> None:
    with pytest.raises(ClipError, match=r"59\.9 ms; eGeMAPS needs 60 ms") as caught:
        create("acoustic.egemaps")(noise(959))
    assert caught.value.code == "too_short"


def test_egemaps_of_silence_has_no_voice_and_all_else() -> None:
    features = create("acoustic.egemaps")(Audio(np.zeros(8000, np.float32)))
    assert features.valid.all()
    assert np.isfinite(features.values[:, :10]).all()
    assert np.isnan(features.values[:, 10:]).all()


@pytest.mark.slow
def test_librosa_set_equals_librosa() -> None:
    import librosa

    audio = noise(20_000)
    features = create("acoustic.librosa")(audio)
    assert features.values.shape == (1 + 20_000 // 512, 33)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(
            features.values[:, 0], librosa.feature.zero_crossing_rate(audio.samples)[0], atol=1e-6
        )
        np.testing.assert_allclose(
            features.values[:, 1:21], librosa.feature.mfcc(y=audio.samples, sr=16000).T, atol=1e-3
        )
        np.testing.assert_allclose(
            features.values[:, 21:], librosa.feature.chroma_cqt(y=audio.samples, sr=16000).T, atol=1e-5
        )


@pytest.mark.parametrize("samples", [512, 513, 1024, 5000, 16384])
def test_librosa_set_covers_the_sound(samples: int) -> None:
    audio = noise(samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        features = create("acoustic.librosa")(audio)
    assert len(features) == 1 + samples // 512
    assert np.isfinite(features.values).all()
    assert_covers(features.intervals, audio.duration)


def test_librosa_set_of_silence_is_finite() -> None:
    features = create("acoustic.librosa")(Audio(np.zeros(16000, np.float32)))
    assert np.isfinite(features.values).all()
    assert not features.values[:, 21:].any()


def test_librosa_set_hears_the_pitch_class() -> None:
    tone = np.sin(2 * np.pi * 440.0 * np.arange(32000) / 16000).astype(np.float32)
    features = create("acoustic.librosa")(Audio(0.5 * tone))
    loudest = features.names[21 + int(features.values[20:40, 21:].mean(0).argmax())]
    assert loudest == "chroma_a"
    assert features.values[20:40, 0].mean() == pytest.approx(2 * 440 / 16000, rel=0.02)


def test_librosa_set_refuses_less_than_a_hop() -> None:
    with pytest.raises(ClipError, match="511 samples; one row needs 512") as caught:
        create("acoustic.librosa")(noise(511))
    assert caught.value.code == "too_short"


def test_options_change_the_rows_and_the_names() -> None:
    extractor = create("acoustic.librosa", {"hop_length": 256, "n_mfcc": 13})
    features = extractor(noise(4096))
    assert features.values.shape == (17, 26)
    assert features.names == extractor.names


def test_loading_first_gives_the_same(shared: Path) -> None:
    audio = decode(shared / "data" / "grid" / "bbaf2n.mpg").audio
    assert audio is not None
    for stream in ("acoustic.egemaps", "acoustic.librosa"):
        loaded, lazy = create(stream), create(stream)
        loaded.load("cpu")
        assert loaded(audio).equals(lazy(audio))
