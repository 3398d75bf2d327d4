"""Scalars of a training reach the trackers that were asked for, and a tracker that cannot be used is told at once."""

import json
from importlib.util import find_spec

import pytest

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.training import step, trackers
from mse_pipeline.training.run import train
from mse_pipeline.training.step import TrainingOptions
from tests.training.test_training_run import SETTINGS, job, tiny  # noqa: F401

FEW = SETTINGS.model_copy(update={"epochs": 2})


def scalars(logs):
    """What TensorBoard reads in a folder: name -> list of (step, value)."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    read = EventMultiplexer().AddRunsFromDirectory(str(logs)).Reload()
    found = {}
    for run, kinds in read.Runs().items():
        for name in kinds["scalars"]:
            found.setdefault(name, []).extend((event.step, event.value) for event in read.Scalars(run, name))
    return found


def test_tensorboard_has_the_curves_of_the_run_folder(job, tmp_path):  # noqa: F811
    (result,) = train(job(settings=FEW), tmp_path, [1], options=TrainingOptions(trackers=("tensorboard",)))
    epochs = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    found = scalars(result.folder / "logs")
    for name in ("loss", "learning_rate", "seconds", "clips_per_second"):
        assert found[name] == [(record["epoch"], pytest.approx(record[name])) for record in epochs]
    assert found["valid/acc"] == [(record["epoch"], pytest.approx(record["valid"]["acc"])) for record in epochs]
    for split in ("valid", "test"):
        for name, value in result.result[split].items():
            assert found[f"best/{split}/{name}"] == [(2, pytest.approx(value))]
    (settings,) = (result.folder / "logs").rglob("hparams.yml")
    told = settings.read_text()
    assert "training.learning_rate: 0.005" in told
    assert "seed: 1" in told
    assert "backbone.name: tiny" in told


def test_a_training_that_goes_on_logs_each_epoch_once(job, tmp_path, monkeypatch):  # noqa: F811
    loss, options = step.answer_loss, TrainingOptions(trackers=("tensorboard",))
    passes = iter(range(4))  # one more than the first epoch takes

    def interrupted(*given):
        if next(passes, None) is None:
            raise MseError("The plug was pulled.")
        return loss(*given)

    monkeypatch.setattr(step, "answer_loss", interrupted)
    with pytest.raises(MseError, match="plug"):
        train(job(settings=FEW), tmp_path, [1], options=options)
    monkeypatch.setattr(step, "answer_loss", loss)
    (result,) = train(job(settings=FEW), tmp_path, [1], options=options)
    assert [step for step, _ in scalars(result.folder / "logs")["loss"]] == [1, 2]


def test_trackers_do_not_change_the_run(job, tmp_path):  # noqa: F811
    (plain,) = train(job(settings=FEW), tmp_path, [1])
    (again,) = train(job(settings=FEW), tmp_path, [1], options=TrainingOptions(trackers=("tensorboard",)))
    assert not (plain.folder / "logs").exists()
    assert (again.folder, again.reused) == (plain.folder, True)


def test_an_unknown_or_missing_tracker_is_told_before_training(job, tmp_path, monkeypatch):  # noqa: F811
    made = job(settings=FEW)
    with pytest.raises(UsageError, match="none of tensorboard, wandb, trackio; did you mean wandb"):
        train(made, tmp_path / "runs", [1], options=TrainingOptions(trackers=("wand",)))
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="`pip install trackio`"):
        train(made, tmp_path / "runs", [1], options=TrainingOptions(trackers=("trackio",)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs the package wandb, which is no part of the set-up")
def test_wandb_logs_offline(job, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WANDB_MODE", "offline")
    (result,) = train(job(settings=FEW), tmp_path, [1], options=TrainingOptions(trackers=("wandb",)))
    (logged,) = (result.folder / "logs").rglob("*.wandb")
    content = logged.read_bytes()
    assert b"valid/weight_F1" in content
    assert b"best/test/weight_F1" in content
    assert b"training.learning_rate" in content


@pytest.mark.skipif(find_spec("trackio") is None, reason="needs the package trackio, which is no part of the set-up")
def test_trackio_logs_on_this_machine(job, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    train(job(settings=FEW), tmp_path / "runs", [1], options=TrainingOptions(trackers=("trackio",)))
    content = b"".join(path.read_bytes() for path in (tmp_path / "trackio").rglob("*.db*"))
    assert b"best/test/weight_F1" in content
