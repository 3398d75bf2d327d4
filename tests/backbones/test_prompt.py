"""Prompt: the fixed parts around pseudo tokens and text."""

from __future__ import annotations

import pytest

from mse_pipeline.backbones.prompt import (
    Prompt,
    class_indices,
    default_task_prompt,
    encode,
    encode_all,
    start_ids,
    task_prompt,
)
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.small_models import byte_tokenizer

PLAIN = byte_tokenizer()
LLAMA = byte_tokenizer(bos_token="<s>", eos_token="</s>")
QWEN = byte_tokenizer("<|endoftext|>", "<|im_start|>", "<|im_end|>")
GLM = byte_tokenizer("[gMASK]", "<sop>")
MELD = Classification(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
CHERMA = Classification(("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇"))


@pytest.mark.parametrize(
    ("tokenizer", "family", "start", "opening"),
    [
        (LLAMA, "llama", "<s>", "<Multimodal>"),
        (QWEN, "qwen2", "<|im_start|>", "<Multimodal>"),
        (QWEN, "qwen3", "<|im_start|>", "<Multimodal>"),
        (GLM, "glm", "[gMASK]<sop>", "{question}\n\n <Multimodal>"),
        (GLM, "glm4", "[gMASK]<sop>", "{question}\n\n <Multimodal>"),
        (PLAIN, "glm", "", "{question}\n\n <Multimodal>"),
        (PLAIN, "gpt2", "", "<Multimodal>"),
        (PLAIN, "qwen2", "", "<Multimodal>"),
        (LLAMA, "qwen2", "<s>", "<Multimodal>"),
        (QWEN, "llama", "", "<Multimodal>"),
    ],
)
def test_each_family_reads_its_own_beginning(tokenizer, family, start, opening):
    prompt = Prompt.build(tokenizer, family=family, task_prompt="The emotion is")
    assert tokenizer.decode(prompt.before) == start + opening
    assert tokenizer.decode(prompt.after) == "</Multimodal>The emotion is"
    assert len(start_ids(tokenizer, family)) == start.count("<") + start.count("[")
    assert len(prompt) == len(prompt.before) + len(prompt.after)


def test_a_spelling_that_the_tokenizer_maps_to_unknown_is_no_start_token():
    tokenizer = byte_tokenizer(unk_token="<unk>", bos_token="<s>")
    assert start_ids(tokenizer, "glm") == (tokenizer.bos_token_id,)


@pytest.mark.parametrize(
    ("language", "opening", "closing"),
    [
        ("en", "<Multimodal>", "</Multimodal>"),
        ("zh", "<多模态>", "</多模态>"),
        ("zh-CN", "<多模态>", "</多模态>"),
        ("de", "<Multimodal>", "</Multimodal>"),
    ],
)
def test_tags_are_in_the_language_of_the_clips(language, opening, closing):
    prompt = Prompt.build(PLAIN, family="llama", task_prompt="?", language=language)
    assert PLAIN.decode(prompt.before) == opening
    assert PLAIN.decode(prompt.after) == closing + "?"


def test_the_chinese_question_of_glm_is_chinese():
    prompt = Prompt.build(PLAIN, family="chatglm", task_prompt="?", language="zh")
    assert PLAIN.decode(prompt.before) == "{问题}\n\n <多模态>"


def test_parts_are_tokenized_apart_as_the_reference_does():
    class Joining:
        """Writes a space at the beginning of each text that it is given, as sentencepiece does."""

        bos_token_id = unk_token_id = None

        def __call__(self, text, **options):
            return PLAIN(" " + text, **options)

    prompt = Prompt.build(Joining(), family="llama", task_prompt="Well")
    assert PLAIN.decode(prompt.before) == " <Multimodal>"
    assert PLAIN.decode(prompt.after) == " </Multimodal> Well"


def test_control_tokens_spelled_in_a_text_stay_text():
    ids = encode(QWEN, "bye<|im_end|>")
    assert max(ids) < 256
    assert QWEN.decode(ids) == "bye<|im_end|>"


def test_a_text_gets_no_tokens_that_it_does_not_have():
    assert encode(LLAMA, "") == ()
    assert len(encode(LLAMA, "hi")) == 2


@pytest.mark.parametrize("task_prompt", [""])
def test_a_prompt_that_asks_nothing_is_refused(task_prompt):
    with pytest.raises(UsageError, match="no tokens"):
        Prompt.build(LLAMA, family="llama", task_prompt=task_prompt)


@pytest.mark.parametrize(
    ("task", "language", "wording"),
    [
        (
            MELD,
            "en",
            "Please recognize the emotion of the above multimodal content from the target set <neutral:0, surprise:1, "
            "fear:2, sadness:3, joy:4, disgust:5, anger:6>. Assistant: The emotion is",
        ),
        (
            CHERMA,
            "zh",
            "请选择适用于上述多模态内容的情绪标签：<愤怒:0, 厌恶:1, 恐惧:2, 高兴:3, 平静:4, 悲伤:5, 惊奇:6>。"
            "助手: 情绪为",
        ),
        (
            Regression(-3, 3),
            "en",
            "Please predict the sentiment intensity of the above multimodal content in the range [-3.0, +3.0]. "
            "Assistant: The sentiment is",
        ),
        (
            Regression(-1, 1),
            "zh",
            "请对上述多模态内容的情感强度进行预测，范围在[-1.0, +1.0]之间。响应: 情感为",
        ),
    ],
)
def test_the_default_wording_is_that_of_the_paper(task, language, wording):
    assert default_task_prompt(task, language) == wording


def test_prompt_and_answers_write_many_classes_alike():
    task = Classification(tuple(f"class {letter}" for letter in "abcdefghijk"))
    wording = default_task_prompt(task)
    assert "<class a:00, " in wording
    assert ", class k:10>" in wording
    assert class_indices(11)[1] == "01"


def test_a_class_name_cannot_break_the_line():
    assert "<very glad:0>" in default_task_prompt(Classification(("very\n\n glad",)))


def test_prompts_equal_those_of_the_golden_files(shared):
    import json

    for name, task, language in (
        ("meld", MELD, "en"),
        ("mosei", Regression(-3, 3), "en"),
        ("simsv2", Regression(-1, 1), "zh"),
    ):
        told = json.loads((shared / "reference" / "reference-step" / f"{name}.json").read_text())
        assert default_task_prompt(task, language) == told["prompt"]


def test_added_tokens_that_are_not_declared_special_stay_text_too():
    from tokenizers import AddedToken

    tokenizer = byte_tokenizer("<|im_start|>")
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("\n\n", special=False)])
    marker, blank = tokenizer.convert_tokens_to_ids(["<think>", "\n\n"])
    assert tokenizer("<think>")["input_ids"] == [marker]
    ids = encode(tokenizer, "I <think> so")
    assert marker not in ids
    assert tokenizer.decode(ids) == "I <think> so"
    assert encode(tokenizer, "\n\n") == (blank,)
    texts = ["I <think> so", "", "<|im_start|>", "hi"]
    assert encode_all(tokenizer, texts) == [encode(tokenizer, text) for text in texts]
    assert encode_all(tokenizer, []) == []


def test_the_question_lists_words_where_words_answer():
    asked = task_prompt(MELD, label_words=True)
    assert "<neutral, surprise, fear, sadness, joy, disgust, anger>. Assistant" in asked
    assert task_prompt(MELD) == default_task_prompt(MELD)
    assert task_prompt(MELD, "Which of joy and anger?", label_words=True) == "Which of joy and anger?"


@pytest.mark.parametrize(
    ("task", "given", "says"),
    [
        (MELD, default_task_prompt(MELD), r"lists indices \(neutral:0\)"),
        (Regression(-3, 3), None, "for classes"),
    ],
)
def test_words_that_the_question_contradicts_are_refused(task, given, says):
    with pytest.raises(UsageError, match=says):
        task_prompt(task, given, label_words=True)
