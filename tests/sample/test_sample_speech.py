from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mse_pipeline.sample.speaker import speaker
from mse_pipeline.sample.voice import (
    PHONES,
    PROSODIES,
    RATE,
    SENTENCES,
    Prosody,
    SpokenPhone,
    manner,
    melody,
    mouth,
    speak,
    synthesise,
)


def say(prosody: Prosody, sentence: int = 0, person: int = 0) -> np.ndarray:
    spoken = speak(SENTENCES[sentence][1], prosody.tempo, 0.1, np.random.default_rng(1))
    return synthesise(spoken, prosody, speaker(0, person), spoken[-1].end + 0.1, np.random.default_rng(2))


def hum(name: str, prosody: Prosody, person: int = 1) -> np.ndarray:
    """One long vowel without its edges."""
    spoken = [SpokenPhone(PHONES[name], 0.1, 0.7, stressed=False)]
    return synthesise(spoken, prosody, speaker(0, person), 0.8, np.random.default_rng(0))[
        int(0.2 * RATE) : int(0.6 * RATE)
    ]


def level(samples: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(samples**2)))


def spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return np.fft.rfftfreq(len(samples), 1 / RATE), power


def periodicity(samples: np.ndarray) -> tuple[float, float]:
    """Pitch in Hz and the height of the autocorrelation's peak there."""
    power = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    correlation = np.fft.irfft(power)[: len(samples)]
    low, high = RATE // 500, RATE // 70
    lag = low + int(np.argmax(correlation[low:high]))
    return RATE / lag, float(correlation[lag] / correlation[0])


@pytest.mark.parametrize(("text", "phones"), SENTENCES)
def test_every_sentence_can_be_spoken_and_fits_a_short_clip(text: str, phones: str) -> None:
    assert text.endswith(".")
    assert {name.rstrip("'") for name in phones.split()} <= set(PHONES)
    assert 0.9 < speak(phones, 1.0, 0.0, np.random.default_rng(0))[-1].end < 1.8


def test_phones_follow_each_other_without_a_gap() -> None:
    spoken = speak(SENTENCES[0][1], 1.0, 0.25, np.random.default_rng(0))
    assert spoken[0].start == 0.25
    assert [s.end for s in spoken[:-1]] == [s.start for s in spoken[1:]]


def test_twice_the_rate_takes_half_the_time() -> None:
    slow, fast = (speak(SENTENCES[1][1], rate, 0.0, np.random.default_rng(0))[-1].end for rate in (1.0, 2.0))
    assert fast == pytest.approx(slow / 2)


def test_lips_close_for_m_open_for_aa_and_round_for_uw() -> None:
    spoken = [SpokenPhone(PHONES[name], 0.2 * k, 0.2 * k + 0.2, False) for k, name in enumerate(("M", "AA", "UW"))]
    opening, rounding = mouth(spoken, np.array([0.07, 0.27, 0.47, 0.9]))
    assert opening[0] < 0.1 < 0.8 < opening[1]
    assert rounding[2] > 0.9
    assert max(rounding[0], rounding[1]) < 0.1
    assert opening[3] == rounding[3] == 0


def test_without_strength_every_emotion_sounds_neutral() -> None:
    calm = manner("neutral", 1.0, np.random.default_rng(5))
    assert {manner(emotion, 0.0, np.random.default_rng(5)) for emotion in PROSODIES} == {calm}


@pytest.mark.parametrize(
    ("emotion", "higher", "louder", "faster", "brighter"),
    [
        ("anger", True, True, True, True),
        ("joy", True, True, True, True),
        ("fear", True, False, True, None),
        ("sadness", False, False, False, False),
        ("disgust", False, False, False, None),
        ("surprise", True, True, False, None),
    ],
)
def test_emotions_move_the_voice_where_the_literature_says(
    emotion: str, higher: bool, louder: bool, faster: bool, brighter: bool | None
) -> None:
    calm, moved = PROSODIES["neutral"], PROSODIES[emotion]
    assert (moved.pitch > calm.pitch, moved.level > calm.level, moved.tempo > calm.tempo) == (higher, louder, faster)
    if brighter is not None:
        assert (moved.effort > calm.effort) == brighter


