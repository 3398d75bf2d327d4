"""The whole prompt, token by token: three tokenizers of the paper's families, four datasets."""

from __future__ import annotations

from itertools import groupby

import pytest

from mse_pipeline import backbones, recipe
from mse_pipeline.backbones.answers import example
from mse_pipeline.backbones.prompt import default_task_prompt
from mse_pipeline.corpora import cherma, meld
from mse_pipeline.task import Classification, Regression

PARTS = ["start", "opening tag", "pseudo tokens", "text", "closing tag", "task prompt", "answer"]
TASKS = {
    "mosei": (Regression(-3, 3), 1.2),
    "simsv2": (Regression(-1, 1), 0.4),
    "meld": (Classification(meld.EMOTIONS), "neutral"),
    "cherma": (Classification(cherma.EMOTIONS), "愤怒"),
}
MODELS = {"qwen": "qwen1-tiny", "chatglm3": "chatglm3-tiny", "llama2": "stories260K"}
STARTS = {"qwen": [151644], "chatglm3": [64790, 64792], "llama2": [1]}
DIGIT_ANSWERS = {
    ("qwen", "mosei"): ["+", "1", ".", "2"],
    ("qwen", "simsv2"): ["+", "0", ".", "4"],
    ("qwen", "meld"): ["0"],
    ("qwen", "cherma"): ["0"],
    ("chatglm3", "mosei"): ["▁", "1", ".", "2"],
    ("chatglm3", "simsv2"): ["▁", "0", ".", "4"],
    ("chatglm3", "meld"): ["▁", "0"],
    ("chatglm3", "cherma"): ["▁", "0"],
}
TEXTS = {"en": "I can't believe it!", "zh": "我真的很难过。"}


@pytest.fixture(scope="module", params=MODELS)
def asked(request, shared):
    return request.param, *backbones.load_tokenizer(shared / "models" / MODELS[request.param])


@pytest.mark.parametrize("dataset", TASKS)
def test_each_backbone_reads_its_prompt_in_the_papers_order(asked, dataset):
    name, tokenizer, family = asked
    read = recipe.load(dataset)
    task, label = TASKS[dataset]
    text = TEXTS[read.prompt.language]
    tokens = example(
        tokenizer,
        family,
        task,
        text=text,
        label=label,
        given=read.prompt.task,
        language=read.prompt.language,
        pseudo_tokens=read.training_for(name).pseudo_tokens,
    )
    parts = {part: list(group) for part, group in groupby(tokens, key=lambda token: token.part)}
    assert list(parts) == PARTS
    assert [token.id for token in parts["start"]] == STARTS[name]
    assert [token.id for token in parts["pseudo tokens"]] == [None] * read.training_for(name).pseudo_tokens

    def spelled(part):
        return tokenizer.decode([token.id for token in parts[part]]).strip()

    chinese = read.prompt.language == "zh"
    opening, closing = ("<多模态>", "</多模态>") if chinese else ("<Multimodal>", "</Multimodal>")
    question = ("{问题}\n\n " if chinese else "{question}\n\n ") if name == "chatglm3" else ""
    assert spelled("opening tag") == question + opening
    assert spelled("text") == text
    assert spelled("closing tag") == closing
    assert spelled("task prompt") == default_task_prompt(task, read.prompt.language)
    sign = "+" if name == "qwen" and isinstance(task, Regression) else ""
    assert spelled("answer") == sign + (f"{label:.1f}" if isinstance(task, Regression) else "0")
    if name != "llama2":
        assert [token.piece for token in parts["answer"]] == DIGIT_ANSWERS[name, dataset]


def test_a_space_token_stands_before_the_digits_of_llama(asked):
    name, tokenizer, family = asked
    tokens = example(tokenizer, family, Regression(-3, 3), text="", label=1.2)
    answer = [token.piece for token in tokens if token.part == "answer"]
    assert (answer[0] == "▁") == (name != "qwen")


def test_words_answer_where_they_are_asked_for(asked):
    name, tokenizer, family = asked
    task = Classification(meld.EMOTIONS)
    tokens = example(tokenizer, family, task, text="Oh", label="joy", label_words=True)
    answer = tokenizer.decode([token.id for token in tokens if token.part == "answer"])
    # Byte-level tokenizers tell " joy" from "joy"; sentencepiece puts the space itself.
    assert answer == (" joy" if name == "qwen" else "joy")
    question = tokenizer.decode([token.id for token in tokens if token.part == "task prompt"])
    assert "<neutral, surprise, fear, sadness, joy, disgust, anger>" in question
