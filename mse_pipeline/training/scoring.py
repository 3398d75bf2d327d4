"""Scoring: the exact log-likelihood of every possible answer, in one pass where the backbone allows.

Decoding: from the probabilities of all answers to a prediction, without any text to parse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from mse_pipeline.adapter import TrainedModel
from mse_pipeline.backbones.answers import Answers, Trie, answer_values
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Regression, Task
from mse_pipeline.training.batches import ahead, batches_by_size
from mse_pipeline.training.examples import Batcher, Example
from mse_pipeline.training.generation import NOT_FINITE, costs_less, greedy_answers
from mse_pipeline.training.reading import Batch, Reading, answer_logits, head_scores, read
from mse_pipeline.training.states import PromptStates, bytes_per_token, goes_on, within_window

Decoding = Literal["greedy", "likeliest", "expected", "median"]
"""How a prediction is made of the answers' probabilities.

- ``greedy``: token after token the likeliest one that goes on to an answer, as the paper's generation does, which
  may also leave the answers.
- ``likeliest``: the answer whose tokens together are the likeliest.
- ``expected``: mean of the answers, weighted by their probabilities; for numbers.
- ``median``: the first answer with which half of the probability is reached; for numbers.
"""


_ROUNDING = 1e-5
"""What sums of float32 probabilities are off by at most: a hundred answers, each rounded to 6e-8 and a few of it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was answered.

    Attributes:
        values: (B,) class index, int64, or number, float64.
        probabilities: (B, A) float32 of each answer among all possible ones; (B, 0) where nobody asked for them.
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
        raise MseError(NOT_FINITE)
    steps = steps.float()
    probabilities = sum_steps(steps, trie, len(answers)).softmax(1)
    meanings = _meanings(answers.task).to(steps.device)
    if decoding == "expected":
        return Prediction((probabilities.double() * meanings).sum(1), probabilities)
    if decoding == "median":
        reached = probabilities.double().cumsum(1) >= 0.5 - _ROUNDING
        chosen = reached.to(torch.uint8).argmax(1)
    elif decoding == "greedy":
        chosen = _greedy(steps, trie, len(answers))
    else:
        chosen = probabilities.argmax(1)
    return Prediction(meanings[chosen], probabilities)


def _meanings(task: Task) -> torch.Tensor:
    """(A,) what the answers mean: class index, int64, or number, float64."""
    means = answer_values(task)
    return torch.tensor(means, dtype=torch.int64 if isinstance(means[0], int) else torch.float64)


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


TREE_FAMILIES = frozenset(
    {
        "llama",
        "qwen2",
        "qwen3",
        "gpt2",
        "gpt_neox",
        "gemma",
        "gemma2",
        "gemma3_text",
        "mistral",
        "glm",
        "phi3",
    }
)
"""Architectures whose attention is known to take any mask and any position ids."""
MOST_TOKENS = {"cpu": 1024}
"""Tokens, padding included, that an evaluation reads at once, by kind of device; else `MOST_TOKENS_ELSEWHERE`.

A processor is busy with a thousand, and smaller batches have less padding.
"""
MOST_TOKENS_ELSEWHERE = 16_384
MOST_KEPT = 1 << 28
"""Bytes of keys and values that it takes from kept states at once, 256 MiB."""
MOST_LOGITS = 1 << 26
"""Logits that it makes at once, 256 MiB of float32: all nodes of a tree times a large vocabulary are many."""
_NORMALISED = 1 << 22


