"""text.ctc: when each word of a transcript is said, by forced alignment with a CTC model of transformers.

`Vocabulary` turns the text into the labels of the model, `CtcModel` gives the probabilities of these labels for each
frame of sound of any length, `best_path` finds the most probable alignment of labels and frames, and `heard` and
`parted` turn it into the times of the words.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, MseError, UsageError
from mse_pipeline.extractors.base import SpokenTextExtractor
from mse_pipeline.extractors.pretrained import digest, find
from mse_pipeline.extractors.text.spoken import Unit, spoken, units
from mse_pipeline.extractors.text.word_checks import NAMES, TimedWord, word_features
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

_BLOCK = 32 << 20  # steps that are remembered at once, a byte each


def best_path(log_probs: np.ndarray, targets: np.ndarray, *, blank: int = 0, wild: int | None = None) -> np.ndarray:
    """Find the likeliest alignment of a sequence of labels with frames (Graves et al. 2006, Viterbi 1967).

    A frame has one label or the blank; a label may go on for several frames, blanks may stand anywhere between
    labels, and between two equal labels there must be one.

    Memory stays bounded for hours of sound: of the frames only every n-th state of the search is kept, and the steps
    between are found again on the way back.

    Args:
        log_probs: (T, C) log-probabilities of C labels.
        targets: (L,) labels in their order.
        blank: The blank's column.
        wild: A column that stands for any label, so that it may follow itself without a blank; None for none.

    Returns:
        (T,) int: the place in `targets` of each frame's label, -1 for the blank.

    Raises:
        ValueError: No path of so many frames goes through all labels, or each has the probability 0.

    Examples:
        >>> likely = np.log([[0.1, 0.9], [0.8, 0.2], [0.2, 0.8]])
        >>> best_path(likely, np.array([1, 1])).tolist()
        [0, -1, 1]
    """
    frames, labels = len(log_probs), len(targets)
    needed = frames_needed(targets, wild=wild)
    if frames < needed:
        raise ValueError(f"{labels} labels need {needed} frames, but there are {frames}.")
    if not labels:
        return np.full(frames, -1)
    search = _Search(np.ascontiguousarray(log_probs, np.float64), targets, blank, wild)
    size = max(_BLOCK // search.states, 1)
    begins = list(range(0, frames, size))
    before = [search.begin()]
    for begin, end in itertools.pairwise(begins):
        before.append(search.run(before[-1], begin, end))
    state = -1
    states = np.empty(frames, np.int64)
    for begin, known in zip(reversed(begins), reversed(before), strict=True):
        end = min(begin + size, frames)
        steps = np.empty((end - begin, search.states), np.uint8)
        scores = search.run(known, begin, end, steps)
        if state < 0:
            state = search.states - (1 if scores[-1] >= scores[-2] else 2)
            if not math.isfinite(scores[2 + state]):
                raise ValueError("No path through the frames has a probability above 0.")
        for frame in range(end - 1, begin - 1, -1):
            states[frame] = state
            state -= int(steps[frame - begin, state])
    # States take turns: blank, first label, blank, second label, ..., blank.
    return np.where(states % 2 == 1, states // 2, -1)


def frames_needed(targets: np.ndarray, *, wild: int | None = None) -> int:
    """The least number of frames that a sequence of labels fits into.

    Examples:
        >>> frames_needed(np.array([1, 1, 2]))
        4
    """
    equal = targets[1:] == targets[:-1]
    if wild is not None:
        equal &= targets[1:] != wild
    return len(targets) + int(equal.sum())


class _Search:
    """The search's states and its step from frame to frame, over all states at once."""

    def __init__(self, log_probs: np.ndarray, targets: np.ndarray, blank: int, wild: int | None) -> None:
        self.states = 2 * len(targets) + 1
        self._log_probs = log_probs
        self._columns = np.full(self.states, blank, np.int64)
        self._columns[1::2] = targets
        # From a label straight to the next one, past the blank between.
        self._skips = np.full(self.states, -np.inf)
        differs = targets[1:] != targets[:-1]
        if wild is not None:
            differs |= targets[1:] == wild
        self._skips[3::2][differs] = 0.0

    def begin(self) -> np.ndarray:
        """Scores before the first frame, as if it came after a blank: the same step leads into it as into others."""
        scores = np.full(self.states + 2, -np.inf)
        scores[2] = 0.0
        return scores

    def run(self, scores: np.ndarray, begin: int, end: int, steps: np.ndarray | None = None) -> np.ndarray:
        """Scores after some frames.

        Args:
            scores: (2 + states,) what `begin` or `run` gave; the first two stand for states that are not there.
            begin: First frame.
            end: Frame after the last.
            steps: (end - begin, states) filled with how many states each path came forward.

        Returns:
            (2 + states,) scores.
        """
        scores = scores.copy()
        for frame in range(begin, end):
            stay, step, skip = scores[2:], scores[1:-1], scores[:-2] + self._skips
            moved = step > stay
            best = np.where(moved, step, stay)
            skipped = skip > best
            if steps is not None:
                steps[frame - begin] = np.where(skipped, 2, moved)
            scores[2:] = np.where(skipped, skip, best) + self._log_probs[frame].take(self._columns)
        return scores


