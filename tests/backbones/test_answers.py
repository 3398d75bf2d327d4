"""Answers: every text that counts as one, its tokens, and what it means."""

from __future__ import annotations

import pytest

from mse_pipeline.backbones.answers import Answers, Trie, answer_values
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression
from tests.small_models import byte_tokenizer

BYTES = byte_tokenizer()
MELD = Classification(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))


class Table:
    """A tokenizer that looks whole texts up."""

    def __init__(self, **ids: list[int]) -> None:
        self.ids = {text.removeprefix("c"): value for text, value in ids.items()}

    def __call__(self, text, **options):
        return {"input_ids": self.ids[text]}


def classes(count: int) -> Classification:
    return Classification(tuple(f"class {index}" for index in range(count)))


def test_classes_are_answered_by_their_index():
    answers = Answers(MELD, BYTES, "llama")
    assert answers.texts == ("0", "1", "2", "3", "4", "5", "6")
    assert [answers.target(name) for name in MELD.classes] == list(range(7))
    assert [answers.value(index) for index in range(7)] == list(range(7))


@pytest.mark.parametrize(("count", "first", "last"), [(10, "0", "9"), (11, "00", "10"), (101, "000", "100")])
def test_many_classes_are_answered_with_leading_zeros(count, first, last):
    answers = Answers(classes(count), BYTES, "llama")
    assert len(answers) == count
    assert (answers.texts[0], answers.texts[-1]) == (first, last)


@pytest.mark.parametrize(
    ("family", "texts"),
    [("llama", ("-0.2", "-0.1", "0.0", "0.1", "0.2")), ("qwen2", ("-0.2", "-0.1", "+0.0", "+0.1", "+0.2"))],
)
def test_numbers_are_answered_with_one_decimal_and_with_qwen_a_sign(family, texts):
    assert Answers(Regression(-0.2, 0.2), BYTES, family).texts == texts


@pytest.mark.parametrize(("low", "high", "count"), [(-3, 3, 61), (-1, 1, 21), (-12, 12, 241), (0.3, 0.7, 5)])
def test_every_number_of_the_range_is_an_answer_once(low, high, count):
    answers = Answers(Regression(low, high), BYTES, "qwen2")
    assert len(set(answers.texts)) == len(answers) == count
    assert (answers.value(0), answers.value(count - 1)) == (low, high)
    assert not [text for text in answers.texts if text in {"-0.0", "0.0"}]


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (-2.4, -2.4),
        (0, 0.0),
        (-0.04, 0.0),
        (-0.0, 0.0),
        (0.25, 0.2),
        (0.35, 0.3),
        (0.75, 0.8),
        (1.3333333, 1.3),
        (-3, -3.0),
        (2.96, 3.0),
        ("1.5", 1.5),
    ],
)
def test_a_label_is_rounded_as_python_writes_it(label, value):
    answers = Answers(Regression(-3, 3), BYTES, "llama")
    assert answers.value(answers.target(label)) == value
    assert float(f"{float(label):.1f}") == value


@pytest.mark.parametrize(("low", "high", "label", "value"), [(-0.97, 0.97, 0.97, 0.9), (-0.97, 0.97, -0.96, -0.9)])
def test_rounding_stays_inside_the_range(low, high, label, value):
    answers = Answers(Regression(low, high), BYTES, "llama")
    assert answers.value(answers.target(label)) == value


@pytest.mark.parametrize("label", [3.01, float("nan"), float("inf"), "joy", None])
def test_a_label_that_is_no_number_of_the_range_is_refused(label):
    with pytest.raises(ValueError, match="Label"):
        Answers(Regression(-3, 3), BYTES, "llama").target(label)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="none of the classes"):
        Answers(MELD, BYTES, "llama").target("bored")


@pytest.mark.parametrize("index", [-1, 7])
def test_there_is_no_value_beyond_the_answers(index):
    with pytest.raises(ValueError, match="There is no answer"):
        Answers(MELD, BYTES, "llama").value(index)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Classification(()), "at least one class"),
        (Regression(1, -1), "no number"),
        (Regression(0.01, 0.09), "no number"),
        (Regression(0, float("inf")), "finite"),
    ],
)
def test_a_task_without_answers_is_refused(task, said):
    with pytest.raises(UsageError, match=said):
        answer_values(task)


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (Table(c0=[1], c1=[]), "no token of the answer '1'"),
        (Table(c0=[5], c1=[5]), "alike"),
        (Table(c0=[5], c1=[5, 6]), "'0' is the beginning of the answer '1'"),
        (Table(c0=[5, 6, 7], c1=[5, 6]), "'1' is the beginning of the answer '0'"),
    ],
)
def test_answers_that_tokens_cannot_tell_apart_are_refused(tokenizer, said):
    with pytest.raises(UsageError, match=said):
        Answers(classes(2), tokenizer, "llama")


@pytest.mark.parametrize("name", ["stories260K", "babyllama"])
@pytest.mark.parametrize("task", [MELD, Regression(-3, 3)], ids=["classes", "numbers"])
def test_real_tokenizers_tell_the_answers_apart(shared, name, task):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / name)
    answers = Answers(task, tokenizer, "llama")
    assert [tokenizer.decode(ids).strip() for ids in answers.ids] == list(answers.texts)


def test_the_trie_of_one_token_answers_has_no_inner_node():
    trie = Answers(MELD, BYTES, "llama").trie
    assert trie.tokens == ()
    assert set(trie.step_nodes) == {0}
    assert len(trie.step_tokens) == 7


def test_the_trie_holds_what_answers_share_once_and_each_answer_whole():
    answers = Answers(Regression(-3, 3), BYTES, "qwen2")
    trie = answers.trie
    # "+", "-"; four digits behind "+" and behind "-" (0 to 3); a point behind each.
    assert len(trie.tokens) == 2 + 8 + 8
    spelled: list[list[int]] = [[] for _ in answers.ids]
    for answer, node, token in zip(trie.step_answers, trie.step_nodes, trie.step_tokens, strict=True):
        assert [trie.tokens[above - 1] for above in trie.line(node)] == spelled[answer]
        spelled[answer].append(token)
    assert [tuple(ids) for ids in spelled] == list(answers.ids)


def test_parents_come_before_their_children_one_step_up():
    trie = Trie.grow([[5, 1, 7], [5, 2, 8], [5, 1, 9], [6, 1, 1]])
    depths = (0, *trie.depths)
    for node, parent in enumerate(trie.parents, start=1):
        assert parent < node
        assert depths[parent] == depths[node] - 1


@pytest.mark.parametrize(
    ("classes", "texts"),
    [(("joy", "very  glad"), (" joy", " very glad")), (("高兴", "愤怒"), ("高兴", "愤怒"))],
)
def test_words_follow_the_question_as_in_running_text(classes, texts):
    answers = Answers(Classification(classes), BYTES, "llama", label_words=True)
    assert answers.texts == texts
    assert [answers.value(answers.target(name)) for name in classes] == [0, 1]


def test_a_word_that_begins_another_is_refused():
    with pytest.raises(UsageError, match="' joy' is the beginning of the answer ' joyful'"):
        Answers(Classification(("joy", "joyful")), BYTES, "llama", label_words=True)
