"""What all models have in common: how they are chosen, trained, kept, put to use and told of."""

from __future__ import annotations

import pytest

from mse_pipeline import store
from mse_pipeline.adapter import AdapterConfig, build, models
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401 - a fixture

DIRECT = ("linear", "lf-dnn", "tfn", "mult")
"""Models that answer themselves."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache with a dataset whose acoustic rows tell the class."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSE_CACHE", raising=False)
    clips = [
        Clip(id=f"{s}/{n}", split=s, text=f"so {n}", label=("sad", "glad")[n % 2]) for s in Split for n in range(6)
    ]
    dataset = store.open(tmp_path / "cache").create("made", clips, task=Classification(("sad", "glad")))
    dataset.put(
        "acoustic.made",
        {c.id: Features([[float(n % 2), 1.0]], [[0.0, 1.0]], [1], ("a", "b")) for n, c in enumerate(clips)},
    )
    return tmp_path


@pytest.mark.parametrize("name", DIRECT)
def test_a_direct_model_is_trained_reported_and_evaluated_without_a_backbone(home, mse, name):  # noqa: F811
    trained = mse("train", "--model", name, "--epochs", 1, "--seed", 1, "--json")
    assert trained.code == 0, trained.err
    run = trained.json["run"]
    assert f"made-{name}-" in run
    evaluated = mse("evaluate", run, "--json")
    assert evaluated.code == 0, evaluated.err
    for metric, value in trained.json["seeds"][0]["test"].items():
        assert evaluated.json["mean"][metric] == pytest.approx(value, abs=1e-6)
    (table,) = mse("report", "--json").json["tables"]
    (row,) = table["runs"]
    assert (row["model"], row["origin"].partition(",")[0], row["backbone"]) == (name, "ours", "none")
    assert row["trainable_parameters"] == row["total_parameters"] > 0
    assert row["peak_memory"] is None or row["peak_memory"] > 1 << 20
    assert name in mse("report").out
    assert mse("train", "--model", name, "--epochs", 1, "--seed", 1, "--json").json["seeds"][0]["reused"]


def test_a_report_without_the_floor_says_how_to_train_it(home, mse):  # noqa: F811
    assert mse("train", "--seed", 1, "--epochs", 1).code == 0
    assert "mse train made --model linear" in " ".join(mse("report").out.split())
    assert mse("train", "--model", "linear").code == 0
    assert "is not here" not in mse("report").out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model", "linar"), "did you mean linear?"),
        (("--model", "linear", "--backbone", "tiny"), "--model linear reads no backbone: leave --backbone tiny out"),
        (("--model", "linear", "--without", "tgm"), "linear cannot be trained --without tgm"),
        (("--model", "linear", "--dry-run"), "linear reads none: train it"),
        (("--model", "linear", "--set", "training.model_options={termz: []}"), "did you mean terms?"),
        (("--model", "linear", "--set", "training.model_options={characters: 3}"), "must be as False, but is 3"),
        (("--set", "training.model_options={a: 3}"), "mse-adapter has no options"),
    ],
)
def test_what_cannot_be_is_told(home, mse, options, told):  # noqa: F811
    result = mse("train", *options)
    assert result.code == 2
    assert told in " ".join(result.err.split())


def test_nothing_without_a_backbone_can_be_checked_for_one(home, mse):  # noqa: F811
    run = mse("train", "--model", "linear", "--json").json["run"]
    assert "reads no backbone" in mse("evaluate", run, "--check-backbone").err
    assert "reads no backbone" in mse("evaluate", run, "--backbone", "tiny").err


def test_a_direct_model_needs_to_know_how_many_values_it_makes():
    with pytest.raises(UsageError, match="answers itself: set head"):
        build(AdapterConfig(hidden_size=32, acoustic_dim=2, visual_dim=None, model="linear"))


def test_every_model_of_this_package_can_be_had():
    for name in models.available():
        assert models.check(name) == []
        assert models.find(name).__module__.startswith("mse_pipeline."), name
