"""acoustic.transformers equals the plain calls of transformers, window by window, on a clock without holes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.acoustic.transformers import ConvolutionClock, SpectrogramClock
from mse_pipeline.extractors.encoder import windows
from mse_pipeline.extractors.registry import create
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import decode
from tests.closeness import assert_close
from tests.extractors.small_encoders import SPEECH, WIDTH, save_speech, save_whisper

FIELD, STRIDE = 400, 320
"""Samples that a row of wav2vec 2.0 is made of, and from one row to the next."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("speech")
    made = {kind: save_speech(home / kind, kind) for kind in SPEECH}
    made |= {f"whisper-{seconds}s": save_whisper(home / f"whisper-{seconds}s", seconds) for seconds in (2, 10)}
    return {**made, "whisper": save_whisper(home / "whisper")}


@pytest.fixture(scope="module")
def speech(shared: Path) -> Audio:
    """28 s of a real speaker."""
    clips = sorted((shared / "data" / "ravdess" / "wav").glob("*.flac"))[:8]
    return Audio(np.concatenate([decode(path).audio.samples for path in clips]))


def noise(samples: int, seed: int = 0) -> Audio:
    return Audio((0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32))


def plain_call(folder: Path, samples: np.ndarray) -> Any:
    """What one writes by hand: the feature extractor, then the model."""
    extractor, model = plain_model(folder)
    inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True)


@functools.cache
def plain_model(folder: Path) -> tuple[Any, Any]:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    encoder = model.get_encoder() if "whisper" in folder.name else model
    return transformers.AutoFeatureExtractor.from_pretrained(folder), encoder


@pytest.mark.parametrize("kind", [*SPEECH, "whisper"])
def test_a_clip_equals_the_plain_call(folders: dict[str, Path], kind: str) -> None:
    audio = noise(40_123)
    features = create("acoustic.transformers", {"model": str(folders[kind])})(audio)
    expected = plain_call(folders[kind], audio.samples).last_hidden_state[0].numpy()
    rows = 126 if kind == "whisper" else 125  # of Whisper's 1500 rows, those whose middle lies in the sound
    assert features.values.shape == (rows, WIDTH)
    assert_close(features.values, expected[:rows])
    assert features.valid.all()
    assert features.notes == {"model": kind}


@pytest.mark.parametrize("kind", [*SPEECH, "whisper"])
def test_real_clips_equal_the_plain_call(shared: Path, folders: dict[str, Path], kind: str) -> None:
    extractor = create("acoustic.transformers", {"model": str(folders[kind])})
    for name in ("grid/bbaf2n.mpg", "multiface/street_1080p.mp4"):
        audio = decode(shared / "data" / name).audio
        features = extractor(audio)
        expected = plain_call(folders[kind], audio.samples).last_hidden_state[0].numpy()
        assert_close(features.values, expected[: len(features)])
        assert abs(len(features) - 50 * audio.duration) < 1.5


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-stable", "wavlm", "whisper"])
@pytest.mark.parametrize("layer", [0, 1, -1, -2])
def test_a_layer_is_the_hidden_state_of_that_number(folders: dict[str, Path], kind: str, layer: int) -> None:
    audio = noise(8000)
    features = create("acoustic.transformers", {"model": str(folders[kind]), "layer": layer})(audio)
    expected = plain_call(folders[kind], audio.samples).hidden_states[layer][0].numpy()
    assert_close(features.values, expected[: len(features)])


@pytest.mark.parametrize("last", [1, 2, 4])
def test_the_mean_of_the_last_layers_is_that_of_the_last_hidden_states(folders: dict[str, Path], last: int) -> None:
    audio = noise(8000)
    features = create("acoustic.transformers", {"model": str(folders["hubert"]), "last": last})(audio)
    states = plain_call(folders["hubert"], audio.samples).hidden_states[-last:]
    assert_close(features.values, torch.stack(states).mean(0)[0].numpy())


