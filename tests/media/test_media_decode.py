"""One pass over a file: sound and frames on one clock, whatever the container, and both problems apart."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import Decoded, FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from tests.media.media_files import MediaMaker, numbered, rotate_mp4, tone


def frames_of(path: Path, rate: float = 25.0, **options: object) -> tuple[Decoded, np.ndarray, np.ndarray]:
    """Decode a clip whole: what decoding returned, all pixels, all intervals."""
    batches: list[FrameBatch] = []
    decoded = decode(path, frames=[FrameRequest(rate, batches.append)], **options)  # type: ignore[arg-type]
    if not batches:
        return decoded, np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 2))
    return (
        decoded,
        np.concatenate([b.pixels for b in batches]),
        np.concatenate([b.intervals for b in batches]),
    )


def numbers(pixels: np.ndarray) -> list[int]:
    """Which of the `numbered` frames these are."""
    return [round((float(frame.mean()) - 8) / 6) for frame in pixels]


def sound_of(decoded: Decoded) -> Audio:
    assert decoded.audio is not None, decoded.audio_problem
    return decoded.audio


KINDS: list[tuple[str, dict[str, object]]] = [
    ("a.mp4", {}),
    ("b_frames.mp4", {"video_options": {"bf": "3", "g": "10"}, "sound_rate": 44100}),
    ("a.mkv", {"audio_codec": "flac"}),
    ("a.webm", {"video_codec": "libvpx", "audio_codec": "libopus"}),
    ("a.mov", {"video_codec": "mjpeg", "video_format": "yuvj420p", "audio_codec": "pcm_s16le"}),
]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=[name for name, _ in KINDS])
def test_every_container_gives_its_frames_and_its_sound(make_media: MediaMaker, name: str, kind: dict) -> None:
    rate = kind.get("sound_rate", 48000)
    path = make_media(name, frames=numbered(30, 64, 48), sound=tone(1.2, rate), **kind)
    decoded, pixels, intervals = frames_of(path)
    sound = sound_of(decoded)
    assert numbers(pixels) == list(range(30))
    np.testing.assert_allclose(intervals, np.stack([np.arange(30), np.arange(1, 31)], 1) / 25)
    assert sound.samples.dtype == np.float32
    assert sound.duration == pytest.approx(1.2, abs=0.03)
    middle = sound.samples[4000:12000]
    assert np.corrcoef(middle, tone(1.2, 16000)[0][4000:12000])[0, 1] > 0.99
    assert decoded.duration == pytest.approx(1.2, abs=0.03)
    assert (decoded.audio_problem, decoded.video_problem, decoded.damage, decoded.truncated) == (
        None,
        None,
        (),
        False,
    )


SOUNDS: list[tuple[str, int, int, str, str]] = [
    ("u8.wav", 8000, 1, "mono", "pcm_u8"),
    ("s24.wav", 11025, 2, "stereo", "pcm_s24le"),
    ("f32.wav", 22050, 8, "7.1", "pcm_f32le"),
    ("high.flac", 96000, 2, "stereo", "flac"),
    ("plain.wav", 16000, 1, "mono", "pcm_s16le"),
    ("a.aiff", 44100, 1, "mono", "pcm_s16be"),
]


@pytest.mark.parametrize(("name", "rate", "channels", "layout", "codec"), SOUNDS, ids=[s[0] for s in SOUNDS])
def test_any_rate_format_and_layout_becomes_mono_16_khz(
    make_media: MediaMaker, name: str, rate: int, channels: int, layout: str, codec: str
) -> None:
    path = make_media(name, sound=tone(1.0, rate, channels), sound_rate=rate, layout=layout, audio_codec=codec)
    sound = sound_of(decode(path))
    assert abs(len(sound.samples) - 16000) <= 1
    reference = tone(1.0, 16000)[0]
    np.testing.assert_allclose(sound.samples[200:-200], reference[200 : len(sound.samples) - 200], atol=0.01)


def test_5_1_aac_is_mixed_down_without_leaving_full_scale(make_media: MediaMaker) -> None:
    loud = tone(1.0, 48000, 6) * 1.9
    sound = sound_of(decode(make_media("a.mp4", sound=loud, layout="5.1")))
    assert 0.8 < np.abs(sound.samples).max() <= 1.0
    assert np.corrcoef(sound.samples[2000:14000], tone(1.0, 16000)[0][2000:14000])[0, 1] > 0.99


def test_not_a_number_in_the_sound_becomes_silence(make_media: MediaMaker) -> None:
    wave = tone(0.5, 16000)
    wave[0, 100:200] = np.nan
    path = make_media("a.wav", sound=wave, sound_rate=16000, audio_codec="pcm_f32le")
    samples = sound_of(decode(path)).samples
    assert np.isfinite(samples).all()
    assert (samples[100:200] == 0).all()


def test_late_sound_is_padded_with_silence(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", frames=numbered(30, 64, 48), sound=tone(0.7, 48000), sound_at=0.3, audio_codec="flac")
    samples = sound_of(decode(path)).samples
    assert not samples[:4780].any()
    assert np.flatnonzero(np.abs(samples) > 0.05)[0] == pytest.approx(4800, abs=20)
    assert len(samples) == pytest.approx(16000, abs=20)


def test_a_gap_in_the_sound_is_filled_with_silence(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", sound=tone(0.7, 48000), sound_gap=(10, 0.3), audio_codec="pcm_s16le")
    samples = sound_of(decode(path)).samples
    quiet = round(10 * 1024 / 3)
    assert not samples[quiet + 40 : quiet + 4760].any()
    assert samples[quiet + 4840 : quiet + 5200].any()
    assert len(samples) == pytest.approx(16000, abs=20)


def test_timestamps_that_leave_hours_of_silence_are_not_believed(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", sound=tone(0.7, 48000), sound_gap=(10, 5000.0), audio_codec="pcm_s16le")
    decoded = decode(path)
    assert len(sound_of(decoded).samples) == pytest.approx(10 * 1024 / 3, abs=20)
    assert "silence" in decoded.damage[0]


def test_a_frame_shown_for_hours_is_not_believed(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", frames=numbered(3, 64, 48), times=[0.0, 0.04, 9000.0])
    decoded, pixels, _ = frames_of(path)
    assert numbers(pixels)[:2] == [0, 1]
    assert len(pixels) <= 4
    assert "one frame would be shown" in decoded.damage[0]


def test_variable_frame_rate_is_sampled_by_time(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", frames=numbered(5, 64, 48), times=[0, 0.04, 0.08, 0.5, 0.6])
    decoded, pixels, intervals = frames_of(path, 10.0)
    assert numbers(pixels) == [1, 2, 2, 2, 2, 3, 4]
    assert intervals[-1, 1] == pytest.approx(0.64)
    np.testing.assert_array_equal(intervals[1:, 0], intervals[:-1, 1])
    assert decoded.duration == pytest.approx(0.64)


def test_rows_before_the_first_frame_show_the_first_frame(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", frames=numbered(5, 64, 48), times=[0.3, 0.34, 0.38, 0.42, 0.46], sound=tone(0.7, 48000))
    _, pixels, intervals = frames_of(path, 10.0)
    assert numbers(pixels) == [0, 0, 0, 1, 3]
    assert intervals[0, 0] == 0.0


@pytest.mark.parametrize("rate", [1.0, 3.0, 5.0, 25.0, 60.0])
def test_intervals_cover_the_video_without_holes_at_every_rate(make_media: MediaMaker, rate: float) -> None:
    path = make_media("a.mp4", frames=numbered(28, 64, 48))
    _, pixels, intervals = frames_of(path, rate)
    assert intervals[0, 0] == 0.0
    assert intervals[-1, 1] == pytest.approx(28 / 25)
    np.testing.assert_array_equal(intervals[1:, 0], intervals[:-1, 1])
    middles = intervals.mean(1)
    assert numbers(pixels) == [int(m * 25 + 1e-9) for m in middles]


@pytest.mark.parametrize(("turned", "shape", "corner"), [(90, (64, 48), (2, -3)), (180, (48, 64), (-3, -3))])
def test_rotation_is_applied(
    make_media: MediaMaker, turned: int, shape: tuple[int, int], corner: tuple[int, int]
) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:10, :10] = 255  # top left
    path = rotate_mp4(make_media("a.mp4", frames=[frame] * 3), turned)
    _, pixels, _ = frames_of(path)
    assert pixels.shape[1:3] == shape
    assert pixels[0][corner].min() > 200
    assert pixels[0, 2, 2].max() < 60


def test_odd_sizes_are_kept(make_media: MediaMaker) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 27, 33, 3), dtype=np.uint8)
    path = make_media("a.avi", frames=list(noise), video_codec="png", video_format="rgb24")
    np.testing.assert_array_equal(frames_of(path)[1], noise)


def test_a_change_of_size_starts_a_new_batch(tmp_path: Path, make_media: MediaMaker) -> None:
    parts = [
        make_media(name, frames=numbered(8, *size), video_codec="mpeg2video", container="mpeg2video")
        for name, size in (("small.m2v", (64, 48)), ("large.m2v", (96, 80)))
    ]
    both = tmp_path / "both.m2v"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    batches: list[FrameBatch] = []
    decode(both, audio=False, frames=[FrameRequest(25.0, batches.append)])
    sizes = [batch.pixels.shape[1:3] for batch in batches]
    assert sizes[0] == (48, 64)
    assert sizes[-1] == (80, 96)
    assert all(len(batch.pixels) == len(batch.intervals) for batch in batches)


def test_frames_come_in_batches_of_the_size_asked_for(make_media: MediaMaker) -> None:
    path = make_media("a.mp4", frames=numbered(10, 64, 48))
    slow: list[int] = []
    fast: list[int] = []
    decode(
        path,
        audio=False,
        frames=[
            FrameRequest(25.0, lambda batch: fast.append(len(batch.pixels)), batch_size=4),
            FrameRequest(5.0, lambda batch: slow.append(len(batch.pixels))),
        ],
    )
    assert fast == [4, 4, 2]
    assert slow == [2]


@pytest.mark.parametrize(("begin", "end"), [(1.52, 2.6), (2.0, 2.04), (2.84, None), (0.4, 1.0)])
def test_a_span_equals_the_same_piece_of_the_whole_file(
    make_media: MediaMaker, begin: float, end: float | None
) -> None:
    wave = tone(3.0, 44100, 2) * np.linspace(0.2, 1.0, 3 * 44100)
    path = make_media(
        "a.mp4",
        frames=numbered(40, 64, 48) + numbered(35, 64, 48),
        video_options={"bf": "3", "g": "12"},
        sound=wave,
        sound_rate=44100,
        layout="stereo",
    )
    whole, all_pixels, _ = frames_of(path, audio=True)
    part, pixels, intervals = frames_of(path, start=begin, end=end)
    first = round(begin * 25)
    np.testing.assert_array_equal(pixels, all_pixels[first : None if end is None else round(end * 25)])
    assert intervals[0, 0] == 0.0
    samples = sound_of(part).samples
    expected = sound_of(whole).samples[round(begin * 16000) : None if end is None else round(end * 16000)]
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["a.mpg", "a.ts", "a.avi", "a.mkv"])
def test_spans_work_in_containers_without_an_exact_index(make_media: MediaMaker, name: str) -> None:
    codecs = {"a.mkv": ("libx264", "aac"), "a.ts": ("libx264", "aac")}.get(name, ("mpeg2video", "mp2"))
    path = make_media(
        name,
        frames=numbered(40, 64, 48) + numbered(35, 64, 48),
        video_codec=codecs[0],
        audio_codec=codecs[1],
        sound=tone(3.0, 44100),
        sound_rate=44100,
    )
    whole, all_pixels, times = frames_of(path)
    part, pixels, _ = frames_of(path, start=2.0, end=2.4)
    first = int(np.argmin(abs(times[:, 0] - 2.0)))
    np.testing.assert_array_equal(pixels, all_pixels[first : first + 10])
    samples, expected = sound_of(part).samples, sound_of(whole).samples[32000:38400]
    assert len(samples) == 6400
    # Matroska tells times to a millisecond: up to 8 samples earlier or later.
    inner = samples[10:-10]
    assert max(np.corrcoef(inner, expected[k : k + len(inner)])[0, 1] for k in range(21)) > 0.98


def test_clip_time_begins_where_the_container_begins(make_media: MediaMaker) -> None:
    path = make_media(
        "a.mpg",
        frames=numbered(30, 64, 48),
        video_codec="mpeg2video",
        audio_codec="mp2",
        sound=tone(1.2, 44100),
        sound_rate=44100,
    )
    with av.open(str(path)) as plain:
        assert plain.start_time > 300_000  # program streams begin at about half a second
    decoded, pixels, intervals = frames_of(path)
    assert intervals[0, 0] == 0.0
    assert numbers(pixels)[:3] == [0, 1, 2]
    assert sound_of(decoded).duration == pytest.approx(1.2, abs=0.06)


@pytest.mark.parametrize(
    ("limit", "end", "seconds", "truncated"),
    [(0.5, None, 0.5, True), (5.0, None, 1.2, False), (0.5, 0.5, 0.5, False), (0.4, 0.8, 0.4, True)],
)
def test_a_clip_over_the_limit_is_cut_and_told(
    make_media: MediaMaker, limit: float, end: float | None, seconds: float, truncated: bool
) -> None:
    path = make_media("a.mp4", frames=numbered(30, 64, 48), sound=tone(1.2, 48000))
    decoded, _, intervals = frames_of(path, max_seconds=limit, end=end)
    assert decoded.truncated is truncated
    assert decoded.duration == pytest.approx(seconds, abs=0.03)
    assert intervals[-1, 1] == pytest.approx(seconds, abs=0.01)


def test_no_sound_costs_no_frames(make_media: MediaMaker) -> None:
    decoded, pixels, _ = frames_of(make_media("a.mp4", frames=numbered(5, 64, 48)))
    assert decoded.audio is None
    assert decoded.audio_problem is not None
    assert decoded.audio_problem.code == "no_audio"
    assert numbers(pixels) == [0, 1, 2, 3, 4]


def test_no_video_costs_no_sound(make_media: MediaMaker) -> None:
    decoded, pixels, _ = frames_of(
        make_media("a.wav", sound=tone(0.5, 16000), sound_rate=16000, audio_codec="pcm_s16le")
    )
    assert len(pixels) == 0
    assert decoded.video_problem is not None
    assert decoded.video_problem.code == "no_video"
    assert sound_of(decoded).duration == 0.5


def test_what_is_not_asked_for_is_no_problem(make_media: MediaMaker) -> None:
    silent = decode(make_media("a.mp4", frames=numbered(5, 64, 48)), audio=False)
    assert (silent.audio, silent.audio_problem, silent.video_problem, silent.duration) == (
        None,
        None,
        None,
        0.0,
    )


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [(-1.0, None, "negative_start"), (0.5, 0.5, "too_short"), (float("nan"), None, "negative_start")],
)
def test_an_impossible_span_is_refused(make_media: MediaMaker, start: float, end: float | None, code: str) -> None:
    path = make_media("a.mp4", frames=numbered(5, 64, 48))
    with pytest.raises(ClipError) as caught:
        decode(path, start=start, end=end)
    assert caught.value.code == code


def test_a_span_behind_the_end_has_neither_stream(make_media: MediaMaker) -> None:
    decoded, pixels, _ = frames_of(make_media("a.mp4", frames=numbered(5, 64, 48), sound=tone(0.2, 48000)), start=5.0)
    assert (decoded.audio_problem.code, decoded.video_problem.code) == ("no_audio", "no_video")  # type: ignore[union-attr]
    assert "from 5 s" in str(decoded.audio_problem)
    assert len(pixels) == 0


def test_a_file_cut_in_the_middle_keeps_what_came_before(make_media: MediaMaker) -> None:
    path = make_media(
        "a.mp4", frames=numbered(30, 64, 48) * 3, sound=tone(3.6, 48000), options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    decoded, pixels, _ = frames_of(path)
    assert 20 < len(pixels) < 80
    assert 1.0 < sound_of(decoded).duration < 3.0
    assert any("announces 3.6" in sentence for sentence in decoded.damage)


def test_a_broken_video_costs_no_sound(make_media: MediaMaker) -> None:
    path = make_media("a.mkv", frames=numbered(30, 64, 48), sound=tone(1.2, 48000), audio_codec="pcm_s16le")
    with av.open(str(path)) as container:
        sizes = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in sizes:
        at = data.index(b"\x81", position)  # the block's stream number; its time and flags follow
        data[at + 4 : at + 4 + size] = b"\xff" * size
    path.write_bytes(data)
    decoded, pixels, _ = frames_of(path)
    assert len(pixels) == 0
    assert decoded.video_problem is not None
    assert decoded.video_problem.code == "undecodable"
    assert "Invalid data" in str(decoded.video_problem)
    assert sound_of(decoded).duration == pytest.approx(1.2, abs=0.01)


def test_errors_of_the_caller_are_passed_on(make_media: MediaMaker) -> None:
    def fail(batch: FrameBatch) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        decode(make_media("a.mp4", frames=numbered(5, 64, 48)), frames=[FrameRequest(25.0, fail)])


@pytest.mark.parametrize(("rate", "size"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (5.0, 0), (1e9, 1)])
def test_an_impossible_request_is_refused(rate: float, size: int) -> None:
    with pytest.raises(ValueError, match="must"):
        FrameRequest(rate, lambda batch: None, size)


def test_real_clips_decode_whole(shared: Path) -> None:
    for path in sorted((shared / "data" / "grid").glob("*.mpg"))[:3]:
        decoded, pixels, intervals = frames_of(path, 5.0)
        assert pixels.shape == (15, 288, 360, 3)
        assert intervals[-1, 1] == pytest.approx(3.0)
        assert sound_of(decoded).duration == pytest.approx(2.978, abs=0.005)
        assert decoded.damage == ()
