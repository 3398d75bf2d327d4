"""acoustic.emotion2vec: published weight files, strictly read; the arithmetic against parts that others wrote."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.acoustic.emotion2vec_network import attention_bias
from mse_pipeline.extractors.registry import create
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import decode
from tests.closeness import assert_close
from tests.extractors.small_emotion2vec import (
    AUDIO,
    CHANNELS,
    DEPTH,
    EXTRA,
    HEADS,
    KERNELS,
    PRENET,
    TOKENS,
    WIDTH,
    random_state,
    save_fairseq,
    save_plus,
    save_safe,
)

EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plus(tmp_path_factory.mktemp("plus"))


def noise(samples: int, seed: int = 0) -> Audio:
    return Audio((0.1 * np.random.default_rng(seed).standard_normal(samples) + 0.02).astype(np.float32))


def make(model: Path, **options: Any) -> Any:
    return create("acoustic.emotion2vec", {"model": str(model), **options})


def by_hand(state: dict[str, torch.Tensor], samples: np.ndarray, normalise: bool = True) -> list[torch.Tensor]:
    """The states of all blocks: the front by transformers' data2vec (Baevski et al. 2022), the rest written out."""
    state = {name: value.double() for name, value in state.items()}
    config = transformers.Data2VecAudioConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_hidden_layers=1,
        intermediate_size=8,
        conv_dim=(CHANNELS,) * len(KERNELS),
        num_conv_pos_embeddings=5,
        conv_pos_kernel_size=19,
        num_conv_pos_embedding_groups=16,
    )
    theirs = transformers.Data2VecAudioModel(config).double().eval()
    front = {
        "feature_projection.layer_norm": f"{AUDIO}project_features.1",
        "feature_projection.projection": f"{AUDIO}project_features.2",
        **{
            f"encoder.pos_conv_embed.layers.{k}.conv": f"{AUDIO}relative_positional_encoder.{k + 1}.0" for k in range(5)
        },
        **{f"feature_extractor.conv_layers.{k}.conv": f"{AUDIO}local_encoder.conv_layers.{k}.0" for k in range(7)},
        **{
            f"feature_extractor.conv_layers.{k}.layer_norm": f"{AUDIO}local_encoder.conv_layers.{k}.2.1"
            for k in range(7)
        },
    }
    own = theirs.state_dict()
    for name, ours in front.items():
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in own:
                own[f"{name}.{kind}"] = state[f"{ours}.{kind}"]
    theirs.load_state_dict(own)

    def linear(name: str, rows: torch.Tensor) -> torch.Tensor:
        return rows @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, rows: torch.Tensor) -> torch.Tensor:
        centred = rows - rows.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{name}.weight"]
            + state[f"{name}.bias"]
        )

    wave = torch.from_numpy(samples).double()
    if normalise:
        wave = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-5).sqrt()
    with torch.no_grad():
        rows, _ = theirs.feature_projection(theirs.feature_extractor(wave[None]).transpose(1, 2))
        rows = (rows + theirs.encoder.pos_conv_embed(rows))[0]
    rows = norm(f"{AUDIO}context_encoder.norm", torch.cat([state[f"{AUDIO}extra_tokens"][0], rows]))
    states, count, size = [rows], len(rows), WIDTH // HEADS
    names = [f"{AUDIO}context_encoder.blocks.{k}." for k in range(PRENET)] + [f"blocks.{k}." for k in range(DEPTH)]
    scales = state[f"{AUDIO}alibi_scale"]
    for layer, name in enumerate(names):
        queries, keys, values = linear(f"{name}attn.qkv", rows).split(WIDTH, 1)
        heard = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            weights = queries[:, part] @ keys[:, part].T / math.sqrt(size)
            scale = max(float(scales[min(layer, len(scales) - 1), 0, head]), 0.0)
            for i in range(EXTRA, count):
                weights[i, EXTRA:] -= scale * 0.25 ** (head + 1) * (torch.arange(EXTRA, count) - i).abs()
            heard.append(weights.softmax(1) @ values[:, part])
        rows = norm(f"{name}norm1", rows + linear(f"{name}attn.proj", torch.cat(heard, 1)))
        inner = torch.nn.functional.gelu(linear(f"{name}mlp.fc1", rows))
        rows = norm(f"{name}norm2", rows + linear(f"{name}mlp.fc2", inner))
        states.append(rows)
    return [rows[EXTRA:] for rows in states]


@pytest.mark.parametrize("scales", [1, PRENET + DEPTH], ids=["one scale", "a scale for each layer"])
def test_rows_equal_the_arithmetic_written_out(tmp_path: Path, scales: int) -> None:
    state, audio = random_state(3, scales=scales), noise(9_000)
    features = make(save_plus(tmp_path, state))(audio)
    assert features.values.shape == (27, WIDTH)
    assert_close(features.values, by_hand(state, audio.samples)[-1].numpy())
    assert features.names[:2] == ("emotion2vec_0000", "emotion2vec_0001")
    assert features.intervals[[0, 1, -1]].tolist() == [[0.0, 0.0225], [0.0225, 0.0425], [0.5225, 0.5625]]


