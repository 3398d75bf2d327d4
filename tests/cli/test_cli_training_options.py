import runpy
import sys

import pytest

from mse_pipeline import __version__, store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Classification


@pytest.fixture
def cache(tmp_path):
    clips = [
        Clip(id=f"{split}/{n}", split=split, text="so it is", label=("low", "high")[n % 2])
        for split in Split
        for n in range(4)
    ]
    dataset = store.open(tmp_path / "cache").create("moods", clips, task=Classification(("low", "high")))
    row = {clip.id: store.Features([[len(clip.label)]], [[0.0, 1.0]], [True], ["pitch"]) for clip in clips}
    dataset.put("acoustic.pitch", row)
    return tmp_path / "cache"


def test_a_training_in_parts_and_tracked_is_the_same_run(mse, cache, tmp_path):
    asked = ("train", "--cache", cache, "--runs", tmp_path / "runs", "--seed", 1, "--epochs", 1, "--json")
    first = mse(*asked, "--accumulate", 2, "--gradient-checkpointing", "--tracker", "tensorboard")
    assert first.code == 0, first.err
    assert list((tmp_path / "runs").glob("*/seed-1/logs/**/events.*"))
    assert mse(*asked).json["run"] == first.json["run"]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_an_unknown_tracker_is_wrong_usage(mse, cache, tmp_path):
    result = mse("train", "--cache", cache, "--runs", tmp_path / "runs", "--tracker", "tensorbord")
    assert result.code == 2
    assert "did you mean tensorboard?" in result.err
    assert not (tmp_path / "runs").exists()


def test_the_package_of_commands_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mse", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("mse_pipeline.cli", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out == f"mse {__version__}\n"
