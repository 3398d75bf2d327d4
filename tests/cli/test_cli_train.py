"""mse train: a dry run, ablations and the backbone's options, as a user types them."""

from __future__ import annotations

from dataclasses import replace

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


@pytest.mark.parametrize(("where", "table"), [((), "mse report"), (("--runs", "my runs"), "mse report 'my runs'")])
def test_a_training_tells_how_its_table_is_shown(mse, home, where, table):
    made = mse("train", "--seed", 1, "--epochs", 1, "--model", "lf-dnn", *where)
    assert made.code == 0, made.err
    assert made.out.rstrip().endswith(f"    Table: {table}")


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


def corrected(home):
    """Half of the labels are others now."""
    clips = [
        replace(clip, label="sad") if clip.id.endswith("1") else clip
        for clip in store.open(home / "cache")["made"].clips
    ]
    store.open(home / "cache").create("made", clips, task=Classification(("sad", "glad")))


def test_corrected_labels_are_trained_anew_and_the_change_is_told(mse, home):
    asked = ("train", "--seed", 1, "--epochs", 1)
    first = mse(*asked, "--json").json
    assert (first["seeds"][0]["reused"], first["seeds"][0]["changed"]) == (False, [])
    again = mse(*asked)
    assert "(done before) on the same data, at 20" in again.out
    assert "anew" not in again.err
    assert "it is reused" in " ".join(mse(*asked, "--dry-run").out.split())
    corrected(home)
    told = " ".join(mse(*asked, "--dry-run").out.split())
    assert "Seed 1 is trained anew: the data have changed since the run" in told
    assert "labels of 3 clips" in told
    assert mse(*asked, "--dry-run", "--json").json["standing"]["changed"] == ["labels of 3 clips"]
    anew = mse(*asked)
    assert "labels of 3 clips" in " ".join(anew.err.split())
    assert "(done before)" not in anew.out
    assert len(list((home / "runs").iterdir())) == 2


def test_a_training_prints_of_how_many_clips_it_is_and_warns_of_few(mse, home):
    dataset = store.open(home / "cache")["made"]
    one = dataset["acoustic.made"]["test/0"]
    dataset.put("acoustic.made", {"train/0": one, "train/1": one, "test/0": one})
    trained = mse("train", "--seed", 1, "--epochs", 1)
    assert "clips read: train 2/2, valid 2/2, test 2/2" in trained.out
    assert "acoustic.made: train 2/2, valid 0/2, test 1/2" in trained.out
    assert "acoustic.made: only 3 of 6 clips have it" in " ".join(trained.err.split())
    assert mse("train", "--dry-run", "--json").json["coverage"]["test"]["streams"] == {"acoustic.made": 1}
