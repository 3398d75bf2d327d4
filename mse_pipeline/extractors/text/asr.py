"""text.asr: what is said in a clip and when, by speech recognition: the transcript, and its words with times.

Sound is cut into pieces where nobody speaks, each piece goes through the model (`recognition`), and the words of all
pieces become the rows of a word stream. Where nobody speaks nothing is heard: models make up words for silence.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

from mse_pipeline.clip import Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.acoustic.vad import HOP, no_speech, speech_probabilities, speech_segments, weights_file
from mse_pipeline.extractors.base import SpokenTextExtractor
from mse_pipeline.extractors.text import recognition
from mse_pipeline.extractors.text.recognition import GENERATION, Heard, Recogniser
from mse_pipeline.extractors.text.spoken import units
from mse_pipeline.extractors.text.word_checks import NAMES, TimedWord, word_features
from mse_pipeline.extractors.visual.weights import models_folder
from mse_pipeline.media.audio import SAMPLE_RATE, Audio
from mse_pipeline.store.features import Features

SHORTEST = 0.02
"""Seconds that a word lasts at least: a row of Whisper's encoder."""

_LONGEST = 30.0  # seconds of a piece for models that take any number
_PAUSE = 10  # rows over which a pause is looked for: 0.3 s
_ALIKE = 1e-3  # probabilities that are closer are alike
_AROUND = 0.1  # seconds before and after speech in which words may begin and end


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AsrConfig:
    """Options of `Asr`.

    Attributes:
        model: Folder of a speech-to-text model of transformers, or its name on the hub: Whisper of any size,
            Speech2Text, Moonshine and other encoder-decoder models, or a CTC model.
        revision: Commit, tag or branch on the hub; None for the main branch.
        language: Code of what is said, as in ``en``; None for Whisper to detect it in each clip.
        window: Seconds that the model hears at once at most; longer sound is cut where nobody speaks. None for 30, or
            less where the model takes less.
        batch: Pieces that go through the model at once.
        vad: Probability from which on Silero VAD takes sound for speech; where there is none nothing is transcribed,
            and words do not reach into silence. 0 to do without.
        no_speech: Probability of no speech from which on what Whisper wrote is dropped, if it is unsure of it, too.
        unsure: Mean log probability of a text's tokens below which Whisper is unsure of it.
        repeats: Ratio of a text's bytes to its compressed bytes above which it is told that it repeats itself.
        tokens: Most tokens that are written for a piece; None for as many as the model can.
        precision: Number format in which the model computes.
    """

    model: str = "openai/whisper-base"
    revision: str | None = None
    language: str | None = None
    window: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] | None = None
    batch: Annotated[int, Field(ge=1)] = 1
    vad: Annotated[float, Field(ge=0, lt=1)] = 0.5
    no_speech: Annotated[float, Field(ge=0, le=1)] = 0.6
    unsure: Annotated[float, Field(le=0)] = -1.0
    repeats: Annotated[float, Field(gt=0)] = 2.4
    tokens: Annotated[int, Field(ge=1)] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    @field_validator("language")
    @classmethod
    def _a_code(cls, language: str | None) -> str | None:
        if language is not None and not (language.isascii() and language.isalpha() and 2 <= len(language) <= 3):
            raise ValueError(f"is the code of a language, as en or zh, and not {language!r}")
        return language if language is None else language.lower()


