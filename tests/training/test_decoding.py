"""What is predicted of planted probabilities, and that nothing can fail to parse."""

import numpy as np
import pytest
import torch

from mse_pipeline.backbones.answers import Answers
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training.scoring import decode, score_answers, score_steps, sum_steps
from tests.small_models import byte_tokenizer, small_backbone
from tests.training.test_objective import around, make_batch, small_adapter

NUMBERS = Regression(-0.2, 0.2)  # "-0.2", "-0.1", "0.0", "0.1", "0.2", a byte a token


@pytest.fixture(scope="module")
def answers():
    return Answers(NUMBERS, byte_tokenizer(), "llama")


def planted(answers, likelihoods):
    """Steps under which the answers have these probabilities, whatever way leads to them."""
    trie = answers.trie
    steps = torch.zeros(1, len(trie.step_nodes), dtype=torch.float64)
    total = dict.fromkeys(range(len(trie.tokens) + 1), 0.0)
    share = {}
    for answer, node, token in zip(trie.step_answers, trie.step_nodes, trie.step_tokens, strict=True):
        total[node] += likelihoods[answer]
        share[node, token] = share.get((node, token), 0.0) + likelihoods[answer]
    for place, (node, token) in enumerate(zip(trie.step_nodes, trie.step_tokens, strict=True)):
        steps[0, place] = float(torch.tensor(share[node, token] / total[node], dtype=torch.float64).log())
    return steps


@pytest.mark.parametrize(
    ("likelihoods", "decoding", "expected"),
    [
        # -0.2  -0.1   0.0   0.1   0.2
        ((0.10, 0.20, 0.40, 0.20, 0.10), "likeliest", 0.0),
        ((0.10, 0.20, 0.40, 0.20, 0.10), "median", 0.0),
        ((0.10, 0.20, 0.40, 0.20, 0.10), "expected", 0.0),
        ((0.30, 0.29, 0.01, 0.02, 0.38), "likeliest", 0.2),
        ((0.30, 0.29, 0.01, 0.02, 0.38), "greedy", -0.2),  # "-" has 0.59 and leads there
        ((0.30, 0.29, 0.01, 0.02, 0.38), "median", -0.1),
        ((0.30, 0.29, 0.01, 0.02, 0.38), "expected", -0.2 * 0.30 - 0.1 * 0.29 + 0.1 * 0.02 + 0.2 * 0.38),
    ],
)
def test_planted_probabilities_give_the_known_answer(answers, likelihoods, decoding, expected):
    prediction = decode(planted(answers, likelihoods), answers, decoding)
    assert prediction.values.tolist() == pytest.approx([expected], abs=1e-6)
    assert prediction.probabilities[0].tolist() == pytest.approx(likelihoods, abs=1e-6)


def test_greedy_takes_the_likeliest_token_that_goes_on_at_every_step(answers):
    torch.manual_seed(0)
    trie = answers.trie
    for _ in range(50):
        by_edge = {}
        steps = torch.zeros(1, len(trie.step_nodes))
        for place, edge in enumerate(zip(trie.step_nodes, trie.step_tokens, strict=True)):
            steps[0, place] = by_edge.setdefault(edge, torch.randn(()).item())
        path, node_of = [], {(): 0}
        for ids in answers.ids:
            for end in range(1, len(ids)):
                node_of.setdefault(ids[:end], len(node_of))
        while tuple(path) not in answers.ids:
            follow = {ids[len(path)] for ids in answers.ids if ids[: len(path)] == tuple(path)}
            path.append(max(follow, key=lambda token: by_edge[node_of[tuple(path)], token]))
        assert decode(steps, answers).values.item() == answers.value(answers.ids.index(tuple(path)))


def test_classes_of_one_token_are_the_same_greedy_or_likeliest():
    answers = Answers(Classification(("a", "b", "c")), byte_tokenizer(), "llama")
    steps = torch.tensor([[-1.0, -2.0, -3.0], [-9.0, -8.0, -1.0]])
    for decoding in ("greedy", "likeliest"):
        prediction = decode(steps, answers, decoding)
        assert prediction.values.tolist() == [0, 2]
        torch.testing.assert_close(prediction.probabilities, steps.softmax(1))


def test_the_steps_of_an_answer_sum_to_its_likelihood():
    backbone = small_backbone()
    prompt, answers = around(backbone, NUMBERS)
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    steps = score_steps(backbone, adapter, prompt, answers, batch)
    torch.testing.assert_close(
        sum_steps(steps, answers.trie, len(answers)), score_answers(backbone, adapter, prompt, answers, batch)
    )
    assert set(decode(steps, answers).values.tolist()) <= {-0.2, -0.1, 0.0, 0.1, 0.2}


def test_a_mean_of_classes_is_refused():
    answers = Answers(Classification(("a", "b", "c")), byte_tokenizer(), "llama")
    with pytest.raises(UsageError, match="expected is for numbers"):
        decode(torch.zeros(1, 3), answers, "expected")


def test_scores_that_are_no_numbers_are_refused(answers):
    steps = torch.zeros(1, len(answers.trie.step_nodes))
    steps[0, 1] = float("nan")
    with pytest.raises(MseError, match="not finite"):
        decode(steps, answers)


def test_scores_of_another_task_are_refused(answers):
    with pytest.raises(ValueError, match="5 answers of"):
        decode(torch.zeros(2, 3), answers)


@pytest.mark.parametrize(
    ("likelihoods", "median"),
    [
        # -0.2  -0.1   0.0   0.1   0.2
        ((0.20, 0.30, 0.10, 0.20, 0.20), -0.1),
        ((0.50, 0.05, 0.15, 0.20, 0.10), -0.2),
        ((0.10, 0.10, 0.30, 0.30, 0.20), 0.0),
        ((0.05, 0.15, 0.10, 0.20, 0.50), 0.1),
        ((0.07, 0.13, 0.17, 0.13, 0.50), 0.1),
        ((0.125, 0.125, 0.25, 0.25, 0.25), 0.0),
        ((0.1, 0.3999, 0.2, 0.2, 0.1001), 0.0),  # less than half is no tie
        ((0.1, 0.4001, 0.2, 0.2, 0.0999), -0.1),
    ],
)
@pytest.mark.parametrize("shift", [0.0, -3.3, -40.7])
def test_where_half_is_reached_exactly_the_median_is_that_answer(likelihoods, median, shift):
    answers = Answers(NUMBERS, byte_tokenizer(), "llama")
    steps = planted(answers, likelihoods)
    # What the scores of all answers have in common says nothing, but it takes digits of float32.
    last = [answers.trie.step_answers.index(answer) for answer in range(len(answers))]
    steps[0, last] += shift
    assert decode(steps.float(), answers, "median").values.tolist() == pytest.approx([median])


def test_ties_in_the_middle_of_many_answers_fall_to_the_first():
    answers = Answers(Regression(-3.0, 3.0), byte_tokenizer(), "llama")
    random = np.random.default_rng(0)
    for _ in range(50):
        place = int(random.integers(1, len(answers) - 1))
        lower, upper = random.random(place + 1) + 0.01, random.random(len(answers) - place - 1) + 0.01
        likelihoods = np.r_[lower / lower.sum() / 2, upper / upper.sum() / 2].tolist()
        steps = planted(answers, likelihoods).float()
        assert decode(steps, answers, "median").values.item() == answers.value(place)