def test_a_surprise_rises_at_the_end_and_a_disgust_falls() -> None:
    spoken = speak(SENTENCES[0][1], 1.0, 0.0, np.random.default_rng(0))
    times = np.linspace(0, spoken[-1].end, 200)
    up, down = (
        melody(spoken, replace(PROSODIES[emotion], span=0.0), 200.0, times, np.random.default_rng(0))
        for emotion in ("surprise", "disgust")
    )
    assert up[-1] > 1.2 * up[140]
    assert down[-1] < 0.8 * down[140]


def test_the_pitch_stays_within_human_bounds() -> None:
    spoken = speak(SENTENCES[0][1], 1.0, 0.0, np.random.default_rng(0))
    wild = Prosody(pitch=40.0, span=40.0)
    assert melody(spoken, wild, 300.0, np.linspace(0, 1, 50), np.random.default_rng(0)).max() == 600.0


def test_the_voice_has_the_pitch_that_was_asked_for() -> None:
    steady = Prosody(span=0.0, ending=0.0, jitter=0.001, shimmer=0.005)
    pitch, strength = periodicity(hum("AA", steady))
    assert pitch == pytest.approx(speaker(0, 1).pitch, rel=0.04)
    assert strength > 0.6


@pytest.mark.parametrize("name", ["IY", "AA", "UW"])
def test_the_energy_of_a_vowel_lies_at_its_first_formant(name: str) -> None:
    frequency, power = spectrum(hum(name, Prosody(f1=1.0)))
    formant = PHONES[name].formants[0] * speaker(0, 1).tract
    near = (frequency > 0.6 * formant) & (frequency < 1.4 * formant)
    valley = (frequency > 1.7 * formant) & (frequency < 2.2 * formant) if name == "IY" else frequency > 2500
    assert power[near].max() > 10 * power[valley].max()


def test_effort_brightens_the_voice_and_level_makes_it_louder() -> None:
    calm, pressed = say(Prosody()), say(Prosody(effort=8.0, level=6.0))
    assert level(pressed) - level(calm) == pytest.approx(6.0, abs=1.0)
    shares = []
    for samples in (calm, pressed):
        frequency, power = spectrum(samples)
        shares.append(power[(frequency > 1000) & (frequency < 4000)].sum() / power.sum())
    assert shares[1] > 1.3 * shares[0]


def test_jitter_and_breath_make_the_voice_less_periodic() -> None:
    clean = periodicity(hum("AA", Prosody(span=0, ending=0, jitter=0.001, shimmer=0.005)))[1]
    rough = periodicity(hum("AA", Prosody(span=0, ending=0, jitter=0.03, shimmer=0.15, breath=0.1)))[1]
    assert rough < clean - 0.1


def test_a_fricative_is_noise_above_three_kilohertz() -> None:
    spoken = [SpokenPhone(PHONES["S"], 0.05, 0.35, stressed=False)]
    sound = synthesise(spoken, Prosody(), speaker(0), 0.4, np.random.default_rng(0))
    frequency, power = spectrum(sound[int(0.1 * RATE) : int(0.3 * RATE)])
    assert power[frequency > 3000].sum() > 0.8 * power.sum()


def test_speech_is_float32_of_the_length_asked_for_and_the_same_twice() -> None:
    first, second = say(PROSODIES["fear"]), say(PROSODIES["fear"])
    assert first.dtype == np.float32
    assert np.abs(first).max() < 1
    assert first.tobytes() == second.tobytes()


def test_words_beyond_the_end_are_cut_off() -> None:
    spoken = speak(SENTENCES[0][1], 1.0, 0.1, np.random.default_rng(0))
    assert len(synthesise(spoken, Prosody(), speaker(0), 0.5, np.random.default_rng(0))) == RATE // 2