# --- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(SPEECH))
@pytest.mark.parametrize("batch", [1, 3])
def test_each_window_of_long_sound_equals_the_plain_call_on_its_samples(
    folders: dict[str, Path], kind: str, batch: int
) -> None:
    audio = noise(16_000 * 7 + 77)
    options = {"model": str(folders[kind]), "window": 2.0, "overlap": 1.0, "batch": batch}
    features = create("acoustic.transformers", options)(audio)
    made = windows(len(features), 99, 50)
    assert len(made) == 7
    for window in made:
        samples = audio.samples[window.start * STRIDE : (window.stop - 1) * STRIDE + FIELD]
        expected = plain_call(folders[kind], samples).last_hidden_state[0].numpy()
        assert_close(features.values[window.kept], expected[window.inner])


def test_each_window_of_whisper_equals_the_plain_call_on_its_samples(folders: dict[str, Path]) -> None:
    audio = noise(16_000 * 5 + 77)
    options = {"model": str(folders["whisper-2s"]), "window": 2.0, "overlap": 1.0}
    features = create("acoustic.transformers", options)(audio)
    assert len(features) == 251
    for window in windows(251, 100, 50):
        samples = audio.samples[window.start * STRIDE : window.stop * STRIDE]
        expected = plain_call(folders["whisper-2s"], samples).last_hidden_state[0].numpy()
        assert_close(features.values[window.kept], expected[window.inner])


@pytest.mark.parametrize("kind", ["wav2vec2-stable", "hubert"])
def test_with_enough_overlap_rows_at_seams_are_as_good_as_any_others(
    folders: dict[str, Path], kind: str, speech: Audio
) -> None:
    """A model that attends to all of its window differs from one long window everywhere; at seams no more so."""
    whole = create("acoustic.transformers", {"model": str(folders[kind]), "window": 60.0})(speech).values
    excess = {}
    for overlap in (0.0, 4.0):
        options = {"model": str(folders[kind]), "window": 10.0, "overlap": overlap}
        values = create("acoustic.transformers", options)(speech).values
        error = np.linalg.norm(values - whole, axis=1)
        near = np.zeros(len(error), bool)
        for window in windows(len(error), 499, round(overlap * 50))[1:]:
            near[window.keep_start - 10 : window.keep_start + 10] = True
        excess[overlap] = error[near].mean() / error[~near].mean()
    assert excess[0.0] > 1.2
    assert excess[4.0] < 1.05


def test_without_attention_seams_cannot_be_found(folders: dict[str, Path], speech: Audio, tmp_path: Path) -> None:
    """What is left are convolutions, which reach no farther than half the overlap."""
    folder = tmp_path / "convolutions"
    model = plain_model(save_speech(tmp_path / "whole", "wav2vec2-stable"))[1]
    for layer in model.encoder.layers:
        torch.nn.init.zeros_(layer.attention.out_proj.weight)
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    whole = create("acoustic.transformers", {"model": str(folder), "window": 60.0})(speech).values
    for overlap, seamless in ((0.0, False), (0.5, True), (4.0, True)):
        options = {"model": str(folder), "window": 10.0, "overlap": overlap}
        values = create("acoustic.transformers", options)(speech).values
        assert np.allclose(values, whole, atol=1e-5) == seamless


def test_whisper_takes_no_longer_window_than_it_was_made_for(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="takes 30 s at once, and `window` asks for 31 s"):
        create("acoustic.transformers", {"model": str(folders["whisper"]), "window": 31.0}).load()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav2vec2", "whisper-10s"])
def test_what_goes_through_the_model_at_once_does_not_grow_with_the_clip(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    folder = folders[kind]
    if kind == "wav2vec2":
        folder = save_speech(tmp_path / "light", kind, conv_dim=(2,) * 7, num_hidden_layers=1)
    extractor = create("acoustic.transformers", {"model": str(folder), "window": 9.0, "overlap": 1.0, "batch": 2})
    extractor.load()
    seen: list[int] = []
    # Of a feature encoder every sample is seen here, of Whisper every frame of its spectrogram.
    first = extractor.model.conv1 if kind == "whisper-10s" else extractor.model.feature_extractor
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].numel()))
    largest = {}
    for seconds in (10, 60, 1200):
        seen.clear()
        features = extractor(noise(16_000 * seconds))
        assert abs(len(features) - 50 * seconds) <= 1
        assert np.isfinite(features.values).all()
        largest[seconds] = max(seen)
    assert largest[10] == largest[60] == largest[1200]


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 16_079])
def test_intervals_are_centred_and_cover_the_sound_without_holes(
    folders: dict[str, Path], kind: str, samples: int
) -> None:
    extractor = create("acoustic.transformers", {"model": str(folders[kind])})
    intervals = extractor(noise(samples)).intervals
    assert extractor.step == 0.02
    assert intervals[0, 0] == 0.0
    assert intervals[-1, 1] == samples / 16_000
    np.testing.assert_array_equal(intervals[1:, 0], intervals[:-1, 1])
    centres = 0.0125 + 0.02 * np.arange(len(intervals)) if kind == "hubert" else 0.02 * np.arange(len(intervals))
    np.testing.assert_allclose(intervals[1:-1].mean(1), centres[1:-1])
    assert ((intervals[:, 0] <= centres) & (centres < intervals[:, 1])).all()


