"""What all models have in common: how they are chosen, trained, kept, put to use and told of."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.made_models import SMALL, SPEAKING
from mse_pipeline import backbones, store
from mse_pipeline.adapter import AdapterConfig, build, models
from mse_pipeline.backbones.loading import outline
from mse_pipeline.backbones.none import none
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from mse_pipeline.training.checkpoint import TrainingCheckpoint
from mse_pipeline.training.dry_run import dry_run
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.reading import read
from mse_pipeline.training.run import count_parameters
from mse_pipeline.training.step import Learner
from mse_pipeline.training.streams import choose_streams
from tests.cli.conftest import mse  # noqa: F401 - a fixture
from tests.training.models.conftest import WORDING, job_of

EVERY = (*SMALL, *SPEAKING)
"""All models of this package, those that answer themselves first."""
AT_ONCE = ("linear", "text-only")
"""Those that take no steps."""


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


@pytest.mark.parametrize("name", SMALL)
def test_a_direct_model_is_trained_reported_and_evaluated_without_a_backbone(home, mse, small, name):  # noqa: F811
    options = f"training.model_options={json.dumps(small(name))}"
    trained = mse("train", "--model", name, "--epochs", 1, "--seed", 1, "--json", "--set", options)
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
    assert row["total_parameters"] >= row["trainable_parameters"] > 0
    assert row["peak_memory"] is None or row["peak_memory"] > 1 << 20
    assert name in mse("report").out
    again = mse("train", "--model", name, "--epochs", 1, "--seed", 1, "--json", "--set", options)
    assert again.json["seeds"][0]["reused"]


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
    assert sorted(models.available()) == sorted(EVERY)
    for name in models.available():
        assert models.check(name) == []
        assert models.find(name).__module__.startswith("mse_pipeline."), name


@pytest.mark.parametrize("name", EVERY)
def test_sizes_that_no_model_can_have_are_refused_by_name(small, name):
    kind = models.find(name)
    sizes = {key: value for key, value in (kind.defaults or {}).items() if type(value) is int}
    for key, usual in sizes.items():
        least = 1 if usual and key not in kind.may_be_0 else 0
        with pytest.raises(UsageError, match=rf"{key} must be a whole number from {least}, but is {least - 1}\."):
            kind.settled({**small(name), key: least - 1})
        kind.settled({**small(name), key: least})


class Unplugged(Exception):
    """As a pulled plug."""


@pytest.mark.parametrize("name", EVERY)
def test_a_training_goes_on_as_if_it_had_not_been_interrupted(job, small, tmp_path, monkeypatch, name):
    kind = "regression" if name == "self-mm" else "classification"  # it makes labels of numbers alone
    made = job(name, kind, epochs=2, dropout=0.1, model_options=small(name))
    whole = fit_adapter(made, 1)
    if name not in AT_ONCE:
        plain, taken = Learner._step, []

        def stops(*given):
            taken.append(1)
            if len(taken) == 4:  # in the second epoch, between two steps
                raise Unplugged
            return plain(*given)

        monkeypatch.setattr(Learner, "_step", stops)
        monkeypatch.setattr(TrainingCheckpoint, "save_if_due", TrainingCheckpoint.save)
        with pytest.raises(Unplugged):
            fit_adapter(made, 1, checkpoint=tmp_path / "checkpoint.pt")
        monkeypatch.setattr(Learner, "_step", plain)
    resumed = fit_adapter(made, 1, checkpoint=tmp_path / "checkpoint.pt")
    for one, other in ((whole.adapter, resumed.adapter), (whole.last, resumed.last)):
        weights, again = one.state_dict(), other.state_dict()
        assert weights.keys() == again.keys()
        assert all(torch.equal(value, again[key]) for key, value in weights.items())
    assert resumed.predicted[Split.TEST].probabilities == whole.predicted[Split.TEST].probabilities


@pytest.mark.parametrize("name", EVERY)
def test_a_dry_run_tells_parameters_shapes_and_a_prompt_where_there_is_one(made_dataset, small, name):
    dataset = made_dataset()
    speaking = models.find(name).reads_backbone
    made = job_of(dataset, name, backbone=outline("tiny") if speaking else none(), model_options=small(name))
    told = dry_run(made, dataset, choose_streams(dataset, asked={}, model=name), WORDING)
    with torch.device("meta"):
        model = build(made.config)
    counted = count_parameters(made, model)["trainable_parameters"]
    assert (told.fitted, told.trainable) == (name in AT_ONCE, 0 if name in AT_ONCE else counted)
    assert told.trainable + told.kept == (0 if name in AT_ONCE else sum(one.numel() for one in model.parameters()))
    batch = made.batcher.batch(made.examples[Split.TRAIN])
    assert told.batch["text"] == (12, batch.text_ids.shape[1])
    for stream in ("acoustic", "visual"):
        rows = getattr(batch, stream)
        every = made.batcher.batch([one for split in Split for one in made.examples[split]])
        wanted = None if rows is None else (12, getattr(every, stream).shape[1], rows.shape[2])
        assert told.batch.get(stream) == wanted
    shown = [token for token in told.prompt.example if token.part != "answer"]
    if not speaking:
        assert (shown, told.memory) == ([], None)
        return
    loaded, model = backbones.load("tiny"), build(made.config).eval()
    with torch.no_grad(), model.in_force(loaded):
        reading = read(loaded, model, made.prompt, made.batcher.batch(made.examples[Split.TRAIN][:1]))
    assert len(shown) == int(reading.mask.sum())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("linear", ("made, linear, without visual", "found when it is fitted", "fitted to the train split at once")),
        ("self-mm", ("made, self-mm, without visual", "6 clips x 1 rows x 2 values", "model and optimiser")),
        ("prefix-tuning", ("made, prefix-tuning, text-only, on tiny", "6 clips x", "prefix", "memory, at the peak")),
    ],
)
def test_the_command_shows_a_dry_run_of_any_model(home, mse, name, told):  # noqa: F811
    result = mse("train", "--model", name, "--dry-run", "--epochs", 1)
    assert result.code == 0, result.err
    shown = " ".join(result.out.split())
    assert [one for one in told if one not in shown] == []
    assert not (home / "runs").exists()