def score_examples(
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    answers: Answers,
    *,
    batcher: Batcher,
    chosen: Sequence[Example],
    states: PromptStates | None = None,
    among_answers: bool = False,
) -> torch.Tensor:
    """What `score_steps` gives for any number of examples, (N, S) float32 on the CPU, in their order.

    They are read in batches of similar length, each as large as the memory allows, whatever training's batch size.

    Args:
        backbone: Frozen.
        adapter: In evaluation mode, for results without dropout.
        prompt: The fixed parts around a clip.
        answers: All possible answers.
        batcher: Makes batches of the examples.
        chosen: The examples.
        states: Of what stands before the pseudo tokens, see `read`.
        among_answers: As for `scored_steps`.

    Raises:
        UsageError: Prompt, text and answer are longer than the backbone can read.
    """
    steps = torch.zeros(len(chosen), len(answers.trie.step_nodes))
    nodes = len(answers.trie.tokens)
    places = _evaluated_at_once(backbone, adapter, prompt, batcher.lengths(chosen), states, nodes=nodes)
    batches = ahead(batcher.batch, ([chosen[place] for place in batch] for batch in places))
    for batch, made in zip(places, batches, strict=True):
        with torch.inference_mode():
            reading = read(backbone, adapter, prompt, made, states)
            steps[batch] = scored_steps(backbone, adapter, answers, reading, among_answers=among_answers).cpu()
    return steps


def predict_examples(
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    answers: Answers,
    *,
    batcher: Batcher,
    chosen: Sequence[Example],
    states: PromptStates | None = None,
    decoding: Decoding = "greedy",
    probabilities: bool = True,
) -> Prediction:
    """Predict any number of examples, in their order, on the CPU.

    Greedy answers alone are generated, where that costs less than reading the tree of all answers.

    Args:
        backbone: Frozen.
        adapter: In evaluation mode, for results without dropout.
        prompt: The fixed parts around a clip.
        answers: All possible answers.
        batcher: Makes batches of the examples.
        chosen: The examples.
        states: Of what stands before the pseudo tokens, see `read`.
        decoding: How a prediction is made of the answers' probabilities.
        probabilities: Whether these are asked for.

    Raises:
        UsageError: Prompt, text and answer are longer than the backbone can read, or the decoding is not for this task.
        MseError: A score is not a number.
    """
    wanted = probabilities or decoding != "greedy" or adapter.head is not None or not answers.trie.tokens
    lengths = batcher.lengths(chosen)
    places = _evaluated_at_once(backbone, adapter, prompt, lengths, states, nodes=0)
    if wanted or not _generates(backbone, adapter, prompt, answers, lengths, max(map(len, places), default=0)):
        steps = score_examples(
            backbone,
            adapter,
            prompt,
            answers,
            batcher=batcher,
            chosen=chosen,
            states=states,
            among_answers=True,
        )
        return decode(steps, answers, decoding)
    meanings = _meanings(answers.task)
    values = meanings.new_zeros(len(chosen))
    batches = ahead(batcher.batch, ([chosen[place] for place in batch] for batch in places))
    for batch, made in zip(places, batches, strict=True):
        with torch.inference_mode():
            reading = read(backbone, adapter, prompt, made, states)
            values[batch] = meanings[greedy_answers(backbone, reading, answers.ids)]
    return Prediction(values, torch.zeros(len(chosen), 0))


def _generates(  # noqa: PLR0917 - what reads, what is read
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    answers: Answers,
    lengths: Sequence[int],
    clips: int,
) -> bool:
    """Whether greedy answers, `clips` at once, are to be generated; `lengths` as for `_evaluated_at_once`."""
    # Each clip's tokens may be padded in front to those of another one.
    said = 2 * max(map(len, answers.ids))
    longest = len(prompt) + adapter.config.pseudo_tokens + max(lengths, default=0) + said
    return goes_on(backbone, longest) and costs_less(backbone, answers.ids, nodes=len(answers.trie.tokens), clips=clips)


