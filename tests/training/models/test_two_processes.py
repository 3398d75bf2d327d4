"""Two processes learn what one does, with every model: the same losses, and the same weights after each step.

The processes are threads, which exchange what processes would send each other. `tests.training.test_processes` starts
real ones.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from benchmarks.made_models import SMALL, SPEAKING
from mse_pipeline.adapter.models import find
from mse_pipeline.clip import Split
from mse_pipeline.training.answering import FittedAtOnce
from mse_pipeline.training.processes import Processes
from mse_pipeline.training.step import PLAIN, Learner, TrainingOptions
from tests.training.models.conftest import job_of, without_dropout

CHANCE = {"dropout": 0.3, "row_dropout": 0.2}
LEARNING = [name for name in (*SMALL, *SPEAKING) if not issubclass(find(name), FittedAtOnce)]


class Meeting:
    """Where threads exchange what they have."""

    def __init__(self, count: int) -> None:
        self.barrier, self._given = threading.Barrier(count, timeout=60), [None] * count

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self._given[rank] = value
        self.barrier.wait()
        every = list(self._given)
        self.barrier.wait()  # before the next value takes the place of this one
        return every


@dataclass(frozen=True, eq=False)
class InThread(Processes):
    """One of several threads, as one of several processes."""

    meeting: Meeting | None = None

    def sum(self, tensor):
        return torch.stack(self.meeting.exchange(self.rank, tensor)).sum(0)

    def gather(self, own):
        return [one for part in self.meeting.exchange(self.rank, own) for one in part]


def learned(learner, batches):
    """Losses of the batches, and the weights behind them."""
    losses = list(learner.steps(batches, 1, 0))
    return losses, learner.adapter.state_dict()


@pytest.mark.parametrize("name", LEARNING)
def test_two_processes_learn_what_one_does(made_dataset, small, name):
    dataset = made_dataset("regression" if name == "self-mm" else "classification")  # it makes labels of numbers alone
    visual = dict(dataset["visual.made"])
    dataset.put("visual.made", {clip: visual[clip] for clip in list(visual)[::2]})

    def learner(processes):
        made = Learner(job_of(dataset, name, dropout=0.0, model_options=small(name)), 1, PLAIN, processes)
        without_dropout(made.adapter)
        return made, made._job.examples[Split.TRAIN]

    alone, train = learner(Processes())
    batches = [train[:7], train[7:8], train[:6]]  # unequal parts, a clip for two processes, clips that were seen
    losses, weights = learned(alone, batches)
    meeting = Meeting(2)
    both = [learner(InThread(rank=rank, count=2, meeting=meeting))[0] for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: learned(one, batches), both))
    for their_losses, their_weights in found:
        assert their_losses == pytest.approx(losses, rel=1e-5)
        for part, value in weights.items():
            torch.testing.assert_close(their_weights[part], value, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(one, found[1][1][part]) for part, one in found[0][1].items())


@dataclass(frozen=True, eq=False)
class Writing(Processes):
    """One of several processes that hears nothing of the others; what it sends them is kept."""

    sent: list[torch.Tensor] = field(default_factory=list)

    def sum(self, tensor):
        self.sent.append(tensor.clone())
        return tensor


@pytest.mark.parametrize("name", ["lf-dnn", "lfmim", "chfn-style", "mse-adapter"])
def test_two_processes_drop_what_one_does_that_reads_in_two_parts(job, small, name):
    made = job(name, **CHANCE, model_options=small(name))
    batch = made.examples[Split.TRAIN][:7]
    alone = Learner(made, 1, TrainingOptions(accumulation=2))
    list(alone.steps([batch], 1, 0))
    processes = [Writing(rank=rank, count=2) for rank in range(2)]
    for one in processes:
        list(Learner(made, 1, PLAIN, one).steps([batch], 1, 0))
    sent = sum(one.sent[0] for one in processes)
    gradients = [(torch.zeros_like(one) if one.grad is None else one.grad) for one in alone.adapter.parameters()]
    whole = torch.cat([one.flatten() for one in gradients])
    assert whole.abs().max() > 0
    torch.testing.assert_close(sent[: len(whole)], whole, atol=1e-6, rtol=1e-5)
