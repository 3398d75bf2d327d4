"""The sentences that are spoken, and the speech sounds that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
class Spoken:
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


def speak(phones: str, rate: float, lead: float, rng: np.random.Generator) -> list[Spoken]:
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
    for place, name in enumerate(names):
        stressed = name.endswith("'")
        phone = PHONES[name.rstrip("'")]
        length = phone.duration * (1.4 if stressed else 1.0) * (1.4 if place == len(names) - 1 else 1.0)
        length *= float(rng.uniform(0.9, 1.1)) / rate
        spoken.append(Spoken(phone, time, time + length, stressed))
        time += length
    return spoken


def mouth(spoken: Sequence[Spoken], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
