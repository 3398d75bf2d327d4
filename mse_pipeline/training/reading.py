"""Reading: what the backbone reads of a batch, as embeddings, and the logits that it answers with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional

from mse_pipeline.adapter import TrainedModel
from mse_pipeline.adapter.model import AnswerHead
from mse_pipeline.backbones.answering import answering, takes_tokens
from mse_pipeline.backbones.answers import Answers, answer_values
from mse_pipeline.backbones.attention import kept_keys
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import Prompt
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification
from mse_pipeline.training.states import PromptStates, within_window


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Some clips, padded to common lengths.

    Attributes:
        clips: Their B ids.
        text_ids: (B, L) int64 token ids of the texts, padded with any id.
        text_mask: (B, L) bool, True where a token is.
        acoustic: (B, Ta, Da) float32 rows, padded behind; None without the stream.
        acoustic_lengths: (B,) int64 true numbers of rows, 0 for a clip without any.
        visual: (B, Tv, Dv) likewise.
        visual_lengths: (B,) likewise.
        context_ids: (B, C) int64 token ids of what was said before; None for nothing.
        context_mask: (B, C) bool, True where one of these is.
        targets: (B,) int64 index of the right answer; None where it is not known.
        distributions: (B, A) float32 share of each answer in the target, where that is not one right answer alone.
        own_targets: (B, 3) int64 index of the right answer of text, acoustic and visual alone, -1 where it is not
            known; None where no model reads them.
        texts: The B texts as they are; empty where nobody needs them.

    Raises:
        ValueError: A member is not about B clips.
    """

    clips: tuple[str, ...]
    text_ids: torch.Tensor
    text_mask: torch.Tensor
    acoustic: torch.Tensor | None = None
    acoustic_lengths: torch.Tensor | None = None
    visual: torch.Tensor | None = None
    visual_lengths: torch.Tensor | None = None
    context_ids: torch.Tensor | None = None
    context_mask: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    distributions: torch.Tensor | None = None
    own_targets: torch.Tensor | None = None
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, tensor in self._tensors().items():
            if tensor.ndim < 1 or len(tensor) != len(self.clips):
                raise ValueError(
                    f"The batch has {len(self.clips)} clips, but its {name} has shape {tuple(tensor.shape)}."
                )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def without_text(self) -> Batch:
        """The same with nothing said, neither in the clips nor before them."""
        ids, mask = self.text_ids[:, :0], self.text_mask[:, :0]
        silent = ("",) * len(self.texts)
        return replace(self, text_ids=ids, text_mask=mask, context_ids=None, context_mask=None, texts=silent)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; lengths stay on the CPU, where packing needs them."""
        moved: dict[str, Any] = {
            name: tensor.to(device) for name, tensor in self._tensors().items() if not name.endswith("_lengths")
        }
        return replace(self, **moved)

    def _tensors(self) -> dict[str, torch.Tensor]:
        members = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in members.items() if isinstance(value, torch.Tensor)}


@dataclass(frozen=True, eq=False)
class Reading:
    """What the backbone reads before the answer, padded in front.

    Attributes:
        embeddings: (B, P, d) in the backbone's number format.
        mask: (B, K + P) bool, True where something is to be read.
        past: Keys and values of the K positions that were read before; None where K is 0. A cache of transformers,
            for one pass of the model alone.
        pseudo: Number n of the pseudo tokens among it.
        clips: (B, w) what the adapter itself knows of each clip, for its head; None where there is no adapter.
        ends: (B, d) the backbone's state at the end of what was read before; None where K is 0.
    """

    embeddings: torch.Tensor
    mask: torch.Tensor
    past: Any = None
    pseudo: int = 0
    clips: torch.Tensor | None = None
    ends: torch.Tensor | None = None

    @property
    def known(self) -> int:
        """Number K of the positions that were read before."""
        return self.mask.shape[1] - self.embeddings.shape[1]

    def then(self, backbone: Backbone, tokens: torch.Tensor, present: torch.Tensor | None = None) -> Reading:
        """The same, followed by tokens (B, N); `present` (B, N) is True where one is to be read, by default all."""
        if present is None:
            present = torch.ones_like(tokens, dtype=torch.bool)
        embeddings = torch.cat([self.embeddings, backbone.embed(tokens)], dim=1)
        return replace(self, embeddings=embeddings, mask=torch.cat([self.mask, present], dim=1))

    def positions(self) -> torch.Tensor:
        """(B, P) place of each row of `embeddings` in its sequence, padding left out."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)[:, self.known :]


