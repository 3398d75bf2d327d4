"""The voice: glottal pulses and noise through moving formants (Fant's source-filter model of speech)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mse_pipeline.sample.phones import Spoken
from mse_pipeline.sample.prosody import Prosody, melody
from mse_pipeline.sample.speaker import Speaker

RATE = 48_000
"""Samples a second, as in MELD's files."""

_BLOCK = 240  # 5 ms: the filter is constant for so long
_BANDWIDTHS = (70.0, 100.0, 160.0, 220.0, 280.0)


def synthesise(
    spoken: Sequence[Spoken], prosody: Prosody, person: Speaker, duration: float, rng: np.random.Generator
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


def _envelope(spoken: Sequence[Spoken], times: np.ndarray, what: str) -> np.ndarray:
    """(N,) amplitude of voicing or noise over time, with slopes of about 12 ms."""
    clock = np.arange(0, times[-1] + 0.01, 0.001)
    level = np.zeros_like(clock)
    for s in spoken:
        level[(clock >= s.start) & (clock < s.end)] = getattr(s.phone, what) * (1.2 if s.stressed else 1.0)
    window = np.hanning(25)[1:-1]
    return np.interp(times, clock, np.convolve(level, window / window.sum(), "same"))


def _formants(voice: np.ndarray, spoken: Sequence[Spoken], prosody: Prosody, person: Speaker) -> np.ndarray:
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


def _frication(spoken: Sequence[Spoken], count: int, rng: np.random.Generator) -> np.ndarray:
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
