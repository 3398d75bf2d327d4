"""The objective of training: cross entropy on the right answer's tokens, or on the head's answers.

Where annotators' votes are learned, on all answers by their shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch.nn import functional

from mse_pipeline.adapter import TrainedModel
from mse_pipeline.backbones.answers import Answers, Trie
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Task
from mse_pipeline.training.reading import Batch, answer_logits, head_scores, read
from mse_pipeline.training.scoring import scored_steps, sum_steps
from mse_pipeline.training.states import PromptStates

NO_TARGET = -100
"""Label of positions that the loss passes over."""


def answer_loss(  # noqa: PLR0917 - what reads, what is read
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    answers: Answers,
    batch: Batch,
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
    states: PromptStates | None = None,
) -> torch.Tensor:
    """Mean over the clips of each clip's loss, the mean cross entropy of its right answer's tokens.

    Every clip counts alike however many tokens its answer has, so the loss of a batch is the mean of its parts'
    losses by their numbers of clips: in whatever parts and on however many devices it is computed. Where all answers
    have as many tokens, it is the mean over all tokens (arXiv 2502.12478).

    Args:
        backbone: Frozen; its parameters get no gradient.
        adapter: What is trained.
        prompt: The fixed parts around the clip.
        answers: All possible answers.
        batch: Clips with targets; their distributions, where they have these, are what is learned, see
            `distribution_loss`.
        weights: (A,) what each answer's clips count, as `balanced_weights` gives; None for all alike.
        smoothing: Share of the target that all possible answers have alike, see `smoothed_targets`.
        states: Of what stands before the pseudo tokens, see `read`.

    Returns:
        The loss, a float32 scalar.

    Raises:
        ValueError: The batch has no targets.
        UsageError: Prompt, text and answer are longer than the backbone can read.
    """
    if batch.targets is None:
        raise ValueError("The loss needs targets, but the batch has none.")
    reading = read(backbone, adapter, prompt, batch, states)
    if batch.distributions is not None:
        likelihoods = sum_steps(scored_steps(backbone, adapter, answers, reading), answers.trie, len(answers))
        shares = batch.distributions.to(likelihoods.device)
        return distribution_loss(likelihoods, shares, [len(ids) for ids in answers.ids], weights, smoothing)
    targets = batch.targets.to(reading.embeddings.device)
    if adapter.head is not None:
        return scores_loss(head_scores(backbone, adapter, answers, reading), targets, weights, smoothing)
    right = [answers.ids[index] for index in batch.targets.tolist()]
    longest = max(map(len, right))
    labels = torch.tensor(
        [[*ids, *[NO_TARGET] * (longest - len(ids))] for ids in right], device=reading.embeddings.device
    )
    # The last token of the longest answer is predicted, never read.
    inputs = labels[:, :-1]
    present = inputs != NO_TARGET
    whole = reading.then(backbone, inputs.masked_fill(~present, 0), present) if longest > 1 else reading
    logits = answer_logits(backbone, whole, keep=longest)
    if smoothing:
        tokens = _smoothed_cross_entropy(logits.float(), answers, batch.targets.tolist(), smoothing)
    else:
        tokens = functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=NO_TARGET, reduction="none"
        ).unflatten(0, labels.shape)
    clips = tokens.sum(1) / (labels != NO_TARGET).sum(1)
    return _weighed(clips, targets, weights)


def scores_loss(
    scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """Mean over the clips of the cross entropy of the right answer, by log-probabilities (B, A) of all answers."""
    clips = functional.nll_loss(scores, targets, reduction="none")
    if smoothing:
        clips = (1 - smoothing) * clips - smoothing * scores.mean(1)
    return _weighed(clips, targets, weights)


def distribution_loss(
    likelihoods: torch.Tensor,
    shares: torch.Tensor,
    lengths: Sequence[int],
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean over the clips of the cross entropy to each one's distribution, -sum_c p_c log q_c.

    A clip counts as a share of a clip of each class: so do class weights, with w_c p_c in the place of p_c, and
    smoothing, with which all answers have a part of the clip's target alike. A clip with one class alone has the loss
    that its label has. Answers of several tokens are divided by the tokens of the distribution's answers in the mean,
    as those of labels are by the right answer's.

    Args:
        likelihoods: (B, A) log q, log-likelihood of each answer.
        shares: (B, A) p, each row of the sum 1.
        lengths: Tokens of each answer; 1 where a head answers.
        weights: (A,) as for `answer_loss`.
        smoothing: From 0 to 1.

    Examples:
        >>> uneven, even = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]])
        >>> round(distribution_loss(uneven, even, [1, 1]).item(), 4)  # -(log 0.8 + log 0.2) / 2
        0.9163
    """
    parts = shares if weights is None else shares * weights.to(shares.device)
    if smoothing:
        parts = (1 - smoothing) * parts + smoothing * parts.mean(1, keepdim=True)
    tokens = shares @ torch.tensor(lengths, dtype=shares.dtype, device=shares.device)
    return (-(parts * likelihoods).sum(1) / tokens).mean()


