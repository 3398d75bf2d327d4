"""Loss and scores: what they equal, what they do not depend on, and that only the adapter learns."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.prompt import Prompt, default_task_prompt, encode
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training import reading, scoring
from mse_pipeline.training.decoding import decode
from mse_pipeline.training.objective import answer_loss
from mse_pipeline.training.reading import Batch, text_room
from mse_pipeline.training.scoring import score_answers, score_steps
from tests.small_models import byte_tokenizer, small_backbone

CLASSES = Classification(("neutral", "joy", "anger"))
NUMBERS = Regression(-1.5, 1.5)
TEXTS = ("no", "what a lovely day", "", "你好")


def small_adapter(backbone, loudness=20, **changes) -> MSEAdapter:
    torch.manual_seed(3)
    sizes = {"hidden_size": backbone.hidden_size, "acoustic_dim": 5, "visual_dim": 3, "pseudo_tokens": 2}
    adapter = MSEAdapter(AdapterConfig(**{**sizes, **changes})).eval()
    # A fresh adapter whispers beside these backbones; make its pseudo tokens count.
    with torch.no_grad():
        adapter.projector.widen.weight.mul_(loudness)
    return adapter


def make_batch(backbone, targets=(0, 2, 1, 2)) -> Batch:
    ids = [encode(backbone.tokenizer, text) for text in TEXTS]
    longest = max(map(len, ids))
    draw = torch.Generator().manual_seed(5)
    return Batch(
        clips=tuple("abcd"),
        text_ids=torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids]),
        text_mask=torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in ids]),
        acoustic=torch.randn(4, 6, 5, generator=draw),
        acoustic_lengths=torch.tensor([6, 2, 0, 3]),
        visual=torch.randn(4, 4, 3, generator=draw),
        visual_lengths=torch.tensor([1, 4, 3, 0]),
        targets=torch.tensor(targets),
    )


def one(batch: Batch, clip: int) -> Batch:
    """A clip on its own, without any padding."""
    tokens = int(batch.text_mask[clip].sum())
    rows, frames = int(batch.acoustic_lengths[clip]), int(batch.visual_lengths[clip])
    part = slice(clip, clip + 1)
    return Batch(
        clips=batch.clips[part],
        text_ids=batch.text_ids[part, :tokens],
        text_mask=batch.text_mask[part, :tokens],
        acoustic=batch.acoustic[part, :rows],
        acoustic_lengths=batch.acoustic_lengths[part],
        visual=batch.visual[part, :frames],
        visual_lengths=batch.visual_lengths[part],
        targets=batch.targets[part],
    )


def around(backbone, task):
    answers = Answers(task, backbone.tokenizer, backbone.family)
    asked = default_task_prompt(task)[-30:]
    return Prompt.build(backbone.tokenizer, family=backbone.family, task_prompt=asked), answers


@torch.no_grad()
def likelihood_the_slow_way(backbone, adapter, prompt, batch: Batch, answer) -> float:
    """One clip, one answer, the whole sequence without padding, and logits at every position."""
    text = backbone.embed(batch.text_ids)
    pseudo = adapter(batch.acoustic, batch.acoustic_lengths, batch.visual, batch.visual_lengths, text, batch.text_mask)
    before, after = (backbone.embed(torch.tensor([ids], dtype=torch.int64)) for ids in (prompt.before, prompt.after))
    said = backbone.embed(torch.tensor([answer]))
    whole = torch.cat([before, pseudo.to(backbone.dtype), text, after, said], dim=1)
    logits = backbone.model(inputs_embeds=whole).logits[0, -len(answer) - 1 : -1]
    return logits.float().log_softmax(-1)[range(len(answer)), answer].sum().item()


def check_scores(backbone, tolerance=1e-4) -> torch.Tensor:
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, NUMBERS)
    scores = score_answers(backbone, adapter, prompt, answers, batch)
    slow = torch.tensor(
        [
            [likelihood_the_slow_way(backbone, adapter, prompt, one(batch, clip), ids) for ids in answers.ids]
            for clip in range(len(batch))
        ]
    )
    torch.testing.assert_close(scores, slow, atol=tolerance, rtol=0)
    return scores


@pytest.mark.parametrize(
    "architecture",
    ["llama", "qwen2", "qwen3", "gpt2", "gpt_neox", "gemma", "gemma2", "gemma3_text", "mistral", "glm", "phi3"],
)
def test_one_pass_over_the_tree_equals_each_answer_the_slow_way(architecture, monkeypatch):
    monkeypatch.delattr(scoring, "_branches", raising=True)
    scores = check_scores(small_backbone(architecture, tokenizer=byte_tokenizer()))
    assert scores.std() > 0.1


def test_every_architecture_that_takes_trees_is_tested_here():
    tested = test_one_pass_over_the_tree_equals_each_answer_the_slow_way.pytestmark[0].args[1]
    assert set(tested) == scoring.TREE_FAMILIES


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_trees_are_read_alike_by_eager_attention(architecture, monkeypatch):
    monkeypatch.delattr(scoring, "_branches", raising=True)
    check_scores(small_backbone(architecture, tokenizer=byte_tokenizer(), attention="eager"))


@pytest.mark.parametrize("architecture", ["llama", "opt", "bloom"])
def test_branch_after_branch_equals_each_answer_the_slow_way(architecture, monkeypatch):
    monkeypatch.setattr(scoring, "TREE_FAMILIES", frozenset())
    check_scores(small_backbone(architecture, tokenizer=byte_tokenizer()))


def test_a_tree_does_not_undo_a_sliding_window():
    backbone = small_backbone("mistral", tokenizer=byte_tokenizer(), sliding_window=20, attention="eager")
    assert scoring.takes_trees(backbone, 20)
    assert not scoring.takes_trees(backbone, 21)
    check_scores(backbone)


@pytest.mark.parametrize(("task", "extra"), [(CLASSES, 0), (NUMBERS, 9)])
def test_scoring_takes_one_pass_as_long_as_the_prompt_and_the_inner_tokens(task, extra, monkeypatch):
    backbone = small_backbone()
    prompt, answers = around(backbone, task)
    seen = []
    run = scoring.answer_logits
    monkeypatch.setattr(
        scoring, "answer_logits", lambda b, r, **options: seen.append(r.mask.shape[1]) or run(b, r, **options)
    )
    batch = make_batch(backbone)
    score_answers(backbone, small_adapter(backbone), prompt, answers, batch)
    assert len(answers.trie.tokens) == extra
    assert seen == [len(prompt) + 2 + batch.text_ids.shape[1] + extra]


def test_logits_are_computed_for_the_answers_positions_only(monkeypatch):
    backbone = small_backbone()
    prompt, answers = around(backbone, CLASSES)
    widths = []
    head = backbone.model.lm_head
    handle = head.register_forward_hook(lambda module, given, made: widths.append(made.shape[1]))
    answer_loss(backbone, small_adapter(backbone), prompt, answers, make_batch(backbone))
    score_answers(backbone, small_adapter(backbone), prompt, answers, make_batch(backbone))
    handle.remove()
    assert widths == [1, 1]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize(("task", "targets"), [(CLASSES, (0, 2, 1, 2)), (NUMBERS, (0, 30, 15, 14))])
def test_the_loss_is_the_mean_over_the_answers_tokens_of_clips_read_alone(architecture, task, targets):
    backbone = small_backbone(architecture, tokenizer=byte_tokenizer())
    adapter, batch = small_adapter(backbone), make_batch(backbone, targets)
    prompt, answers = around(backbone, task)
    loss = answer_loss(backbone, adapter, prompt, answers, batch)
    tokens = [len(answers.ids[target]) for target in targets]
    alone = [answer_loss(backbone, adapter, prompt, answers, one(batch, clip)).item() for clip in range(4)]
    weighted = sum(count * value for count, value in zip(tokens, alone, strict=True)) / sum(tokens)
    assert loss.item() == pytest.approx(weighted, abs=1e-5)
    slow = [
        likelihood_the_slow_way(backbone, adapter, prompt, one(batch, clip), answers.ids[target])
        for clip, target in enumerate(targets)
    ]
    assert loss.item() == pytest.approx(-sum(slow) / sum(tokens), abs=1e-5)


def test_texts_may_be_padded_on_either_side():
    backbone = small_backbone()
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, CLASSES)
    right = answer_loss(backbone, adapter, prompt, answers, batch)
    lengths = batch.text_mask.sum(1).tolist()
    rolled = [
        torch.stack([row.roll(len(row) - length) for row, length in zip(rows, lengths, strict=True)])
        for rows in (batch.text_ids, batch.text_mask)
    ]
    left = Batch(**{**vars(batch), "text_ids": rolled[0], "text_mask": rolled[1]})
    torch.testing.assert_close(answer_loss(backbone, adapter, prompt, answers, left), right)


def test_the_loss_of_a_target_is_its_score():
    backbone = small_backbone()
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, CLASSES)
    scores = score_answers(backbone, adapter, prompt, answers, batch)
    expected = -scores[range(4), batch.targets].mean()
    torch.testing.assert_close(answer_loss(backbone, adapter, prompt, answers, batch), expected)
    assert not scores.requires_grad


def test_the_adapter_learns_sixteen_clips_by_heart_and_the_backbone_stays_as_it_was():
    backbone = small_backbone()
    # A random model hardly reads and hardly decides; these two make it do both, as a trained one would.
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight.mul_(0.04)
        backbone.model.lm_head.weight.mul_(4)
    before = backbone.digest()
    task = Classification(("a", "b", "c", "d"))
    prompt, answers = around(backbone, task)
    draw = torch.Generator().manual_seed(9)
    text = torch.tensor(encode(backbone.tokenizer, "the same words")).expand(16, -1)
    batch = Batch(
        clips=tuple(map(str, range(16))),
        text_ids=text,
        text_mask=torch.ones_like(text, dtype=torch.bool),
        acoustic=torch.randn(16, 5, 5, generator=draw),
        acoustic_lengths=torch.randint(1, 6, (16,), generator=draw),
        visual=torch.randn(16, 3, 3, generator=draw),
        visual_lengths=torch.randint(1, 4, (16,), generator=draw),
        targets=torch.arange(16) % 4,
    )
    adapter = small_adapter(backbone, 1, acoustic_hidden=32, visual_hidden=32, pseudo_tokens=4).train()
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=5e-3)
    for _ in range(300):
        optimiser.zero_grad()
        loss = answer_loss(backbone, adapter, prompt, answers, batch)
        loss.backward()
        optimiser.step()
        if loss.item() < 0.05:
            break
    assert answer_loss(backbone, adapter, prompt, answers, batch).item() < 0.1
    predicted = decode(score_steps(backbone, adapter.eval(), prompt, answers, batch), answers)
    assert torch.equal(predicted.values, batch.targets)
    assert backbone.digest() == before
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_a_backbone_in_half_precision_trains_an_adapter_in_float32():
    backbone = small_backbone(dtype=torch.bfloat16)
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, NUMBERS)
    loss = answer_loss(backbone, adapter, prompt, answers, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert {p.grad.dtype for p in adapter.parameters()} == {torch.float32}
    assert all(torch.isfinite(p.grad).all() for p in adapter.parameters())
    # Eight bits of mantissa: sums of four log-probabilities agree to a few tenths.
    check_scores(backbone, tolerance=0.5)


def test_a_loss_without_targets_is_refused():
    backbone = small_backbone()
    batch = Batch(**{**vars(make_batch(backbone)), "targets": None})
    with pytest.raises(ValueError, match="needs targets"):
        answer_loss(backbone, small_adapter(backbone), *around(backbone, CLASSES), batch)


def test_an_adapter_for_another_backbone_is_refused():
    backbone = small_backbone()
    adapter = small_adapter(backbone, hidden_size=64)
    with pytest.raises(ValueError, match="width 64"):
        answer_loss(backbone, adapter, *around(backbone, CLASSES), make_batch(backbone))


def test_a_batch_whose_members_differ_in_size_is_refused():
    batch = make_batch(small_backbone())
    with pytest.raises(ValueError, match="targets has shape"):
        Batch(**{**vars(batch), "targets": torch.tensor([1])})


def test_lengths_stay_where_packing_needs_them():
    moved = make_batch(small_backbone()).to("meta")
    assert moved.text_ids.device.type == moved.acoustic.device.type == "meta"
    assert moved.acoustic_lengths.device.type == "cpu"
    assert len(moved) == 4


def test_the_room_for_text_is_exactly_what_fits():
    backbone = small_backbone(max_position_embeddings=120)
    adapter = small_adapter(backbone)
    prompt, answers = around(backbone, NUMBERS)
    room = text_room(backbone, prompt, answers, adapter.config.pseudo_tokens)

    def score(length):
        ids = torch.full((1, length), 70)
        batch = Batch(
            clips=("a",),
            text_ids=ids,
            text_mask=torch.ones_like(ids, dtype=torch.bool),
            acoustic=torch.zeros(1, 1, 5),
            acoustic_lengths=torch.ones(1, dtype=torch.int64),
            visual=torch.zeros(1, 1, 3),
            visual_lengths=torch.ones(1, dtype=torch.int64),
            targets=torch.zeros(1, dtype=torch.int64),
        )
        answer_loss(backbone, adapter, prompt, answers, batch)
        return score_answers(backbone, adapter, prompt, answers, batch)

    assert 0 < room < 120
    assert torch.isfinite(score(room)).all()
    with pytest.raises(UsageError, match="can read 120"):
        score(room + 1)


def test_a_backbone_without_a_limit_has_room_for_any_text():
    backbone = small_backbone("bloom")
    assert reading.reading_limit(backbone) is None
    assert text_room(backbone, *around(backbone, CLASSES), 4) is None
