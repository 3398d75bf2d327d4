"""acoustic.transformers on encoders of filter banks and spectrograms: values, clocks, windows, and what is loaded."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from scipy.signal import resample_poly

from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors import create
from mse_pipeline.extractors.acoustic.transformers import ConvolutionClock, PatchClock
from mse_pipeline.extractors.encoder import windows
from mse_pipeline.media.audio import Audio
from tests.closeness import assert_close
from tests.extractors.small_encoders import WIDTH, save_speech, save_whisper
from tests.extractors.small_families import BANKS, save_bank

RATE = 16_000
STEPS = {"w2v-bert": 0.02, "ast": 0.1, "clap": 0.3125, "clap-fused": 0.3125, "seamless": 0.16, "seamless2": 0.16}
STEPS |= {"qwen2-audio": 0.04}
LONGEST = {"ast": 10.175, "clap": 10.0, "clap-fused": 10.0, "qwen2-audio": 2.0}
"""Seconds of the kinds that take no more at once."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("banks")
    return {kind: save_bank(home / kind, kind) for kind in BANKS}


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def plain_call(folder: Path, kind: str, samples: np.ndarray, **more: Any) -> Any:
    """What one writes by hand: the feature extractor, then the part of the whole model; (T, D)."""
    processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        if kind.startswith("clap"):
            heard = resample_poly(samples, 3, 1).astype(np.float32)
            inputs = processor(heard, sampling_rate=48_000, return_tensors="pt")
            return plain_model(folder).audio_model(**inputs).last_hidden_state[0].mean(1).T
        if kind == "qwen2-audio":
            return _heard_by_qwen(
                folder, processor(samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
            )
        inputs = processor(samples, sampling_rate=RATE, return_tensors="pt")
        if kind.startswith("seamless"):
            output = plain_model(folder).speech_encoder(**inputs, **more)
        else:
            output = plain_model(folder)(**inputs, **more)
        states = output.last_hidden_state if not more else output.hidden_states
        if kind == "ast":
            return states[0, 2:].reshape(2, 101, WIDTH).mean(0)
        return states[0] if not more else states


def _heard_by_qwen(folder: Path, inputs: Any) -> torch.Tensor:
    """What the language model of Qwen2-Audio is given, before it is projected: the tower's output within the model."""
    whole = plain_model(folder)
    mask = inputs["attention_mask"]
    found: list[torch.Tensor] = []
    hook = whole.multi_modal_projector.register_forward_pre_hook(lambda module, given: found.append(given[0]))
    count = (((int(mask.sum()) - 1) // 2 + 1) - 2) // 2 + 1
    ids = torch.full((1, count), whole.config.audio_token_index)
    features = {"input_features": inputs["input_features"], "feature_attention_mask": mask}
    whole(input_ids=ids, attention_mask=torch.ones_like(ids), **features)
    hook.remove()
    return found[0][0]


@functools.cache
def plain_model(folder: Path) -> Any:
    """The whole model, in its own class."""
    return transformers.AutoModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("kind", BANKS)
@pytest.mark.parametrize("seconds", [0.61, 1.7])
def test_values_equal_the_plain_call(folders: dict[str, Path], kind: str, seconds: float) -> None:
    samples = noise(seconds)
    features = create("acoustic.transformers", {"model": str(folders[kind])})(Audio(samples))
    expected = plain_call(folders[kind], kind, samples).numpy()
    assert features.dim == WIDTH
    assert abs(len(features) - seconds / STEPS[kind]) <= 1.5
    assert_close(features.values, expected[: len(features)])
    assert features.intervals[0, 0] == 0.0
    assert features.intervals[-1, 1] == len(samples) / RATE
    np.testing.assert_array_equal(features.intervals[1:, 0], features.intervals[:-1, 1])


def without_attention(folder: Path) -> Path:
    """The same model with nothing but convolutions to pass time on."""
    file = folder / "model.safetensors"
    state = load_file(file)
    for name, weight in state.items():
        if re.search(r"(attn|attention)\.(\w+\.)?(out_proj|linear_out|dense)\.weight$", name):
            weight.zero_()
    save_file(state, file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("local")
    saved = {kind: save_bank(home / kind, kind) for kind in BANKS}
    saved |= {
        "whisper": save_whisper(home / "whisper", 2),
        "wav2vec2": save_speech(home / "wav2vec2", "wav2vec2-stable"),
    }
    return {kind: without_attention(folder) for kind, folder in saved.items()}


@pytest.mark.parametrize("kind", [*BANKS, "wav2vec2", "whisper"])
def test_the_row_that_a_click_changes_most_lies_at_the_click(local: dict[str, Path], kind: str) -> None:
    extractor = create("acoustic.transformers", {"model": str(local[kind])})
    samples = noise(1.8)
    before = extractor(Audio(samples))
    for at in (0.33, 0.93, 1.42):
        clicked = samples.copy()
        clicked[round(at * RATE) : round(at * RATE) + 32] += 0.9
        change = np.linalg.norm(extractor(Audio(clicked)).values - before.values, axis=1)
        start, stop = before.intervals[int(change.argmax())]
        assert start - STEPS.get(kind, 0.02) <= at <= stop + STEPS.get(kind, 0.02)


@pytest.mark.parametrize("kind", BANKS)
def test_each_window_of_long_sound_equals_the_plain_call_on_its_samples(folders: dict[str, Path], kind: str) -> None:
    samples = noise(23.3 if kind in LONGEST and LONGEST[kind] > 5 else 5.3)
    seconds = {} if kind in LONGEST else {"window": 2.0, "overlap": 1.0}
    extractor = create("acoustic.transformers", {"model": str(folders[kind]), "batch": 3, **seconds})
    features = extractor(Audio(samples))
    length = extractor.clock.rows(round(LONGEST.get(kind, 2.0) * RATE))
    overlap = min(round(seconds.get("overlap", 6.0) / STEPS[kind]), (length + 1) // 2, length - 1)
    made = windows(len(features), length, overlap)
    assert len(made) > 2
    for window in made[1:]:
        part = samples[extractor.clock.span(window.start, window.stop, len(samples))]
        assert len(part) <= round(LONGEST.get(kind, 2.5) * RATE)
        expected = plain_call(folders[kind], kind, part).numpy()
        assert_close(features.values[window.kept], expected[window.inner])


@pytest.mark.parametrize("kind", BANKS)
def test_what_goes_through_the_model_at_once_does_not_grow_with_the_clip(folders: dict[str, Path], kind: str) -> None:
    extractor = create("acoustic.transformers", {"model": str(folders[kind]), "window": 2.0, "overlap": 0.0})
    extractor.load()
    seen: list[int] = []
    run = extractor.run
    extractor.run = lambda **inputs: (seen.append(inputs[next(iter(inputs))].numel()), run(**inputs))[1]
    for seconds in (9.0, 27.0):
        extractor(Audio(noise(seconds)))
    assert len(seen) > 3
    assert max(seen) == seen[0]


@pytest.mark.parametrize("kind", ["clap", "clap-fused", "seamless", "seamless2", "qwen2-audio"])
def test_of_a_model_of_several_parts_only_the_encoder_is_read(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """A checkpoint that lacks all else gives the same."""
    part = {"clap": "audio_model.", "seamless": "speech_encoder.", "qwen2": "audio_tower."}[kind[:8].partition("-")[0]]
    folder = Path(shutil.copytree(folders[kind], tmp_path / "part"))
    state = {name: value for name, value in load_file(folder / "model.safetensors").items() if part in name}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    whole = create("acoustic.transformers", {"model": str(folders[kind])})
    alone = create("acoustic.transformers", {"model": str(folder)})
    sound = Audio(noise(1.0))
    np.testing.assert_array_equal(whole(sound).values, alone(sound).values)
    assert sum(weight.numel() for weight in whole.model.parameters()) <= sum(value.numel() for value in state.values())


@pytest.mark.parametrize(
    ("kind", "encoder"),
    [("clap", transformers.ClapAudioModel), ("qwen2-audio", transformers.Qwen2AudioEncoder)],
)
def test_an_encoder_that_is_saved_alone_gives_the_same_as_in_its_whole(
    folders: dict[str, Path], tmp_path: Path, kind: str, encoder: Any
) -> None:
    whole = create("acoustic.transformers", {"model": str(folders[kind])})
    whole.load()
    assert type(whole.model) is encoder
    again = encoder(whole.model.config)
    again.load_state_dict(whole.model.state_dict())
    again.save_pretrained(tmp_path)
    shutil.copy(folders[kind] / "preprocessor_config.json", tmp_path)
    alone = create("acoustic.transformers", {"model": str(tmp_path)})
    sound = Audio(noise(1.0))
    assert_close(alone(sound).values, whole(sound).values)


@pytest.mark.parametrize(
    ("kind", "changes", "step"),
    [
        ("w2v-bert", {"add_adapter": True, "num_adapter_layers": 2}, 0.08),
        ("w2v-bert", {"add_adapter": True}, 0.04),
        ("seamless", {"add_adapter": False}, 0.02),
        ("seamless2", {"num_adapter_layers": 2}, 1.28),
    ],
)
def test_adapters_have_fewer_rows(tmp_path: Path, kind: str, changes: dict, step: float) -> None:
    folder = save_bank(tmp_path / kind, kind, **changes)
    samples = noise(2.9)
    extractor = create("acoustic.transformers", {"model": str(folder)})
    assert extractor.step == pytest.approx(step)
    features = extractor(Audio(samples))
    expected = plain_call(folder, kind, samples).numpy()
    assert 0 <= len(expected) - len(features) <= 1
    assert_close(features.values, expected[: len(features)])


def test_the_adapter_of_wav2vec2_has_fewer_rows_too(tmp_path: Path) -> None:
    changes = {"add_adapter": True, "num_adapter_layers": 1, "output_hidden_size": WIDTH}
    folder = save_speech(tmp_path / "adapted", "wav2vec2", **changes)
    samples = noise(2.9)
    features = create("acoustic.transformers", {"model": str(folder)})(Audio(samples))
    expected = plain_call(folder, "wav2vec2", samples).numpy()
    assert len(features) == len(expected)
    assert_close(features.values, expected)


@pytest.mark.parametrize("kind", ["w2v-bert", "ast", "seamless", "qwen2-audio"])
@pytest.mark.parametrize("layer", [0, 1, -1])
def test_a_layer_has_its_own_clock_and_width(folders: dict[str, Path], kind: str, layer: int) -> None:
    extractor = create("acoustic.transformers", {"model": str(folders[kind]), "layer": layer})
    features = extractor(Audio(noise(1.3)))
    coarse = kind in ("seamless", "qwen2-audio") and layer == -1
    step = STEPS[kind] if coarse or kind in ("w2v-bert", "ast") else 0.02
    assert extractor.step == pytest.approx(step)
    assert abs(len(features) - 1.3 / step) <= 1.5
    if kind == "w2v-bert":
        states = plain_call(folders[kind], kind, noise(1.3), output_hidden_states=True)
        assert_close(features.values, states[layer][0, : len(features)].numpy())


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("clap", {"layer": 1}, "maps of several sizes: leave out `layer` and `last`"),
        ("seamless", {"last": 2}, "fewer rows a second than its layers"),
        ("qwen2-audio", {"last": 2}, "fewer rows a second than its layers"),
        ("seamless2", {"layer": 3}, "has 3 hidden states"),
        ("ast", {"window": 12.0}, r"takes 10\.175 s at once, and `window` asks for 12 s"),
    ],
)
def test_options_that_do_not_fit_are_refused(folders: dict[str, Path], kind: str, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create("acoustic.transformers", {"model": str(folders[kind]), **options}).load()


@pytest.mark.parametrize("kind", BANKS)
def test_half_precision_is_near_and_silence_is_finite(folders: dict[str, Path], kind: str) -> None:
    options = {"model": str(folders[kind])}
    half = create("acoustic.transformers", {**options, "precision": "bfloat16"})(Audio(noise(1.0))).values
    full = create("acoustic.transformers", options)
    values = full(Audio(noise(1.0))).values
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - values) / np.linalg.norm(values) < 0.1
    assert np.isfinite(full(Audio(np.zeros(RATE, np.float32))).values).all()


@pytest.mark.parametrize("kind", ["w2v-bert", "seamless", "ast"])
def test_less_sound_than_a_row_is_too_short(folders: dict[str, Path], kind: str) -> None:
    extractor = create("acoustic.transformers", {"model": str(folders[kind])})
    least = {"w2v-bert": 560, "ast": 400, "seamless": 560}[kind]
    assert len(extractor(Audio(noise(1.0)[:least]))) == 1
    with pytest.raises(ClipError, match="less than one row"):
        extractor(Audio(noise(1.0)[: least - 1]))


def test_patches_are_counted_as_the_network_counts_them() -> None:
    clock = PatchClock((400, 16), (160, 10))
    assert [clock.rows(samples) for samples in (399, 400, 2800, 4399, 4400)] == [0, 1, 1, 1, 2]
    assert clock.span(0, 1, 400) == slice(0, 400)
    padded = ConvolutionClock((400, 2, 8), (160, 2, 8), (0, 0, 4))
    for count in (1, 3, 6):
        span = padded.span(2, 2 + count, 10**6)
        assert padded.rows(span.stop - span.start) == count