def _weighed(clips: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean of the clips' losses (B,), each by what the clips of its answer count."""
    return (clips if weights is None else clips * weights.to(clips.device)[targets]).mean()


def _smoothed_cross_entropy(
    logits: torch.Tensor, answers: Answers, targets: Sequence[int], smoothing: float
) -> torch.Tensor:
    """(B, L) cross entropy of each token's smoothed target; 0 behind an answer's end. `logits`: (B, L, vocabulary)."""
    rows = [smoothed_targets(answers.trie, target, smoothing) for target in targets]
    shape = (len(rows), logits.shape[1], max(len(step) for row in rows for step in row))
    tokens, shares = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
    for place, row in enumerate(rows):
        for position, step in enumerate(row):
            tokens[place, position, : len(step)] = torch.tensor([token for token, _ in step])
            shares[place, position, : len(step)] = torch.tensor([share for _, share in step])
    tokens, shares = tokens.to(logits.device), shares.to(logits.device)
    surprise = logits.logsumexp(2, keepdim=True) - logits.gather(2, tokens)
    return (shares * surprise).sum(2)


@lru_cache(maxsize=1024)
def smoothed_targets(trie: Trie, right: int, smoothing: float) -> tuple[tuple[tuple[int, float], ...], ...]:
    """What is to be predicted at each token of the right answer, where all answers have a share of the target.

    Over whole answers, the target is that of label smoothing (Szegedy et al. 2016): the right one, and beside it all
    alike with `smoothing` together. At each token it is what this says of the next token, given those before: of the
    tokens that go on to an answer, each by the answers behind it. Tokens that no answer has there have none, and where
    answers do not differ, the target is the right token alone. Of answers of one token this is label smoothing itself.

    Args:
        trie: The tree of the answers' tokens.
        right: Index of the right answer.
        smoothing: From 0 to 1.

    Returns:
        For each token of the right answer, tokens with their shares, which sum to 1.

    Examples:
        >>> trie = Trie.grow([[5, 1], [5, 2], [6]])
        >>> for step in smoothed_targets(trie, 0, 0.3):
        ...     print({token: round(share, 3) for token, share in step})
        {5: 0.9, 6: 0.1}
        {1: 0.889, 2: 0.111}
    """
    every = smoothing / len(set(trie.step_answers))
    behind: dict[int, Counter[int]] = {}
    for node, token in zip(trie.step_nodes, trie.step_tokens, strict=True):
        behind.setdefault(node, Counter())[token] += 1
    targets = []
    for answer, node, right_token in zip(trie.step_answers, trie.step_nodes, trie.step_tokens, strict=True):
        if answer == right:
            shares = {token: count * every for token, count in behind[node].items()}
            shares[right_token] += 1 - smoothing
            whole = sum(shares.values())
            targets.append(tuple((token, share / whole) for token, share in shares.items()))
    return tuple(targets)


def class_weights(
    kind: Literal["none", "balanced"],
    task: Task,
    targets: Sequence[int],
    distributions: Sequence[Sequence[float]] = (),
) -> torch.Tensor | None:
    """What the clips of each class count in the loss; None for all alike.

    Args:
        kind: ``none``, or ``balanced``: all classes together count alike.
        task: What is predicted.
        targets: Class indices of the train split's clips, as far as their labels are learned.
        distributions: Shares of the classes of the others.

    Raises:
        UsageError: The task is to predict a number.
    """
    if kind == "none":
        return None
    if not isinstance(task, Classification):
        raise UsageError(
            "training.class_weights is for classes, and this task is to predict a number: set it to none, or leave it "
            "out."
        )
    return balanced_weights(targets, len(task.classes), distributions)


def balanced_weights(
    targets: Sequence[int], classes: int, distributions: Sequence[Sequence[float]] = ()
) -> torch.Tensor:
    """Weights (classes,) float32 in inverse proportion to the classes' counts, 1 in the mean over all clips.

    n / (classes that occur * count), the "balanced" heuristic (King and Zeng 2001). A class without any clip has 1. A
    clip with a distribution counts by its share for each class.

    Examples:
        >>> balanced_weights([0, 0, 0, 1], 3).tolist()
        [0.6666666865348816, 2.0, 1.0]
        >>> balanced_weights([0, 0], 2, [[0.5, 0.5], [0.5, 0.5]]).tolist()
        [0.6666666865348816, 2.0]
    """
    counted = Counter(targets)
    counts = [counted[index] + sum(row[index] for row in distributions) for index in range(classes)]
    clips, occurring = len(targets) + len(distributions), sum(count > 0 for count in counts)
    weights = [clips / (occurring * count) if count else 1.0 for count in counts]
    return torch.tensor(weights, dtype=torch.float32)
