"""Answers: all texts that a backbone may answer with, the tree of their tokens, and one clip as an example."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mse_pipeline.backbones.prompt import class_indices, class_words, encode, is_qwen, segments, task_prompt
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression, Task

SPACE = "▁"
"""How tokenizers that follow sentencepiece spell a space."""


@dataclass(frozen=True)
class Trie:
    """The answers' tokens as a tree: what answers share, they share once.

    Nodes are the tokens after which an answer goes on; node 0 is the end of the prompt. A step says: in answer
    `step_answers[s]`, token `step_tokens[s]` follows node `step_nodes[s]`. The log-likelihood of an answer is the sum
    over its steps of the log-probability of the token at that node.

    Attributes:
        tokens: Token id of nodes 1 to N.
        parents: Node that each of them follows.
        depths: How many tokens behind the prompt each of them stands, from 1.
        step_answers: (S,) index of the answer.
        step_nodes: (S,) node that predicts.
        step_tokens: (S,) token id that is predicted.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    step_answers: tuple[int, ...]
    step_nodes: tuple[int, ...]
    step_tokens: tuple[int, ...]

    @classmethod
    def grow(cls, answers: Sequence[Sequence[int]]) -> Trie:
        """The tree of some token sequences.

        Examples:
            >>> trie = Trie.grow([[5, 1], [5, 2], [6]])
            >>> trie.tokens, trie.step_nodes, trie.step_tokens
            ((5,), (0, 1, 0, 1, 0), (5, 1, 5, 2, 6))
        """
        nodes: dict[tuple[int, ...], int] = {(): 0}
        steps = []
        for index, ids in enumerate(answers):
            for place, token in enumerate(ids):
                steps.append((index, nodes.setdefault(tuple(ids[:place]), len(nodes)), token))
        paths = [path for path in nodes if path]
        return cls(
            tokens=tuple(path[-1] for path in paths),
            parents=tuple(nodes[path[:-1]] for path in paths),
            depths=tuple(len(path) for path in paths),
            step_answers=tuple(step[0] for step in steps),
            step_nodes=tuple(step[1] for step in steps),
            step_tokens=tuple(step[2] for step in steps),
        )

    def line(self, node: int) -> tuple[int, ...]:
        """Nodes from the first one behind the prompt down to `node`; empty for node 0.

        Examples:
            >>> Trie.grow([[5, 1, 7], [5, 1, 8]]).line(2)
            (1, 2)
        """
        line: list[int] = []
        while node:
            line.append(node)
            node = self.parents[node - 1]
        return tuple(reversed(line))


class Answers:
    """Every answer to a task, as text and as tokens; one of them is right, and the likeliest is the prediction.

    Classification: the class index as text, "0" to "6"; from eleven classes on with leading zeros, "00" to "10".
    With `label_words`, the class's name, behind a space where the language and the tokenizer have one between words.
    Regression: every number with one decimal in the range, ascending; Qwen's with a sign in front of positive ones and
    of zero (arXiv 2502.12478, implementation).

    Args:
        task: What is to be predicted.
        tokenizer: Of the backbone.
        family: Architecture by transformers' name, as in ``llama`` or ``qwen2``.
        label_words: Whether classes are answered by their names, not by their indices.
        head: Whether a head answers, and not the backbone's words: then each answer is one step of its own.

    Attributes:
        texts: The answers.
        ids: Token ids of each; where a head answers, the answer's index alone.
        trie: The tree of their tokens.
        by_head: Whether a head answers.

    Raises:
        UsageError: The task has no answer, or the tokenizer cannot tell two answers apart.
    """

    def __init__(
        self, task: Task, tokenizer: Any, family: str, *, label_words: bool = False, head: bool = False
    ) -> None:
        self.task = task
        self.by_head = head
        self._values = answer_values(task)
        if isinstance(task, Classification):
            words = class_words(task.classes) if label_words else ()
            self.texts = tuple(_after_a_word(tokenizer, word) for word in words) or class_indices(len(task.classes))
        else:
            sign = "+" if is_qwen(family) else "-"
            self.texts = tuple(f"{value:{sign}.1f}" for value in self._values)
        if head:
            self.ids: tuple[tuple[int, ...], ...] = tuple((index,) for index in range(len(self.texts)))
        else:
            self.ids = tuple(encode(tokenizer, text) for text in self.texts)
            _check_distinct(self.texts, self.ids)
        self.trie = Trie.grow(self.ids)

    def __len__(self) -> int:
        """Number of answers."""
        return len(self.texts)

    @property
    def head_outputs(self) -> int:
        """Values that a head needs to answer: one a class, or the number."""
        return len(self) if isinstance(self.task, Classification) else 1

    def target(self, label: object) -> int:
        """Index of the right answer for a label: a class name, or a number in the range.

        Numbers are rounded to one decimal as ``f"{label:.1f}"`` does, staying inside the range.

        Raises:
            ValueError: The label is none of the classes, or no number in the range.
        """
        if isinstance(self.task, Classification):
            return self.task.index(label)
        low, high = self.task.low, self.task.high
        try:
            number = float(label)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ValueError(f"Label {label!r} is not a number.") from None
        if not low <= number <= high:
            raise ValueError(f"Label {label!r} lies outside the range [{low}, {high}].")
        tenths = round(float(f"{number:.1f}") * 10)
        first, last = _tenths(self.task)
        return min(max(tenths, first), last) - first

    def value(self, index: int) -> int | float:
        """What an answer means: the class index, or the number."""
        if not 0 <= index < len(self):
            raise ValueError(f"There is no answer {index}; there are {len(self)}, counted from 0.")
        return self._values[index]


