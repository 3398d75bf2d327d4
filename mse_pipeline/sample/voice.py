"""The voice: glottal pulses and noise through moving formants (Fant's source-filter model of speech).

It holds the sentences with their speech sounds, the voice parameters of each emotion, the melody of one utterance, and
the synthesis itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from mse_pipeline.sample.speaker import Speaker

SENTENCES: tuple[tuple[str, str], ...] = (
    ("The book is on the table.", "DH AX B UH' K IH Z AA N DH AX T EH' IH B AX L"),
    ("We will meet on Monday.", "W IY W IH L M IY' T AA N M AH' N D EH IH"),
    ("There is a letter for you.", "DH EH R IH Z AX L EH' T ER F AO Y UW'"),
    ("He put the cup on the shelf.", "HH IY P UH' T DH AX K AH P AA N DH AX SH EH' L F"),
    ("I left my keys at home.", "AA IH L EH' F T M AA IH K IY' Z AE T HH AO UW M"),
    ("The bus stops near the door.", "DH AX B AH' S S T AA P S N IH R DH AX D AO' R"),
)
"""What is said, with its phones (ARPAbet; ' marks a stressed vowel). None of it speaks of a feeling."""


@dataclass(frozen=True)
class Phone:
    """One speech sound.

    Attributes:
        formants: First three resonances of an adult male, in Hz.
        duration: Length at an average rate, in seconds.
        voicing: Amplitude of the voice, 0..1.
        noise: Amplitude of the noise, 0..1.
        noise_at: Where the noise has its most energy, in Hz.
        opening: How far the mouth is open, 0..1.
        rounding: How far the lips are rounded, 0..1.
        closure: Whether the sound begins with a silent closure, as stops do.
    """

    formants: tuple[float, float, float]
    duration: float
    voicing: float = 1.0
    noise: float = 0.0
    noise_at: float = 4000.0
    opening: float = 0.2
    rounding: float = 0.0
    closure: bool = False


def _vowel(f1: float, f2: float, f3: float, opening: float, rounding: float = 0.0, *, duration: float = 0.085) -> Phone:
    return Phone((f1, f2, f3), duration, opening=opening, rounding=rounding)


def _stop(f2: float, noise_at: float, voicing: float = 0.0, opening: float = 0.1) -> Phone:
    return Phone((250.0, f2, 2500.0), 0.07, voicing, 0.35, noise_at, opening, closure=True)


PHONES: dict[str, Phone] = {
    # Vowels: Peterson & Barney (1952), table II, means of men.
    "IY": _vowel(270, 2290, 3010, 0.25),
    "IH": _vowel(390, 1990, 2550, 0.35),
    "EH": _vowel(530, 1840, 2480, 0.6),
    "AE": _vowel(660, 1720, 2410, 0.8),
    "AH": _vowel(640, 1190, 2390, 0.7),
    "AA": _vowel(730, 1090, 2440, 1.0, duration=0.095),
    "AO": _vowel(570, 840, 2410, 0.75, 0.6, duration=0.095),
    "UH": _vowel(440, 1020, 2240, 0.4, 0.6),
    "UW": _vowel(300, 870, 2240, 0.3, 1.0, duration=0.095),
    "ER": _vowel(490, 1350, 1690, 0.4, 0.4),
    "AX": _vowel(500, 1500, 2500, 0.35, duration=0.055),
    # Sonorants.
    "M": Phone((250, 1100, 2200), 0.065, 0.5, opening=0.0),
    "N": Phone((250, 1600, 2500), 0.06, 0.5, opening=0.2),
    "L": Phone((360, 1100, 2600), 0.06, 0.7, opening=0.3),
    "R": Phone((400, 1200, 1600), 0.06, 0.7, opening=0.3, rounding=0.4),
    "W": Phone((300, 700, 2200), 0.06, 0.7, opening=0.15, rounding=1.0),
    "Y": Phone((270, 2200, 3000), 0.05, 0.7, opening=0.2),
    # Fricatives.
    "S": Phone((300, 1600, 2500), 0.09, 0.0, 0.5, 6500, 0.15),
    "SH": Phone((300, 1800, 2500), 0.09, 0.0, 0.55, 3400, 0.2, 0.5),
    "F": Phone((300, 1100, 2400), 0.08, 0.0, 0.22, 5200, 0.05),
    "HH": Phone((500, 1500, 2500), 0.05, 0.0, 0.2, 1600, 0.4),
    "Z": Phone((280, 1600, 2500), 0.07, 0.4, 0.3, 6000, 0.15),
    "DH": Phone((300, 1400, 2500), 0.04, 0.5, 0.1, 5000, 0.2),
    # Stops.
    "P": _stop(1000, 1200, opening=0.0),
    "T": _stop(1700, 4500),
    "K": _stop(1900, 2300, opening=0.25),
    "B": _stop(1000, 1000, 0.25, opening=0.0),
    "D": _stop(1700, 4000, 0.25),
}


@dataclass(frozen=True)
class SpokenPhone:
    """A phone at its place in an utterance.

    Attributes:
        phone: Which sound.
        start: When it begins, in seconds.
        end: When it ends, in seconds.
        stressed: Whether it carries an accent of the sentence.
    """

    phone: Phone
    start: float
    end: float
    stressed: bool


def speak(phones: str, rate: float, lead: float, rng: np.random.Generator) -> list[SpokenPhone]:
    """Give each phone its time.

    Args:
        phones: Names of `PHONES` with blanks between them, as in `SENTENCES`.
        rate: Speed; 1 is average, 2 twice as fast.
        lead: Silence before the first phone, in seconds.
        rng: Source of the small irregularities of timing.

    Returns:
        The phones, each beginning where the one before it ends; the last one is lengthened, as at the end
        of a sentence.

    Examples:
        >>> [(round(s.start, 2), s.stressed) for s in speak("M AA'", 1.0, 0.1, np.random.default_rng(0))]
        [(0.1, False), (0.17, True)]
    """
    names, spoken, time = phones.split(), [], lead
    for index, name in enumerate(names):
        stressed = name.endswith("'")
        phone = PHONES[name.rstrip("'")]
        length = phone.duration * (1.4 if stressed else 1.0) * (1.4 if index == len(names) - 1 else 1.0)
        length *= float(rng.uniform(0.9, 1.1)) / rate
        spoken.append(SpokenPhone(phone, time, time + length, stressed))
        time += length
    return spoken


def mouth(spoken: Sequence[SpokenPhone], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opening and rounding of the lips, (T,) each in 0..1, at `times` in seconds.

    Lips are slower than sounds: each target is smeared over about 80 ms, and lips lead the sound by 30 ms.
    """
    clock = np.arange(0, float(times[-1]) + 0.3, 0.005)
    opening, rounding = np.zeros_like(clock), np.zeros_like(clock)
    for s in spoken:
        now = (clock >= s.start - 0.03) & (clock < s.end - 0.03)
        opening[now] = s.phone.opening * (1.15 if s.stressed else 0.9)
        rounding[now] = s.phone.rounding
    window = np.hanning(19)[1:-1]
    window /= window.sum()
    smooth = [np.interp(times, clock, np.convolve(track, window, "same")) for track in (opening, rounding)]
    return smooth[0], smooth[1]


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
    spoken: Sequence[SpokenPhone], prosody: Prosody, pitch: float, times: np.ndarray, rng: np.random.Generator
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


RATE = 48_000
"""Samples a second, as in MELD's files."""

_BLOCK = 240  # 5 ms: the filter is constant for so long
_BANDWIDTHS = (70.0, 100.0, 160.0, 220.0, 280.0)


def synthesise(
    spoken: Sequence[SpokenPhone], prosody: Prosody, person: Speaker, duration: float, rng: np.random.Generator
) -> np.ndarray:
    """Speak.

    Args:
        spoken: The phones with their times.
        prosody: In which manner.
        person: With whose voice.
        duration: Length in seconds, silence before and after the words included.
        rng: Source of jitter, shimmer, breath and the room's noise.

    Returns:
        (N,) float32 in -1..1 at 48 kHz.
    """
    count = round(duration * RATE)
    times = np.arange(count) / RATE
    f0 = melody(spoken, prosody, person.pitch, times, rng)
    voice = _pulses(f0, prosody, rng) + _breath(f0, prosody, person, rng)
    voice = _tilt(voice, prosody.effort) * _envelope(spoken, times, "voicing")
    sound = _formants(voice, spoken, prosody, person) + _frication(spoken, count, rng)
    words = sound[int(min(spoken[0].start, duration / 2) * RATE) : int(spoken[-1].end * RATE)]
    # Calm speech lies at -24 dB of full scale; the limiter only meets the loudest peaks.
    gain = 10 ** ((prosody.level - 24.0) / 20) / (np.sqrt(np.mean(words**2)) + 1e-9)
    floor = 10 ** (rng.uniform(-58, -50) / 20) * _coloured_noise(count, rng)
    return (0.98 * np.tanh((gain * sound + floor) / 0.98)).astype(np.float32)


def _pulses(f0: np.ndarray, prosody: Prosody, rng: np.random.Generator) -> np.ndarray:
    """Derivative of the glottal flow, 2x - 3x² while the glottis is open (Klatt & Klatt 1990, eq. 1)."""
    out, time, count = np.zeros(len(f0)), 0.0, len(f0)
    while time < count - 1:
        period = RATE / f0[int(time)] * (1 + prosody.jitter * rng.normal())
        amplitude = 1 + prosody.shimmer * rng.normal()
        begin, end = int(np.ceil(time)), min(int(np.ceil(time + prosody.open_quotient * period)), count)
        x = (np.arange(begin, end) - time) / (prosody.open_quotient * period)
        out[begin:end] += amplitude * (2 * x - 3 * x * x)
        time += max(period, 16.0)
    return out


def _breath(f0: np.ndarray, prosody: Prosody, person: Speaker, rng: np.random.Generator) -> np.ndarray:
    # Air rushes while the glottis is open: the noise swells with every period.
    phase = np.cumsum(f0) / RATE
    swell = 0.6 + 0.4 * np.cos(2 * np.pi * phase)
    return (person.breath + prosody.breath) * swell * rng.standard_normal(len(f0))


def _tilt(voice: np.ndarray, effort: float) -> np.ndarray:
    """One pole low-pass whose loss at 3 kHz is 10 dB for a calm voice and `effort` dB less than that here."""
    from scipy.signal import lfilter

    loss = float(np.clip(10.0 - effort, 0.5, 24.0))
    corner = 3000.0 / np.sqrt(10 ** (loss / 10) - 1)
    pole = np.exp(-2 * np.pi * corner / RATE)
    return lfilter([1 - pole], [1, -pole], voice)


def _envelope(spoken: Sequence[SpokenPhone], times: np.ndarray, what: str) -> np.ndarray:
    """(N,) amplitude of voicing or noise over time, with slopes of about 12 ms."""
    clock = np.arange(0, times[-1] + 0.01, 0.001)
    level = np.zeros_like(clock)
    for s in spoken:
        level[(clock >= s.start) & (clock < s.end)] = getattr(s.phone, what) * (1.2 if s.stressed else 1.0)
    window = np.hanning(25)[1:-1]
    return np.interp(times, clock, np.convolve(level, window / window.sum(), "same"))


def _formants(voice: np.ndarray, spoken: Sequence[SpokenPhone], prosody: Prosody, person: Speaker) -> np.ndarray:
    """Five resonators in a row (Klatt 1980), the first three gliding from phone to phone."""
    from scipy.signal import sosfilt

    centres = (np.arange(0, len(voice), _BLOCK) + _BLOCK / 2) / RATE
    middles = [(s.start + s.end) / 2 for s in spoken]
    targets = np.array([s.phone.formants for s in spoken])
    tracks = np.stack([np.interp(centres, middles, targets[:, k]) for k in range(3)], 1)
    tracks *= person.tract * np.array([prosody.f1, prosody.f2, prosody.f2])
    upper = np.broadcast_to(person.tract * np.array([3500.0, 4500.0]), (len(tracks), 2))
    frequencies = np.concatenate([tracks, upper], 1)
    radius = np.exp(-np.pi * np.array(_BANDWIDTHS) / RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * frequencies / RATE), np.broadcast_to(radius**2, frequencies.shape)
    sections = np.zeros((len(tracks), 5, 6))
    sections[..., 0], sections[..., 3] = 1 + a1 + a2, 1.0
    sections[..., 4], sections[..., 5] = a1, a2
    out, state = np.empty_like(voice), np.zeros((5, 2))
    for block, begin in enumerate(range(0, len(voice), _BLOCK)):
        part = slice(begin, begin + _BLOCK)
        out[part], state = sosfilt(sections[block], voice[part], zi=state)
    return out


def _frication(spoken: Sequence[SpokenPhone], count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of fricatives over their length, and of stops as a burst of 25 ms at their end."""
    from scipy.signal import butter, sosfilt

    out = np.zeros(count)
    for s in spoken:
        start = max(s.start, s.end - 0.025) if s.phone.closure else s.start
        begin, end = int(start * RATE), min(int(s.end * RATE), count)
        if s.phone.noise <= 0 or begin >= end:
            continue
        noise = rng.standard_normal(end - begin) * np.hanning(end - begin + 2)[1:-1] ** 0.5
        band = np.array([0.7, 1.4]) * s.phone.noise_at
        filtered = sosfilt(butter(2, band, "bandpass", fs=RATE, output="sos"), noise)
        out[begin:end] += 0.2 * s.phone.noise * filtered
    return out


def _coloured_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a room: falls by 6 dB per octave above 200 Hz, mean square 1."""
    from scipy.signal import lfilter

    pole = np.exp(-2 * np.pi * 200 / RATE)
    noise = lfilter([1.0], [1, -pole], rng.standard_normal(count)) + 0.5 * rng.standard_normal(count)
    return noise / np.sqrt(np.mean(noise**2))
