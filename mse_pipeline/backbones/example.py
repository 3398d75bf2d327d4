"""An example: what a backbone reads of one clip and what it is to answer, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.prompt import encode, segments, task_prompt
from mse_pipeline.task import Task


@dataclass(frozen=True)
class Token:
    """One token of an example.

    Attributes:
        part: Of the prompt: ``start``, ``opening tag``, ``previous turns``, ``pseudo tokens``, ``text``,
            ``closing tag``, ``task prompt`` or ``answer``.
        id: Of the vocabulary; None for a pseudo token, which is no word.
        piece: How the tokenizer spells it.
    """

    part: str
    id: int | None
    piece: str


def example(
    tokenizer: Any,
    family: str,
    task: Task,
    *,
    text: str,
    label: object,
    given: str | None = None,
    language: str = "en",
    pseudo_tokens: int = 4,
    label_words: bool = False,
    previous: tuple[int, ...] = (),
    room: int | None = None,
) -> tuple[Token, ...]:
    """The whole sequence of one clip, in the order in which the backbone reads it.

    Args:
        tokenizer: Of the backbone.
        family: Architecture by transformers' name.
        task: What is to be predicted.
        text: What is said in the clip.
        label: The right answer.
        given: Task prompt; None for the paper's wording.
        language: ISO 639-1 code of the tags.
        pseudo_tokens: How many the adapter makes.
        label_words: Whether classes are answered by their names.
        previous: Token ids of what was said before.
        room: Most tokens of the text; None for no limit.

    Raises:
        UsageError: The task has no answer that the tokenizer can tell from the others.
        ValueError: The label does not belong to the task.

    Examples:
        >>> from mse_pipeline.backbones import load_tokenizer
        >>> from mse_pipeline.task import Classification
        >>> tokens = example(*load_tokenizer("tiny"), Classification(("sad", "glad")), text="Oh", label="glad")
        >>> [token.piece for token in tokens[:8]]
        ['<bos>', '<', 'Multimodal', '>', '*', '*', '*', '*']
        >>> tokens[-1].part, tokens[-1].piece
        ('answer', '1')
    """
    asked = task_prompt(task, given, language, label_words=label_words)
    start, opening, closing, question = segments(tokenizer, family=family, task_prompt=asked, language=language)
    answers = Answers(task, tokenizer, family, label_words=label_words)
    said: list[tuple[str, tuple[int | None, ...]]] = [
        (start.part, start.ids),
        (opening.part, opening.ids),
        ("previous turns", previous),
        ("pseudo tokens", (None,) * pseudo_tokens),
        ("text", encode(tokenizer, text)[:room]),
        (closing.part, closing.ids),
        (question.part, question.ids),
        ("answer", answers.ids[answers.target(label)]),
    ]
    return tuple(Token(part, id_, _piece(tokenizer, id_)) for part, ids in said for id_ in ids)


def _piece(tokenizer: Any, id_: int | None) -> str:
    """How a token is spelled; letters that stand for bytes are turned into what they spell, where that is a text."""
    if id_ is None:
        return "*"
    spelled = tokenizer.convert_ids_to_tokens(id_)
    read = tokenizer.decode([id_])
    return read if read and "\ufffd" not in read and "▁" not in spelled else spelled
