"""text.ctc: when each word of a transcript is said, by forced alignment with a CTC model."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mse_pipeline.clip import Clip
from mse_pipeline.errors import ClipError, UsageError
from mse_pipeline.extractors.base import SpokenTextExtractor
from mse_pipeline.extractors.pretrained import digest, find
from mse_pipeline.extractors.text.ctc_model import CtcModel
from mse_pipeline.extractors.text.ctc_targets import WILD, Targets
from mse_pipeline.extractors.text.ctc_words import heard, parted
from mse_pipeline.extractors.text.rows import NAMES, TimedWord, word_features
from mse_pipeline.media.audio import Audio
from mse_pipeline.store.features import Features

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

    _model: CtcModel | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the one value: confidence."""
        return NAMES

    def load(self, device: str = "cpu") -> None:
        """Load the model.

        Raises:
            UsageError: It is not there, cannot be fetched, or is none of CTC.
        """
        super().load(device)
        self._model = None
        self._loaded()

    def model_digest(self) -> str:
        """Digest of the model's configuration, vocabulary and weights."""
        return digest(find(self.config.model, self.config.revision))

    def __call__(self, clip: Clip, audio: Audio) -> Features:
        """Align.

        Args:
            clip: The clip, with its text and language.
            audio: The clip's sound.

        Returns:
            (T, 1) features, see `mse_pipeline.extractors.text.rows.word_features`.

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
