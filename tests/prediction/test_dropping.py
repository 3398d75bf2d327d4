"""Predictions without a modality: which clips lose it, what the model then reads, and what is refused."""

from pathlib import Path

import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.prediction.dropping import Drop
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401 - a fixture


def test_each_modality_is_drawn_alone_and_in_the_same_way_for_the_same_seed():
    every = [f"test/{n}" for n in range(40)]
    both = Drop({"text": 0.5, "visual": 0.5}, seed=3)
    assert both.clips("text", every) == Drop({"text": 0.5}, seed=3).clips("text", every[::-1])
    assert both.clips("text", every) != both.clips("visual", every)
    assert both.clips("text", every) != Drop({"text": 0.5}, seed=4).clips("text", every)
    assert both.clips("acoustic", every) == frozenset()
    assert Drop({"text": 1}).clips("text", every) == frozenset(every)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Acoustic rows tell the class, texts tell nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSE_CACHE", raising=False)
    clips = [
        Clip(id=f"{s}/{n}", split=s, text=f"so {n % 4}", label=("sad", "glad")[n % 2]) for s in Split for n in range(20)
    ]
    dataset = store.open(tmp_path / "cache").create("made", clips, task=Classification(("sad", "glad")))
    rows = {clip.id: Features([[float(clip.label == "glad")]], [[0.0, 1.0]], [True], ("pitch",)) for clip in clips}
    dataset.put("acoustic.made", rows)
    return tmp_path


@pytest.mark.parametrize(
    "model", [("--model", "linear"), ("--model", "lf-dnn"), ()], ids=["linear", "lf-dnn", "adapter"]
)
def test_a_clip_without_its_stream_is_predicted_as_one_that_never_had_it(home, mse, model):  # noqa: F811
    run = mse("train", *model, "--seed", 1, "--epochs", 1, "--json").json["run"]
    whole = mse("evaluate", run, "--json").json["mean"]
    assert mse("evaluate", run, "--drop", "acoustic=0", "--json").json["mean"] == whole
    told = mse("evaluate", run, "--drop", "acoustic=0.5", "--json").json
    assert "Predicted without acoustic of 10 of 20 clips (seed 0)." in told["remarks"]
    assert not any("have changed since" in remark for remark in told["remarks"])
    silent = mse("evaluate", run, "--drop", "acoustic=1", "--drop", "text=1", "--json", "--out", "p.jsonl")
    assert silent.code == 0, silent.err
    spread = {
        line.partition('"probabilities"')[2].partition("}")[0] for line in Path("p.jsonl").read_text().splitlines()
    }
    assert len(spread) == 1  # nothing is read, so all clips are alike


def test_a_table_has_every_modality_that_is_read(home, mse):  # noqa: F811
    run = mse("train", "--model", "linear", "--json").json["run"]
    told = mse("evaluate", run, "--drop-table", "--json").json
    rows = {(row["modality"], row["share"]): row["metrics"]["acc"] for row in told["rows"]}
    assert len(rows) == 1 + 2 * 6
    assert rows["nothing", 0.0] == 1.0 == rows["text", 1.0]
    assert rows["acoustic", 1.0] == pytest.approx(0.5, abs=0.11)
    assert rows["acoustic", 1.0] <= rows["acoustic", 0.5] <= rows["acoustic", 0.1] + 1e-9
    assert "acoustic" in mse("evaluate", run, "--drop-table").out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--drop", "acustic=0.3"), "did you mean acoustic?"),
        (("--drop", "acoustic"), "--drop is MODALITY=SHARE"),
        (("--drop", "acoustic=1.5"), "a number from 0 to 1"),
        (("--drop", "acoustic=nan"), "a number from 0 to 1"),
        (("--drop", "acoustic=0.1", "--drop", "acoustic=0.2"), "says twice"),
        (("--drop", "visual=0.3"), "does not read it; it reads text, acoustic"),
        (("--drop-table", "--drop", "text=1"), "leave --drop and --out out"),
    ],
)
def test_what_cannot_be_dropped_is_told(home, mse, options, told):  # noqa: F811
    run = mse("train", "--model", "linear", "--json").json["run"]
    result = mse("evaluate", run, *options)
    assert result.code == 2
    assert told in " ".join(result.err.split())
