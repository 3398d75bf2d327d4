"""How an emotion sounds: voice parameters per emotion, and the melody of one utterance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from mse_pipeline.sample.phones import Spoken


@dataclass(frozen=True)
class Prosody:
    """A manner of speaking, relative to the speaker's calm voice.

    Attributes:
        pitch: Mean fundamental frequency, in semitones.
        span: Height of the accents of stressed vowels, in semitones.
        ending: Rise (or fall, negative) over the last third, in semitones.
        tempo: Speaking rate as a factor.
        level: Intensity in dB.
        effort: Energy at 3 kHz beyond that of calm speech, in dB: pressed voices have more, breathy ones less.
        jitter: Standard deviation of the period from one pulse to the next, as a share.
        shimmer: The same of the pulse's amplitude.
        breath: Noise of breath, as a share of the voice's amplitude, beyond the speaker's own.
        open_quotient: Share of a period in which the glottis is open.
        f1: First formant as a factor.
        f2: Second and third formant as a factor; spread lips shorten the vocal tract and raise them.
        tremor: Depth of a 6 Hz trembling of the pitch, in semitones.
    """

    pitch: float = 0.0
    span: float = 2.0
    ending: float = -1.5
    tempo: float = 1.0
    level: float = 0.0
    effort: float = 0.0
    jitter: float = 0.004
    shimmer: float = 0.03
    breath: float = 0.0
    open_quotient: float = 0.6
    f1: float = 1.0
    f2: float = 1.0
    tremor: float = 0.0


# Directions after Juslin & Laukka (2003), table 11, and Scherer (2003), table 2; disgust after Banse & Scherer
# (1996); surprise, which those leave out, after the wide rising contours that Scherer & Oshinsky (1977) report.
# Sizes are ours, large enough that a hundred clips teach them.
PROSODIES: Mapping[str, Prosody] = {
    "neutral": Prosody(),
    "surprise": Prosody(6.0, 5.0, 8.0, 0.95, 2.0, 1.0, 0.006, 0.04, 0.02, 0.62, 1.04, 1.0),
    "fear": Prosody(7.0, 1.5, 0.5, 1.25, -2.0, 0.0, 0.02, 0.12, 0.1, 0.68, 0.93, 1.03, 0.7),
    "sadness": Prosody(-1.5, 0.8, -3.0, 0.78, -7.0, -8.0, 0.01, 0.06, 0.08, 0.78, 0.92, 0.97, 0.15),
    "joy": Prosody(4.5, 6.0, 1.0, 1.08, 3.5, 3.5, 0.005, 0.04, 0.0, 0.55, 1.05, 1.08),
    "disgust": Prosody(-3.0, 2.5, -5.0, 0.84, -1.0, 0.0, 0.025, 0.14, 0.03, 0.4, 1.12, 0.92),
    "anger": Prosody(3.0, 4.0, -4.0, 1.12, 7.0, 8.0, 0.012, 0.09, 0.0, 0.42, 1.12, 1.0),
}


def manner(emotion: str, strength: float, rng: np.random.Generator) -> Prosody:
    """How one utterance is spoken.

    Args:
        emotion: One of `PROSODIES`.
        strength: From 0, calm, to 1, as `PROSODIES` has it; more is possible.
        rng: Source of the differences between one utterance and the next.
    """
    calm, full = PROSODIES["neutral"], PROSODIES[emotion]
    values = {f.name: getattr(calm, f.name) for f in fields(Prosody)}
    values = {name: value + strength * (getattr(full, name) - value) for name, value in values.items()}
    mood = Prosody(**values)
    return replace(
        mood,
        pitch=mood.pitch + rng.normal(0, 0.9),
        span=mood.span * float(np.exp(rng.normal(0, 0.2))),
        ending=mood.ending + rng.normal(0, 0.8),
        tempo=mood.tempo * float(np.exp(rng.normal(0, 0.05))),
        level=mood.level + rng.normal(0, 1.5),
        effort=mood.effort + rng.normal(0, 1.2),
        jitter=max(mood.jitter * float(np.exp(rng.normal(0, 0.25))), 0.001),
        shimmer=max(mood.shimmer * float(np.exp(rng.normal(0, 0.25))), 0.005),
        breath=max(mood.breath + rng.normal(0, 0.012), 0.0),
        open_quotient=float(np.clip(mood.open_quotient + rng.normal(0, 0.03), 0.35, 0.85)),
        f1=mood.f1 * float(np.exp(rng.normal(0, 0.02))),
        f2=mood.f2 * float(np.exp(rng.normal(0, 0.015))),
        tremor=max(mood.tremor, 0.0),
    )


def melody(
    spoken: Sequence[Spoken], prosody: Prosody, pitch: float, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fundamental frequency in Hz, (T,), at `times` in seconds.

    A line that declines by two semitones, a hump on each stressed vowel, a rise or fall over the last third.
    """
    first, last = spoken[0].start, spoken[-1].end
    along = np.clip((times - first) / (last - first), 0, 1)
    semitones = prosody.pitch + 1.0 - 2.0 * along
    for s in spoken:
        if s.stressed:
            height = prosody.span * float(rng.uniform(0.8, 1.2))
            semitones = semitones + height * np.exp(-0.5 * ((times - (s.start + s.end) / 2) / 0.09) ** 2)
    semitones = semitones + prosody.ending * np.clip((along - 0.66) / 0.34, 0, 1) ** 1.5
    semitones = semitones + prosody.tremor * np.sin(2 * np.pi * 6.0 * times + rng.uniform(0, 6.28))
    return np.clip(pitch * 2 ** (semitones / 12), 60.0, 600.0)
