"""mse adapters, as a user types it."""

from __future__ import annotations

import json

import pytest
import torch

from mse_pipeline import adapter
from mse_pipeline.adapter import hub as card
from tests.adapter.conftest import ABOUT, RESULT, hub  # noqa: F401 - a fixture

SIZES = {"hidden_size": 128, "acoustic_dim": 5, "visual_dim": None}


@pytest.fixture
def run(tmp_path):
    """A run folder of two seeds, the second better on the validation split."""
    folder = tmp_path / "runs" / "meld-qwen-adapter-0a1b2c3d"
    for seed, score in ((1, 0.5), (2, 0.7)):
        home = folder / f"seed-{seed}"
        adapter.save(adapter.MSEAdapter(adapter.AdapterConfig(**SIZES)), home / "adapter", {**ABOUT, "seed": seed})
        result = {**RESULT, "valid": {"weight_F1": score}, "seed": seed, "status": "done"}
        card.write_card(home / "adapter", result)
        (home / "result.json").write_text(json.dumps(result))
    (folder / "run.json").write_text(json.dumps({"format": 1, "metrics": "meld"}))
    return folder


def test_show_tells_of_a_run_its_best_seed(mse, run):
    shown = mse("adapters", "show", run)
    assert shown.code == 0, shown.err
    for told in ("meld-qwen-adapter", "acoustic.made, 5 values a row", "9989 clips", "0.6300"):
        assert told in " ".join(shown.out.split())
    assert "Seed 2 of 2" in shown.err
    assert mse("adapters", "show", run, "--json").json["extra"]["seed"] == 2
    assert mse("adapters", "show", run, "--seed", 1, "--json").json["extra"]["seed"] == 1
    assert mse("adapters", "show", run / "seed-1", "--json").json["extra"]["seed"] == 1
    assert mse("adapters", "show", run / "seed-1" / "adapter", "--json").json["extra"]["seed"] == 1


def test_a_run_is_pushed_looked_at_and_pulled(mse, run, hub, tmp_path):  # noqa: F811
    pushed = mse("adapters", "push", run, "someone/meld", "--private", "--token-from-env", "--json")
    assert pushed.json["repository"] == "someone/meld", pushed.err
    assert hub.repositories["someone/meld"].private
    assert mse("adapters", "show", "someone/meld", "--json").json["extra"]["seed"] == 2
    pulled = mse("adapters", "pull", "someone/meld", tmp_path / "mine", "--json")
    assert pulled.json["commit"] == hub.repositories["someone/meld"].sha()
    assert adapter.load(tmp_path / "mine")[1]["seed"] == 2


def test_a_checkpoint_of_the_authors_is_imported(mse, tmp_path):
    model = adapter.MSEAdapter(adapter.AdapterConfig(**SIZES))
    weights = {f"Model.{name}": tensor for name, tensor in adapter.reference_state(model).items()}
    torch.save({**weights, "Model.LLM.inv_freq": torch.ones(2)}, tmp_path / "meld.pth")
    made = mse("adapters", "import", tmp_path / "meld.pth", tmp_path / "made", "--backbone", "tiny")
    assert made.code == 0, made.err
    assert "1 tensors of the language model were ignored" in made.err
    loaded, extra = adapter.load(tmp_path / "made")
    assert extra["imported_from"] == "meld.pth"
    assert loaded.config.hidden_size == 128
    assert "read from a checkpoint" in (tmp_path / "made" / "README.md").read_text()
    assert "meld-tiny" in mse("adapters", "show", tmp_path / "made").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "no/such/folder"), "There is no folder"),
        (("show", "{tmp}"), "has no adapter"),
        (("show", "{run}", "--seed", "9"), "no training with seed 9; it has 1, 2"),
        (("push", "{run}", "someone/x", "--token-from-env"), "HF_TOKEN, which is not set"),
        (("pull", "someone/x", "{run}"), "not empty"),
        (("import", "{tmp}/none.pth", "{tmp}/new", "--backbone", "tiny"), "There is no file"),
        (("import", "{tmp}/a.pth", "{tmp}/new", "--backbone", "qwen"), "was trained with a backbone of width 128"),
        (("import", "{tmp}/a.pth", "{run}", "--backbone", "tiny"), "not empty"),
    ],
)
def test_what_cannot_be_is_told(mse, run, tmp_path, monkeypatch, arguments, told):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    torch.save(adapter.reference_state(adapter.MSEAdapter(adapter.AdapterConfig(**SIZES))), tmp_path / "a.pth")
    result = mse("adapters", *(one.format(tmp=tmp_path, run=run) for one in arguments))
    assert result.code == 2
    assert told in result.err
