"""Loss and scores: what they equal, what they do not depend on, and that only the adapter learns."""

from __future__ import annotations

import inspect

import pytest
import torch

from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.prompt import Prompt, default_task_prompt, encode
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training import reading, scoring
from mse_pipeline.training.examples import Batcher, Example, Texts
from mse_pipeline.training.objective import answer_loss, balanced_weights, class_weights, smoothed_targets
from mse_pipeline.training.reading import Batch, Reading, answer_logits, head_scores, read, text_room
from mse_pipeline.training.scoring import decode, score_answers, score_steps
from tests.closeness import assert_close
from tests.small_models import ARCHITECTURES, byte_tokenizer, small_backbone

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
    before = {}
    if batch.context_ids is not None:
        before = {"context_ids": batch.context_ids[part][:, batch.context_mask[clip]]}
        before["context_mask"] = torch.ones_like(before["context_ids"], dtype=torch.bool)
    return Batch(
        **before,
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
    assert_close(scores, slow, tolerance)
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


def context(batch: Batch) -> Batch:
    """The same behind lines of 0 to 5 tokens."""
    ids = torch.arange(20).reshape(4, 5) + 60
    mask = torch.arange(5) < torch.tensor([[5], [0], [2], [4]])
    return Batch(**{**vars(batch), "context_ids": ids, "context_mask": mask})


def on_the_left(batch: Batch) -> Batch:
    """The same with all padding of tokens in front, with other ids in it."""
    changed = {}
    for name in ("text", "context"):
        ids, mask = getattr(batch, f"{name}_ids"), getattr(batch, f"{name}_mask")
        if ids is not None:
            order = mask.to(torch.uint8).argsort(dim=1, stable=True)
            changed[f"{name}_mask"] = mask.gather(1, order)
            changed[f"{name}_ids"] = ids.gather(1, order).masked_fill(~changed[f"{name}_mask"], 99)
    return Batch(**{**vars(batch), **changed})


def gradients(adapter, loss):
    adapter.zero_grad(set_to_none=False)
    loss.backward()
    return [parameter.grad.clone() for parameter in adapter.parameters()]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gpt_neox", "glm", "opt"])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 0.25)], ids=["all alike", "weighted"])
@pytest.mark.parametrize(("task", "targets"), [(CLASSES, (0, 2, 1, 2)), (NUMBERS, (0, 30, 15, 14))])
def test_loss_and_gradients_are_the_mean_over_clips_read_alone(architecture, task, targets, weights):
    backbone = small_backbone(architecture, tokenizer=byte_tokenizer())
    adapter = small_adapter(backbone)
    for parameter in adapter.parameters():
        parameter.grad = torch.zeros_like(parameter)
    prompt, answers = around(backbone, task)
    if weights is not None:
        weights = torch.tensor([*weights, *[1.0] * len(answers)][: len(answers)])
    plain = make_batch(backbone, targets)
    # Behind a minus, numbers are a token longer; Qwen's positive ones have a plus.
    uneven = task is NUMBERS and architecture != "qwen2"
    assert len({len(answers.ids[target]) for target in targets}) == 1 + uneven
    for batch in (plain, context(plain)):
        losses, alone = [], []
        for clip in range(4):
            loss = answer_loss(backbone, adapter, prompt, answers, one(batch, clip), weights)
            losses.append(loss.item())
            alone.append(gradients(adapter, loss))
        means = [torch.stack(parts).mean(0) for parts in zip(*alone, strict=True)]
        assert max(mean.abs().max() for mean in means) > 1e-3
        for padded in (batch, on_the_left(batch)):
            loss = answer_loss(backbone, adapter, prompt, answers, padded, weights)
            assert loss.item() == pytest.approx(sum(losses) / 4, rel=1e-5, abs=1e-5)
            for found, mean in zip(gradients(adapter, loss), means, strict=True):
                assert_close(found, mean)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_on_which_a_tokenizer_pads_has_no_influence(side):
    tokenizer = byte_tokenizer(pad_token="<pad>")
    tokenizer.padding_side = side
    backbone = small_backbone(tokenizer=tokenizer)
    chosen = [Example(str(place), text, "joy", 1, ("A: so\n",) * place) for place, text in enumerate(TEXTS)]
    batcher = Batcher(Texts(backbone), {}, {})
    adapter = small_adapter(backbone, acoustic_dim=None, visual_dim=None)
    prompt, answers = around(backbone, CLASSES)
    together = answer_loss(backbone, adapter, prompt, answers, batcher.batch(chosen)).item()
    alone = [answer_loss(backbone, adapter, prompt, answers, batcher.batch([one])).item() for one in chosen]
    assert together == pytest.approx(sum(alone) / 4, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize(("task", "targets"), [(CLASSES, (0, 2, 1, 2)), (NUMBERS, (0, 30, 15, 14))])
def test_the_loss_of_a_clip_is_the_mean_over_its_answers_tokens(architecture, task, targets):
    backbone = small_backbone(architecture, tokenizer=byte_tokenizer())
    adapter, batch = small_adapter(backbone), make_batch(backbone, targets)
    prompt, answers = around(backbone, task)
    slow = [
        -likelihood_the_slow_way(backbone, adapter, prompt, one(batch, clip), answers.ids[target])
        / len(answers.ids[target])
        for clip, target in enumerate(targets)
    ]
    loss = answer_loss(backbone, adapter, prompt, answers, batch)
    assert loss.item() == pytest.approx(sum(slow) / 4, rel=1e-5, abs=1e-5)


def test_rare_classes_count_as_much_as_frequent_ones():
    targets = [0] * 6 + [1] * 3 + [2]
    weights = class_weights("balanced", CLASSES, targets)
    each = weights[targets]
    assert each.mean().item() == pytest.approx(1)
    assert [each[:6].sum().item(), each[6:9].sum().item(), each[9:].sum().item()] == pytest.approx([10 / 3] * 3)
    assert class_weights("none", CLASSES, targets) is None


def test_a_class_without_clips_does_not_change_the_others():
    assert balanced_weights([0, 0, 1, 1], 3).tolist() == [1, 1, 1]


def test_numbers_have_no_class_weights():
    with pytest.raises(UsageError, match="class_weights is for classes"):
        class_weights("balanced", NUMBERS, [1, 2])
    assert class_weights("none", NUMBERS, [1, 2]) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("known", [True, False], ids=["logits_to_keep", "by hand"])
def test_the_head_reads_the_answers_positions_only(architecture, known, monkeypatch):
    backbone = small_backbone(architecture)
    model, kept, read = backbone.model, torch.randn(2, 7, backbone.hidden_size), []
    whole = model(inputs_embeds=kept).logits
    model.get_output_embeddings().register_forward_hook(lambda module, given, made: read.append(given[0]))
    if not known:
        # As in classes of earlier versions of transformers, which compute logits everywhere.
        forward = type(model).forward
        monkeypatch.setattr(
            type(model),
            "forward",
            lambda self, inputs_embeds, attention_mask: forward(
                self, inputs_embeds=inputs_embeds, attention_mask=attention_mask
            ),
        )
    assert ("logits_to_keep" in inspect.signature(model.forward).parameters) == known
    mask = torch.ones(2, 7, dtype=torch.bool)
    logits = answer_logits(backbone, Reading(kept, mask), keep=3)
    assert [states.shape[1] for states in read] == [3]
    assert read[0].is_contiguous()
    assert_close(logits, whole[:, -3:])
    assert model(inputs_embeds=kept, attention_mask=mask).logits.shape[1] == 7


def test_fixed_parts_of_the_prompt_are_embedded_once():
    backbone = small_backbone()
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, CLASSES)
    fixed = []
    backbone.model.get_input_embeddings().register_forward_hook(
        lambda module, given, made: fixed.append(given[0].tolist()) if given[0].ndim == 1 else None
    )
    with torch.inference_mode():
        score_answers(backbone, adapter, prompt, answers, batch)
    answer_loss(backbone, adapter, prompt, answers, batch).backward()
    assert fixed == [list(prompt.before), list(prompt.after)]
    other = Prompt(before=prompt.before, after=prompt.after[:-1])
    assert (
        read(backbone, adapter, other, batch).mask.shape[1] == read(backbone, adapter, prompt, batch).mask.shape[1] - 1
    )


@pytest.mark.parametrize("task", [CLASSES, NUMBERS], ids=["classes", "numbers"])
def test_masks_stay_on_the_fused_kernel_of_attention(task):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backbone = small_backbone("qwen2")
    adapter, batch = small_adapter(backbone), make_batch(backbone, (0, 2, 1, 2))
    prompt, answers = around(backbone, task)
    expected = answer_loss(backbone, adapter, prompt, answers, batch)
    # With no other kernel allowed, torch refuses what it cannot do there.
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        loss = answer_loss(backbone, adapter, prompt, answers, batch)
        loss.backward()
        score_steps(backbone, adapter, prompt, answers, batch)
    torch.testing.assert_close(loss, expected)


def test_the_loss_of_a_target_is_its_score():
    backbone = small_backbone()
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, CLASSES)
    scores = score_answers(backbone, adapter, prompt, answers, batch)
    expected = -scores[range(4), batch.targets].mean()
    torch.testing.assert_close(answer_loss(backbone, adapter, prompt, answers, batch), expected)
    assert not scores.requires_grad