@pytest.mark.parametrize("options", [{"layer": 0}, {"layer": 2}, {"layer": -1}, {"last": 3}])
def test_layers_are_chosen_as_of_other_encoders(plus: Path, options: dict[str, int]) -> None:
    audio = noise(6_000)
    states = by_hand(random_state(), audio.samples)
    expected = states[options["layer"]] if "layer" in options else sum(states[-3:]) / 3
    assert_close(make(plus, **options)(audio).values, expected.numpy())


def test_a_file_of_any_kind_gives_the_same_rows(plus: Path, tmp_path: Path) -> None:
    state, audio = random_state(), noise(8_000)
    older = {**state, f"{AUDIO}alibi_scale": state[f"{AUDIO}alibi_scale"][0]}  # before scales could differ by layer
    made = (
        plus,
        plus / "model.pt",
        save_fairseq(tmp_path / "a" / "emotion2vec_base.pt", older),
        save_safe(tmp_path / "b" / "model.safetensors", state).parent,
        save_safe(tmp_path / "c" / "x.safetensors", {f"module.d2v_model.{name}": one for name, one in state.items()}),
    )
    values = [make(path)(audio).values for path in made]
    assert all(np.array_equal(one, values[0]) for one in values)
    assert make(plus).identity() == make(plus / "model.pt").identity()


@pytest.mark.parametrize("normalise", [True, False])
def test_the_sound_is_normalised_as_the_settings_say(tmp_path: Path, normalise: bool) -> None:
    state, audio = random_state(), noise(5_000)
    expected = by_hand(state, audio.samples, normalise)[-1].numpy()
    assert_close(make(save_plus(tmp_path / "funasr", state, normalize=normalise))(audio).values, expected)
    other = save_fairseq(tmp_path / "base.pt", state, normalize=normalise)
    assert_close(make(other)(audio).values, expected)


def test_emotions_are_probabilities_of_the_clip_s_mean(plus: Path) -> None:
    audio = noise(20_000)
    clip = make(plus, output="emotions", granularity="utterance")(audio)
    assert clip.names == EMOTIONS
    assert clip.intervals.tolist() == [[0.0, 1.25]]
    head = torch.load(plus / "model.pt", weights_only=True)["model"]
    mean = by_hand(random_state(), audio.samples)[-1].mean(0)
    expected = (head["proj.weight"].double() @ mean + head["proj.bias"]).softmax(0)
    assert_close(clip.values[0], expected.numpy())
    frames = make(plus, output="emotions")(audio)
    assert frames.values.shape == (62, 9)
    assert_close(frames.values.sum(1), np.ones(62))
    rows = make(plus, granularity="utterance")(audio)
    assert_close(rows.values[0], make(plus)(audio).values.mean(0))


def test_classes_that_were_never_trained_have_no_probability(tmp_path: Path) -> None:
    folder, audio = save_plus(tmp_path), noise(6_000)
    before = make(folder, output="emotions", granularity="utterance")(audio)
    named = ["unuse_0" if k in (2, 5) else token for k, token in enumerate(TOKENS)]
    (folder / "tokens.txt").write_text("\n".join(named), encoding="utf-8")
    after = make(folder, output="emotions", granularity="utterance")(audio)
    kept = [k for k in range(9) if k not in (2, 5)]
    assert after.names == tuple(EMOTIONS[k] for k in kept)
    assert_close(after.values[0], before.values[0, kept] / before.values[0, kept].sum())


def test_long_sound_goes_through_in_windows_that_see_only_themselves(plus: Path) -> None:
    audio = noise(16_000 * 4)
    extractor = make(plus, window=1.0, overlap=0.5)
    heard: list[int] = []
    extractor.load()
    whole_run = extractor.run
    extractor.run = lambda samples: (heard.append(samples.shape[-1]), whole_run(samples=samples))[1]
    features = extractor(audio)
    assert len(features) == len(make(plus)(audio)) == 199
    assert set(heard) == {48 * 320 + 400 - 320 + 320}  # windows of one length: memory does not grow with the sound
    level = (audio.samples - audio.samples.mean()) / np.sqrt(audio.samples.var() + 1e-5)  # of the whole sound
    first = by_hand(random_state(), level[: heard[0]], normalise=False)[-1]
    assert_close(features.values[:30], first[:30].numpy())
    batched = make(plus, window=1.0, overlap=0.5, batch=3)(audio)
    assert_close(batched.values, features.values)


def test_real_speech_gives_finite_rows_without_a_gap(shared: Path, plus: Path) -> None:
    audio = decode(shared / "data" / "grid" / "bbaf2n.mpg").audio
    features = make(plus)(audio)
    assert np.isfinite(features.values).all()
    assert features.intervals[0, 0] == 0.0
    assert features.intervals[-1, 1] == audio.duration
    assert np.array_equal(features.intervals[1:, 0], features.intervals[:-1, 1])


