"""Decoding: from the probabilities of all answers to a prediction, without any text to parse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mse_pipeline.backbones.answers import Answers, Trie, answer_values
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Regression, Task

Decoding = Literal["greedy", "likeliest", "expected", "median"]
"""How a prediction is made of the answers' probabilities.

- ``greedy``: token after token the likeliest one that goes on to an answer, as the paper's generation does, which
  may also leave the answers.
- ``likeliest``: the answer whose tokens together are the likeliest.
- ``expected``: mean of the answers, weighted by their probabilities; for numbers.
- ``median``: the first answer with which half of the probability is reached; for numbers.
"""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was answered.

    Attributes:
        values: (B,) class index, int64, or number, float64.
        probabilities: (B, A) float32 of each answer among all possible ones.
    """

    values: torch.Tensor
    probabilities: torch.Tensor


def check_decoding(task: Task, decoding: Decoding) -> None:
    """Refuse a mean of classes.

    Raises:
        UsageError: The decoding is for numbers, the task has classes.
    """
    if decoding in {"expected", "median"} and not isinstance(task, Regression):
        raise UsageError(f"The decoding {decoding} is for numbers; classes are decoded greedy or likeliest.")


def decode(steps: torch.Tensor, answers: Answers, decoding: Decoding = "greedy") -> Prediction:
    """Predict from the log-probabilities of the answers' tokens.

    Args:
        steps: (B, S) natural logarithms, as `score_steps` gives.
        answers: All possible answers.
        decoding: How a prediction is made of them.

    Raises:
        ValueError: There is not one value a step.
        UsageError: The decoding is not for this task.
        MseError: A value is not a number.
    """
    check_decoding(answers.task, decoding)
    trie = answers.trie
    if steps.ndim != 2 or steps.shape[1] != len(trie.step_nodes):
        raise ValueError(
            f"The task has {len(answers)} answers of {len(trie.step_nodes)} steps, "
            f"but the scores have shape {tuple(steps.shape)}."
        )
    if not torch.isfinite(steps).all():
        raise MseError(
            "The backbone's scores are not finite numbers. Half precision overflows in some models: take "
            "bfloat16 or float32, or a lower learning rate."
        )
    steps = steps.float()
    probabilities = sum_steps(steps, trie, len(answers)).softmax(1)
    means = answer_values(answers.task)
    meanings = torch.tensor(means, dtype=torch.int64 if isinstance(means[0], int) else torch.float64)
    meanings = meanings.to(steps.device)
    if decoding == "expected":
        return Prediction((probabilities.double() * meanings).sum(1), probabilities)
    if decoding == "median":
        reached = probabilities.double().cumsum(1) >= 0.5 - 1e-9
        chosen = reached.to(torch.uint8).argmax(1)
    elif decoding == "greedy":
        chosen = _greedy(steps, trie, len(answers))
    else:
        chosen = probabilities.argmax(1)
    return Prediction(meanings[chosen], probabilities)


def sum_steps(steps: torch.Tensor, trie: Trie, count: int) -> torch.Tensor:
    """(B, A) log-likelihood of each answer: the sum over its steps (B, S).

    Examples:
        >>> trie = Trie.grow([[5, 1], [5, 2], [6]])
        >>> sum_steps(torch.tensor([[-1.0, -2.0, -1.0, -3.0, -0.5]]), trie, 3).tolist()
        [[-3.0, -4.0, -0.5]]
    """
    answer = torch.tensor(trie.step_answers, device=steps.device)
    return torch.zeros(len(steps), count, device=steps.device).index_add_(1, answer, steps)


def _greedy(steps: torch.Tensor, trie: Trie, count: int) -> torch.Tensor:
    """(B,) the answer that is reached by taking the likeliest token that goes on, from the prompt's end on."""
    nodes = torch.tensor(trie.step_nodes, device=steps.device).expand(len(steps), -1)
    best = torch.full((len(steps), len(trie.tokens) + 1), -torch.inf, device=steps.device)
    best = best.scatter_reduce(1, nodes, steps, "amax")
    missed = (steps < best.gather(1, nodes)).to(steps.dtype)
    # Of an answer that is reached no step is missed; of answers that are equal the first is taken.
    return sum_steps(missed, trie, count).argmin(1)
