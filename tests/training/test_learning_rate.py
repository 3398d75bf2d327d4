"""The range test: a learning rate that is found, the same each time, within bounds; and averaged weights."""

import math
from itertools import pairwise

import pytest
import torch

from mse_pipeline.errors import MseError
from mse_pipeline.recipe import Training
from mse_pipeline.training import learning_rate
from mse_pipeline.training.learning_rate import HIGHEST, LEAST, LOWEST, MOST, find_rate, halfway, range_test
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.step import Average, Learner, TrainingOptions
from tests.training.test_training_run import SETTINGS, job, tiny  # noqa: F401

AUTO = Training.model_validate({**SETTINGS.model_dump(), "learning_rate": "auto", "epochs": 2})


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(learning_rate, "STEPS", 30)


def test_a_range_test_rises_between_its_bounds_and_gives_the_same_each_time(job, short):  # noqa: F811
    made, told = job(settings=AUTO), []
    rates, losses = range_test(made, 1, on_step=lambda done, steps: told.append((done, steps)))
    assert rates[0] == LOWEST
    assert rates[-1] <= HIGHEST
    factors = [after / before for before, after in pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert told == [(done, 30) for done in range(1, len(losses) + 1)]
    torch.rand(7)  # what was drawn in between changes nothing
    assert range_test(made, 1) == (rates, losses)
    assert range_test(made, 2)[1] != losses
    assert find_rate(made, 1) == halfway(rates, losses)


def test_a_training_with_a_found_rate_is_the_one_with_that_rate(job, short):  # noqa: F811
    told = []
    found = fit_adapter(job(settings=AUTO), 3, on_rate=told.append)
    assert told == [found.peak]
    fixed = fit_adapter(job(settings=AUTO.model_copy(update={"learning_rate": found.peak})), 3, on_rate=told.append)
    assert told == [found.peak]
    assert [record["loss"] for record in fixed.history] == [record["loss"] for record in found.history]
    assert [record["learning_rate"] for record in fixed.history] == [r["learning_rate"] for r in found.history]
    for name, value in fixed.last.state_dict().items():
        assert torch.equal(value, found.last.state_dict()[name]), name


RATES = [LOWEST * (HIGHEST / LOWEST) ** (step / 99) for step in range(100)]


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        ([2.0] * 50 + [1.0] * 50, RATES[53]),  # .8 ** 4 < 1 / 2
        ([13.0] * 50 + [3.0] * 50, RATES[53]),  # the scale of losses does not count
        ([2.0] * 95 + [0.1] * 5, MOST),
        ([*[2.0 - step / 10 for step in range(15)], *[0.5] * 85], LEAST),  # a fall from the first steps on
        ([2.0] * 60 + [3.0] * 3, RATES[62] / 10),  # flat, then it diverges
        ([2.0] * 100, MOST),
    ],
)
def test_the_rate_is_the_one_halfway_down_within_its_bounds(losses, rate):
    assert halfway(RATES[: len(losses)], losses) == pytest.approx(min(max(rate, LEAST), MOST))


def test_noise_alone_neither_ends_the_test_nor_moves_the_rate_far():
    draw = torch.Generator().manual_seed(0)
    found = set()
    for _ in range(20):
        noise = 0.2 * torch.randn(100, generator=draw)
        losses = (torch.tensor([2.0] * 45 + [1.5] * 10 + [1.0] * 45) + noise).tolist()
        assert not any(learning_rate.has_diverged(losses[:end]) for end in range(1, 55))
        found.add(halfway(RATES, losses))
    assert max(found) / min(found) < 5


def test_a_loss_that_diverges_ends_the_test_and_the_rate_is_one_before(job, short, monkeypatch):  # noqa: F811
    from mse_pipeline.training import step

    loss, done = step.answer_loss, 0

    def diverging(*given, **named):
        nonlocal done
        done += 1
        return loss(*given, **named) * (math.inf if done > 20 else 1)

    monkeypatch.setattr(step, "answer_loss", diverging)
    rates, losses = range_test(job(settings=AUTO), 1)
    assert len(rates) == len(losses) == 20
    assert all(map(math.isfinite, losses))
    assert LEAST <= halfway(rates, losses) <= MOST


def test_a_loss_that_is_no_number_from_the_first_step_is_told(job, short, monkeypatch):  # noqa: F811
    not_a_number = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr("mse_pipeline.training.step.answer_loss", lambda *_, **__: not_a_number)
    with pytest.raises(MseError, match=r"range test of seed 1 found no learning rate: .*--learning-rate 1e-3"):
        find_rate(job(settings=AUTO), 1)


def test_weights_that_stay_have_themselves_as_their_average_and_others_are_followed():
    model = torch.nn.Linear(3, 2)
    average = Average(model, 0.9)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(20):
        average.update_parameters(model)
    assert all(torch.allclose(value, first[name]) for name, value in average.module.state_dict().items())
    with torch.no_grad():
        model.weight += 1
    before = average.module.weight.clone()
    average.update_parameters(model)
    # After 20 steps the decay is (1 + 20) / (10 + 20).
    assert torch.allclose(average.module.weight, before + (1 - 21 / 30) * (model.weight - before))


def test_a_long_average_ends_at_the_decay_that_was_asked_for():
    model = torch.nn.Linear(1, 1)
    average = Average(model, 0.5)
    for _ in range(50):
        average.update_parameters(model)
    with torch.no_grad():
        model.weight.add_(1)
    before = average.module.weight.item()
    average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(before + 0.5 * (model.weight.item() - before))


def test_averaged_weights_are_evaluated_and_kept_while_others_are_trained(job):  # noqa: F811
    plain = fit_adapter(job(settings=SETTINGS.model_copy(update={"epochs": 3})), 1)
    made = job(settings=SETTINGS.model_copy(update={"epochs": 3, "average": 0.9}))
    averaged = fit_adapter(made, 1)
    # The steps are the same: what is averaged is beside them.
    assert [record["loss"] for record in averaged.history] == [record["loss"] for record in plain.history]
    assert any(
        not torch.equal(value, plain.last.state_dict()[name]) for name, value in averaged.last.state_dict().items()
    )
    assert averaged.last.state_dict().keys() == plain.last.state_dict().keys()
    learner = Learner(made, 1, TrainingOptions())
    assert learner.evaluated is not learner.adapter
