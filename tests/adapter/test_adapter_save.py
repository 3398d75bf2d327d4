"""Adapters go to disk and come back; the authors' names go in and out."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mse_pipeline import __version__, adapter
from mse_pipeline.errors import MseError, UsageError


def small(**changes) -> adapter.MSEAdapter:
    sizes = {"hidden_size": 64, "acoustic_dim": 5, "visual_dim": 3, "acoustic_hidden": 8, "visual_hidden": 4}
    return adapter.MSEAdapter(adapter.AdapterConfig(**{**sizes, **changes}))


def same(one, two) -> bool:
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def edit(folder, **changes) -> None:
    path = folder / "adapter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"visual_dim": None},
        {"acoustic_dim": None, "visual_dim": None},
        {"mixer": False},
        {"text": False, "fusion": False},
    ],
)
def test_what_was_saved_is_loaded(tmp_path, changes):
    model = small(**changes)
    extra = {"seed": 1111, "streams": ["acoustic.egemaps"], "情感": None}
    assert adapter.save(model, tmp_path / "best", extra) == tmp_path / "best"
    loaded, told = adapter.load(tmp_path / "best")
    assert loaded.config == model.config
    assert same(loaded, model)
    assert told == extra
    assert not loaded.training


def test_only_the_two_files_are_left_and_they_say_what_they_are(tmp_path):
    adapter.save(small(), tmp_path)
    adapter.save(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.json", "adapter.safetensors"]
    told = json.loads((tmp_path / "adapter.json").read_text())
    assert told["format"] == 1
    assert told["mse_pipeline"] == __version__
    assert len(told["sha256"]) == 64


@pytest.mark.parametrize("extra", [{"model": object()}, {"loss": float("nan")}])
def test_extra_that_json_cannot_hold_leaves_no_file(tmp_path, extra):
    with pytest.raises((TypeError, ValueError)):
        adapter.save(small(), tmp_path, extra)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no adapter"):
        adapter.load(tmp_path)


def test_damaged_weights_are_noticed(tmp_path):
    adapter.save(small(), tmp_path)
    path = tmp_path / "adapter.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(MseError, match="SHA-256"):
        adapter.load(tmp_path)


def test_missing_weights_are_noticed(tmp_path):
    adapter.save(small(), tmp_path)
    (tmp_path / "adapter.safetensors").unlink()
    with pytest.raises(MseError, match=r"no adapter\.safetensors"):
        adapter.load(tmp_path)


def test_weights_of_other_sizes_are_refused(tmp_path):
    adapter.save(small(), tmp_path)
    edit(tmp_path, config=small(acoustic_hidden=9).config.to_json())
    with pytest.raises(MseError, match="weights of its configuration"):
        adapter.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"format": 2, "mse_pipeline": "9.0"}, UsageError, r"format 2.*version 9\.0.*Upgrade"),
        ({"format": "peft"}, UsageError, "no format version"),
        ({"config": 3}, MseError, "config missing or malformed"),
        ({"sha256": None}, MseError, "sha256 missing or malformed"),
    ],
)
def test_a_foreign_or_newer_description_is_refused(tmp_path, changes, error, said):
    adapter.save(small(), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(error, match=said):
        adapter.load(tmp_path)


def test_a_description_that_is_no_json_is_refused(tmp_path):
    adapter.save(small(), tmp_path)
    (tmp_path / "adapter.json").write_bytes(b'{"format": \xff')
    with pytest.raises(MseError, match="not readable JSON"):
        adapter.load(tmp_path)


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    adapter.save(small(), tmp_path)
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(b"\x80\x04not tensors")
    import hashlib

    edit(tmp_path, sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    with pytest.raises(MseError, match="does not hold the weights"):
        adapter.load(tmp_path)


@pytest.mark.parametrize(
    "changes", [{}, {"acoustic_dim": None}, {"scales": (4, 2)}, {"fusion": False}, {"text": False}]
)
def test_weights_go_out_under_the_authors_names_and_come_back(tmp_path, changes):
    one, two = small(**changes), small(**changes)
    save_file(adapter.reference_state(one), tmp_path / "theirs.safetensors")
    assert not same(one, two)
    adapter.load_reference_state(two, load_file(tmp_path / "theirs.safetensors"))
    assert same(one, two)


def test_the_authors_names_are_those_of_the_golden_files(shared):
    golden = load_file(shared / "reference" / "reference-step" / "mosei.safetensors")
    expected = {name.removeprefix("param.") for name in golden if name.startswith("param.")}
    assert set(adapter.reference_names(small()).values()) == expected


def test_weights_that_do_not_fit_are_listed_and_none_is_set():
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: torch.zeros_like(value) for name, value in adapter.reference_state(model).items()}
    del state["audio_LSTM.linear.bias"]
    state["audio_LSTM.linear.gain"] = torch.zeros(256)
    state["text_guide_mixer.text_mlp.bias"] = torch.zeros(1)
    with pytest.raises(MseError) as caught:
        adapter.load_reference_state(model, state)
    for part in (
        "missing audio_LSTM.linear.bias",
        "unexpected audio_LSTM.linear.gain",
        "text_guide_mixer.text_mlp.bias has shape (1,) where (256,) is needed",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
