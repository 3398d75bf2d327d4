"""Generation: the greedy answer alone, token after token, behind a prompt that is read once.

Where nobody asks for the probabilities of all answers, this reads the tokens of one answer a clip, where the tree of
all answers is read whole; and of each next token only the logits of those that go on to an answer. Tokens that follow
in any case are read with the one before them. Both ways give the same answers, within rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import torch

from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.errors import MseError
from mse_pipeline.training.reading import Reading, answer_logits

Ids = tuple[int, ...]

NOT_FINITE = (
    "The backbone's scores are not finite numbers. Half precision overflows in some models: take bfloat16 or float32, "
    "or a lower learning rate."
)
_ROWS = {"cpu": 16}
"""A pass over fewer rows takes as long as one over so many, since it reads all weights; else `_ROWS_ELSEWHERE`."""
_ROWS_ELSEWHERE = 256


class Continuations:
    """What goes on to an answer.

    Args:
        answers: Token ids of each; none begins another one.

    Attributes:
        passes: Tokens that each pass behind the prompt's own reads of a clip at most.

    Examples:
        >>> numbers = Continuations(((7, 1, 9, 5), (7, 1, 9, 6), (7, 2, 9, 5)))
        >>> numbers.settled(()), numbers.following((7,)), numbers.passes
        ((7,), (1, 2), (2,))
        >>> numbers.settled((7, 2)), numbers.answer((7, 2, 9, 5))
        ((7, 2, 9, 5), 2)
    """

    def __init__(self, answers: Sequence[Ids]) -> None:
        self._answers = {ids: index for index, ids in enumerate(answers)}
        following: dict[Ids, dict[int, None]] = {}
        for ids in answers:
            for end in range(len(ids)):
                following.setdefault(ids[:end], {})[ids[end]] = None
        self._following = {said: tuple(tokens) for said, tokens in following.items()}
        most: list[int] = []
        for ids in answers:
            # Where a token is to be chosen; what is said between two of these places is read at once.
            chosen = [end for end in range(len(ids)) if len(self._following[ids[:end]]) > 1]
            for place, (before, end) in enumerate(pairwise(chosen)):
                most += [0] * (place + 1 - len(most))
                most[place] = max(most[place], end - before)
        self.passes = tuple(most)

    def settled(self, said: Ids) -> Ids:
        """What was said, and all that follows in any case."""
        while len(follows := self.following(said)) == 1:
            said += follows
        return said

    def following(self, said: Ids) -> Ids:
        """Tokens that go on to an answer, in the order of the answers; none behind a whole one."""
        return self._following.get(said, ())

    def answer(self, said: Ids) -> int | None:
        """Index of the answer that was said; None where it is not whole."""
        return self._answers.get(said)


@lru_cache(maxsize=16)
def continuations(answers: tuple[Ids, ...]) -> Continuations:
    """`Continuations`, made once."""
    return Continuations(answers)


def costs_less(backbone: Backbone, answers: tuple[Ids, ...], *, nodes: int, clips: int) -> bool:
    """Whether generating costs less than reading the tree of all answers: by products, of which both are made.

    A token costs the weights of the layers, and its logits those of the output embeddings.

    Args:
        backbone: The frozen model.
        answers: Token ids of each.
        nodes: Of the tree.
        clips: That are read at once.
    """
    model = backbone.model
    vocabulary = model.get_input_embeddings().weight.numel()
    tied = model.get_output_embeddings() is None or (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )
    layers = sum(weight.numel() for weight in model.parameters()) - vocabulary * (1 if tied else 2)
    least = _ROWS.get(backbone.device.type, _ROWS_ELSEWHERE)
    generated = sum(max(clips * tokens, least) for tokens in continuations(answers).passes) * layers
    return generated < clips * (nodes * layers + (nodes + 1) * vocabulary)


def greedy_answers(backbone: Backbone, reading: Reading, answers: tuple[Ids, ...]) -> list[int]:
    """Index of the answer to each clip that is reached by taking the likeliest token that goes on to one.

    Args:
        backbone: Frozen; one that `goes_on` behind the reading.
        reading: What is read before the answer.
        answers: Token ids of each.

    Raises:
        UsageError: Prompt, text and answer are longer than the backbone can read.
        MseError: A logit is not a number.
    """
    from transformers import DynamicCache

    after = continuations(answers)
    device = reading.embeddings.device
    clips = list(range(len(reading.mask)))
    said = [after.settled(())] * len(clips)
    unread = said
    found = [0] * len(clips)
    reading = replace(reading, past=DynamicCache() if reading.past is None else reading.past)
    while clips:
        tokens, present = _in_front(unread, device)
        if tokens.shape[1]:
            reading = reading.then(backbone, tokens, present)
        possible = [after.following(one) for one in said]
        columns = list(dict.fromkeys(token for one in possible for token in one))
        logits = answer_logits(backbone, reading, keep=1, tokens=columns)[:, 0].float()
        if not torch.isfinite(logits).all():
            raise MseError(NOT_FINITE)
        allowed = torch.tensor([[token in one for token in columns] for one in possible], device=device)
        likeliest = logits.masked_fill(~allowed, -torch.inf).argmax(1).tolist()
        longer = [after.settled((*one, columns[column])) for one, column in zip(said, likeliest, strict=True)]
        left = []
        for place, (clip, whole) in enumerate(zip(clips, longer, strict=True)):
            index = after.answer(whole)
            if index is None:
                left.append(place)
            else:
                found[clip] = index
        if 0 < len(left) < len(clips):
            reading.past.batch_select_indices(torch.tensor(left, device=device))
        unread = [longer[place][len(said[place]) :] for place in left]
        clips, said = [clips[place] for place in left], [longer[place] for place in left]
        reading = replace(reading, embeddings=reading.embeddings[left, :0], mask=reading.mask[left])
    return found


def _in_front(rows: Sequence[Ids], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N) token ids, padded in front, and where one is."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*[0] * (longest - len(row)), *row] for row in rows], dtype=torch.int64, device=device)
    ends = torch.tensor([len(row) for row in rows], device=device).unsqueeze(1)
    return ids, torch.arange(longest, device=device) >= longest - ends
