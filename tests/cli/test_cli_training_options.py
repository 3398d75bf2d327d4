import json
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


SETTINGS = {
    "--learning-rate": ("learning_rate", 0.002),
    "--warm-up": ("warm_up", 0.25),
    "--weight-decay": ("weight_decay", 0.05),
    "--adam-epsilon": ("adam_epsilon", 1e-8),
    "--clip-norm": ("clip_norm", 0.5),
    "--patience": ("patience", 3),
    "--pseudo-tokens": ("pseudo_tokens", 2),
    "--dropout": ("dropout", 0.3),
    "--batch-size": ("batch_size", 4),
}


def test_an_option_sets_its_setting_and_a_setting_gives_the_same_run(mse, cache, tmp_path):
    named = [part for option, (_, value) in SETTINGS.items() for part in (option, value)]
    told = mse("train", "--cache", cache, "--dry-run", "--json", *named).json["recipe"]["training"]
    assert {name: told[name] for name, _ in SETTINGS.values()} == dict(SETTINGS.values())
    set_ = [part for name, value in SETTINGS.values() for part in ("--set", f"training.{name}={value}")]
    assert mse("train", "--cache", cache, "--dry-run", "--json", *set_).json["recipe"]["training"] == told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--epochs", 3, "--set", "training.epochs=3"), "--epochs 3 and --set training.epochs=3 both say"),
        (("--learning-rate", "auto", "--set", "training={learning_rate: 0.1}"), "what learning_rate is; keep one"),
        (
            ("--dropout", 0.1, "--set", "backbones.tiny.dropout=0.2"),
            "--dropout 0.1 and --set backbones.tiny.dropout=0.2",
        ),
        (("--seed", 1, "--seed", 2, "--set", "training.seeds=[3]"), "--seed 1 2 and --set training.seeds=[3]"),
        (("--learning-rate", "fast"), "--learning-rate: must be a valid number, got 'fast'"),
        (("--learning-rate", "nan"), "--learning-rate: must be a valid number, got nan"),
        (("--learning-rate", "Auto"), "did you mean auto?"),
        (("--learning-rate", "-1"), "--learning-rate: must be greater than 0, got -1"),
        (("--dropout", 1.5, "--warm-up", 2), "--warm-up: must be less than or equal to 1, got 2.0; --dropout: must be"),
        (("--set", "training.row_dropout=1"), "training.row_dropout: must be less than 1"),
        (("--set", "training.time_msk=0.1"), "did you mean time_mask?"),
        (("--set", "training.average=yes"), "training.average: must be a valid number"),
    ],
)
def test_what_contradicts_or_is_impossible_is_refused_by_name(mse, cache, options, told):
    result = mse("train", "--cache", cache, "--dry-run", *options)
    assert result.code == 2
    assert told in " ".join(result.err.split())


def test_a_setting_of_another_backbone_contradicts_nothing(mse, cache):
    made = mse("train", "--cache", cache, "--dry-run", "--json", "--epochs", 3, "--set", "backbones.llama2.epochs=9")
    assert made.json["recipe"]["training"]["epochs"] == 3


@pytest.mark.parametrize("option", [("--learning-rate", "auto"), ("--set", "training.learning_rate=auto")])
def test_a_dry_run_says_that_the_learning_rate_is_found(mse, cache, option):
    assert (
        mse("train", "--cache", cache, "--dry-run", "--json", *option).json["recipe"]["training"]["learning_rate"]
        == "auto"
    )
    shown = " ".join(mse("train", "--cache", cache, "--dry-run", *option).out.split())
    assert "learning rate auto a range test before each finds it" in shown


def test_a_found_learning_rate_is_told_and_kept_and_the_run_is_one_of_auto(mse, cache, tmp_path):
    asked = ("train", "--cache", cache, "--runs", tmp_path / "runs", "--seed", 1, "--epochs", 1)
    made = mse(*asked, "--learning-rate", "auto", "--json")
    assert made.code == 0, made.err
    (result,) = made.json["seeds"]
    rate = result["learning_rate"]
    assert f"Seed 1: the range test chose the learning rate {rate:.2g}." in " ".join(made.err.split())
    described = json.loads((tmp_path / "runs").joinpath(made.json["run"], "run.json").read_text())
    assert described["config"]["training"]["learning_rate"] == "auto"
    fixed = mse(*asked, "--learning-rate", rate, "--json")
    assert fixed.json["run"] != made.json["run"]
    assert fixed.json["seeds"][0]["test"] == result["test"]
    assert fixed.json["seeds"][0]["learning_rate"] == rate


def test_the_help_has_a_heading_for_each_kind_of_option(mse):
    shown = mse("train", "--help").out
    heads = ["Training", "Adapter", "Backbone", "Run", "Output"]
    places = [shown.index(f" {head} ─") for head in heads]
    assert places == sorted(places)
    assert shown.index("--adam-epsilon") < places[1] < shown.index("--pseudo-tokens") < places[2]