@pytest.mark.slow
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


# Label smoothing


@pytest.mark.parametrize("smoothing", [0.1, 0.6])
def test_smoothing_of_answers_of_one_token_is_label_smoothing_over_the_answers(smoothing):
    backbone = small_backbone("llama")
    adapter = small_adapter(backbone)
    prompt, answers = around(backbone, CLASSES)
    assert {len(ids) for ids in answers.ids} == {1}
    batch = make_batch(backbone)
    logits = answer_logits(backbone, read(backbone, adapter, prompt, batch), keep=1)[:, 0].float()
    own = logits.log_softmax(1)[:, [ids[0] for ids in answers.ids]]
    right = own.gather(1, batch.targets.unsqueeze(1)).squeeze(1)
    expected = -((1 - smoothing) * right + smoothing * own.mean(1)).mean()
    assert_close(answer_loss(backbone, adapter, prompt, answers, batch, None, smoothing), expected)


def test_smoothing_of_nothing_is_the_loss_and_it_trains_the_adapter():
    backbone = small_backbone("llama")
    adapter = small_adapter(backbone)
    prompt, answers = around(backbone, NUMBERS)
    batch = make_batch(backbone, targets=(0, 3, 17, 30))
    plain = answer_loss(backbone, adapter, prompt, answers, batch)
    assert_close(answer_loss(backbone, adapter, prompt, answers, batch, None, 1e-9), plain)
    smoothed = answer_loss(backbone, adapter, prompt, answers, batch, None, 0.2)
    assert abs(smoothed.item() - plain.item()) > 1e-4
    smoothed.backward()
    assert all(torch.isfinite(one.grad).all() for one in adapter.parameters() if one.grad is not None)


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_a_smoothed_target_is_what_the_smoothed_answers_say_of_each_token(task):
    _, answers = around(small_backbone("llama"), task)
    right, smoothing = len(answers) - 1, 0.3
    whole = [smoothing / len(answers) + (index == right) * (1 - smoothing) for index in range(len(answers))]
    steps = smoothed_targets(answers.trie, right, smoothing)
    assert len(steps) == len(answers.ids[right])
    for place, step in enumerate(steps):
        before = answers.ids[right][:place]
        there = [index for index, ids in enumerate(answers.ids) if ids[:place] == before]
        expected = {}
        for index in there:
            token = answers.ids[index][place]
            expected[token] = expected.get(token, 0) + whole[index] / sum(whole[one] for one in there)
        assert dict(step) == pytest.approx(expected)


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_a_head_s_answers_are_smoothed_alike(task):
    backbone = small_backbone("llama")
    answers = Answers(task, backbone.tokenizer, backbone.family, head=True)
    prompt, _ = around(backbone, task)
    adapter = small_adapter(backbone, head=answers.head_outputs)
    batch = make_batch(backbone)
    scores = head_scores(backbone, adapter, answers, read(backbone, adapter, prompt, batch))
    right = scores.gather(1, batch.targets.unsqueeze(1)).squeeze(1)
    expected = -(0.9 * right + 0.1 * scores.mean(1)).mean()
    assert_close(answer_loss(backbone, adapter, prompt, answers, batch, None, 0.1), expected)
