"""What is passed over in decoding changes nothing of what is shown."""

import numpy as np
import pytest

from mse_pipeline.media import decode as decoding
from mse_pipeline.media.decode import FrameRequest, decode
from tests.media.media_files import MediaMaker

B_FRAMES = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:keyint=24:scenecut=0"}


@pytest.fixture
def moving():
    """2.4 s at 25 frames a second, each frame other than the one before."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (48, 64, 3), np.uint8)
    return [np.roll(noise, 3 * k, 1) + np.uint8(2 * k) for k in range(60)]


def shown(path, rates, monkeypatch, *, skip, **span):
    """Rows of each request, and how many frames were decoded."""
    monkeypatch.setattr(decoding, "CODECS", frozenset({"h264", "hevc"}) if skip else frozenset())
    rows = [[] for _ in rates]
    requests = [FrameRequest(rate, into.append) for rate, into in zip(rates, rows, strict=True)]
    counted = []
    add = decoding.VideoTrack.add
    monkeypatch.setattr(decoding.VideoTrack, "add", lambda self, frame: (counted.append(1), add(self, frame))[1])
    decoded = decode(path, audio=False, frames=requests, **span)
    monkeypatch.setattr(decoding.VideoTrack, "add", add)
    pixels = [np.concatenate([batch.pixels for batch in into]) if into else np.zeros(0) for into in rows]
    intervals = [np.concatenate([batch.intervals for batch in into]) if into else np.zeros(0) for into in rows]
    return (pixels, intervals, decoded.duration, decoded.truncated), len(counted)


def same(one, other):
    arrays = zip(one[0] + one[1], other[0] + other[1], strict=True)
    return all(np.array_equal(a, b) for a, b in arrays) and one[2:] == other[2:]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("rates", [(5.0,), (1.0,), (0.4,), (7.3,), (25.0,), (60.0,), (5.0, 25.0), (1.0, 3.0)])
def test_rows_are_equal_to_the_bit(make_media: MediaMaker, moving, monkeypatch, codec, name, rates):
    if codec == "libx265" and name == "a.avi":
        pytest.skip("AVI holds no HEVC")
    options = B_FRAMES if codec == "libx264" else {"x265-params": "log-level=none:bframes=3:keyint=12"}
    path = make_media(name, frames=moving, video_codec=codec, video_options=options)
    with_all, _ = shown(path, rates, monkeypatch, skip=False)
    skipping, _ = shown(path, rates, monkeypatch, skip=True)
    assert same(with_all, skipping)


def test_fewer_frames_are_decoded_where_few_are_shown(make_media: MediaMaker, moving, monkeypatch):
    path = make_media("a.mp4", frames=moving, video_options=B_FRAMES)
    _, every = shown(path, (5.0,), monkeypatch, skip=False)
    _, some = shown(path, (5.0,), monkeypatch, skip=True)
    assert every == 60
    assert some < 45


@pytest.mark.parametrize(
    ("start", "end"), [(0.3, 1.7), (0.33, 1.01), (1.0, None), (None, 0.5), (2.3, 2.35), (0.0, 9.0)]
)
@pytest.mark.parametrize("limit", [None, 0.77])
def test_spans_are_equal_to_the_bit(make_media: MediaMaker, moving, monkeypatch, start, end, limit):
    path = make_media("a.mp4", frames=moving, video_options=B_FRAMES)
    span = {"start": start, "end": end, "max_seconds": limit}
    with_all, _ = shown(path, (5.0, 3.0), monkeypatch, skip=False, **span)
    skipping, _ = shown(path, (5.0, 3.0), monkeypatch, skip=True, **span)
    assert same(with_all, skipping)


def test_a_variable_frame_rate_is_sampled_the_same(make_media: MediaMaker, moving, monkeypatch):
    rng = np.random.default_rng(1)
    for trial in range(12):
        steps = rng.choice([0.01, 0.02, 0.04, 0.15, 0.6], 50, p=[0.2, 0.2, 0.4, 0.15, 0.05])
        times = np.concatenate([[0.0], np.cumsum(steps)])[:50]
        path = make_media(f"{trial}.mp4", frames=moving[:50], times=times.tolist(), video_options=B_FRAMES)
        for rates in ((5.0,), (2.0, 9.0)):
            with_all, _ = shown(path, rates, monkeypatch, skip=False)
            skipping, _ = shown(path, rates, monkeypatch, skip=True)
            assert same(with_all, skipping)


def test_a_cut_off_file_gives_the_same(make_media: MediaMaker, moving, monkeypatch, tmp_path):
    whole = make_media("a.mkv", frames=moving, video_options=B_FRAMES).read_bytes()
    for share in (0.3, 0.55, 0.9):
        path = tmp_path / "cut.mkv"
        path.write_bytes(whole[: int(len(whole) * share)])
        with_all, _ = shown(path, (5.0,), monkeypatch, skip=False)
        skipping, _ = shown(path, (5.0,), monkeypatch, skip=True)
        assert same(with_all, skipping)


@pytest.mark.slow
def test_real_video_is_sampled_the_same(shared, monkeypatch):
    path = shared / "data" / "multiface" / "street_1080p.mp4"
    with_all, every = shown(path, (5.0,), monkeypatch, skip=False)
    skipping, some = shown(path, (5.0,), monkeypatch, skip=True)
    assert same(with_all, skipping)
    assert some < 0.8 * every
