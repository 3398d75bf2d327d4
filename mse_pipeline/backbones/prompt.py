"""Prompt: what a backbone reads around the pseudo tokens and the text of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Task

TAGS = {"en": ("<Multimodal>", "</Multimodal>"), "zh": ("<多模态>", "</多模态>")}
"""What opens and closes the multimodal content; other languages take the English ones."""
QUESTION = {"en": "{question}\n\n ", "zh": "{问题}\n\n "}
"""What ChatGLM3 reads before the opening tag, literally, as the published results had it."""
PADDED_FROM = 11
"""From this many classes on, one index would be the beginning of another ("1" of "10"): all get two digits."""


@dataclass(frozen=True)
class PromptSegment:
    """A fixed part of the prompt.

    Attributes:
        part: What it is: ``start``, ``opening tag``, ``closing tag`` or ``task prompt``.
        ids: Its token ids.
    """

    part: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """Token ids of the fixed parts: `before` | context | pseudo tokens | text of the clip | `after` | answer.

    Attributes:
        before: Start of the sequence and the opening tag.
        after: The closing tag and the task prompt.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def build(cls, tokenizer: Any, *, family: str, task_prompt: str, language: str = "en") -> Prompt:
        """Tokenize the fixed parts, each tag and the task prompt on its own.

        Args:
            tokenizer: Of the backbone.
            family: Architecture by transformers' name, as in ``llama`` or ``qwen2``.
            task_prompt: What is asked, as `default_task_prompt` words it.
            language: ISO 639-1 code of the tags.

        Raises:
            UsageError: The task prompt is empty, or the tokenizer makes nothing of it.
        """
        start, opening, closing, asked = (
            segment.ids for segment in segments(tokenizer, family=family, task_prompt=task_prompt, language=language)
        )
        return cls(before=start + opening, after=closing + asked)

    def __len__(self) -> int:
        """Number of tokens of the fixed parts."""
        return len(self.before) + len(self.after)


def segments(
    tokenizer: Any, *, family: str, task_prompt: str, language: str = "en"
) -> tuple[PromptSegment, PromptSegment, PromptSegment, PromptSegment]:
    """The four fixed parts in their order; pseudo tokens and text stand between the second and the third.

    Args and Raises: those of `Prompt.build`.
    """
    written = written_language(language)
    opening, closing = TAGS[written]
    if is_glm(family):
        opening = QUESTION[written] + opening
    asked = encode(tokenizer, task_prompt)
    if not asked:
        raise UsageError(f"The task prompt {task_prompt!r} has no tokens. Name in it what the backbone is to predict.")
    return (
        PromptSegment("start", start_ids(tokenizer, family)),
        PromptSegment("opening tag", encode(tokenizer, opening)),
        PromptSegment("closing tag", encode(tokenizer, closing)),
        PromptSegment("task prompt", asked),
    )


def encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a text as such: nothing is added.

    Spellings of control tokens in the text, as ``</s>``, stay text: who wrote a subtitle cannot end the prompt.
    Tokenizers that follow sentencepiece (LLaMA-2, ChatGLM) write a space before each text, so the answer "0" is the
    tokens ``▁`` and ``0`` there, and ``0`` alone elsewhere.
    """
    return _as_text(tokenizer, text, tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def encode_all(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each text, as `encode` gives them, in one call: fast tokenizers do many at once."""
    if not texts:
        return []
    made = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [_as_text(tokenizer, text, ids) for text, ids in zip(texts, made, strict=True)]


def _as_text(tokenizer: Any, text: str, ids: Sequence[int]) -> tuple[int, ...]:
    """The ids that a tokenizer made of a text, or made anew where it took a spelling in it for a marker."""
    return tuple(ids) if _markers(tokenizer).isdisjoint(ids) else _encode_by_model(tokenizer, text)


@lru_cache(maxsize=4)
def _markers(tokenizer: Any) -> frozenset[int]:
    """Ids that a tokenizer finds by their spelling although they are not declared special, as Qwen3's ``<think>``.

    Runs of blanks, which Gemma adds in the same way, are text.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(id_ for id_, token in added.items() if not token.special and token.content.strip())


def _encode_by_model(tokenizer: Any, text: str) -> tuple[int, ...]:
    """The tokenizer's own steps without its search for added tokens."""
    backend = tokenizer.backend_tokenizer
    normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
    cuts = [(normal, None)] if backend.pre_tokenizer is None else backend.pre_tokenizer.pre_tokenize_str(normal)
    return tuple(token.id for piece, _ in cuts for token in backend.model.tokenize(piece))


