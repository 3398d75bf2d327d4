"""The built-in backbone: the same everywhere, with short prompts, and steerable by pseudo tokens alone."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.backbones import tiny
from mse_pipeline.backbones.prompt import Prompt, default_task_prompt
from mse_pipeline.task import Classification, Regression

DIGEST = "2fac11799fabcbf9fe9232f369e0bde289d28d296609e333ac09c5c644112de8"
MELD = Classification(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
CHERMA = Classification(("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇"))


@pytest.fixture(scope="module")
def backbone():
    return backbones.load("tiny")


def ids(backbone, text):
    return backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_weights_are_the_same_bits_on_every_machine(backbone):
    assert backbone.digest() == DIGEST
    assert backbones.load("tiny").digest() == DIGEST


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny.build_tiny()
    assert torch.equal(torch.rand(3), expected)


def test_it_is_frozen_and_named(backbone):
    assert not backbone.model.training
    assert not any(weight.requires_grad for weight in backbone.model.parameters())
    assert (backbone.name, backbone.source, backbone.revision) == ("tiny", "built-in", tiny.VERSION)


@pytest.mark.parametrize(
    ("task", "language"), [(MELD, "en"), (CHERMA, "zh"), (Regression(-3.0, 3.0), "en"), (Regression(-1.0, 1.0), "zh")]
)
def test_prompts_are_short(backbone, task, language):
    prompt = Prompt.build(
        backbone.tokenizer,
        family=backbone.family,
        task_prompt=default_task_prompt(task, language),
        language=language,
    )
    assert len(prompt) < 60


@pytest.mark.parametrize("digit", [str(digit) for digit in range(10)])
def test_every_digit_is_one_token_wherever_it_stands(backbone, digit):
    (token,) = ids(backbone, digit)
    assert ids(backbone, f"The emotion is{digit}")[-1] == token
    assert ids(backbone, f"7{digit}") == [*ids(backbone, "7"), token]


@pytest.mark.parametrize("text", ["I'm fine!", "我很好。", "naïve 😀 \t x", "-2.5", "</Multimodal>"])
def test_any_text_comes_back_whole(backbone, text):
    assert backbone.tokenizer.decode(ids(backbone, text)) == text


def test_special_tokens_are_three_and_begin_a_sequence(backbone):
    tokenizer = backbone.tokenizer
    assert [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id] == [0, 1, 2]
    assert tokenizer("a")["input_ids"] == [1, *ids(backbone, "a")]
    assert len(tokenizer) == tiny.VOCABULARY == backbone.model.config.vocab_size


def test_after_a_digit_comes_a_point_and_after_a_question_a_number(backbone):
    question = [1, *ids(backbone, default_task_prompt(Regression(-3.0, 3.0)))]
    digits = {token for digit in range(10) for token in ids(backbone, str(digit))}

    def likeliest(text, count):
        with torch.no_grad():
            logits = backbone.model(torch.tensor([question + ids(backbone, text)])).logits[0, -1]
        return set(logits.topk(count).indices.tolist())

    assert ids(backbone, ".")[0] in likeliest("2", 12)
    # By chance, not even one of twenty tokens would be a digit.
    assert len(digits & likeliest("", 20)) >= 3
    assert len(digits & likeliest("2.", 20)) >= 3


@pytest.fixture
def one_thread():
    """So small a model is slower on several threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_pseudo_tokens_alone_steer_the_answer_on_unseen_samples(backbone, one_thread):
    torch.manual_seed(0)
    centres, labels, unseen = torch.randn(7, 32), torch.arange(140) % 7, torch.arange(210) % 7
    train, test = centres[labels] + torch.randn(140, 32), centres[unseen] + torch.randn(210, 32)
    prompt = Prompt.build(backbone.tokenizer, family=backbone.family, task_prompt=default_task_prompt(MELD))
    before = backbone.embed(torch.tensor(prompt.before))
    after = backbone.embed(torch.tensor([*ids(backbone, "I will be there at eight."), *prompt.after]))
    digits = torch.tensor([ids(backbone, str(index))[0] for index in range(7)])
    # The shape of the adapter's end: one vector, of which the pseudo tokens are multiples.
    inner = torch.nn.Sequential(torch.nn.Linear(32, 256), torch.nn.ReLU(), torch.nn.Linear(256, backbone.hidden_size))
    outer = torch.nn.Linear(1, 4)
    optimizer = torch.optim.AdamW([*inner.parameters(), *outer.parameters()], lr=2e-3, eps=1e-4)

    def logits(features):
        pseudo = outer(inner(features).unsqueeze(-1)).transpose(1, 2)
        parts = [before.expand(len(pseudo), -1, -1), pseudo, after.expand(len(pseudo), -1, -1)]
        return backbone.model(inputs_embeds=torch.cat(parts, 1), logits_to_keep=1, use_cache=False).logits[:, -1]

    for _ in range(50):
        batch = torch.randint(0, 140, (16,))
        loss = torch.nn.functional.cross_entropy(logits(train[batch]), digits[labels[batch]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        answers = logits(test)[:, digits].argmax(1)
    assert (answers == unseen).float().mean() > 0.9
    assert backbone.digest() == DIGEST
