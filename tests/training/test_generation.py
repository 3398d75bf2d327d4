"""Greedy answers that are generated: those of the tree, of fewer tokens."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline.backbones.answers import Answers
from mse_pipeline.errors import MseError
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training import generation, scoring
from mse_pipeline.training.examples import Batcher, Example, Texts
from mse_pipeline.training.generation import continuations, costs_less, greedy_answers
from mse_pipeline.training.reading import read
from mse_pipeline.training.scoring import decode, predict_examples, score_examples, score_steps
from mse_pipeline.training.states import CACHE_FAMILIES, PromptStates, goes_on
from tests.closeness import assert_close
from tests.small_models import ARCHITECTURES, byte_tokenizer, small_backbone
from tests.training.test_objective import TEXTS, around, context, make_batch, on_the_left, small_adapter

NUMBERS = Regression(-1.5, 1.5)
INDICES = Classification(tuple("abcdefghijkl"))  # "00" to "11"
WORDS = Classification(("happy", "hate", "sad", "surprise"))


def answers_of(backbone, task):
    prompt, answers = around(backbone, task)
    if task is WORDS:
        answers = Answers(task, backbone.tokenizer, backbone.family, label_words=True)
    return prompt, answers


def examples_and_batcher(backbone):
    chosen = [Example(str(place), text, "", 0) for place, text in enumerate((*TEXTS, "and then we go there again"))]
    return chosen, Batcher(Texts(backbone), {}, {})


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) & CACHE_FAMILIES))
def test_generated_answers_are_those_of_the_tree(architecture):
    backbone = small_backbone(architecture, tokenizer=byte_tokenizer())
    adapter, plain, said = small_adapter(backbone, 200), make_batch(backbone), set()
    for task in (NUMBERS, INDICES, WORDS):
        prompt, answers = answers_of(backbone, task)
        for batch in (plain, on_the_left(context(plain))):
            expected = decode(score_steps(backbone, adapter, prompt, answers, batch), answers).values.tolist()
            said.update((task, value) for value in expected)
            for states in (None, PromptStates(backbone), PromptStates(backbone, only_beginning=True)):
                with torch.inference_mode():
                    found = greedy_answers(backbone, read(backbone, adapter, prompt, batch, states), answers.ids)
                assert [answers.value(index) for index in found] == expected
    assert len(said) > 3  # not one answer to each task


def test_only_what_is_to_be_chosen_takes_a_pass_and_only_possible_tokens_a_logit(monkeypatch):
    backbone = small_backbone()
    prompt, answers = around(backbone, NUMBERS)
    passes, run = [], generation.answer_logits

    def counted(backbone, reading, *, keep, tokens):
        passes.append((reading.embeddings.shape[1], len(tokens)))
        return run(backbone, reading, keep=keep, tokens=tokens)

    monkeypatch.setattr(generation, "answer_logits", counted)
    reading = read(backbone, small_adapter(backbone), prompt, make_batch(backbone))
    with torch.inference_mode():
        greedy_answers(backbone, reading, answers.ids)
    # "-", "0" or "1"; then "0" or "1" behind "-", or a digit behind the point, which is read with the one before it.
    assert passes[0] == (reading.embeddings.shape[1], 3)
    assert len(passes) in {2, 3}
    assert all(read_now <= 2 and logits <= 12 for read_now, logits in passes[1:])


def test_the_room_of_a_sliding_window_is_not_outgrown():
    backbone = small_backbone("mistral", sliding_window=20)
    assert goes_on(backbone, 20)
    assert not goes_on(backbone, 21)
    assert not goes_on(small_backbone("bloom"), 1)


@pytest.mark.parametrize("architecture", ["mistral", "gemma3_text"])
@pytest.mark.parametrize("only_beginning", [True, False])
def test_padding_behind_kept_states_does_not_move_a_sliding_window(architecture, only_beginning):
    backbone = small_backbone(architecture, sliding_window=16, attention="eager")
    prompt, answers = around(backbone, NUMBERS)
    adapter, batch = small_adapter(backbone), context(make_batch(backbone))
    states = PromptStates(backbone, only_beginning=only_beginning)
    expected = score_steps(backbone, adapter, prompt, answers, batch)
    assert_close(score_steps(backbone, adapter, prompt, answers, batch, states), expected, 1e-4)


@pytest.mark.parametrize("cheap", [True, False])
@pytest.mark.parametrize("task", [NUMBERS, INDICES, Classification(("a", "b", "c"))], ids=["numbers", "two", "one"])
def test_predictions_are_the_same_with_and_without_probabilities(task, cheap, monkeypatch):
    backbone = small_backbone("llama")
    prompt, answers = around(backbone, task)
    adapter = small_adapter(backbone, acoustic_dim=None, visual_dim=None)
    chosen, batcher = examples_and_batcher(backbone)
    monkeypatch.setattr(scoring, "costs_less", lambda *_, **__: cheap)
    whole = decode(
        score_examples(backbone, adapter, prompt, answers, batcher=batcher, chosen=chosen), answers, "greedy"
    )
    for probabilities in (True, False):
        found = predict_examples(
            backbone, adapter, prompt, answers, batcher=batcher, chosen=chosen, probabilities=probabilities
        )
        assert found.values.dtype == whole.values.dtype
        assert torch.equal(found.values, whole.values)
        if found.probabilities.shape[1]:
            assert_close(found.probabilities, whole.probabilities, 1e-5)
        else:
            assert not probabilities


def test_generating_costs_less_where_many_clips_have_many_answers():
    numbers, indices = ((around(small_backbone(), task)[1]) for task in (NUMBERS, INDICES))
    backbone = small_backbone(num_hidden_layers=6)
    few, many = ({"nodes": len(one.trie.tokens), "clips": 32} for one in (indices, numbers))
    assert continuations(indices.ids).passes == (1,)
    assert costs_less(backbone, numbers.ids, **many)
    assert not costs_less(backbone, numbers.ids, **{**many, "clips": 1})
    assert costs_less(backbone, indices.ids, **few)


def test_logits_that_are_no_numbers_are_refused():
    backbone = small_backbone()
    with torch.no_grad():
        backbone.model.model.norm.weight.fill_(float("nan"))
    prompt, answers = around(backbone, NUMBERS)
    reading = read(backbone, small_adapter(backbone), prompt, make_batch(backbone))
    with pytest.raises(MseError, match="not finite"), torch.inference_mode():
        greedy_answers(backbone, reading, answers.ids)


def test_behind_kept_texts_more_clips_are_read_at_once(monkeypatch):
    backbone = small_backbone()
    prompt, _ = around(backbone, NUMBERS)
    adapter = small_adapter(backbone, place="before-answer")
    monkeypatch.setitem(scoring.MOST_TOKENS, "cpu", 2 * len(prompt))
    counts = [
        max(map(len, scoring._evaluated_at_once(backbone, adapter, prompt, [0] * 9, states, nodes=0)))
        for states in (None, PromptStates(backbone, only_beginning=True), PromptStates(backbone))
    ]
    assert counts == [1, 1, 9]
    monkeypatch.setattr(scoring, "MOST_KEPT", 1)
    assert len(scoring._evaluated_at_once(backbone, adapter, prompt, [0] * 9, PromptStates(backbone), nodes=0)) == 9