class Asr(SpokenTextExtractor[AsrConfig]):
    """Stream ``text.asr``, (T, 1): one row a word, or a character of Chinese, and one for each silence between them.

    The value is the word's confidence: the mean probability of the tokens that it is written with. The notes have the
    transcript (``text``) and the words' places in it, and of the whole clip ``confidence``, ``no_speech``,
    ``language`` and how sure that is. The clip's own text is not read. A clip in which nobody speaks has an empty
    transcript and one row of silence.
    """

    name = "asr"
    revision = 1
    Config = AsrConfig
    reads_text = False
    not_values = frozenset({"model", "revision", "batch"})  # the model's content counts, not where it lies

    @property
    def names(self) -> tuple[str, ...]:
        """Of the one value: confidence."""
        return NAMES

    @functools.cached_property
    def folder(self) -> Path:
        """Folder of the model; the model is downloaded if it is missing."""
        folder = pretrained.find(self.config.model, self.config.revision, more=(GENERATION,))
        recognition.kind_of(pretrained.config(folder), self.config.model)
        return folder

    def load(self, device: str = "cpu") -> None:
        """Load the model.

        Raises:
            MseError: It is missing, cannot be downloaded, does not recognise speech, or does not know the language.
        """
        super().load(device)
        self.__dict__.pop("model", None)
        _ = self.model

    @functools.cached_property
    def model(self) -> Recogniser:
        """The loaded model.

        Raises:
            MseError: As for `load`.
        """
        options = self.config
        loaded = recognition.load(
            self.folder,
            language=options.language,
            precision=options.precision,
            device=self.device,
            tokens=options.tokens,
        )
        if options.window is not None and loaded.longest is not None and options.window > loaded.longest:
            raise UsageError(
                f"{options.model} takes {loaded.longest:g} s at once, and `window` asks for {options.window:g} s."
            )
        return loaded

    @property
    def _window(self) -> int:
        """Samples of a piece at most."""
        return round((self.config.window or min(self.model.longest or _LONGEST, _LONGEST)) * SAMPLE_RATE)

    def model_digest(self) -> str:
        """Digest of the models' files: of that which hears words, and of that which hears whether anybody speaks."""
        own = self.folder / GENERATION
        files = [*([own] if own.is_file() else []), weights_file()]
        more = pretrained.folder_digest(files, models_folder() / ".digests")
        return f"{pretrained.digest(self.folder)}{more[:8]}"

    def __call__(self, clip: Clip, audio: Audio) -> Features:
        """Transcribe.

        Args:
            clip: The clip; its text is not read.
            audio: Its sound.

        Returns:
            (T, 1) features, see `mse_pipeline.extractors.text.word_checks.word_features`; notes beside those: `model`,
            `language`, `language_probability`, `confidence`, `no_speech`, `repeats`, None for what is not known.
        """
        if audio.rate != SAMPLE_RATE:
            raise UsageError(f"text.asr hears {SAMPLE_RATE:,} samples a second, but clips have {audio.rate:,}.")
        options = self.config
        probabilities = speech_probabilities(audio.samples)
        speech = speech_segments(probabilities, options.vad) if options.vad else [(0.0, audio.duration)]
        pieces = [
            (begin, end)
            for begin, end in cut_in_pauses(probabilities, self._window, len(audio.samples))
            if any(start * SAMPLE_RATE < end and begin < stop * SAMPLE_RATE for start, stop in speech)
        ]
        heard: list[tuple[float, Heard]] = []
        for first in range(0, len(pieces), options.batch):
            some = pieces[first : first + options.batch]
            understood = self.model([audio.samples[begin:end] for begin, end in some])
            heard += [(begin / SAMPLE_RATE, piece) for (begin, _), piece in zip(some, understood, strict=True)]
        notes = self._of_clip([piece for _, piece in heard])
        text, words = transcript([(begin, piece) for begin, piece in heard if self._is_said(piece)])
        if not words:
            highest = float(probabilities.max(initial=0.0))
            remark = {"code": "no_speech", "message": "The model hears no word."} if pieces else None
            remark = remark or no_speech(highest, options.vad)
            return _silence(audio.duration, {**notes, "text": "", "remark": remark})
        words = in_time(words, speech, audio.duration)
        features = word_features(words, replace(clip, text=text), audio.duration)
        ratio = repetition(text)
        if ratio > options.repeats:
            message = (
                f"The transcript repeats itself (its bytes are compressed {ratio:.1f} times), as models do that "
                f"are stuck: {text[:60]!r}."
            )
            notes["remark"] = {"code": "repeated_text", "message": message}
        return replace(features, notes={**features.notes, **notes})

    def _is_said(self, piece: Heard) -> bool:
        """Whether a text is no invention: the model is sure of it, or at least that somebody speaks."""
        # Not a number, where the model does not tell, is above nothing.
        silent = piece.no_speech > self.config.no_speech and piece.log_prob < self.config.unsure
        return bool(piece.text) and not silent

    def _of_clip(self, pieces: Sequence[Heard]) -> dict[str, Any]:
        """What is told of the whole clip; None for what is not known."""
        said = [piece for piece in pieces if self._is_said(piece)]
        # The language in which most is said.
        by_language: dict[str, int] = {}
        for piece in said:
            by_language[piece.language] = by_language.get(piece.language, 0) + len(piece.text)
        language = max(by_language, key=by_language.__getitem__, default="") or self.config.language
        shares = [piece.language_probability for piece in said if piece.language == language]
        folder = Path(self.config.model).expanduser()
        return {
            "model": folder.resolve().name if folder.is_dir() else self.config.model,
            "language": language,
            "language_probability": _mean(shares),
            "confidence": _mean([math.exp(piece.log_prob) for piece in said]),
            "no_speech": _mean([piece.no_speech for piece in pieces]),
            **({"times": self.model.told[0]} if pieces and self.model.told else {}),
        }


