"""Answers by a head, pseudo tokens in other places, and states of the backbone that are kept over the epochs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.adapter.config import PLACES
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training import states as states_module
from mse_pipeline.training.job import embedding_size
from mse_pipeline.training.objective import answer_loss, balanced_weights
from mse_pipeline.training.reading import answer_logits, answer_states, head_scores, read
from mse_pipeline.training.scoring import decode, score_steps
from mse_pipeline.training.states import CACHE_FAMILIES, PromptStates, bytes_per_token, kept_bytes
from tests.closeness import assert_close
from tests.small_models import ARCHITECTURES, byte_tokenizer, small_backbone
from tests.training.test_objective import around, make_batch, one

CLASSES = Classification(("neutral", "joy", "anger"))
NUMBERS = Regression(-1.5, 1.5)


def parts(backbone, task=CLASSES, *, head=True, **changes):
    """Adapter, prompt and answers that belong together."""
    prompt, spelled = around(backbone, task)
    answers = Answers(task, backbone.tokenizer, backbone.family, head=True) if head else spelled
    torch.manual_seed(3)
    sizes = {"hidden_size": backbone.hidden_size, "acoustic_dim": 5, "visual_dim": 3, "pseudo_tokens": 2}
    outputs = answers.head_outputs if head else None
    return build(AdapterConfig(**{**sizes, "pseudo_size": 1.0, "head": outputs, **changes})).eval(), prompt, answers


def gradient(adapter):
    return torch.cat([weight.grad.flatten() for weight in adapter.parameters() if weight.grad is not None])


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) & CACHE_FAMILIES))
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("head", [True, False, "residual"])
def test_kept_states_change_neither_loss_nor_gradient_nor_score(architecture, place, head):
    backbone = small_backbone(architecture)
    for task in (CLASSES, NUMBERS):
        adapter, prompt, answers = parts(backbone, task, head=bool(head), place=place, residual=head == "residual")
        states, batch, seen = PromptStates(backbone), make_batch(backbone), []
        for kept in (None, states, states):
            adapter.zero_grad()
            loss = answer_loss(backbone, adapter, prompt, answers, batch, states=kept)
            loss.backward()
            scores = score_steps(backbone, adapter, prompt, answers, batch, kept)
            seen.append((loss, gradient(adapter), scores))
        for found in seen[1:]:
            for value, expected in zip(found, seen[0], strict=True):
                assert_close(value, expected, 1e-4)


ALONE = {"pseudo_tokens": 0, "place": "before-answer", "residual": True}


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) & CACHE_FAMILIES))
@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_without_pseudo_tokens_a_head_reads_what_the_backbone_makes_of_the_text_alone(architecture, task):
    backbone = small_backbone(architecture)
    adapter, prompt, answers = parts(backbone, task, **ALONE)
    batch, calls = make_batch(backbone), []
    states = PromptStates(backbone, go_on=False)
    plain = score_steps(backbone, adapter, prompt, answers, batch)
    read_once = score_steps(backbone, adapter, prompt, answers, batch, states)
    backbone.model.base_model.register_forward_pre_hook(lambda module, given: calls.append(1))
    again = score_steps(backbone, adapter, prompt, answers, batch, states)
    assert_close(read_once, plain, 1e-4)
    assert torch.equal(again, read_once)
    assert not calls
    assert states.of([(1, 2)]).past is None
    answer_loss(backbone, adapter, prompt, answers, batch, states=states).backward()
    assert all(weight.grad is not None for weight in adapter.parameters())
    changed = replace(batch, acoustic=batch.acoustic + 1)
    assert not torch.allclose(score_steps(backbone, adapter, prompt, answers, changed, states), plain)


@pytest.mark.parametrize("changed", [{"head": None}, {"residual": False}, {"place": "before-text"}])
def test_without_pseudo_tokens_something_must_read_the_modalities(changed):
    sizes = {"hidden_size": 64, "acoustic_dim": 5, "visual_dim": 3, "head": 3}
    with pytest.raises(UsageError, match=r"answer: head.*pseudo_tokens to 1 or more"):
        build(AdapterConfig(**{**sizes, **ALONE, **changed}))


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_members_learn_as_each_would_alone_and_answer_by_their_mean_probability(task, smoothing):
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone, task, **ALONE, members=3)
    batch, states = make_batch(backbone), PromptStates(backbone, go_on=False)
    alone = build(replace(adapter.config, members=1))
    own = {name: weight for name, weight in adapter.state_dict().items() if not name.startswith("fellows.")}
    losses, gradients, scores = [], [], []
    for weights in (own, *(fellow.state_dict() for fellow in adapter.fellows)):
        alone.load_state_dict(weights)
        alone.zero_grad()
        loss = answer_loss(backbone, alone.train(), prompt, answers, batch, smoothing=smoothing, states=states)
        loss.backward()
        losses.append(loss.detach()), gradients.append(gradient(alone) / 3)
        scores.append(score_steps(backbone, alone.eval(), prompt, answers, batch, states))
    loss = answer_loss(backbone, adapter.train(), prompt, answers, batch, smoothing=smoothing, states=states)
    loss.backward()
    assert_close(loss, torch.stack(losses).mean(), 1e-6)
    assert_close(gradient(adapter).sort().values, torch.cat(gradients).sort().values, 1e-6)
    found = score_steps(backbone, adapter.eval(), prompt, answers, batch, states)
    assert_close(found.exp(), torch.stack(scores).exp().mean(0), 1e-6)
    assert not torch.allclose(scores[0], scores[1])


@pytest.mark.parametrize("architecture", ["gemma3_text", "gemma2", "mistral"])
@pytest.mark.parametrize("head", [True, False])
def test_kept_states_hold_where_a_prompt_outgrows_the_sliding_window(architecture, head):
    backbone = small_backbone(architecture, sliding_window=8)
    adapter, prompt, answers = parts(backbone, head=head, place="before-answer", residual=head)
    batch = make_batch(backbone)
    assert len(prompt) > 16
    plain, kept = (
        score_steps(backbone, adapter, prompt, answers, batch, states) for states in (None, PromptStates(backbone))
    )
    assert_close(kept, plain, 1e-4)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_branches_behind_kept_states_score_as_a_tree_does(architecture):
    backbone = small_backbone(architecture, attention="eager")
    adapter, prompt, answers = parts(backbone, NUMBERS, head=False, place="before-answer")
    batch = make_batch(backbone)
    expected = score_steps(backbone, adapter, prompt, answers, batch)
    backbone.model.config._attn_implementation = "sdpa" if architecture == "gpt_neox" else "eager"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mse_pipeline.training.scoring.TREE_FAMILIES", frozenset())
        found = score_steps(backbone, adapter, prompt, answers, batch, PromptStates(backbone))
    assert_close(found, expected, 1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_pseudo_tokens_stand_where_they_are_told(place):
    backbone = small_backbone()
    adapter, prompt, _ = parts(backbone, place=place)
    clip = one(make_batch(backbone), 1)
    embeddings = read(backbone, adapter, prompt, clip).embeddings[0]
    pseudo = adapter(
        clip.acoustic,
        clip.acoustic_lengths,
        clip.visual,
        clip.visual_lengths,
        backbone.embed(clip.text_ids),
        clip.text_mask,
    )[0]
    begin = {
        "before-text": len(prompt.before),
        "behind-text": len(prompt.before) + clip.text_ids.shape[1],
        "before-answer": len(prompt) + clip.text_ids.shape[1],
    }[place]
    assert torch.equal(embeddings[begin : begin + 2], pseudo)
    around_them = torch.cat([embeddings[:begin], embeddings[begin + 2 :]])
    ids = [*prompt.before, *clip.text_ids[0].tolist(), *prompt.after]
    assert torch.equal(around_them, backbone.embed(torch.tensor(ids)))


def test_states_are_computed_once_a_text_and_do_not_depend_on_the_batch():
    backbone = small_backbone()
    calls = []
    backbone.model.base_model.register_forward_pre_hook(lambda module, given: calls.append(1))
    states = PromptStates(backbone)
    together = states.of([(1, 2, 3), (4, 5)])
    assert len(calls) == 2
    alone = states.of([(4, 5)])
    assert len(calls) == 2
    assert together.mask.tolist() == [[True, True, True], [False, True, True]]
    assert torch.equal(together.ends[1:], alone.ends)
    for whole, own in zip(together.past.layers, alone.past.layers, strict=True):
        assert torch.equal(whole.keys[1:, :, 1:], own.keys)
        assert torch.equal(whole.values[1:, :, 1:], own.values)


def test_expected_sequences_of_one_length_are_computed_together_whoever_asks_first():
    backbone = small_backbone()
    calls = []
    backbone.model.base_model.register_forward_pre_hook(lambda module, given: calls.append(1))
    expected = [(1, 2, 3), (4, 5), (3, 2, 1), (6, 5), (4, 5), (1,)]
    first, second, alone = (PromptStates(backbone, given) for given in (expected, expected[::-1], ()))
    whole = first.of(expected)
    assert len(calls) == 3
    others = second.of([(6, 5)]), second.of([(3, 2, 1), (6, 5)])
    assert len(calls) == 5
    assert torch.equal(others[0].ends[0], whole.ends[3])
    assert torch.equal(others[1].past.layers[-1].keys[0], whole.past.layers[-1].keys[2])
    plain = alone.of(expected)
    assert_close(whole.ends, plain.ends)
    for together, one_by_one in zip(whole.past.layers, plain.past.layers, strict=True):
        assert_close(together.keys, one_by_one.keys)
        assert_close(together.values, one_by_one.values)
    assert torch.equal(whole.mask, plain.mask)
    assert first.of([(9, 9, 9)]).mask.all()  # not expected


def test_states_that_evaluation_made_can_be_trained_on():
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone, place="before-answer")
    states, batch = PromptStates(backbone), make_batch(backbone)
    with torch.inference_mode():
        score_steps(backbone, adapter, prompt, answers, batch, states)
    answer_loss(backbone, adapter, prompt, answers, batch, states=states).backward()
    assert gradient(adapter).abs().sum() > 0


def test_states_are_kept_where_memory_and_family_allow_it(monkeypatch):
    backbone = small_backbone()
    a_token = bytes_per_token(backbone)
    past = PromptStates(backbone).of([(1,)]).past
    assert a_token == 4 * sum(layer.keys.numel() + layer.values.numel() for layer in past.layers)
    monkeypatch.setattr(states_module, "_memory", lambda device: 3 * 5 * a_token)
    assert kept_bytes(backbone, [(1, 2, 3), (1, 2, 3), (4, 5)]) == 5 * a_token
    assert kept_bytes(backbone, [(1, 2, 3), (4, 5, 6)]) is None
    assert kept_bytes(small_backbone("bloom"), [(1,)]) is None
    assert kept_bytes(backbone, [(1, 2, 3), (1, 2, 3), (4, 5)], go_on=False) == 2 * 4 * backbone.hidden_size


def test_a_head_reads_the_state_that_the_answer_would_be_made_of():
    backbone = small_backbone()
    adapter, prompt, _ = parts(backbone)
    reading = read(backbone, adapter, prompt, make_batch(backbone))
    logits = answer_logits(backbone, reading, keep=1)[:, 0]
    state = answer_states(backbone, reading)[:, 0]
    assert_close(backbone.model.get_output_embeddings()(state), logits)


def test_a_backbone_without_a_layer_for_answers_is_refused(monkeypatch):
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone)
    reading = read(backbone, adapter, prompt, make_batch(backbone))
    monkeypatch.setattr(backbone.model, "get_output_embeddings", lambda: None)
    with pytest.raises(UsageError, match="answer: spelled"):
        head_scores(backbone, adapter, answers, reading)


def test_the_loss_of_classes_is_the_cross_entropy_of_the_heads_values():
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone)
    batch = make_batch(backbone)
    reading = read(backbone, adapter, prompt, batch)
    values = adapter.head(answer_states(backbone, reading)[:, 0], reading.clips)
    assert_close(
        answer_loss(backbone, adapter, prompt, answers, batch), functional.cross_entropy(values, batch.targets)
    )
    weights = balanced_weights(batch.targets.tolist(), 3)
    by_hand = functional.cross_entropy(values, batch.targets, reduction="none") * weights[batch.targets]
    assert_close(answer_loss(backbone, adapter, prompt, answers, batch, weights), by_hand.mean())


def test_numbers_get_a_laplace_distribution_around_the_heads_middle():
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone, NUMBERS)
    with torch.no_grad():
        adapter.head.state.linear.weight.zero_()
        adapter.head.state.linear.bias.fill_(2 / 3)  # 1.0 of -1.5 to 1.5
        adapter.head.width.fill_(-30.0)  # as narrow as can be
    scores = score_steps(backbone, adapter, prompt, answers, make_batch(backbone))
    assert_close(scores.exp().sum(1), torch.ones(4))
    for decoding in ("greedy", "likeliest", "median", "expected"):
        assert decode(scores, answers, decoding).values.tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    at = answers.target(1.0)
    assert_close(scores[:, at] - scores[:, at + 1], torch.full((4,), 0.1 / 0.05))


def test_with_residuals_a_head_still_sees_what_the_backbone_lost():
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone, residual=True)
    with torch.no_grad():
        adapter.head.state.linear.weight.zero_()
    scores = score_steps(backbone, adapter, prompt, answers, make_batch(backbone))
    assert (scores[0] - scores[1]).abs().max() > 1e-4
    plain, *_ = parts(backbone)
    assert plain.head.clip is None


def test_a_fresh_head_holds_no_answer_for_much_likelier():
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone)
    shares = score_steps(backbone, adapter, prompt, answers, make_batch(backbone)).exp()
    assert shares.max() < 1.5 * shares.mean()
    adapter, prompt, answers = parts(backbone, NUMBERS)
    fresh = decode(score_steps(backbone, adapter, prompt, answers, make_batch(backbone)), answers, "expected")
    assert fresh.values.abs().max() < 0.3


def test_with_residuals_a_head_reads_the_end_of_the_prompt_before_the_pseudo_tokens():
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone, residual=True, place="before-answer")
    clip = one(make_batch(backbone), 1)
    ids = torch.tensor([[*prompt.before, *clip.text_ids[0].tolist(), *prompt.after]])
    expected = backbone.model.base_model(input_ids=ids).last_hidden_state[:, -1]
    with torch.no_grad():
        for part in (adapter.head.state, adapter.head.clip):
            part.linear.weight.zero_()
    scores = score_steps(backbone, adapter, prompt, answers, clip)
    assert_close(scores, adapter.head.prompt(expected).log_softmax(1))


def test_tokenizers_that_cannot_spell_the_answers_do_for_a_head():
    tokenizer = byte_tokenizer(bos_token="<s>")
    clashing = Classification(("ab", "a"))
    with pytest.raises(UsageError, match="beginning of the answer"):
        Answers(clashing, tokenizer, "llama", label_words=True)
    assert Answers(clashing, tokenizer, "llama", label_words=True, head=True).ids == ((0,), (1,))


def test_a_head_of_another_task_is_refused():
    backbone = small_backbone()
    adapter, prompt, _ = parts(backbone)
    _, _, numbers = parts(backbone, NUMBERS)
    reading = read(backbone, adapter, prompt, make_batch(backbone))
    with pytest.raises(ValueError, match="makes 3 values, and the task needs 1"):
        head_scores(backbone, adapter, numbers, reading)


def test_the_size_of_embeddings_is_that_of_the_table():
    backbone = small_backbone()
    table = backbone.model.get_input_embeddings().weight
    assert embedding_size(backbone) == pytest.approx(table.pow(2).mean(1).sqrt().median().item(), rel=1e-4)