def read(
    backbone: Backbone, adapter: TrainedModel, prompt: Prompt, batch: Batch, states: PromptStates | None = None
) -> Reading:
    """Embed start, opening tag, context, text, closing tag and task prompt of each clip, pseudo tokens in their place.

    The context is read by the backbone alone: the adapter sees the clip's own text. The pseudo tokens carry the
    adapter's gradient. The batch is moved to the backbone's device. Of an adapter without text, the backbone reads no
    text either, nor context: their places are empty.

    Args:
        backbone: The frozen model.
        adapter: Makes the pseudo tokens; its configuration tells their place.
        prompt: The fixed parts around a clip.
        batch: The clips.
        states: Of what stands before the pseudo tokens; None to read it with them. The same within rounding.

    Raises:
        ValueError: Adapter, backbone and batch do not fit together.
    """
    if adapter.config.hidden_size != backbone.hidden_size:
        raise ValueError(
            f"The adapter makes pseudo tokens of width {adapter.config.hidden_size}, but the backbone "
            f"{backbone.name} reads width {backbone.hidden_size}."
        )
    place = adapter.config.place
    batch = batch if adapter.config.text else batch.without_text()
    # Looked up before the batch is moved: its token ids are on the CPU, where no device has to be waited for.
    kept = None
    if states is not None and _goes_on(backbone, adapter, prompt, batch, states):
        alone = states.only_beginning
        kept = states.of([prompt.before] * len(batch) if alone else _before_pseudo(prompt, batch, place))
    batch = batch.to(backbone.device)
    text = backbone.embed(batch.text_ids)
    pseudo, clips = adapter.pseudo_and_clips(
        batch.acoustic, batch.acoustic_lengths, batch.visual, batch.visual_lengths, text, batch.text_mask
    )
    before, after = (part.expand(len(batch), -1, -1) for part in _fixed(backbone, prompt))
    spoken = [(before, None), (text, batch.text_mask.bool()), (after, None)]
    if batch.context_ids is not None and batch.context_mask is not None:
        spoken.insert(1, (backbone.embed(batch.context_ids), batch.context_mask.bool()))
    at = _place(place, len(spoken))
    parts = [*spoken[:at], (pseudo.to(backbone.dtype), None), *spoken[at:]]
    past, ends, first = adapter.past(len(batch)), None, []
    if past is not None:
        first = [torch.ones(len(batch), past.get_seq_length(), dtype=torch.bool, device=backbone.device)]
    elif states is not None and kept is not None:
        # Of the parts, those that are kept stand first.
        parts = parts[1 if states.only_beginning else at :]
        past, ends, first = kept.past, None if states.only_beginning else kept.ends, [kept.mask]
    whole = [
        torch.ones(part.shape[:2], dtype=torch.bool, device=backbone.device) if mask is None else mask
        for part, mask in parts
    ]
    embeddings, mask = torch.cat([part for part, _ in parts], dim=1), torch.cat(whole, dim=1)
    if all(own is None for _, own in parts):  # nothing of it is padded
        return Reading(embeddings, torch.cat([*first, mask], dim=1), past, pseudo.shape[1], clips, ends)
    # A stable sort moves the padding of texts and context to the front and keeps the order of all else.
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)
    embeddings = embeddings.gather(1, order.unsqueeze(-1).expand_as(embeddings))
    return Reading(embeddings, torch.cat([*first, mask.gather(1, order)], dim=1), past, pseudo.shape[1], clips, ends)


def _goes_on(backbone: Backbone, adapter: TrainedModel, prompt: Prompt, batch: Batch, states: PromptStates) -> bool:
    """Whether the batch can be read behind kept states: there are some, and padding behind them does no harm."""
    if not states.only_beginning and adapter.config.place != "before-text":
        return True  # nothing that is padded stands behind them
    context = 0 if batch.context_ids is None else batch.context_ids.shape[1]
    length = len(prompt) + adapter.config.pseudo_tokens + context + batch.text_ids.shape[1] + _ANSWER
    return bool(prompt.before) and within_window(backbone, length)


_ANSWER = 32
"""Tokens that an answer has at most, for the room in a sliding window."""


def _place(place: str, parts: int) -> int:
    """How many of the parts (start, perhaps context, text, end of the prompt) stand before the pseudo tokens."""
    return parts - {"before-text": 2, "behind-text": 1, "before-answer": 0}[place]