def cut_in_pauses(probabilities: np.ndarray, longest: int, samples: int) -> list[tuple[int, int]]:
    """Pieces of sound of a length that a model takes at once, cut where speech is least likely.

    Args:
        probabilities: Of speech, in rows of `HOP` samples.
        longest: Samples of a piece at most.
        samples: Length of the sound.

    Returns:
        (begin, end) of each piece in samples; together they are all of the sound.

    Examples:
        >>> spoken = np.ones(100)
        >>> spoken[60:70] = 0
        >>> cut_in_pauses(spoken, 80 * 512, 100 * 512)[0][1] // 512
        65
    """
    pieces, begin = [], 0
    while samples - begin > longest:
        # In the second half of what can be heard at once, so that pieces do not become ever shorter.
        first, last = math.ceil((begin + longest / 2) / HOP), (begin + longest) // HOP
        around = np.convolve(np.pad(probabilities, _PAUSE, mode="edge"), np.ones(_PAUSE), "same")[_PAUSE:-_PAUSE]
        part = around[first : last + 1]
        # The middle of the last pause, as late pauses make long pieces.
        low = np.flatnonzero(part <= part.min() + _ALIKE)
        pause = np.split(low, np.flatnonzero(np.diff(low) > 1) + 1)[-1]
        cut = (first + int(pause[len(pause) // 2])) * HOP
        pieces.append((begin, cut))
        begin = cut
    return [*pieces, (begin, samples)]


def transcript(pieces: Sequence[tuple[float, Heard]]) -> tuple[str, list[TimedWord]]:
    """The text of pieces that follow each other, and its words: Chinese and Japanese by characters, without signs.

    Args:
        pieces: Where each begins, in seconds, and what was heard.

    Returns:
        The text; the words with times in seconds of the whole.
    """
    text = ""
    words = []
    for begin, piece in pieces:
        of_piece = units(piece.text)
        before = units(text[-1:])
        spaceless = bool(of_piece and before and of_piece[0].by_character and before[-1].by_character)
        text += "" if spaceless or not text else " "
        for unit in of_piece:
            times, sure = piece.times[unit.start : unit.end], piece.sure[unit.start : unit.end]
            start, end = begin + float(times[:, 0].min()), begin + float(times[:, 1].max())
            span = (len(text) + unit.start, len(text) + unit.end)
            words.append(TimedWord(start, end, unit.text, float(sure.mean()), span))
        text += piece.text
    return text, words


def in_time(words: Sequence[TimedWord], speech: Sequence[tuple[float, float]], duration: float) -> list[TimedWord]:
    """Words within the sound, one after the other; where a word is partly within speech, without the silence around.

    A model counts the silence before a word to the word.
    """
    placed: list[TimedWord] = []
    now = 0.0
    for word in words:
        start, end = max(word.start, now), max(word.end, word.start + SHORTEST, now)
        within = [
            (max(start, begin - _AROUND), min(end, stop + _AROUND))
            for begin, stop in speech
            if begin < end and start < stop
        ]
        if within:
            start, end = within[0][0], within[-1][1]
        end = min(max(end, start + SHORTEST), duration)
        start = max(min(start, end - SHORTEST), 0.0)
        placed.append(replace(word, start=start, end=end))
        now = end
    return placed


def repetition(text: str) -> float:
    """How many times larger a text is than when it is compressed: above 2.4 it is one phrase again and again.

    Examples:
        >>> repetition("Kids are talking by the door.") < 1 < 2.4 < repetition("thank you " * 30)
        True
    """
    content = text.encode()
    return len(content) / len(zlib.compress(content)) if content else 0.0


def _silence(duration: float, notes: dict[str, Any]) -> Features:
    """One row without a word."""
    rows = {"words": [""], "spans": [None]}
    return Features(np.zeros((1, 1)), np.array([[0.0, duration]]), np.zeros(1, bool), NAMES, {**rows, **notes})


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None
