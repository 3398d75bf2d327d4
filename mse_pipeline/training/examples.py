"""Examples: the labelled clips of a split as what the model reads, made into batches as they are needed.

Context: the turns that were said before a clip, as the backbone reads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from mse_pipeline.adapter import Model
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.backbone import Backbone
from mse_pipeline.backbones.prompt import encode_all, written_language
from mse_pipeline.clip import Clip, Label, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.training.normaliser import Normaliser
from mse_pipeline.training.reading import Batch

COLON = {"en": ": ", "zh": "："}


def cased(clips: Sequence[Clip], case: str) -> Sequence[Clip]:
    """Clips whose texts have the case in which the backbone reads them, see `PromptSection.case`.

    Examples:
        >>> clips = [Clip(id=text, split=Split.TRAIN, text=text) for text in ("I MEAN IT", "NASA rocks", "中文")]
        >>> [clip.text for clip in cased(clips, "auto")]
        ['i mean it', 'NASA rocks', '中文']
    """
    if case == "as-written":
        return clips
    return [
        replace(clip, text=clip.text.lower()) if clip.text and (case == "lower" or clip.text.isupper()) else clip
        for clip in clips
    ]


def remark_on_case(clips: Sequence[Clip], case: str) -> str:
    """A sentence where most texts are read in capitals, in which a language model knows words worse; empty otherwise.

    On CMU-MOSI, SmolLM2's states tell the sentiment with a correlation of .57 as written, and of .75 in lower case.
    """
    spoken = [clip.text for clip in clips if clip.text.lower() != clip.text.upper()]
    capitals = sum(text.isupper() for text in spoken)
    if case != "as-written" or 2 * capitals <= len(spoken):
        return ""
    return (
        f"{capitals:,} of {len(spoken):,} texts are wholly in capitals, which language models read worse. "
        "--set prompt.case=auto has them read in lower case."
    )


class Dialogues:
    """The dialogues of a dataset; a clip's context is the turns before it, of its own split.

    Args:
        clips: All clips of the dataset; those without a label were said as well.
        turns: How many turns before a clip are read.
        language: ISO 639-1 code of the prompt, which writes the colon.

    Raises:
        UsageError: Turns are asked for, and no clip tells its dialogue and its place in it.
    """

    def __init__(self, clips: Sequence[Clip], turns: int, language: str = "en") -> None:
        self.turns = turns
        self._colon = COLON[written_language(language)]
        self._spoken: dict[tuple[Split, str], list[tuple[int, Clip]]] = defaultdict(list)
        for clip in clips if turns else ():
            if clip.dialogue is not None and clip.turn is not None:
                self._spoken[clip.split, clip.dialogue].append((clip.turn, clip))
        if turns and not self._spoken:
            raise UsageError("prompt.context asks for previous turns, but no clip tells its dialogue: leave it out.")
        for spoken in self._spoken.values():
            spoken.sort(key=lambda one: one[0])

    def lines(self, clip: Clip) -> list[str]:
        r"""The turns before a clip, the oldest first, then who speaks in it; empty for a clip outside any dialogue.

        Examples:
            >>> said = [("Ross", "Hi."), ("Joey", "Hey."), ("Ross", "So?")]
            >>> clips = [
            ...     Clip(id=str(n), split=Split.TEST, text=text, speaker=speaker, dialogue="7", turn=n)
            ...     for n, (speaker, text) in enumerate(said)
            ... ]
            >>> Dialogues(clips, turns=1).lines(clips[2])
            ['Joey: Hey.\n', 'Ross:']
        """
        if not self.turns or clip.dialogue is None or clip.turn is None:
            return []
        before = [one for turn, one in self._spoken[clip.split, clip.dialogue] if turn < clip.turn]
        said = [f"{self._name(one)}{one.text}\n" for one in before[-self.turns :]]
        return [*said, self._name(clip).rstrip()] if clip.speaker else said

    def _name(self, clip: Clip) -> str:
        return f"{clip.speaker}{self._colon}" if clip.speaker else ""


def last_lines(lines: Sequence[tuple[int, ...]], room: int | None = None) -> tuple[int, ...]:
    """The lines' token ids end to end; the oldest go first where there is no room for all.

    Args:
        lines: Token ids of each, the oldest first.
        room: Most tokens; None for no limit.

    Examples:
        >>> last_lines([(1, 2), (3,), (4, 5)], room=4)
        (3, 4, 5)
    """
    first = 0
    while room is not None and first < len(lines) and sum(map(len, lines[first:])) > room:
        first += 1
    return tuple(token for line in lines[first:] for token in line)


UNKNOWN = -1
"""Target of a clip whose label is not known; nothing is ever compared with it."""


@dataclass(frozen=True)
class Example:
    """A labelled clip, or one with votes.

    Attributes:
        clip: Its id.
        text: What is said.
        label: The annotation; empty where there is none.
        target: Index of the right answer; `UNKNOWN` where there is none.
        before: Lines that were said before it, where the recipe asks for them.
        distribution: Share of each answer among the annotators' votes; empty where these are not known or not read.
        own_targets: Index of the right answer of each modality alone, in the order of `LABELLED`, `UNKNOWN` where there
            is none; empty where they are not read.
    """

    clip: str
    text: str
    label: Label
    target: int
    before: tuple[str, ...] = ()
    distribution: tuple[float, ...] = ()
    own_targets: tuple[int, ...] = ()


def examples(
    clips: Sequence[Clip],
    split: Split,
    answers: Answers,
    dialogues: Dialogues | None = None,
    *,
    distributions: bool = False,
    own_labels: bool = False,
) -> list[Example]:
    """The labelled clips of a split; those without a label are left out.

    Args:
        clips: All clips of the dataset.
        split: Which part is wanted.
        answers: The possible answers.
        dialogues: Tells what was said before a clip; None for nothing.
        distributions: Whether annotators' votes are read; then clips that have these alone are not left out.
        own_labels: Whether the labels of single modalities are read.

    Raises:
        UsageError: A label, that of a modality, or a class with votes does not belong to the task.
    """
    made = []
    targets: dict[Label | None, int] = {None: UNKNOWN}  # annotations repeat
    for clip in clips:
        voted = distributions and bool(clip.distribution)
        if clip.split != split or (clip.label is None and not voted):
            continue
        try:
            target = targets[clip.label] if clip.label in targets else answers.target(clip.label)
            shares = _shares(clip, answers) if voted else ()
        except ValueError as error:
            raise UsageError(f"The clip {clip.id} cannot be trained on. {error}") from error
        targets[clip.label] = target
        before = () if dialogues is None else tuple(dialogues.lines(clip))
        label = "" if clip.label is None else clip.label
        own = _own_targets(clip, answers) if own_labels else ()
        made.append(Example(clip.id, clip.text, label, target, before, shares, own))
    return made


LABELLED = ("text", "acoustic", "visual")
"""Modalities that may have a label of their own, as `Clip.labels` names them."""


def _own_targets(clip: Clip, answers: Answers) -> tuple[int, ...]:
    try:
        return tuple(answers.target(clip.labels[name]) if name in clip.labels else UNKNOWN for name in LABELLED)
    except ValueError as error:
        raise UsageError(
            f"The clip {clip.id} has a label of a modality that is none of the task's. {error} Mend it, or leave such "
            "labels out with training.model_options.labels=multimodal."
        ) from error


def _shares(clip: Clip, answers: Answers) -> tuple[float, ...]:
    shares = [0.0] * len(answers)
    for name, share in clip.distribution.items():
        shares[answers.target(name)] += share
    return tuple(shares)


class Texts:
    """Token ids of texts, each made once: those of many at once take a fraction of the time.

    Args:
        backbone: Its tokenizer makes them.
        room: Most tokens of a text that the backbone can read beside all else; longer texts lose their end.
    """

    def __init__(self, backbone: Backbone, room: int | None = None) -> None:
        self._tokenizer = backbone.tokenizer
        self._room = room
        self._made: dict[str, tuple[int, ...]] = {}

    def __call__(self, text: str) -> tuple[int, ...]:
        """Token ids of a text."""
        return self._whole(text)[: self._room]

    def before(self, example: Example) -> tuple[int, ...]:
        """Token ids of the lines before an example, as far as there is room beside its text."""
        left = None if self._room is None else self._room - len(self(example.text))
        return last_lines([self._whole(line) for line in example.before], left)

    def make(self, chosen: Sequence[Example]) -> None:
        """Make the tokens of all texts and lines of some examples in one call."""
        said = dict.fromkeys(text for example in chosen for text in (example.text, *example.before))
        self._add([text for text in said if text not in self._made])

    def _whole(self, text: str) -> tuple[int, ...]:
        if text not in self._made:
            self._add([text])
        return self._made[text]

    def _add(self, texts: Sequence[str]) -> None:
        self._made.update(zip(texts, encode_all(self._tokenizer, texts), strict=True))


class Viewed(Mapping[str, Features]):
    """A stream as a model sees it, see `Model.view`.

    Args:
        stream: Features by clip id.
        kind: The model.
    """

    def __init__(self, stream: Mapping[str, Features], kind: type[Model]) -> None:
        self._stream, self._kind = stream, kind
        self._seen: dict[str, Features] = {}

    def __getitem__(self, clip: str) -> Features:
        if clip not in self._seen:  # a view is a row or a few: it is kept
            self._seen[clip] = self._kind.view(self._stream[clip])
        return self._seen[clip]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __len__(self) -> int:
        return len(self._stream)

    def __contains__(self, clip: object) -> bool:
        return clip in self._stream


def viewed(streams: Mapping[str, Mapping[str, Features]], kind: type[Model]) -> dict[str, Mapping[str, Features]]:
    """The streams as a model sees them, by modality; as they are where it has no view of its own."""
    if kind.view.__func__ is Model.view.__func__:  # type: ignore[attr-defined]
        return dict(streams)
    return {modality: Viewed(stream, kind) for modality, stream in streams.items()}


class Batcher:
    """Makes batches of examples: tokenizes their texts, reads their features, normalises and pads them.

    Args:
        texts: Makes tokens of texts.
        streams: Features by clip id, by modality; a modality that is absent is not read.
        normalisers: Fitted on the train split, by modality.
    """

    def __init__(
        self, texts: Texts, streams: Mapping[str, Mapping[str, Features]], normalisers: Mapping[str, Normaliser]
    ) -> None:
        self._texts = texts
        self._streams = streams
        self._normalisers = normalisers

    def tokens(self, chosen: Sequence[Example]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Token ids of the lines before each example, and of its text."""
        self._texts.make(chosen)
        return [(self._texts.before(example), self._texts(example.text)) for example in chosen]

    def lengths(self, chosen: Sequence[Example]) -> list[int]:
        """Tokens of each example's text and of the lines before it: by what its reading's length differs."""
        self._texts.make(chosen)
        return [len(self._texts(example.text)) + len(self._texts.before(example)) for example in chosen]

    def batch(self, chosen: Sequence[Example]) -> Batch:
        """One batch. A clip without a stream, or without a valid row in it, has length 0 there."""
        self._texts.make(chosen)
        text_ids, text_mask = _padded([self._texts(example.text) for example in chosen])
        sequences: dict[str, torch.Tensor] = {}
        if any(example.before for example in chosen):
            context_ids, context_mask = _padded([self._texts.before(example) for example in chosen])
            sequences |= {"context_ids": context_ids, "context_mask": context_mask}
        for modality in self._streams:
            values, lengths = self._sequences(modality, [example.clip for example in chosen])
            sequences |= {modality: values, f"{modality}_lengths": lengths}
        return Batch(
            clips=tuple(example.clip for example in chosen),
            text_ids=text_ids,
            text_mask=text_mask,
            targets=torch.tensor([example.target for example in chosen]),
            distributions=_distributions(chosen),
            own_targets=_own_targets_of(chosen),
            texts=tuple(example.text for example in chosen),
            **sequences,
        )

    def _sequences(self, modality: str, clips: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        stream, normaliser = self._streams[modality], self._normalisers[modality]
        found = [stream.get(clip) for clip in clips]
        rows = [one if one is not None and one.valid.any() else None for one in found]
        lengths = [0 if one is None else len(one) for one in rows]
        values = torch.zeros(len(rows), max(1, *lengths), normaliser.width)
        into = values.numpy()
        for row, one in enumerate(rows):
            if one is not None:
                normaliser.into(one, into[row, : len(one)])
        return values, torch.tensor(lengths)


def _own_targets_of(chosen: Sequence[Example]) -> torch.Tensor | None:
    """(B, 3) targets of the modalities; None where they are not read, as of clips that are only predicted."""
    read = all(example.own_targets for example in chosen)
    return torch.tensor([example.own_targets for example in chosen]) if read else None


def _distributions(chosen: Sequence[Example]) -> torch.Tensor | None:
    """(B, A) target of each clip, that of one without votes its label; None where no clip has votes."""
    width = max(len(example.distribution) for example in chosen)
    if not width:
        return None
    shares = torch.zeros(len(chosen), width)
    for place, example in enumerate(chosen):
        if example.distribution:
            shares[place] = torch.tensor(example.distribution)
        elif example.target != UNKNOWN:
            shares[place, example.target] = 1.0
    return shares


def _padded(rows: Sequence[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, L) with zeros behind, and the mask of what is no padding."""
    longest = max(1, *map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[place, : len(row)] = True
    return ids, mask