def answer_values(task: Task) -> tuple[int, ...] | tuple[float, ...]:
    """What the answers to a task mean, in their order: class indices, or all one-decimal numbers of the range.

    Raises:
        UsageError: The task has no class, or its range no such number.

    Examples:
        >>> answer_values(Regression(-0.25, 0.1))
        (-0.2, -0.1, 0.0, 0.1)
    """
    if isinstance(task, Classification):
        if not task.classes:
            raise UsageError("A classification needs at least one class, but has none.")
        return tuple(range(len(task.classes)))
    if not (math.isfinite(task.low) and math.isfinite(task.high)):
        raise UsageError(f"The range [{task.low}, {task.high}] must have finite ends.")
    first, last = _tenths(task)
    if first > last:
        raise UsageError(f"The range [{task.low}, {task.high}] contains no number with one decimal.")
    # Whole tenths divided, so that there is neither 0.30000000000000004 nor -0.0.
    return tuple(tenths / 10 for tenths in range(first, last + 1))


def _after_a_word(tokenizer: Any, word: str) -> str:
    """A word as it follows another one: behind a space, but for scripts and tokenizers that need none."""
    if unicodedata.east_asian_width(word[0]) in {"W", "F"}:
        return word
    pieces = tokenizer.convert_ids_to_tokens(list(encode(tokenizer, word)))
    return word if pieces and pieces[0].startswith(SPACE) else f" {word}"


def _tenths(task: Regression) -> tuple[int, int]:
    # The tolerance is for ends such as 0.3, whose tenfold in binary lies just off the whole number.
    return math.ceil(task.low * 10 - 1e-6), math.floor(task.high * 10 + 1e-6)


def _check_distinct(texts: Sequence[str], ids: Sequence[tuple[int, ...]]) -> None:
    """An answer that begins another one would always be at least as likely: refuse such a set."""
    by_tokens: dict[tuple[int, ...], str] = {}
    for text, tokens in zip(texts, ids, strict=True):
        if not tokens:
            raise UsageError(f"The tokenizer makes no token of the answer {text!r}; another backbone is needed.")
        if tokens in by_tokens:
            raise UsageError(
                f"The tokenizer writes the answers {by_tokens[tokens]!r} and {text!r} alike, as tokens {list(tokens)}; "
                "another backbone is needed."
            )
        by_tokens[tokens] = text
    for text, tokens in zip(texts, ids, strict=True):
        for end in range(1, len(tokens)):
            if tokens[:end] in by_tokens:
                raise UsageError(
                    f"In tokens, the answer {by_tokens[tokens[:end]]!r} is the beginning of the answer {text!r}; "
                    "their likelihoods cannot be compared. Another backbone is needed."
                )


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
    place: str = "before-text",
    head: bool = False,
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
        place: Where the pseudo tokens stand, as `AdapterConfig.place` says.
        head: Whether a head answers: then no answer is read or written.

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
    said: list[tuple[str, tuple[int | None, ...]]] = [
        (start.part, start.ids),
        (opening.part, opening.ids),
        ("previous turns", previous),
        ("text", encode(tokenizer, text)[:room]),
        (closing.part, closing.ids),
        (question.part, question.ids),
    ]
    behind = {"before-text": 3, "behind-text": 4, "before-answer": 6}[place]
    said.insert(behind, ("pseudo tokens", (None,) * pseudo_tokens))
    if not head:
        answers = Answers(task, tokenizer, family, label_words=label_words)
        said.append(("answer", answers.ids[answers.target(label)]))
    return tuple(Token(part, id_, _piece(tokenizer, id_)) for part, ids in said for id_ in ids)


def _piece(tokenizer: Any, id_: int | None) -> str:
    """How a token is spelled; letters that stand for bytes are turned into what they spell, where that is a text."""
    if id_ is None:
        return "*"
    spelled = tokenizer.convert_ids_to_tokens(id_)
    read = tokenizer.decode([id_])
    return read if read and "\ufffd" not in read and "▁" not in spelled else spelled
