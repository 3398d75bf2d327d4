"""What the efforts of decoding leave out: the rows and their times stay, and `full` stays what it was."""

import numpy as np
import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.extraction.clip_run import Sessions
from mse_pipeline.extractors.registry import create
from mse_pipeline.media import decode as decoding
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.effort import FULL, Decoding
from tests.media.media_files import write_media

RATE = 5.0
CODECS = {
    "h264.mp4": ("libx264", {"x264-params": "bframes=3:keyint=20:scenecut=0", "crf": "30"}),
    "hevc.mkv": ("libx265", {"x265-params": "log-level=none:bframes=3:keyint=20:scenecut=0:crf=34"}),
    "vp9.webm": ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "g": "20"}),
    "mpeg4.avi": ("mpeg4", {"bf": "2", "g": "20"}),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2", "g": "20"}),
}
HALVED = {"mpeg4.avi", "mpeg2.mpg"}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """2.2 s at 25 frames a second of a smooth picture that moves and grows brighter, by the name of the file."""
    y, x = np.mgrid[:96, :128]
    picture = (90 + 50 * np.sin(x / 9) * np.cos(y / 7))[..., None].repeat(3, 2)
    moving = [(np.roll(picture, 2 * k, 1) + k).astype(np.uint8) for k in range(55)]
    folder, made = tmp_path_factory.mktemp("films"), {}

    def film(name):
        if name not in made:
            codec, options = CODECS[name]
            made[name] = write_media(folder / name, frames=moving, video_codec=codec, video_options=options)
        return made[name]

    return film


@pytest.fixture
def film(films, request):
    return films(request.param)


def shown(path, way, rate=RATE, **span):
    """Times and pixels of the rows, and the size of the decoder's frames."""
    batches = []
    decoded = decode(path, audio=False, frames=[FrameRequest(rate, batches.append, decoding=way)], **span)
    first = batches[0].frames[0]
    times, pixels = (np.concatenate([getattr(b, name) for b in batches]) for name in ("intervals", "pixels"))
    return times, pixels.astype(int), (first.width, first.height), decoded


@pytest.mark.parametrize("film", CODECS, indirect=True)
def test_fast_shows_the_same_rows_with_slightly_other_pixels(film):
    times, pixels, size, _ = shown(film, FULL)
    fast_times, fast, fast_size, _ = shown(film, Decoding("fast", 64))
    assert np.array_equal(fast_times, times)
    assert fast_size == ((64, 48) if film.name in HALVED else size)
    step = pixels.shape[2] // fast.shape[2]
    assert np.abs(fast - pixels[:, ::step, ::step]).mean() < 12


@pytest.mark.parametrize("film", sorted(HALVED), indirect=True)
def test_frames_are_not_halved_below_the_width_that_is_asked_for(film):
    assert shown(film, Decoding("fast", 65))[2] == (128, 96)


@pytest.mark.parametrize("span", [{}, {"start": 0.4, "end": 1.4}, {"max_seconds": 1.0}, {"start": 2.0}])
@pytest.mark.parametrize("film", CODECS, indirect=True)
def test_key_frames_stand_for_all_frames_until_the_next(film, span):
    times, _, _, whole = shown(film, Decoding("fast", 128), **span)
    key_times, key, _, decoded = shown(film, Decoding("key_frames", 128), **span)
    assert np.allclose(key_times, times, atol=1e-6)
    assert (decoded.duration, decoded.truncated) == pytest.approx((whole.duration, whole.truncated))
    # Rows of 0.2 s show every fifth frame, and each twentieth frame is a key frame.
    first = round(span.get("start", 0.0) * RATE)
    for row, picture in enumerate(key):
        begun = (first + row) // 4 * 4 - first
        same = np.abs(picture - key[max(begun, 0)]).max() == 0
        assert same, f"row {row} shows another frame than the key frame before"
    assert len({picture.tobytes() for picture in key}) == len({(first + row) // 4 for row in range(len(key))})


@pytest.mark.parametrize("film", ["h264.mp4"], indirect=True)
def test_only_key_frames_are_decoded(film, monkeypatch):
    counted = []
    add = decoding.VideoTrack.add
    monkeypatch.setattr(decoding.VideoTrack, "add", lambda self, frame: (counted.append(1), add(self, frame))[1])
    shown(film, Decoding("key_frames", 480))
    assert len(counted) == 3


@pytest.mark.parametrize("film", ["mpeg4.avi"], indirect=True)
def test_streams_that_want_different_pixels_each_get_their_own(film):
    rows = {}
    ways = [Decoding("fast", 64), FULL, Decoding("key_frames", 64)]
    requests = [FrameRequest(RATE, rows.setdefault(way, []).append, decoding=way) for way in ways]
    decode(film, frames=requests)
    for way in ways:
        alone = shown(film, way)[1]
        assert np.array_equal(np.concatenate([batch.pixels for batch in rows[way]]), alone)


@pytest.mark.parametrize("stream", ["visual.mtcnn", "visual.yunet", "visual.geometry", "visual.quality"])
def test_the_effort_is_part_of_the_key_and_full_keeps_the_keys_of_before(stream):
    plain, full, fast, key = (
        create(stream, options).identity()["config"]
        for options in ({}, {"decoding": "full"}, {"decoding": "fast"}, {"decoding": "key_frames"})
    )
    assert plain == full
    assert "decoding" not in plain
    assert (fast["decoding"], key["decoding"]) == ("fast", "key_frames")


def test_an_extractor_is_given_frames_of_the_effort_that_it_asks_for():
    extractor = create("visual.yunet", {"decoding": "fast", "width": 320})
    assert [request.decoding for request in Sessions([extractor], "cpu").requests()] == [Decoding("fast", 320)]


def test_mouths_are_not_compared_with_the_sound_in_key_frames():
    with pytest.raises(UsageError, match="key frames do not show"):
        create("visual.mtcnn", {"policy": "speaking", "decoding": "key_frames"})