def _before_pseudo(prompt: Prompt, batch: Batch, place: str) -> list[tuple[int, ...]]:
    """Token ids of what stands before the pseudo tokens of each clip."""
    texts = _rows(batch.text_ids, batch.text_mask)
    contexts: list[tuple[int, ...]] = [()] * len(batch)
    if batch.context_ids is not None and batch.context_mask is not None:
        contexts = _rows(batch.context_ids, batch.context_mask)
    return [
        before_pseudo(prompt, place, context=context, text=text) for context, text in zip(contexts, texts, strict=True)
    ]


def before_pseudo(prompt: Prompt, place: str, *, context: tuple[int, ...], text: tuple[int, ...]) -> tuple[int, ...]:
    """Token ids of what stands before the pseudo tokens of a clip.

    Examples:
        >>> before_pseudo(Prompt((1, 2), (8, 9)), "behind-text", context=(), text=(5,))
        (1, 2, 5)
    """
    parts = [prompt.before, context, text, prompt.after]
    return tuple(id_ for part in parts[: _place(place, len(parts))] for id_ in part)


def _rows(ids: torch.Tensor, mask: torch.Tensor) -> list[tuple[int, ...]]:
    return [
        tuple(id_ for id_, kept in zip(*row, strict=True) if kept)
        for row in zip(ids.tolist(), mask.tolist(), strict=True)
    ]