def test_a_row_depends_on_the_samples_that_its_clock_names(folders: dict[str, Path]) -> None:
    """Found out from the network itself: change one sample, and see which rows of its convolutions change."""
    extractor = create("acoustic.transformers", {"model": str(folders["wav2vec2-stable"])})
    extractor.load()
    samples = noise(4000).samples
    convolutions = extractor.model.feature_extractor
    before = convolutions(torch.from_numpy(samples)[None])[0].T
    for place in (0, 319, 320, 399, 400, 1999):
        changed = samples.copy()
        changed[place] += 1.0
        after = convolutions(torch.from_numpy(changed)[None])[0].T
        rows = np.flatnonzero((after != before).any(1).numpy())
        expected = [k for k in range(extractor.clock.rows(4000)) if k * STRIDE <= place < k * STRIDE + FIELD]
        assert rows.tolist() == expected


@pytest.mark.parametrize("kernels", [(10, 3, 3, 3, 3, 2, 2), (10, 8, 4, 4, 4), (4,), (5, 5)])
def test_a_clocks_rows_and_spans_are_each_others_inverse(kernels: tuple[int, ...]) -> None:
    clock = ConvolutionClock(kernels, [max(1, kernel // 2) for kernel in kernels])
    for start, stop in ((0, 1), (3, 4), (2, 9)):
        span = clock.span(start, stop, 10**6)
        assert clock.rows(span.stop - span.start) == stop - start
        assert clock.rows(span.stop - span.start - 1) == stop - start - 1
    assert clock.rows(0) == 0


def test_a_spectrograms_clock_ends_with_the_sound() -> None:
    clock = SpectrogramClock(320)
    assert [clock.rows(samples) for samples in (0, 1, 320, 321)] == [0, 1, 1, 2]
    assert clock.span(1, 3, 700) == slice(320, 700)


# --- borders ------------------------------------------------------------------------------------------------------


def test_less_sound_than_a_row_is_made_of_is_too_short(folders: dict[str, Path]) -> None:
    extractor = create("acoustic.transformers", {"model": str(folders["wavlm"])})
    assert len(extractor(noise(400))) == 1
    with pytest.raises(ClipError, match=r"lasts 24\.9 ms, less than one row") as caught:
        extractor(noise(399))
    assert caught.value.code == "too_short"


@pytest.mark.parametrize("kind", [*SPEECH, "whisper"])
def test_silence_gives_finite_values(folders: dict[str, Path], kind: str) -> None:
    features = create("acoustic.transformers", {"model": str(folders[kind])})(Audio(np.zeros(8000, np.float32)))
    assert np.isfinite(features.values).all()


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm", "whisper"])
def test_bfloat16_is_near_to_float32(folders: dict[str, Path], kind: str) -> None:
    audio = noise(16_000)
    full = create("acoustic.transformers", {"model": str(folders[kind])})(audio)
    half = create("acoustic.transformers", {"model": str(folders[kind]), "precision": "bfloat16"})(audio)
    assert half.values.dtype == np.float32
    error = np.linalg.norm(half.values - full.values) / np.linalg.norm(full.values)
    assert 0 < error < 0.1


def test_a_feature_extractor_for_another_rate_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(folders["hubert"], tmp_path / "telephone"))
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)
    with pytest.raises(UsageError, match="hears 8000 samples a second; clips are decoded to 16000"):
        create("acoustic.transformers", {"model": str(folder)})(noise(8000))