WILD = -1
"""Label of what the model does not know: any label does."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """The labels of a text in their order.

    Attributes:
        labels: (L,) ids of the model's vocabulary, or `WILD`.
        owners: (L,) the place in `units` of what each belongs to; -1 for what parts words.
        units: Words and characters of the text.
    """

    labels: np.ndarray
    owners: np.ndarray
    units: tuple[Unit, ...]

    @property
    def known(self) -> int:
        """How many of the labels of words the model knows."""
        return int(((self.labels != WILD) & (self.owners >= 0)).sum())


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a CTC model can hear.

    Attributes:
        ids: Label -> id, without the blank and control tokens.
        blank: Id of the blank.
        delimiter: Id of the label between words; None where there is none.
        pieces: Splits a word into ids of longer pieces, None among them for what it does not know; None for a model
            of single characters.
    """

    ids: Mapping[str, int]
    blank: int
    delimiter: int | None = None
    pieces: Callable[[str], Sequence[int | None]] | None = None

    def targets(self, text: str, language: str) -> Targets:
        """The labels of a text. Punctuation that the model does not know is silent; other unknown signs are wild.

        Args:
            text: As people write it.
            language: Its ISO 639-1 code, for numbers.

        Examples:
            >>> letters = Vocabulary({"A": 2, "B": 3, "'": 4}, blank=0, delimiter=1)
            >>> targets = letters.targets("Ab, b'é!", "en")
            >>> targets.labels.tolist(), targets.owners.tolist()
            ([2, 3, 1, 3, 4, -1], [0, 0, -1, 1, 1, 1])
        """
        of_text = tuple(units(text))
        labels: list[int] = []
        owners: list[int] = []
        before: Unit | None = None
        for index, unit in enumerate(of_text):
            for number, word in enumerate(spoken(unit, language, text[unit.end : unit.end + 1])):
                own = list(self._labels(word))
                if not own:
                    continue
                # Scripts without spaces have no label between their characters.
                joined = number == 0 and (before is None or before.by_character or unit.by_character)
                if labels and not joined and self.delimiter is not None:
                    labels.append(self.delimiter)
                    owners.append(-1)
                labels += own
                owners += [index] * len(own)
                before = unit
        return Targets(np.array(labels, np.int64), np.array(owners, np.int64), of_text)

    def _labels(self, word: str) -> Iterator[int]:
        last: int | None = None
        for label in self.pieces(word) if self.pieces is not None else self._letters(word):
            token = WILD if label is None else label
            # Several unknown signs in a row are one stretch of unknown sound.
            if token != WILD or last != WILD:
                yield token
            last = token

    def _letters(self, word: str) -> Iterator[int | None]:
        for letter in word:
            plain = unicodedata.normalize("NFKD", letter)[0]
            forms = (letter, letter.upper(), letter.lower(), plain, plain.upper(), plain.lower())
            known = next((form for form in forms if all(sign in self.ids for sign in form)), None)
            if known is not None:
                yield from (self.ids[sign] for sign in known)
            elif unicodedata.category(letter)[0] in "LN":
                yield None


_PROBES = (4, 12)  # seconds


