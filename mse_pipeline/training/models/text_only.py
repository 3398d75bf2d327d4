"""text-only: the frozen backbone with the same prompt and answers as beside the adapter, and nothing but the text.

Zero-shot, nothing is learned. With ``bias: trained``, one number an answer is added to its log-likelihood, chosen to
make the train split's labels likely (a maximum of a concave function, found at once). It takes away how much likelier
a backbone holds some answers whatever the text, as the contextual calibration of Zhao et al. (ICML 2021, section 5)
does with W = I, but by labels and not by an empty input. There is no paper of this row for the datasets here; zero-shot
figures of others are in arXiv 2608.16201.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, TrainedModel
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import score_clips
from mse_pipeline.training.examples import UNKNOWN
from mse_pipeline.training.job import Job
from mse_pipeline.training.scoring import sum_steps

_ROUNDS = 100
_DECAY = 1e-3
"""Of the squares of the biases: an answer without a clip in the train split keeps a finite one."""


class TextAlone(TrainedModel):
    """A model that leaves acoustic and visual streams out and adds no pseudo tokens; see its subclasses."""

    modalities = ()
    parts = ()
    fuses = False
    defaults: ClassVar[Mapping[str, Any] | None] = {}

    @classmethod
    def positions(cls, options: Any, asked: int) -> int:
        """None."""
        return 0

    def forward(self, *given: torch.Tensor | None) -> torch.Tensor:
        """No pseudo tokens, (B, 0, hidden_size)."""
        return text_of(given).new_zeros(len(text_of(given)), 0, self.config.hidden_size, dtype=torch.float32)

    def pseudo_and_clips(self, *given: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """No pseudo tokens, and of each clip a vector of zeros, which no head reads."""
        pseudo: torch.Tensor = self(*given)
        return pseudo, pseudo.new_zeros(len(pseudo), self.config.hidden_size)


def text_of(given: tuple[torch.Tensor | None, ...]) -> torch.Tensor:
    """The text's embeddings among what a model is called with."""
    text = given[4]
    if text is None:
        raise ValueError("The model reads the text's embeddings, but they were not given.")
    return text


class TextOnly(TextAlone):
    """The frozen backbone, with or without a trained bias of the answers.

    Attributes:
        bias: (answers,) what is added to each log-likelihood; empty where nothing is trained.
    """

    seeded = False
    defaults: ClassVar[Mapping[str, Any] | None] = {"bias": "none", "answers": 0}

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        if self.options["bias"] not in {"none", "trained"}:
            raise UsageError(f"training.model_options.bias is none or trained, not {self.options['bias']!r}.")
        if config.head is not None:
            raise UsageError("The model text-only has no head to be trained: set training.answer to spelled.")
        self.bias = nn.Parameter(torch.zeros(int(self.options["answers"])))

    def adjusted(self, steps: torch.Tensor, answers: Answers) -> torch.Tensor:
        """With the bias of each answer on its last token."""
        if not len(self.bias):
            return steps
        last = {answer: step for step, answer in enumerate(answers.trie.step_answers)}
        steps = steps.clone()
        steps[:, [last[answer] for answer in range(len(answers))]] += self.bias.to(steps)
        return steps

    def fit(self, job: Job) -> None:
        """Find the bias, where it is trained.

        Raises:
            UsageError: Predictions are made token by token, and answers have several: no bias of whole answers counts.
        """
        if self.options["bias"] == "none":
            return
        if job.settings.decoding == "greedy" and job.answers.trie.tokens:
            raise UsageError(
                "A trained bias is one of whole answers, and answers of several tokens are decoded token by token: set "
                "training.decoding to likeliest, or for numbers to expected or median."
            )
        learned = [one for one in job.examples[Split.TRAIN] if one.target != UNKNOWN or one.distribution]
        likelihoods = sum_steps(score_clips(job, self, learned), job.answers.trie, len(job.answers))
        shares = torch.zeros_like(likelihoods)
        for place, example in enumerate(learned):
            if example.distribution:
                shares[place] = torch.tensor(example.distribution)
            else:
                shares[place, example.target] = 1.0
        if job.weights is not None:
            shares = shares * job.weights
        self.bias = nn.Parameter(fitted_bias(likelihoods, shares))
        self.options = {**self.options, "answers": len(self.bias)}
        self.config = _with_options(self.config, self.options)


def fitted_bias(likelihoods: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """(A,) the bias b that makes softmax(likelihoods + b) likeliest, with the mean 0.

    Args:
        likelihoods: (N, A) log-likelihood of each answer to each clip.
        shares: (N, A) what is right: 1 for the right answer, or shares of several.

    Examples:
        >>> even = torch.zeros(4, 2)
        >>> bias = fitted_bias(even, torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]]))
        >>> round(bias.softmax(0)[0].item(), 2)
        0.75
    """
    bias = torch.zeros(likelihoods.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        scores = (likelihoods + bias).log_softmax(1)
        loss = -(shares * scores).sum(1).mean() + _DECAY * bias.pow(2).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return (bias - bias.mean()).detach()


def _with_options(config: AdapterConfig, options: dict[str, Any]) -> AdapterConfig:
    from dataclasses import replace

    return replace(config, options=options)