def _evaluated_at_once(
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    lengths: Sequence[int],
    states: PromptStates | None,
    *,
    nodes: int,
) -> list[list[int]]:
    """Places of the examples of each batch, where a tree of so many nodes is read behind each.

    `lengths` are those of their texts and of the lines before these.
    """
    logits = (nodes + 1) * backbone.model.get_input_embeddings().weight.shape[0]
    most = MOST_TOKENS.get(backbone.device.type, MOST_TOKENS_ELSEWHERE)
    clips = max(1, MOST_LOGITS // logits)
    around = len(prompt) + adapter.config.pseudo_tokens + nodes
    if states is not None and not states.only_beginning and adapter.config.place != "before-text":
        # All but a few tokens of a clip are read already: what fills the memory are their keys and values.
        new = adapter.config.pseudo_tokens + nodes  # none, where a head reads what is kept
        new += len(prompt.after) if adapter.config.place == "behind-text" else 0
        clips = min(clips, max(1, most // max(1, new)))
        most = max(most, MOST_KEPT // bytes_per_token(backbone))
    return batches_by_size([around + length for length in lengths], most, clips)


def score_answers(
    backbone: Backbone, adapter: TrainedModel, prompt: Prompt, answers: Answers, batch: Batch
) -> torch.Tensor:
    """Log-likelihood of every answer to every clip, (B, A) float32: the sums of what `score_steps` gives."""
    return sum_steps(score_steps(backbone, adapter, prompt, answers, batch), answers.trie, len(answers))


@torch.no_grad()
def score_steps(  # noqa: PLR0917 - what reads, what is read
    backbone: Backbone,
    adapter: TrainedModel,
    prompt: Prompt,
    answers: Answers,
    batch: Batch,
    states: PromptStates | None = None,
) -> torch.Tensor:
    """Log-probability of each token of every answer; no text is generated, so there is none to parse.

    What answers share is read once: the tree of their tokens stands behind the prompt in one forward pass, where each
    token sees the prompt and the tokens on its own branch (tree attention). Answers of one token cost no more than
    the prompt. Architectures outside `TREE_FAMILIES` read branch after branch, with equal results.

    Args:
        backbone: Frozen.
        adapter: In evaluation mode, for results without dropout.
        prompt: The fixed parts around the clip.
        answers: All possible answers.
        batch: Clips, with or without targets.
        states: Of what stands before the pseudo tokens, see `read`.

    Returns:
        (B, S) float32 natural logarithms of the steps of ``answers.trie``, without gradient.

    Raises:
        ValueError: Adapter, backbone and batch do not fit together.
        UsageError: Prompt, text and answer are longer than the backbone can read.
    """
    return scored_steps(backbone, adapter, answers, read(backbone, adapter, prompt, batch, states))


def scored_steps(
    backbone: Backbone, adapter: TrainedModel, answers: Answers, reading: Reading, *, among_answers: bool = False
) -> torch.Tensor:
    """As `score_steps`, of what is read already, and with gradients where these are kept.

    Args:
        backbone: Frozen.
        adapter: In evaluation mode, for results without dropout.
        answers: All possible answers.
        reading: What is read before the answer.
        among_answers: Whether it is enough to compare answers: where each is one token, their probabilities sum to 1
            then, and the logits of all other tokens are not computed.
    """
    if adapter.head is not None:
        return head_scores(backbone, adapter, answers, reading)
    trie = answers.trie
    if among_answers and not trie.tokens:
        return answer_logits(backbone, reading, keep=1, tokens=trie.step_tokens)[:, 0].float().log_softmax(1)
    steps = torch.zeros(len(reading.mask), len(trie.step_nodes), device=reading.embeddings.device)
    in_one = bool(trie.tokens) and takes_trees(backbone, reading.mask.shape[1] + max(trie.depths))
    for nodes, logits in (_tree if in_one else _branches)(backbone, reading, trie):
        _fill_steps(steps, trie, nodes, logits)
    return steps


def takes_trees(backbone: Backbone, length: int) -> bool:
    """Whether the backbone's attention takes a mask of one's own over sequences of this length.

    Such a mask replaces the model's, so it must not undo a sliding window that the sequence outgrows.
    """
    config = backbone.model.config.get_text_config()
    return (
        backbone.family in TREE_FAMILIES
        and config._attn_implementation in {"eager", "sdpa"}
        and within_window(backbone, length)
    )


def _tree(backbone: Backbone, reading: Reading, trie: Trie) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
    """All nodes behind the prompt at once: yields the nodes and their logits (B, nodes, vocabulary)."""
    nodes, device = len(trie.tokens), reading.embeddings.device
    tokens = torch.tensor(trie.tokens, device=device).expand(len(reading.mask), -1)
    line = torch.zeros(nodes, nodes, dtype=torch.bool, device=device)
    for node in range(1, nodes + 1):
        line[node - 1, torch.tensor(trie.line(node), device=device) - 1] = True
    lengths = reading.mask.sum(1, keepdim=True)
    positions = torch.cat(
        [reading.positions(), lengths - 1 + torch.tensor(trie.depths, device=device)],
        dim=1,
    )
    logits = answer_logits(
        backbone,
        reading.then(backbone, tokens),
        keep=nodes + 1,
        positions=positions,
        attention=_tree_attention(reading.mask, line, backbone.dtype)[:, :, reading.known :],
    )
    yield tuple(range(nodes + 1)), logits


def _tree_attention(mask: torch.Tensor, line: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, 1, P + N, P + N), added to attention scores: 0 where a row sees a column, else the lowest number."""
    clips, prompt = mask.shape
    length = prompt + len(line)
    seen = torch.zeros(clips, length, length, dtype=torch.bool, device=mask.device)
    seen[:, :, :prompt] = mask.unsqueeze(1)
    seen[:, :prompt] &= torch.ones(prompt, length, dtype=torch.bool, device=mask.device).tril()
    seen[:, prompt:, prompt:] = line
    # Padding rows see themselves: a row that saw nothing would be not-a-number in some kernels.
    seen |= torch.eye(length, dtype=torch.bool, device=mask.device)
    blocked = torch.zeros(seen.shape, dtype=dtype, device=mask.device)
    return blocked.masked_fill_(~seen, torch.finfo(dtype).min).unsqueeze(1)


def _branches(backbone: Backbone, reading: Reading, trie: Trie) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
    """One pass a branch: yields the nodes that are new on it and their logits."""
    inner = set(trie.parents)
    known: set[int] = set()
    for end in [node for node in range(1, len(trie.tokens) + 1) if node not in inner] or [0]:
        line = (0, *trie.line(end))
        tokens = torch.tensor(
            [trie.tokens[node - 1] for node in line[1:]], dtype=torch.int64, device=reading.embeddings.device
        ).expand(len(reading.mask), -1)
        # A cache of keys and values grows with what is read behind it: each branch reads one of its own.
        fresh = replace(reading, past=_fresh(reading.past))
        logits = answer_logits(backbone, fresh.then(backbone, tokens), keep=len(line))
        new = [place for place, node in enumerate(line) if node not in known]
        known.update(line)
        yield tuple(line[place] for place in new), logits[:, new]


def _fresh(past: Any) -> Any:
    """A cache of its own with the same keys and values, whose gradient goes on to where they were made."""
    from transformers import DynamicCache

    if past is None:
        return None
    made = DynamicCache()
    for layer, kept in enumerate(past.layers):
        made.update(kept.keys, kept.values, layer)
    return made


def _fill_steps(steps: torch.Tensor, trie: Trie, nodes: tuple[int, ...], logits: torch.Tensor) -> None:
    """Write into `steps` (B, S) the log-probabilities of all steps that `nodes` predict."""
    places = {node: place for place, node in enumerate(nodes)}
    own = [step for step, node in enumerate(trie.step_nodes) if node in places]
    at = torch.tensor([places[trie.step_nodes[step]] for step in own], device=steps.device)
    token = torch.tensor([trie.step_tokens[step] for step in own], device=steps.device)
    # A few clips at a time: normalising makes copies of all logits, and in float32.
    rows = max(1, _NORMALISED // logits[0].numel())
    for begin in range(0, len(logits), rows):
        part = logits[begin : begin + rows].float()
        steps[begin : begin + rows, own] = part[:, at, token] - part.logsumexp(2)[:, at]