class CtcModel:
    """A loaded model.

    Args:
        folder: As `find` gives it.
        device: Where it runs, as in ``cpu`` or ``cuda``.
        window: Seconds of sound whose labels are taken from one call.
        context: Seconds that each call hears before and after them.

    Raises:
        UsageError: The folder holds no CTC model, or its vocabulary is not beside it.
    """

    def __init__(self, folder: Path, device: str, *, window: float = 20.0, context: float = 2.0) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # a worker's bars would go through those of the run
        safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._model = AutoModelForCTC.from_pretrained(folder, **safely).to(device).eval()
            self._prepare = AutoFeatureExtractor.from_pretrained(folder, **safely)
            tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"text.ctc: {folder} cannot be loaded as a CTC model ({str(error).strip().splitlines()[0]}). Its "
                "config.json, preprocessor_config.json, vocabulary and weights must lie there."
            ) from error
        self._device, self._window, self._context = device, window, context
        self.rate = int(self._prepare.sampling_rate)
        self.vocabulary = vocabulary_of(tokenizer, self._model.config)
        self.hop = self._hop()

    def emissions(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the model hears, frame by frame; memory is bounded by the window and by the labels asked for.

        Args:
            samples: (N,) mono sound at `rate`.
            labels: (K,) ids of the labels that are looked for.

        Returns:
            (T, 2 + K) float64 log-probabilities of the blank, of any label at all, and of each label asked for. Frame
            k begins at sample ``k * hop``.
        """
        import torch

        core, around = round(self._window * self.rate / self.hop), round(self._context * self.rate / self.hop)
        parts = []
        first = 0
        while True:
            low = max(first - around, 0)
            last = (first + core + around) * self.hop >= len(samples)
            high = len(samples) if last else (first + core + around) * self.hop
            logits = self._logits(samples[low * self.hop : high])
            logits = logits[first - low :] if last else logits[first - low : first - low + core]
            likely = torch.log_softmax(logits.double(), dim=-1)
            blank = likely[:, self.vocabulary.blank]
            spoken = torch.log1p(-blank.exp().clamp(max=1 - 1e-12))
            asked = likely[:, torch.as_tensor(labels, device=likely.device)]
            parts.append(torch.cat([blank[:, None], spoken[:, None], asked], dim=1).cpu().numpy())
            if last:
                return np.concatenate(parts)
            first += core

    def _logits(self, samples: np.ndarray) -> Any:
        import torch

        inputs = self._prepare(samples, sampling_rate=self.rate, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            return self._model(**inputs).logits[0]

    def _hop(self) -> int:
        """Samples from one frame to the next: as the configuration tells, or as two calls show."""
        ratio = getattr(self._model.config, "inputs_to_logits_ratio", None)
        if ratio is not None and not getattr(self._model.config, "add_adapter", False):
            return int(ratio)
        short, long = (len(self._logits(np.zeros(seconds * self.rate, np.float32))) for seconds in _PROBES)
        if long <= short:
            raise MseError(f"text.ctc: the model gives {short} and {long} frames for {_PROBES} seconds of sound.")
        return round((_PROBES[1] - _PROBES[0]) * self.rate / (long - short))


def vocabulary_of(tokenizer: Any, config: Any) -> Vocabulary:
    """What the model of a tokenizer and a configuration can hear.

    Raises:
        UsageError: Neither names the blank.
    """
    blank = config.pad_token_id if config.pad_token_id is not None else tokenizer.pad_token_id
    if blank is None:
        raise UsageError("text.ctc: neither the model's config.json nor its vocabulary names the blank (pad_token_id).")
    control = set(tokenizer.all_special_tokens)
    # Tokenizers add control tokens and the sign between words on their own; the model may have no output for them.
    every = {label: id_ for label, id_ in tokenizer.get_vocab().items() if id_ < config.vocab_size}
    between = getattr(tokenizer, "word_delimiter_token", None)
    ids = {label: id_ for label, id_ in every.items() if label not in control and id_ != blank and label != between}
    pieces = None
    if any(label.startswith("\u2581") for label in ids):

        def pieces(word: str) -> list[int | None]:
            labels = tokenizer.encode(word, add_special_tokens=False)
            return [None if label == tokenizer.unk_token_id else label for label in labels]

    return Vocabulary(ids, int(blank), every.get(between) if between else None, pieces)


BLANK, ANY = 0, 1
"""The first columns of emissions: the blank, and any label at all. Those of the labels asked for follow."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """A word in the frames.

    Attributes:
        unit: The word.
        start: Its first frame.
        end: The frame after its last.
        confidence: Mean posterior of its labels in the frames that they take; 0 if the model knows none of them.
    """

    unit: Unit
    start: int
    end: int
    confidence: float


def heard(emissions: np.ndarray, targets: Targets) -> list[Heard]:
    """Find each word in the frames.

    Args:
        emissions: (T, 2 + K) log-probabilities of the blank, of any label, and of the K labels of `targets` that the
            model knows, in the order of their ids.
        targets: The labels of the text.

    Raises:
        ValueError: There are fewer frames than labels.

    Examples:
        >>> from mse_pipeline.extractors.text.ctc import Vocabulary
        >>> targets = Vocabulary({"a": 1, "b": 2}, blank=0).targets("ab", "en")
        >>> frames = np.log([[0.8, 0.2, 0.1, 0.1], [0.1, 0.9, 0.9, 0.0001], [0.5, 0.5, 0.0001, 0.5]])
        >>> [(word.unit.text, word.start, word.end, round(word.confidence, 3)) for word in heard(frames, targets)]
        [('ab', 1, 3, 0.7)]
    """
    labelled = targets.labels != WILD
    columns = np.full(len(targets.labels), ANY)
    columns[labelled] = np.unique(targets.labels[labelled], return_inverse=True)[1] + 2
    scores = emissions.copy()
    # Any label is never less likely than a known one. At half its worth it yields each frame in which the known one is
    # likelier than all others together.
    scores[:, ANY] -= np.log(2)
    path = best_path(scores, columns, blank=BLANK, wild=ANY)
    frames = np.flatnonzero(path >= 0)
    frames = frames[targets.owners[path[frames]] >= 0]
    owners = targets.owners[path[frames]]
    posteriors = np.exp(emissions[frames, columns[path[frames]]])
    words = []
    # The path goes forward only, so that a word's frames stand together.
    for begin, end in _runs(owners):
        sure = posteriors[begin:end][labelled[path[frames[begin:end]]]]
        confidence = float(sure.mean()) if len(sure) else 0.0
        words.append(Heard(targets.units[owners[begin]], int(frames[begin]), int(frames[end - 1]) + 1, confidence))
    return words


def parted(words: Sequence[Heard], shortest: float, frames: int) -> list[tuple[float, float]]:
    """Begin and end of each word, silence that is too short shared by its neighbours.

    Args:
        words: In the order of time.
        shortest: Frames from which on silence between words is kept apart.
        frames: Number of frames in all.

    Returns:
        (begin, end) in frames, fractions where a boundary lies within one.

    Examples:
        >>> from mse_pipeline.extractors.text.spoken import Unit
        >>> words = [Heard(Unit("a", 0, 1), 3, 4, 1.0), Heard(Unit("b", 2, 3), 7, 8, 1.0)]
        >>> parted(words, 4, 30), parted(words, 3, 30)
        ([(0.0, 5.5), (5.5, 8.0)], [(3.0, 4.0), (7.0, 8.0)])
    """
    edges = [0, *(edge for word in words for edge in (word.start, word.end)), frames]
    borders: list[tuple[float, float]] = []
    for number, (before, after) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        if after - before >= shortest:
            borders.append((before, after))
        elif number == 0:
            borders.append((0, 0))
        elif number == len(words):
            borders.append((frames, frames))
        else:
            borders.append(((before + after) / 2,) * 2)
    return [(float(left[1]), float(right[0])) for left, right in itertools.pairwise(borders)]


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of each run of equal values."""
    edges = np.flatnonzero(np.r_[True, values[1:] != values[:-1], True]) if len(values) else np.zeros(0, int)
    return list(itertools.pairwise(edges.tolist()))


_SHORTEST = 0.05  # seconds; the first layers of speech models span 25 ms and more
_QUIETEST = 1e-4  # of full scale, -80 dB: nobody speaks so low

Seconds = Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CtcConfig:
    """Options of `Ctc`.

    Attributes:
        model: Folder of a CTC model of transformers, or its name on the hub; of the language that is spoken. The
            default is for English.
        revision: Commit, tag or branch on the hub; None for the main branch.
        window: Seconds of sound that the model hears at once; longer sound is heard in several windows.
        context: Seconds that it hears before and after each window.
        min_silence: Seconds of silence between words from which on it is kept apart. A CTC model tells where a letter
            is, not where its sound ends: shorter silence is shared by both words.
    """

    model: str = "facebook/wav2vec2-base-960h"
    revision: str | None = None
    window: Seconds = 20.0
    context: Seconds = 2.0
    min_silence: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.2


class Ctc(SpokenTextExtractor[CtcConfig]):
    """Stream ``text.ctc``, (T, 1): one row a word, or a character of Chinese, and one for each silence between them.

    The value is the word's confidence: the mean posterior of its labels in the frames that they take. Signs that
    the model does not know stand for any sound and have no share in it; a word of such signs alone has 0.
    """

    name = "ctc"
    revision = 1
    Config = CtcConfig
    not_values = frozenset({"model", "revision"})  # the model's content counts, not where it lies

    tried = True

    _model: CtcModel | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the one value: confidence."""
        return NAMES

    def load(self, device: str = "cpu") -> None:
        """Load the model.

        Raises:
            UsageError: It is missing, cannot be downloaded, or is not a CTC model.
        """
        super().load(device)
        self._model = None
        self._loaded()

    def unload(self) -> None:
        """Give up the model's memory."""
        self._model = None

    def model_digest(self) -> str:
        """Digest of the model's configuration, vocabulary and weights."""
        return digest(find(self.config.model, self.config.revision))

    def __call__(self, clip: Clip, audio: Audio) -> Features:
        """Align.

        Args:
            clip: The clip, with its text and language.
            audio: The clip's sound.

        Returns:
            (T, 1) features, see `mse_pipeline.extractors.text.word_checks.word_features`.

        Raises:
            ClipError: `alignment_failed`: no text or no sound, none of the text is known to the model, or the text is
                longer than the sound has frames.
        """
        model = self._loaded()
        if audio.rate != model.rate:
            raise UsageError(f"text.ctc: the model hears {model.rate} samples a second, but clips have {audio.rate}.")
        targets = model.vocabulary.targets(clip.text, clip.language)
        _require(clip, audio, targets)
        emissions = model.emissions(audio.samples, np.unique(targets.labels[targets.labels != WILD]))
        try:
            words = heard(emissions, targets)
        except ValueError as error:
            raise ClipError("alignment_failed", f"The text of {clip.id} does not fit into its sound: {error}") from None
        times = parted(words, self.config.min_silence * model.rate / model.hop, len(emissions))
        step, last = model.hop / model.rate, audio.duration
        timed = []
        for word, (begin, end) in zip(words, times, strict=True):
            # The last frames stand for the sound up to its end, which is no whole frame.
            stop = last if end == len(emissions) else min(end * step, last)
            span = (word.unit.start, word.unit.end)
            timed.append(TimedWord(min(begin * step, stop), stop, word.unit.text, word.confidence, span))
        return word_features(timed, clip, last)

    def _loaded(self) -> CtcModel:
        if self._model is None:
            folder = find(self.config.model, self.config.revision)
            self._model = CtcModel(folder, self.device, window=self.config.window, context=self.config.context)
        return self._model


def _require(clip: Clip, audio: Audio, targets: Targets) -> None:
    """Refuse what cannot be aligned.

    Raises:
        ClipError: `alignment_failed`.
    """
    if not clip.text.strip():
        raise ClipError("alignment_failed", f"{clip.id} has no text.")
    if not targets.known:
        raise ClipError(
            "alignment_failed",
            f"The model knows no sign of the text {clip.text[:50]!r} of {clip.id}; is it for another language?",
        )
    if audio.duration < _SHORTEST:
        raise ClipError("alignment_failed", f"{clip.id} has {audio.duration:.3f} s of sound, too little for a word.")
    if not np.any(np.abs(audio.samples) > _QUIETEST):
        raise ClipError("alignment_failed", f"The sound of {clip.id} is silent from begin to end.")
