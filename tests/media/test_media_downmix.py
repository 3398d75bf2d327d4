"""Any number of channels becomes one, and what is strange about the sound is told by a code."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mse_pipeline.clip import DEFECT_CODES
from mse_pipeline.media.decode import Decoded, decode
from tests.media.media_files import MediaMaker, tone

RATE = 16000
WAVE = tone(1.0, RATE)[0]


def write_wav(path: Path, channels: np.ndarray, mask: int | None = None) -> Path:
    """A WAV file of 16 bits with (C, N) samples, with or without a mask that says which speakers they are for."""
    count = len(channels)
    pcm = np.round(np.clip(channels.T, -1, 1) * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1 if mask is None else 0xFFFE, count, RATE, RATE * count * 2, count * 2, 16)
    if mask is not None:
        guid = bytes.fromhex("0100000000001000800000aa00389b71")
        form += struct.pack("<HHI", 22, 16, mask) + guid
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(pcm)) + pcm
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def heard(decoded: Decoded) -> np.ndarray:
    assert decoded.audio is not None, decoded.audio_problem
    return decoded.audio.samples


def codes(decoded: Decoded) -> list[str]:
    found = [remark.code for remark in decoded.audio_remarks]
    assert set(found) <= set(DEFECT_CODES)
    assert tuple(map(str, decoded.audio_remarks)) == decoded.damage
    return found


@pytest.mark.parametrize("mask", [None, 0])
@pytest.mark.parametrize("channels", range(1, 25))
def test_any_number_of_channels_is_heard_and_not_cut(tmp_path: Path, channels: int, mask: int | None) -> None:
    same = heard(decode(write_wav(tmp_path / "a.wav", np.tile(WAVE * 1.98, (channels, 1)), mask)))
    assert len(same) == RATE
    assert 0.5 < np.abs(same).max() <= 1.0
    assert np.corrcoef(same, WAVE)[0, 1] > 0.9999  # a cut wave has other shapes


@pytest.mark.parametrize("channels", [9, 11, 15, 20, 23])
def test_a_layout_that_nobody_knows_is_the_mean_of_its_channels(tmp_path: Path, channels: int) -> None:
    noise = np.random.default_rng(channels).uniform(-0.5, 0.5, (channels, RATE))
    decoded = decode(write_wav(tmp_path / "a.wav", noise))
    np.testing.assert_allclose(heard(decoded), noise.mean(0), atol=1e-4)
    assert codes(decoded) == []


@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("quad", 4), ("5.1", 6), ("7.1", 8), ("22.2", 24)])
def test_a_known_layout_is_mixed_as_ffmpeg_mixes_it(make_media: MediaMaker, layout: str, channels: int) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (channels, RATE))
    path = make_media("a.wav", sound=noise, sound_rate=RATE, layout=layout, audio_codec="pcm_s16le")
    mixer = av.AudioResampler(format="s16", layout="mono", rate=RATE)  # whose mix of whole numbers is normalised
    with av.open(str(path)) as container:
        frames = [piece for frame in container.decode(audio=0) for piece in mixer.resample(frame)]
    expected = np.concatenate([frame.to_ndarray()[0] for frame in frames]) / 32768
    np.testing.assert_allclose(heard(decode(path)), expected, atol=1e-3)


def test_more_planes_than_pyav_makes_arrays_of_are_heard(make_media: MediaMaker) -> None:
    wave = np.tile(WAVE, (24, 1))
    decoded = decode(make_media("a.wv", sound=wave, sound_rate=RATE, layout="22.2", audio_codec="wavpack"))
    np.testing.assert_allclose(heard(decoded), WAVE, atol=5e-3)  # its encoder takes 8 bits
    assert codes(decoded) == []


@pytest.mark.parametrize("order", [1, 2, 3])
def test_of_ambisonics_the_omnidirectional_channel_is_taken(tmp_path: Path, order: int) -> None:
    channels = (order + 1) ** 2
    samples = np.stack([WAVE, *np.random.default_rng(0).uniform(-0.2, 0.2, (channels - 1, RATE))]).astype(np.float32)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(
            "libopus", rate=48000, layout=f"ambisonic {order}", options={"mapping_family": "2", "b": "1M"}
        )
        packed = np.ascontiguousarray(samples.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=f"ambisonic {order}")
        frame.sample_rate = RATE
        resampler = av.AudioResampler("flt", f"ambisonic {order}", 48000, frame_size=960)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(piece))
        out.mux(stream.encode())
    decoded = decode(path)
    assert np.corrcoef(heard(decoded)[:15000], WAVE[:15000])[0, 1] > 0.99
    assert codes(decoded) == []


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "flac", "aac", "libmp3lame"])
@pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (3e-5, True), (5e-4, True), (0.003, False), (0.5, False)])
def test_silence_is_told_and_kept(make_media: MediaMaker, codec: str, peak: float, silent: bool) -> None:
    path = make_media("a.mkv", sound=tone(1.0, 48000) * 2 * peak, audio_codec=codec)
    decoded = decode(path)
    assert codes(decoded) == (["silent_audio"] if silent else [])
    assert len(heard(decoded)) >= RATE - 100


def test_silence_is_told_of_the_clip_and_not_of_its_file(make_media: MediaMaker) -> None:
    wave = tone(4.0, 48000)
    wave[:, 96000:] = 0.0
    path = make_media("a.wav", sound=wave, audio_codec="pcm_s16le")
    assert codes(decode(path)) == codes(decode(path, start=0.0, end=2.0)) == []
    assert codes(decode(path, start=2.5, end=3.5)) == ["silent_audio"]


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_what_is_no_number_is_silence_and_told(make_media: MediaMaker, rate: int, value: float, layout: str) -> None:
    wave = tone(1.0, rate, 2 if layout == "stereo" else 1)
    wave[0, rate // 4 : rate // 2] = value
    path = make_media("a.wav", sound=wave, sound_rate=rate, layout=layout, audio_codec="pcm_f32le")
    decoded = decode(path)
    assert codes(decoded) == ["non_finite_audio"]
    assert "(25 %)" in decoded.damage[0]
    samples = heard(decoded)
    assert np.isfinite(samples).all()
    # What is near is as it would be without them: a filter has no memory of them.
    np.testing.assert_allclose(samples[8300:15800], WAVE[8300:15800], atol=0.01)
    gap = samples[4300:7700]
    assert np.abs(gap).max() < (0.01 if layout == "mono" else 0.27)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_without_any_number_is_silence(make_media: MediaMaker, value: float) -> None:
    path = make_media("a.wav", sound=np.full((1, 16000), value), sound_rate=16000, audio_codec="pcm_f32le")
    decoded = decode(path)
    assert codes(decoded) == ["non_finite_audio", "silent_audio"]
    assert not heard(decoded).any()


NOISE = np.random.default_rng(5).uniform(-0.01, 0.01, RATE)
LEGS: list[tuple[str, Callable[[np.ndarray], list[np.ndarray]], int | None]] = [
    ("one leg turned", lambda x: [x, -x], 0),
    ("one leg turned and louder", lambda x: [0.9 * x, -x], 1),
    ("one leg turned, with hiss", lambda x: [x, -x + NOISE], 0),
    ("the same in both", lambda x: [x, x], None),
    ("one leg silent", lambda x: [x, 0 * x], None),
    ("one leg turned and half as loud", lambda x: [x, -0.5 * x], None),
    ("a quarter of a period later", lambda x: [x, np.roll(x, 9)], None),
    ("both silent", lambda x: [0 * x, 0 * x], None),
]


@pytest.mark.parametrize(("legs", "channel"), [one[1:] for one in LEGS], ids=[one[0] for one in LEGS])
def test_channels_that_cancel_each_other_out_are_not_mixed(
    tmp_path: Path, legs: Callable[[np.ndarray], list[np.ndarray]], channel: int | None
) -> None:
    pair = np.stack(legs(WAVE))
    decoded = decode(write_wav(tmp_path / "a.wav", pair))
    if channel is None:
        np.testing.assert_allclose(heard(decoded), pair.mean(0), atol=1e-3)
        assert "cancelled_audio" not in codes(decoded)
    else:
        assert codes(decoded) == ["cancelled_audio"]
        assert f"channel {channel + 1}" in decoded.damage[0]
        np.testing.assert_allclose(np.abs(heard(decoded)), np.abs(pair[channel]), atol=0.011)


def test_a_pair_that_cancels_out_is_heard_in_a_span_of_a_video_too(make_media: MediaMaker) -> None:
    wave = tone(3.0, 48000, 2)
    wave[1] *= -1
    frames = [np.full((48, 64, 3), 100, np.uint8)] * 75
    path = make_media("a.mkv", frames=frames, sound=wave, layout="stereo", audio_codec="flac")
    whole, part = decode(path), decode(path, start=1.5, end=2.5)
    assert codes(whole) == codes(part) == ["cancelled_audio"]
    np.testing.assert_allclose(heard(part), heard(whole)[24000:40000], atol=1e-3)
    assert np.abs(heard(whole)).max() == pytest.approx(0.5, abs=0.01)


def test_channels_that_the_mix_leaves_out_are_heard_where_there_is_nothing_else(make_media: MediaMaker) -> None:
    surround = np.zeros((6, RATE))
    surround[3] = WAVE  # the subwoofer's, which no downmix takes
    path = make_media("a.wav", sound=surround, sound_rate=RATE, layout="5.1", audio_codec="pcm_s16le")
    decoded = decode(path)
    assert codes(decoded) == ["cancelled_audio"]
    np.testing.assert_allclose(heard(decoded), WAVE, atol=1e-3)


@pytest.mark.parametrize(("peak", "told"), [(1.0, False), (1.1, False), (1.5, True), (1e9, True)])
def test_sound_beyond_full_scale_is_cut_and_told(make_media: MediaMaker, peak: float, told: bool) -> None:
    path = make_media("a.wav", sound=WAVE[None] * 2 * peak, sound_rate=RATE, audio_codec="pcm_f32le")
    decoded = decode(path)
    assert codes(decoded) == (["clipped_audio"] if told else [])
    assert np.abs(heard(decoded)).max() <= 1.0
