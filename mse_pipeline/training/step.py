"""One step of training: a global batch, its parts read by all processes, one step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mse_pipeline.adapter import DirectModel, Model, TrainedModel, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Classification
from mse_pipeline.training.answering import direct_loss
from mse_pipeline.training.augmentation import augment
from mse_pipeline.training.batches import ahead
from mse_pipeline.training.examples import Example
from mse_pipeline.training.job import Job
from mse_pipeline.training.objective import answer_loss
from mse_pipeline.training.processes import ALONE, Processes
from mse_pipeline.training.reading import Batch


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Not part of a run's configuration: the same run goes on with other options, on another machine.

    Attributes:
        accumulation: Parts that a step's batch is read in, one after the other: less memory, equal gradients.
        checkpointing: The backbone's activations are computed again in the backward pass instead of being kept.
        compile: The backbone's forward pass goes through torch.compile.
        trackers: Where scalars are logged besides the run folder: names of `trackers.KNOWN`.

    Raises:
        UsageError: `accumulation` is not a whole number from 1.

    Examples:
        >>> TrainingOptions(accumulation=4).trackers
        ()
    """

    accumulation: int = 1
    checkpointing: bool = False
    compile: bool = False
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.accumulation, int) or self.accumulation < 1:
            raise UsageError(f"A batch is accumulated of 1 part or more, not of {self.accumulation}.")


PLAIN = TrainingOptions()


@dataclass(frozen=True)
class BatchPart:
    """Clips that are read at once.

    Attributes:
        examples: The clips, at least one.
        weight: Their share of the global batch; 0 for a clip that is read only to keep step with the others.
    """

    examples: Sequence[Example]
    weight: float


def own_parts(batch: Sequence[Example], accumulation: int, processes: Processes) -> list[BatchPart]:
    """What this process reads of a global batch. Every process has equally many parts.

    A process with fewer clips than parts, as at the end of an epoch, reads the batch's first clip with the weight 0:
    where the backbone is sharded, the others cannot read a layer unless it takes part.

    Examples:
        >>> second = Processes(rank=1, count=2)
        >>> [(part.examples, part.weight) for part in own_parts("abcdef", 2, second)]
        [('d', 0.16666666666666666), ('ef', 0.3333333333333333)]
        >>> [(part.examples, part.weight) for part in own_parts("a", 2, Processes(rank=0, count=2))]
        [('a', 0.0)]
    """
    count = min(accumulation, math.ceil(len(batch) / processes.count))
    own = processes.share(batch)
    cut = [Processes(rank=rank, count=count).share(own) for rank in range(count)]
    return [BatchPart(clips or batch[:1], len(clips) / len(batch)) for clips in cut]


class Diverged(MseError):
    """A loss that is no longer a number."""


class Average(AveragedModel):
    """Exponential moving average of a model's weights; `module` has them.

    The decay grows up to the one that is asked for, as (1 + n) / (10 + n) after n steps: the first weights, which are
    random, do not count for longer than they were there.

    Args:
        model: Whose weights are averaged.
        decay: Share of the average that stays at each step.
    """

    def __init__(self, model: Model, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._update)
        self._decay = decay

    def _update(self, averaged: Any, current: Any, _: Any) -> None:
        # The count lies on the CPU; what is given here is its copy on the device, which would have to be waited for.
        done = int(self.n_averaged)
        get_ema_multi_avg_fn(min(self._decay, (1 + done) / (10 + done)))(averaged, current, done)