def answer_logits(
    backbone: Backbone,
    reading: Reading,
    *,
    keep: int,
    tokens: Sequence[int] | None = None,
    positions: torch.Tensor | None = None,
    attention: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logits of the last `keep` positions only: the whole vocabulary at every position would fill the memory.

    Args:
        backbone: The frozen model.
        reading: What it reads, T rows a clip, behind K that it has read.
        keep: Number of positions at the end.
        tokens: The only tokens whose logits are wanted; None for the whole vocabulary.
        positions: (B, T) place of each row in its sequence; by default as they follow.
        attention: (B, 1, T, K + T), added to the attention scores in place of causal order and padding mask.

    Returns:
        (B, keep, vocabulary), or (B, keep, tokens).

    Raises:
        UsageError: The sequence is longer than the backbone can read.
    """
    with answering(backbone, keep, tokens):
        logits: torch.Tensor = _forward(backbone, reading, keep, positions, attention).logits[:, -keep:]
    return logits if tokens is None or takes_tokens(backbone) else logits[..., list(tokens)]


def answer_states(backbone: Backbone, reading: Reading, count: int = 1) -> torch.Tensor:
    """The backbone's states of the last positions, behind its last norm: (B, count, d). No logits are made.

    The last one is where the answer would begin.

    Raises:
        UsageError: The sequence is longer than the backbone can read.
    """
    states: list[torch.Tensor] = []

    def keep_states(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        states.append(given[0][:, -count:])
        return (given[0][:, :0], *given[1:])

    head = backbone.model.get_output_embeddings()
    if head is None or head is backbone.model.get_input_embeddings():
        raise UsageError(
            f"The backbone {backbone.name} has no layer of its own for its answers, before which a head could read: "
            "take answer: spelled, or another backbone."
        )
    handle = head.register_forward_pre_hook(keep_states)
    try:
        with answering(backbone, count):
            _forward(backbone, reading, count)
    finally:
        handle.remove()
    return states[-1]


def head_scores(backbone: Backbone, adapter: TrainedModel, answers: Answers, reading: Reading) -> torch.Tensor:
    """Log-probability of each answer by the adapter's head, (B, A) float32.

    Classes: the softmax of the head's values. Numbers: a Laplace distribution over the answers around the head's value,
    of a width that is learned and the same for all clips: the loss is the absolute error, as far as answers go.

    Raises:
        ValueError: The adapter has no head, or one for another task.
    """
    heads = adapter.heads
    if not heads or reading.clips is None:
        raise ValueError("The adapter has no head: its configuration says that answers are spelled.")
    if reading.pseudo == 0 and reading.ends is not None:
        return _together(heads, answers, reading.ends, reading.clips)
    behind_prompt = adapter.config.place == "before-answer" and reading.pseudo > 0
    # Behind the prompt, the state before the pseudo tokens is the one that the backbone itself would answer with.
    count = reading.pseudo + 1 if behind_prompt and reading.ends is None else 1
    states = answer_states(backbone, reading, count)
    prompt = (states[:, 0] if reading.ends is None else reading.ends) if behind_prompt else None
    return _together(heads, answers, states[:, -1], reading.clips, prompt)


def _together(
    heads: Sequence[AnswerHead],
    answers: Answers,
    states: torch.Tensor,
    clips: torch.Tensor,
    prompt: torch.Tensor | None = None,
) -> torch.Tensor:
    """What all heads say: the logarithm of their mean probability, (B, A).

    In training the mean of their log-probabilities, which makes any loss that is linear in them the mean of their
    losses: each learns as it would alone.
    """
    parts = clips.chunk(len(heads), 1)
    if len(heads) == 1:
        return _head_scores(heads[0], answers, states, clips, prompt)
    scores = torch.stack(
        [_head_scores(one, answers, states, part, prompt) for one, part in zip(heads, parts, strict=True)]
    )
    return scores.mean(0) if heads[0].training else scores.logsumexp(0) - math.log(len(heads))


def _head_scores(head: AnswerHead, answers: Answers, *read: torch.Tensor | None) -> torch.Tensor:
    values: torch.Tensor = head(*read)
    if values.shape[1] != answers.head_outputs:
        raise ValueError(f"The head makes {values.shape[1]} values, and the task needs {answers.head_outputs}.")
    return value_scores(values, head.width, answers)


def value_scores(values: torch.Tensor, width: torch.Tensor | None, answers: Answers) -> torch.Tensor:
    """Log-probability of each answer, (B, A) float32, by values that a head or a model made.

    Args:
        values: (B, A), one a class; or (B, 1), the number, from -1 to 1 between the ends of the answers.
        width: Of numbers, what the Laplace distribution's width is made of; None for classes.
        answers: All possible answers.
    """
    if isinstance(answers.task, Classification) or width is None:
        return values.log_softmax(1)
    numbers = torch.tensor(answer_values(answers.task), dtype=torch.float32, device=values.device)
    half = (numbers[-1] - numbers[0]) / 2
    middle = numbers[0] + half + half * values
    spread = half * functional.softplus(width)  # at the start, a fifth of half the range
    return (-(numbers - middle).abs() / (spread + _NARROWEST)).log_softmax(1)


_NARROWEST = 0.05
"""Half of the step between two numbers: narrower, all of the probability is one answer's."""


def _forward(
    backbone: Backbone,
    reading: Reading,
    keep: int,
    positions: torch.Tensor | None = None,
    attention: torch.Tensor | None = None,
) -> Any:
    if positions is None:
        positions = reading.positions()
    _check_room(backbone, int(positions.max()) + 1)
    accepted = inspect.signature(backbone.model.forward).parameters
    optional = {"position_ids": positions, "logits_to_keep": keep, "use_cache": False}
    past = {} if reading.past is None else {"past_key_values": reading.past}
    clips, new = reading.embeddings.shape[:2]
    # Keys that are learned need their gradient.
    learned = reading.past is not None and any(layer.keys.requires_grad for layer in reading.past.layers)
    with kept_keys(backbone, clips, 0 if learned else reading.known, new):
        return backbone.model(
            inputs_embeds=reading.embeddings,
            attention_mask=reading.mask.to(torch.int64) if attention is None else attention,
            **past,
            **{name: value for name, value in optional.items() if name in accepted},
        )


_FIXED: WeakKeyDictionary[Backbone, tuple[Prompt, torch.Tensor, torch.Tensor]] = WeakKeyDictionary()
"""Embeddings of the fixed parts that a backbone read last, for as long as it lives."""


def _fixed(backbone: Backbone, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (P, d) of the parts before and after the clip, made once and not at each step."""
    held = _FIXED.get(backbone)
    if held is None or held[0] != prompt or held[1].device != backbone.device or held[1].dtype != backbone.dtype:
        # Not an inference tensor, even if evaluation comes first: training could not use it.
        with torch.inference_mode(False), torch.no_grad():
            before, after = (
                backbone.embed(torch.tensor(ids, dtype=torch.int64, device=backbone.device))
                for ids in (prompt.before, prompt.after)
            )
        held = _FIXED[backbone] = (prompt, before, after)
    return held[1], held[2]


def reading_limit(backbone: Backbone) -> int | None:
    """How many tokens the backbone can read at once; None where its configuration does not say."""
    limit = getattr(backbone.model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if isinstance(limit, int) and limit > 0 else None


def text_room(backbone: Backbone, prompt: Prompt, answers: Answers, pseudo_tokens: int) -> int | None:
    """How many tokens of a text fit beside all else that the backbone reads; None if there is no limit."""
    limit = reading_limit(backbone)
    if limit is None:
        return None
    return max(0, limit - len(prompt) - pseudo_tokens - max(map(len, answers.ids)) + 1)


def _check_room(backbone: Backbone, length: int) -> None:
    limit = reading_limit(backbone)
    if limit is not None and length > limit:
        raise UsageError(
            f"Prompt, text and answer have {length} tokens, but the backbone {backbone.name} can read {limit}. "
            "Cut the texts, shorten the task prompt, or take another backbone."
        )
