"""acoustic.vad: the probabilities are those of silero-vad, and say who speaks when."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from mse_pipeline.errors import MseError
from mse_pipeline.extractors.acoustic import vad
from mse_pipeline.extractors.acoustic.vad import speech_probabilities, speech_segments, weights_file
from mse_pipeline.extractors.registry import create
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import decode


def vowels(seconds, seed=0):
    """A voice-like sound: a buzz of 120 Hz through two formants, in bursts."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    buzz = sum(
        np.sin(2 * np.pi * 120 * k * time) * (np.exp(-(((120 * k - 700) / 200) ** 2)) + 0.5 / k) for k in range(1, 30)
    )
    bursts = (np.sin(2 * np.pi * 3 * time + seed) > -0.3).astype(float)
    return (0.1 * buzz * bursts).astype(np.float32)


def reference(samples):
    """The package's own model, row by row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.load(str(weights_file()))
        model.reset_states()
        return model.audio_forward(torch.from_numpy(samples)[None], 16_000).numpy()[0]


@pytest.mark.parametrize("seconds", [0.04, 0.064, 1.0, 2.345])
def test_probabilities_are_those_of_the_package(seconds):
    samples = vowels(seconds)
    assert np.abs(speech_probabilities(samples) - reference(samples)).max() < 5e-5


def test_blocks_of_long_sound_go_on_from_each_other(monkeypatch):
    samples = vowels(3.0)
    whole = speech_probabilities(samples)
    monkeypatch.setattr(vad, "_BLOCK", 7)
    assert np.abs(speech_probabilities(samples) - whole).max() < 1e-5


def test_rows_are_of_32_ms_and_end_with_the_sound():
    heard = create("acoustic.vad")(Audio(vowels(1.0)))
    assert heard.names == ("speech_probability",)
    assert heard.intervals[0].tolist() == [0.0, 0.032]
    assert heard.intervals[-1].tolist() == [0.992, 1.0]
    assert heard.valid.all()


@pytest.mark.parametrize("samples", [np.zeros(16_000, np.float32), np.full(16_000, 0.1, np.float32)])
def test_a_clip_without_speech_is_told(samples):
    heard = create("acoustic.vad")(Audio(samples))
    assert heard.notes["remark"]["code"] == "no_speech"
    assert (heard.notes["speech"], heard.notes["speech_share"]) == ([], 0.0)


@pytest.mark.parametrize(
    ("probabilities", "segments"),
    [
        ([0.0] * 5, []),
        ([0.9, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0], []),  # a click
        ([0.9] * 4, [(0.0, 0.128)]),
        ([0.9, 0.9, 0.0, 0.0, 0.9, 0.9], [(0.0, 0.192)]),  # a short gap is part of it
        ([0.9] * 4 + [0.0] * 5 + [0.9] * 4, [(0.0, 0.128), (0.288, 0.416)]),
        ([0.9, 0.4, 0.4, 0.4, 0.3, 0.9], [(0.0, 0.192)]),  # goes on above .35
    ],
)
def test_speech_begins_above_the_threshold_and_lasts(probabilities, segments):
    assert [tuple(np.round(one, 3)) for one in speech_segments(np.array(probabilities))] == segments


def test_real_speech_is_found_where_it_is(shared):
    """Of GRID's clip the words' times are known."""
    clip = decode(shared / "data/grid/swwp2s.mpg", audio=True)
    heard = create("acoustic.vad")(clip.audio)
    (first, *_), *_ = heard.notes["speech"]
    assert abs(first - 0.49) < 0.15
    assert abs(heard.notes["speech"][-1][1] - 2.21) < 0.3


def test_without_the_package_it_is_told_how_to_install_it(monkeypatch):
    monkeypatch.setattr(vad.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MseError, match="pip install 'silero-vad"):
        weights_file()