class Learner:
    """An adapter, its optimiser and its schedule; the same in every process after every step.

    Gradients are averaged over the processes by one message after the backward pass. There is nothing to gain by
    sending them earlier, as DistributedDataParallel does: the frozen backbone is most of the backward pass, and the
    adapter's gradients come at its end.

    Args:
        job: What is trained, on what.
        seed: Of the first weights, dropout and augmentation.
        options: How a step is carried out.
        processes: Who takes part.
    """

    def __init__(self, job: Job, seed: int, options: TrainingOptions, processes: Processes = ALONE) -> None:
        from transformers import get_cosine_schedule_with_warmup

        self._job, self._seed, self._options, self._processes = job, seed, options, processes
        settings = job.settings
        torch.manual_seed(seed)
        self.adapter = build(job.config).to(job.backbone.device)
        self.adapter.begin(job.backbone)
        self.average = Average(self.adapter, settings.average) if settings.average else None
        self.optimiser = torch.optim.AdamW(
            self.adapter.parameters(),
            1.0 if settings.learning_rate == "auto" else settings.learning_rate,
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
            # On a CPU, one pass over each weight in the place of ten; elsewhere, torch takes the fastest itself.
            fused=True if job.backbone.device.type == "cpu" else None,
        )
        self.steps_per_epoch = math.ceil(len(job.examples[Split.TRAIN]) / settings.batch_size)
        steps = settings.epochs * self.steps_per_epoch
        self.schedule = get_cosine_schedule_with_warmup(self.optimiser, round(settings.warm_up * steps), steps)

    @property
    def evaluated(self) -> Model:
        """What is evaluated and kept: the average of the weights where there is one, else the adapter."""
        return self.adapter if self.average is None else cast(Model, self.average.module)

    @property
    def peak(self) -> float:
        """The learning rate at the schedule's peak."""
        return float(self.schedule.base_lrs[0])

    def set_peak(self, rate: float) -> None:
        """Give the schedule another peak, before the first step."""
        for group in self.optimiser.param_groups:
            group["lr"] *= rate / group["initial_lr"]  # of the warm-up's beginning
            group["initial_lr"] = rate
        self.schedule.base_lrs = [rate for _ in self.schedule.base_lrs]

    def take_rate(self, rate: float) -> None:
        """Take the next step with a rate of its own, whatever the schedule says."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def stateful(self) -> dict[str, Any]:
        """What has a state that a checkpoint keeps, by name."""
        parts = {"adapter": self.adapter, "optimiser": self.optimiser, "schedule": self.schedule}
        parts |= {f"memory.{name}": part for name, part in self.adapter.memory().items()}
        return parts if self.average is None else {**parts, "average": self.average}

    def steps(self, batches: Iterable[Sequence[Example]], epoch: int, done: int) -> Iterator[float]:
        """Take a step a global batch; yields each step's loss, that of the whole batch before the step.

        Args:
            batches: Those of the epoch that are still to be learned.
            epoch: Its number, from 1.
            done: Steps of it that were taken before.

        Raises:
            Diverged: A loss is no longer a number.
        """
        self.adapter.train()
        plan = [own_parts(batch, self._options.accumulation, self._processes) for batch in batches]
        read = ahead(self._job.batcher.batch, (part.examples for parts in plan for part in parts))
        for step, parts in enumerate(plan, start=(epoch - 1) * self.steps_per_epoch + done):
            yield self._step([part.weight for part in parts], read, epoch, step)

    def _draw_anew(self, step: int, part: int) -> None:
        """Let the random numbers of dropout and augmentation follow from seed, step and part of the batch alone.

        Whatever was drawn before does not count. So a training that goes on draws what it would have drawn, no two
        processes draw the same, and two processes draw what one does that reads each batch in two parts.
        """
        told = f"{self._seed} {step} {part}".encode()
        torch.manual_seed(int.from_bytes(blake2b(told, digest_size=7).digest(), "big"))

    def _step(self, weights: Sequence[float], read: Iterator[Batch], epoch: int, step: int) -> float:
        """Take a step on the next parts, whose shares of the global batch are `weights`; returns the loss."""
        job, settings = self._job, self._job.settings
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=job.backbone.device)
        for part, weight in enumerate(weights, start=self._processes.rank * len(weights)):
            self._draw_anew(step, part)
            batch = augment(next(read), settings, text=job.config.text, device=job.backbone.device)
            with self.adapter.in_force(job.backbone):  # also in the backward pass, which may compute layers again
                loss = weight * self._loss(batch)
                loss.backward()
            total += loss.detach()
        if self._processes.count > 1:
            total = self._sum_over_processes(total)
        value = total.item()
        if not math.isfinite(value):
            raise Diverged(
                f"The loss of epoch {epoch} is {value}: training has diverged. Take a lower learning rate "
                f"than {self.peak:g}, or set clip_norm in the recipe's training section."
            )
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.adapter.after_step(self._processes.gather)
        if self.average is not None:
            self.average.update_parameters(self.adapter)
        return value

    def _loss(self, batch: Batch) -> torch.Tensor:
        """The loss of clips that are read at once."""
        job = self._job
        if isinstance(self.adapter, DirectModel):
            return direct_loss(job, self.adapter, batch)
        return answer_loss(
            job.backbone,
            cast(TrainedModel, self.adapter),
            job.prompt,
            job.answers,
            batch,
            job.weights,
            job.settings.label_smoothing if isinstance(job.answers.task, Classification) else 0.0,
            job.states,
        )

    def _sum_over_processes(self, loss: torch.Tensor) -> torch.Tensor:
        """Add up gradients and loss in one message; returns the loss.

        It also tells which parameters have a gradient anywhere. AdamW passes over a parameter without one, as a
        stream's encoder in a batch without that stream, and would decay one whose gradient is zero.
        """
        parameters = list(self.adapter.parameters())
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        present = torch.tensor([one.grad is not None for one in parameters], dtype=loss.dtype, device=loss.device)
        message = torch.cat([*(one.flatten() for one in gradients), present, loss.reshape(1)])
        summed = self._processes.sum(message)
        sizes = [one.numel() for one in parameters]
        *parts, present, loss = summed.split([*sizes, len(sizes), 1])
        for parameter, part, somewhere in zip(parameters, parts, present.tolist(), strict=True):
            parameter.grad = part.view_as(parameter) if somewhere else None
        return loss.squeeze()
