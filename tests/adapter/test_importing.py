"""Checkpoints of the authors' implementation become adapters; nothing in them runs."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file

from mse_pipeline import adapter, backbones
from mse_pipeline.adapter.reference import read_checkpoint
from mse_pipeline.errors import MseError, UsageError
from tests.closeness import assert_close

SIZES = {"hidden_size": 64, "acoustic_dim": 5, "visual_dim": 3, "acoustic_hidden": 8, "visual_hidden": 4}


def state(prefix="Model.", **changes) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = adapter.MSEAdapter(adapter.AdapterConfig(**{**SIZES, **changes}))
    return {prefix + name: tensor for name, tensor in adapter.reference_state(model).items()}


@pytest.mark.parametrize("prefix", ["", "Model.", "module.Model."])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pseudo_tokens": 2, "acoustic_hidden": 32},
        {"hidden_size": 4096},
        {"hidden_size": 100},
        {"visual_dim": None, "visual_hidden": 32},
        {"scales": (4, 2)},
    ],
)
def test_sizes_are_read_off_the_shapes(tmp_path, prefix, changes):
    torch.save(state(prefix, **changes), tmp_path / "mosei.pth")
    read = read_checkpoint(tmp_path / "mosei.pth")
    assert read.adapter.config == adapter.AdapterConfig(**{**SIZES, **changes})
    for name, tensor in adapter.reference_state(read.adapter).items():
        assert tensor.equal(state(prefix, **changes)[prefix + name])


def test_tensors_of_the_language_model_are_passed_over(tmp_path):
    torch.save({**state(), "Model.LLM.model.rotary.inv_freq": torch.ones(3)}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").ignored == 1


def test_weights_in_half_precision_are_read_in_float32(tmp_path):
    torch.save({name: tensor.half() for name, tensor in state().items()}, tmp_path / "a.pth")
    assert {one.dtype for one in read_checkpoint(tmp_path / "a.pth").adapter.parameters()} == {torch.float32}


class Canary:
    """Makes a file as it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_hostile_pickle_runs_nothing(tmp_path, form):
    canary = tmp_path / "canary"
    hostile = {**state(), "Model.extra": Canary(canary)}
    if form == "torch":
        torch.save(hostile, tmp_path / "a.pth")
    else:
        (tmp_path / "a.pth").write_bytes(pickle.dumps({"Model.extra": Canary(canary)}))
    with pytest.raises(MseError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")
    assert not canary.exists()
    if form == "torch":
        with pytest.raises(UsageError, match="holds more than tensors, which could be code"):
            read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (
            lambda s: s.update({"Model.classifier.weight": torch.ones(2)}),
            UsageError,
            r"classifier\.weight.*changed impl",
        ),
        (lambda s: s.update({"other.weight": torch.ones(2)}), UsageError, r"other\.weight"),
        (lambda s: s.pop("Model.text_guide_mixer.text_mlp.weight"), MseError, "no text_guide_mixer.*incomplete"),
        (lambda s: s.pop("Model.audio_LSTM.linear.bias"), MseError, r"missing audio_LSTM\.linear\.bias"),
        (lambda s: s.pop("Model.mutli_scale_fusion.projector.weight"), UsageError, "no checkpoint of MSE-Adapter"),
        (
            lambda s: s.update({"Model.audio_LSTM.rnn.weight_ih_l0": torch.ones(3)}),
            MseError,
            "2 dimensions were expected",
        ),
        (
            lambda s: s.update({"Model.mutli_scale_fusion.scale2.0.weight": torch.ones(63, 256)}),
            MseError,
            "no part of the backbone's width",
        ),
        (
            lambda s: s.update({"Model.audio_LSTM.rnn.weight_hh_l0": torch.ones(32, 9)}),
            MseError,
            r"weight_hh_l0 has shape \(32, 9\)",
        ),
    ],
)
def test_what_is_no_adapter_of_theirs_is_told(tmp_path, change, error, said):
    weights = state()
    change(weights)
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(error, match=said):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(("content", "error"), [(b"", MseError), (b"PK\x03\x04 no zip", MseError), (None, UsageError)])
def test_a_file_that_is_broken_or_missing_is_told(tmp_path, content, error):
    if content is not None:
        (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(error, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("held", [[torch.ones(2)], {"epoch": 3, "state": {}}, {}])
def test_a_file_of_other_things_is_told(tmp_path, held):
    torch.save(held, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"state dict is expected"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.fixture(scope="module")
def qwen1(shared):
    return backbones.load(shared / "models" / "qwen1-tiny")


@pytest.mark.parametrize("dataset", ["mosei", "meld", "simsv2"])
def test_the_reference_steps_weights_give_its_pseudo_tokens(tmp_path, shared, qwen1, dataset):
    folder = shared / "reference" / "reference-step"
    told = json.loads((folder / f"{dataset}.json").read_text())
    tensors = load_file(folder / f"{dataset}.safetensors")
    weights = {f"Model.{name[6:]}": value for name, value in tensors.items() if name.startswith("param.")}
    torch.save(weights, tmp_path / "theirs.pth")
    model = read_checkpoint(tmp_path / "theirs.pth").adapter
    assert sum(parameter.numel() for parameter in model.parameters()) == told["trainable"]
    text = torch.tensor(told["input_ids"])
    pseudo = model(
        tensors["audio"],
        tensors["audio_len"],
        tensors["video"],
        tensors["video_len"],
        qwen1.embed(text),
        torch.ones_like(text),
    )
    assert_close(pseudo, tensors["pseudo_tokens"])
