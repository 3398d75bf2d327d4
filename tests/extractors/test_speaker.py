"""acoustic.speaker: vectors of voices, with small models in the real layouts, and with real weights where they are."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
import transformers

from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.registry import available, create
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import decode
from tests.closeness import assert_close
from tests.extractors.small_encoders import save_speech

LAYERS, HIDDEN, WIDTH = 3, 24, 16


def save_ge2e(path: Path, **changes: Any) -> Path:
    """A checkpoint as Resemblyzer's wheel has it, but narrow."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (WIDTH, HIDDEN), "linear.bias": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"lstm.weight_ih_l{layer}": (4 * HIDDEN, HIDDEN if layer else 40),
            f"lstm.weight_hh_l{layer}": (4 * HIDDEN, HIDDEN),
            f"lstm.bias_ih_l{layer}": (4 * HIDDEN,),
            f"lstm.bias_hh_l{layer}": (4 * HIDDEN,),
        }
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {"similarity_weight": torch.tensor([10.0]), "similarity_bias": torch.tensor([-5.0])}
    state |= changes
    torch.save(
        {"step": 1, "model_state": {k: v for k, v in state.items() if v is not None}, "optimizer_state": {}}, path
    )
    return path


@pytest.fixture(scope="module")
def ge2e(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ge2e(tmp_path_factory.mktemp("voice") / "pretrained.pt")


@pytest.fixture(scope="module")
def xvectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voice") / "small-sv"
    config = transformers.WavLMConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        tdnn_dim=(16, 16, 32),
        tdnn_kernel=(5, 3, 1),
        tdnn_dilation=(1, 2, 1),
        xvector_output_dim=20,
        use_weighted_layer_sum=True,
    )
    torch.manual_seed(0)
    transformers.WavLMForXVector(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def voice(seconds: float, level: float = 0.1, seed: int = 0) -> Audio:
    return Audio((level * np.random.default_rng(seed).standard_normal(round(seconds * 16_000))).astype(np.float32))


def make(model: Path | str, **options: Any) -> Any:
    return create("acoustic.speaker", {"model": str(model), **options})


def ge2e_by_hand(path: Path, samples: np.ndarray, starts: list[int]) -> np.ndarray:
    """Windows of 1.6 s in one spectrogram of the whole sound, through torch's own LSTM."""
    state = torch.load(path, weights_only=True)["model_state"]
    lstm = torch.nn.LSTM(40, HIDDEN, LAYERS, batch_first=True)
    lstm.load_state_dict({name.removeprefix("lstm."): value for name, value in state.items() if name[:4] == "lstm"})
    level = 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))
    samples = samples * np.float32(10 ** (max(-30 - level, 0) / 20))
    padded = np.pad(samples, (0, max(starts[-1] + 25_600 - len(samples), 0)))
    mels = librosa.feature.melspectrogram(y=padded, sr=16_000, n_fft=400, hop_length=160, n_mels=40).T
    pieces = torch.from_numpy(np.stack([mels[start // 160 : start // 160 + 160] for start in starts]))
    with torch.no_grad():
        raw = torch.relu(lstm(pieces)[1][0][-1] @ state["linear.weight"].T + state["linear.bias"]).numpy()
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(0.5, [0]), (1.6, [0]), (1.9, [0]), (2.2, [0, 12_320]), (4.0, [0, 12_320, 24_640, 36_960])],
)
@pytest.mark.parametrize("level", [0.001, 0.1])
def test_windows_are_those_of_resemblyzer(ge2e: Path, seconds: float, starts: list[int], level: float) -> None:
    audio = voice(seconds, level)
    expected = ge2e_by_hand(ge2e, audio.samples, starts)
    rows = make(ge2e, granularity="window")(audio)
    assert_close(rows.values, expected)
    assert rows.intervals[:, 0].tolist() == [start / 16_000 for start in starts]
    assert rows.intervals[-1, 1] == audio.duration
    clip = make(ge2e)(audio)
    assert clip.values.shape == (1, WIDTH)
    mean = expected.mean(0)
    assert_close(clip.values[0], mean / np.linalg.norm(mean))
    assert clip.notes == {"windows": len(starts)}


def test_many_windows_go_through_in_pieces_of_the_sound(ge2e: Path) -> None:
    audio = voice(40.0)
    rows = make(ge2e, granularity="window")(audio)
    starts = [12_320 * k for k in range(len(rows))]
    assert len(rows) > 3 * 16
    assert_close(rows.values, ge2e_by_hand(ge2e, audio.samples, starts))


def test_window_and_hop_are_options(ge2e: Path) -> None:
    rows = make(ge2e, granularity="window", window=1.0, hop=0.5)(voice(3.0))
    assert rows.intervals[:3].tolist() == [[0.0, 1.0], [0.5, 1.5], [1.0, 2.0]]
    with pytest.raises(UsageError, match="leave sound out"):
        make(ge2e, window=1.0, hop=1.5)


def test_an_x_vector_equals_the_plain_call(xvectors: Path) -> None:
    audio = voice(2.5)
    inputs = transformers.AutoFeatureExtractor.from_pretrained(xvectors)(
        audio.samples, sampling_rate=16_000, return_tensors="pt"
    )
    model = transformers.AutoModelForAudioXVector.from_pretrained(xvectors).eval()
    with torch.no_grad():
        expected = model(**inputs).embeddings[0].numpy()
    clip = make(xvectors)(audio)
    assert clip.values.shape == (1, 20)
    assert_close(clip.values[0], expected / np.linalg.norm(expected))
    rows = make(xvectors, granularity="window", window=1.0)(audio)
    assert rows.intervals.tolist() == [[0.0, 1.0], [0.5, 1.5], [1.0, 2.0], [1.5, 2.5]]
    with torch.no_grad():
        first = (
            model(
                transformers.AutoFeatureExtractor.from_pretrained(xvectors)(
                    audio.samples[:16_000], sampling_rate=16_000, return_tensors="pt"
                ).input_values
            )
            .embeddings[0]
            .numpy()
        )
    assert_close(rows.values[0], first / np.linalg.norm(first))


def test_silence_has_a_finite_vector_and_too_little_sound_has_none(ge2e: Path, xvectors: Path) -> None:
    for model in (ge2e, xvectors):
        assert np.isfinite(make(model)(Audio(np.zeros(32_000, np.float32))).values).all()
        with pytest.raises(ClipError, match=r"lasts 99\.9 ms; a voice needs 100 ms") as caught:
            make(model)(voice(0.0999))
        assert caught.value.code == "too_short"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"linear.weight": None}, "is not a checkpoint of Resemblyzer's voice encoder"),
        ({"lstm.bias_hh_l1": None}, "Missing key"),
        ({"lstm.weight_ih_l0": torch.ones(4 * HIDDEN, 39)}, "size mismatch for lstm.weight_ih_l0"),
        ({"other": torch.ones(1)}, "Unexpected key"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(MseError, match=words):
        make(save_ge2e(tmp_path / "voice.pt", **changes)).load()


def test_a_model_without_an_x_vector_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'wavlm' model without an x-vector head"):
        make(save_speech(tmp_path / "wavlm", "wavlm")).load()


def test_without_the_wheel_the_line_that_brings_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "resemblyzer" else find(name, *more)
    )
    with pytest.raises(UsageError, match="pip install --no-deps resemblyzer"):
        create("acoustic.speaker").load()
    assert available()["acoustic.speaker"].missing() == "Not installed: pip install --no-deps resemblyzer"


