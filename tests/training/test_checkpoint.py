"""A training that is interrupted ends with the same weights as one that is not."""

import json
import random

import pytest
import torch

from mse_pipeline.errors import MseError
from mse_pipeline.recipe import Training
from mse_pipeline.training import learning_rate, step
from mse_pipeline.training.checkpoint import TrainingCheckpoint
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.run import train
from mse_pipeline.training.step import TrainingOptions
from tests.training.test_training_run import SETTINGS, job, tiny  # noqa: F401

FEW = SETTINGS.model_copy(update={"epochs": 4, "patience": 4, "dropout": 0.2})
AGAINST_LEARNING_BY_HEART = {
    "row_dropout": 0.3,
    "modality_dropout": 0.3,
    "feature_noise": 0.2,
    "time_mask": 0.3,
    "label_smoothing": 0.1,
    "average": 0.9,
    "learning_rate": "auto",
}


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt(monkeypatch):
    """Raise after so many forward passes, as a pulled plug would; what is saved is saved at every step."""

    def after(passes):
        done = 0
        loss = step.answer_loss

        def counted(*arguments):
            nonlocal done
            if done == passes:
                raise Interrupted
            done += 1
            return loss(*arguments)

        monkeypatch.setattr(step, "answer_loss", counted)
        monkeypatch.setattr(TrainingCheckpoint, "save_if_due", TrainingCheckpoint.save)
        return lambda: monkeypatch.setattr(step, "answer_loss", loss)

    return after


@pytest.mark.parametrize("accumulation", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("chance", range(3))
def test_the_weights_end_the_same_bit_for_bit(job, interrupt, tmp_path, chance, accumulation):  # noqa: F811
    assert_resumes(job(settings=FEW), interrupt, tmp_path, chance, TrainingOptions(accumulation=accumulation))


@pytest.mark.parametrize("chance", range(2))
def test_they_do_with_all_that_is_random_averaged_and_found(job, interrupt, tmp_path, chance, monkeypatch):  # noqa: F811
    monkeypatch.setattr(learning_rate, "STEPS", 20)
    settings = Training.model_validate({**FEW.model_dump(), **AGAINST_LEARNING_BY_HEART})
    assert_resumes(job(settings=settings), interrupt, tmp_path, chance, TrainingOptions(), before=20)


def assert_resumes(made, interrupt, tmp_path, chance, options, before=0):
    """Interrupted at a random step, `before` steps of a range test left out, and gone on."""
    accumulation = options.accumulation
    undisturbed = fit_adapter(made, 5, options=options)
    passes = accumulation * FEW.epochs * -(-len(made.examples["train"]) // FEW.batch_size)
    go_on = interrupt(before + random.Random(chance).randrange(1, passes))
    with pytest.raises(Interrupted):
        fit_adapter(made, 5, checkpoint=tmp_path / "checkpoint.pt", options=options)
    go_on()
    told = []
    resumed = fit_adapter(made, 5, told.append, checkpoint=tmp_path / "checkpoint.pt", options=options)
    for name, value in undisturbed.adapter.state_dict().items():
        assert torch.equal(value, resumed.adapter.state_dict()[name]), name
    for name, value in undisturbed.last.state_dict().items():
        assert torch.equal(value, resumed.last.state_dict()[name]), name
    assert resumed.best_epoch == undisturbed.best_epoch
    assert resumed.peak == undisturbed.peak
    assert [record["loss"] for record in told] == [record["loss"] for record in undisturbed.history]
    assert resumed.predicted["test"].probabilities == undisturbed.predicted["test"].probabilities


def test_a_run_goes_on_where_it_was_interrupted_and_leaves_no_checkpoint(job, interrupt, tmp_path):  # noqa: F811
    made = job(settings=FEW)
    go_on = interrupt(7)
    with pytest.raises(Interrupted):
        train(made, tmp_path / "runs", [3])
    go_on()
    (home,) = (tmp_path / "runs").glob("*/seed-3")
    assert (home / "checkpoint.pt").is_file()
    (result,) = train(made, tmp_path / "runs", [3])
    epochs = [json.loads(line)["epoch"] for line in (home / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, result.result["epochs"] + 1))
    assert not (home / "checkpoint.pt").exists()


def test_a_damaged_checkpoint_is_refused_and_overwritten_on_request(job, tmp_path):  # noqa: F811
    made = job(settings=FEW)
    (result,) = train(made, tmp_path / "runs", [3])
    (result.folder / "result.json").unlink()
    (result.folder / "checkpoint.pt").write_bytes(b"broken")
    with pytest.raises(MseError, match="--overwrite"):
        train(made, tmp_path / "runs", [3])
    (again,) = train(made, tmp_path / "runs", [3], overwrite=True)
    assert again.result["test"] == result.result["test"]
