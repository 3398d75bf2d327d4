"""A span of a long file: the frames that the whole file shows there, without decoding the file up to it."""

import numpy as np
import pytest

from mse_pipeline.media import decode as decoding
from mse_pipeline.media.decode import FrameRequest, decode
from tests.media.media_files import write_media

RATE, SECONDS = 5.0, 10
H264 = "bframes=3:b-pyramid=normal:keyint=25:scenecut=0"
FILMS = {
    "b-frames.mp4": ("libx264", {"x264-params": H264}),
    "b-frames.mkv": ("libx264", {"x264-params": H264}),
    "b-frames.ts": ("libx264", {"x264-params": H264}),
    "b-frames.flv": ("libx264", {"x264-params": H264}),
    "open-gop.mp4": ("libx264", {"x264-params": f"{H264}:open-gop=1"}),
    "open-gop.mkv": ("libx264", {"x264-params": f"{H264}:open-gop=1"}),
    "hevc-open-gop.mp4": ("libx265", {"x265-params": "log-level=none:bframes=3:keyint=25:open-gop=1"}),
    "asp.avi": ("mpeg4", {"bf": "2", "g": "25"}),
    "vp9.webm": ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "g": "25"}),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2", "g": "25"}),
    "varying-rate.mp4": ("libx264", {"x264-params": H264}),
    "varying-rate.mkv": ("libx264", {"x264-params": H264}),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """By name, a film whose frames all differ, and the rows of the whole of it."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 120, (48, 64, 3), np.uint8)
    frames = [np.roll(noise, 3 * k, 1) + np.uint8(k % 97) for k in range(25 * SECONDS)]
    steps = np.cumsum(rng.choice([0.01, 0.02, 0.04, 0.15, 0.6], len(frames), p=[0.2, 0.2, 0.4, 0.15, 0.05]))
    varying = (np.append(0, steps[:-1]) * SECONDS / steps[-1]).tolist()
    folder, made = tmp_path_factory.mktemp("films"), {}

    def film(name):
        if name not in made:
            codec, options = FILMS[name]
            times = varying if name.startswith("varying") else None
            path = write_media(folder / name, frames=frames, times=times, video_codec=codec, video_options=options)
            made[name] = path, rows(path)
        return made[name]

    return film


def rows(path, **span):
    batches = []
    decode(path, audio=False, frames=[FrameRequest(RATE, batches.append)], **span)
    return np.concatenate([batch.pixels for batch in batches])


@pytest.mark.parametrize(("start", "end"), [(8.0, 9.0), (4.6, 5.0), (9.0, None), (1.2, 2.0)])
@pytest.mark.parametrize("name", FILMS)
def test_a_span_shows_the_frames_of_the_whole(films, name, start, end):
    path, whole = films(name)
    part = rows(path, start=start, end=end)
    first = round(start * RATE)
    assert len(part) >= 2
    assert np.array_equal(part[:-1], whole[first:][: len(part) - 1])
    if end is not None:  # the last row of the file may be cut at another time
        assert np.array_equal(part[-1], whole[first + len(part) - 1])


@pytest.mark.parametrize("name", FILMS)
def test_a_span_near_the_end_does_not_cost_the_whole_file(films, name, monkeypatch):
    path, _ = films(name)
    counted = []
    add = decoding.VideoTrack.add
    monkeypatch.setattr(decoding.VideoTrack, "add", lambda self, frame: (counted.append(1), add(self, frame))[1])
    rows(path, start=8.4, end=8.8)
    assert 0 < len(counted) < 25 * SECONDS / 2
