"""mse train: a dry run, ablations and the backbone's options, as a user types them."""

from __future__ import annotations

import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Classification


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache with a dataset of six clips."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSE_CACHE", raising=False)
    clips = [
        Clip(id=f"{split}/{n}", split=split, text="[b]it[/b] in", label=("sad", "glad")[n])
        for split in Split
        for n in range(2)
    ]
    dataset = store.open(tmp_path / "cache").create("made", clips, task=Classification(("sad", "glad")))
    one = store.Features([[0.5, 1.0]], [[0.0, 1.0]], [True], ("a", "b"))
    dataset.put("acoustic.made", {clip.id: one for clip in clips})
    return tmp_path


def test_a_dry_run_prints_tables_and_makes_no_run(mse, home):
    told = mse("train", "--dry-run", "--seed", 1)
    assert told.code == 0, told.err
    for word in ("acoustic.made", "adapter, trained", "steps an epoch", "memory, at the peak", "closing tag", "["):
        assert word in told.out
    assert not (home / "runs").exists()


def test_a_dry_run_gives_json(mse, home):
    told = mse("train", "--dry-run", "--json", "--without", "tgm", "--dtype", "bfloat16").json
    assert told["variant"] == "without visual+tgm"
    assert told["clips"] == {"train": 2, "valid": 2, "test": 2}
    assert told["backbone"]["dtype"] == "bfloat16"
    assert told["prompt"]["example"][0] == {"part": "start", "id": 1, "piece": "<bos>"}
    assert told["memory"]["total"] > 0


def test_an_ablation_is_trained_and_reported_below_the_adapter(mse, home):
    for without in ((), ("--without", "msf"), ("--without", "text")):
        made = mse("train", "--seed", 1, "--epochs", 1, *without)
        assert made.code == 0, made.err
    rows = mse("report", "runs", "--json").json["tables"][0]["runs"]
    assert [row["variant"] for row in rows] == ["without visual", "without visual+msf", "without visual+text"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--without", "txt"), "did you mean text"),
        (("--without", "text", "--without", "acoustic"), "nothing is left"),
        (("--revision", "main"), "has no revision 'main'"),
        (("--quantization", "4bit"), "needs a CUDA GPU"),
        (("--quantization", "2bit"), "none of 4bit, 8bit"),
        (("--dry-run", "--quantization", "2bit"), "none of 4bit, 8bit"),
        (("--dry-run", "--backbone", "no-such-model"), "no-such-model"),
    ],
)
def test_what_cannot_be_is_told(mse, home, monkeypatch, options, told):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = mse("train", *options)
    assert result.code == 2
    assert told in result.err