def start_ids(tokenizer: Any, family: str) -> tuple[int, ...]:
    """Token ids that a sequence of this family begins with (arXiv 2502.12478 and its implementation).

    Qwen: ``<|im_start|>``; GLM: ``[gMASK]`` and ``sop``; all others, and these where the tokenizer lacks them: the
    tokenizer's beginning-of-sequence token, once, if it has one.
    """
    wanted: Sequence[Sequence[str]] = ()
    if is_qwen(family):
        wanted = (("<|im_start|>",),)
    elif is_glm(family):
        wanted = (("[gMASK]",), ("sop", "<sop>"))
    found = [_first_known(tokenizer, spellings) for spellings in wanted]
    if found and None not in found:
        return tuple(token for token in found if token is not None)
    bos = tokenizer.bos_token_id
    return () if bos is None else (int(bos),)


def is_qwen(family: str) -> bool:
    """Whether a family is one of Qwen's."""
    return family.startswith("qwen")


def is_glm(family: str) -> bool:
    """Whether a family is one of GLM's."""
    return family.startswith(("glm", "chatglm"))


def written_language(language: str) -> str:
    """The language of tags and prompts for clips of a language: ``zh`` for Chinese, else ``en``.

    Examples:
        >>> written_language("zh-CN"), written_language("de")
        ('zh', 'en')
    """
    return "zh" if language.lower().replace("_", "-").split("-")[0] == "zh" else "en"


def class_indices(count: int) -> tuple[str, ...]:
    """How the indices of `count` classes are written, in prompts and in answers.

    Examples:
        >>> class_indices(3), class_indices(11)[-2:]
        (('0', '1', '2'), ('09', '10'))
    """
    width = len(str(count - 1)) if count >= PADDED_FROM else 1
    return tuple(f"{index:0{width}d}" for index in range(count))


def task_prompt(task: Task, given: str | None = None, language: str = "en", *, label_words: bool = False) -> str:
    """The question of a run: the one that is given, or the paper's wording.

    Raises:
        UsageError: Answers are to be words, and the task has none, or the given question lists indices.
    """
    if not label_words:
        return given or default_task_prompt(task, language)
    if not isinstance(task, Classification):
        raise UsageError("prompt.label_words is for classes, and this task is to predict a number: leave it out.")
    listed = [f"{name}:{index}" for name, index in zip(task.classes, class_indices(len(task.classes)), strict=True)]
    found = next((one for one in listed if given and one in given), None)
    if found is not None:
        raise UsageError(
            f"prompt.label_words asks for words, but prompt.task lists indices ({found}): leave prompt.task out, and "
            "it is made of the classes."
        )
    return given or default_task_prompt(task, language, label_words=True)


def class_words(classes: Sequence[str]) -> tuple[str, ...]:
    r"""How the names of classes are written, in prompts and in answers: on one line.

    Examples:
        >>> class_words(["joy", " very \n glad"])
        ('joy', 'very glad')
    """
    return tuple(" ".join(name.split()) for name in classes)


def default_task_prompt(task: Task, language: str = "en", *, label_words: bool = False) -> str:
    """The paper's wording of the question for a task of one's own.

    Args:
        task: What is to be predicted.
        language: ISO 639-1 code; Chinese gets the Chinese wording, all others the English one.
        label_words: Whether classes are answered by their names, not by their indices.

    Examples:
        >>> print(default_task_prompt(Classification(("calm", "angry"))))
        Please recognize the emotion of the above multimodal content from the target set <calm:0, angry:1>.
        Assistant: The emotion is
    """
    chinese = written_language(language) == "zh"
    if isinstance(task, Classification):
        names = class_words(task.classes)
        indices = class_indices(len(task.classes))
        listed = names if label_words else [f"{name}:{index}" for name, index in zip(names, indices, strict=True)]
        targets = ", ".join(listed)
        if chinese:
            return f"请选择适用于上述多模态内容的情绪标签：<{targets}>。助手: 情绪为"
        return (
            "Please recognize the emotion of the above multimodal content from the target set "
            f"<{targets}>. Assistant: The emotion is"
        )
    span = f"[{task.low:+.1f}, {task.high:+.1f}]"
    if chinese:
        return f"请对上述多模态内容的情感强度进行预测，范围在{span}之间。响应: 情感为"
    return (
        f"Please predict the sentiment intensity of the above multimodal content in the range {span}. "
        "Assistant: The sentiment is"
    )


def _first_known(tokenizer: Any, spellings: Sequence[str]) -> int | None:
    for spelling in spellings:
        token = tokenizer.convert_tokens_to_ids(spelling)
        if token is not None and token != tokenizer.unk_token_id:
            return int(token)
    return None