def test_sound_shorter_than_a_row_is_too_short(plus: Path) -> None:
    with pytest.raises(ClipError, match=r"lasts 24\.9 ms") as caught:
        make(plus)(noise(399))
    assert caught.value.code == "too_short"
    assert len(make(plus)(noise(400))) == 1


def test_the_bias_of_attention_is_that_of_the_paper() -> None:
    # Press et al. 2022, section 3: for 8 heads the slopes are 1/2, 1/4, ... 1/256; 12 heads as in their code's text.
    for heads, slopes in ((8, [2.0**-k for k in range(1, 9)]), (2, [2.0**-4, 2.0**-8])):
        bias = attention_bias(3, heads, 1)
        assert torch.equal(bias[:, 0], torch.zeros(heads, 4))
        assert torch.equal(bias[:, :, 0], torch.zeros(heads, 4))
        expected = torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
        assert torch.equal(bias[:, 1:, 1:], -torch.tensor(slopes)[:, None, None] * expected)
    twelve = attention_bias(2, 12, 0)[:, 0, 1]
    assert twelve.tolist() == pytest.approx([-(2.0**-k) for k in [*range(1, 9), 0.5, 1.5, 2.5, 3.5]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("blocks.1.mlp.fc1.bias"), "1 missing, as blocks.1.mlp.fc1.bias"),
        (lambda state: state.update({"blocks.0.norm3.weight": torch.ones(2)}), "1 unknown, as blocks.0.norm3.weight"),
        (
            lambda state: state.update({"blocks.2.norm1.bias": torch.ones(2)}),
            "1 of another shape, as blocks.2.norm1.bias",
        ),
        (lambda state: state.update({"norm.weight": torch.ones(WIDTH)}), "1 unknown, as norm.weight"),
        (lambda state: state.pop(f"{AUDIO}extra_tokens"), "it lacks modality_encoders.AUDIO.extra_tokens"),
        (lambda state: state.pop(f"{AUDIO}alibi_scale"), "it lacks modality_encoders.AUDIO.alibi_scale"),
        (lambda state: state.clear() or state.update(a=torch.ones(1)), "is not a weight file of emotion2vec"),
    ],
)
def test_parameters_that_do_not_fit_are_named(tmp_path: Path, change: Any, words: str) -> None:
    state = random_state()
    change(state)
    with pytest.raises(MseError, match=words):
        make(save_safe(tmp_path / "model.safetensors", state)).load()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer_norm_first": True}, "layer_norm_first: True is not known"),
        ({"modalities": {"audio": {"extractor_mode": "default"}}}, "extractor_mode: default is not known"),
        ({"modalities": {"audio": {"feature_encoder_spec": "[(9, 10, 5)]"}}}, "do not tell the strides"),
    ],
)
def test_variants_that_are_not_known_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(save_plus(tmp_path, **changes)).load()


def test_settings_as_yaml_of_other_programs_writes_them(tmp_path: Path) -> None:
    folder = save_plus(tmp_path)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    assert "norm_eps: 1.0e-05" in text
    (folder / "config.yaml").write_text(text.replace("1.0e-05", "1e-05"), encoding="utf-8")  # a text, for PyYAML
    assert make(folder).model_config.norm_eps == 1e-5
    (folder / "config.yaml").write_text("- 1", encoding="utf-8")
    with pytest.raises(UsageError, match="has no settings of a model"):
        make(folder).load()


def test_options_that_the_file_cannot_serve_are_refused(plus: Path, tmp_path: Path) -> None:
    bare = save_safe(tmp_path / "model.safetensors", random_state())
    with pytest.raises(UsageError, match="has no head for emotions"):
        make(bare, output="emotions").load()
    with pytest.raises(UsageError, match="reads the model's output"):
        make(plus, output="emotions", layer=2).load()
    with pytest.raises(UsageError, match="there is no layer 6"):
        make(plus, layer=6).load()
    (tmp_path / "other.safetensors").write_bytes(bare.read_bytes())
    bare.rename(tmp_path / "one.safetensors")
    with pytest.raises(UsageError, match="has several weight files"):
        make(tmp_path).load()
    with pytest.raises(UsageError, match="has no weight file of emotion2vec"):
        make(plus.parent).load()


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["model", "cfg", "beside"])
def test_nothing_of_a_file_is_run(tmp_path: Path, place: str) -> None:
    content: dict[str, Any] = {"model": random_state(), "cfg": {}}
    content[place] = {"x": Command(tmp_path / "ran"), **content.get(place, {})}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UsageError, match=r"ask for (posix|nt)\.system, which no known checkpoint needs"):
        make(tmp_path).load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"PK\x03\x04 cut off", "cut off or damaged"),
    ],
)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_what_is_no_weight_file_is_told(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        make(tmp_path).load()


def test_a_changed_file_is_another_model(tmp_path: Path) -> None:
    before = make(save_plus(tmp_path)).identity()
    assert make(tmp_path, window=20.0).identity() != before
    assert make(tmp_path, batch=4).identity() == before
    save_plus(tmp_path, random_state(9))
    assert make(tmp_path).identity() != before