def test_another_model_or_window_is_another_identity(ge2e: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.pt"
    moved.write_bytes(ge2e.read_bytes())
    assert make(moved).identity() == make(ge2e).identity()
    assert make(ge2e, window=1.2).identity() != make(ge2e).identity()
    other = save_ge2e(tmp_path / "other.pt", **{"linear.bias": torch.ones(WIDTH)})
    assert make(other).identity() != make(ge2e).identity()


def test_real_voices_are_nearer_to_themselves_than_to_others(shared: Path) -> None:
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("needs the weights in the wheel of resemblyzer (pip install --no-deps resemblyzer)")
    speaker = create("acoustic.speaker")
    # RAVDESS: the last number is the actor; two sentences of four actors, calm and neutral.
    names = [
        f"03-01-0{emotion}-01-0{text}-01-{actor:02d}" for actor in (1, 2, 5, 6) for emotion, text in ((1, 1), (2, 2))
    ]
    files = [shared / "data" / "ravdess" / "wav" / f"{name}.flac" for name in names]
    vectors = {path.stem: speaker(decode(path).audio).values[0] for path in files if path.is_file()}
    cosines: dict[bool, list[float]] = {True: [], False: []}
    for one, other in itertools.combinations(vectors, 2):
        cosines[one[-2:] == other[-2:]].append(float(vectors[one] @ vectors[other]))
    assert min(map(len, cosines.values())) >= 3
    assert np.mean(cosines[True]) > np.mean(cosines[False]) + 0.1
