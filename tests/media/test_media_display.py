"""Frames as a player shows them: mirrored and turned matrices, and pixels that are not square."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import Frame, FrameBatch, Orientation
from mse_pipeline.media.probe import probe
from tests.media.media_files import MediaMaker, numbered

RNG = np.random.default_rng(3)
SCENE = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)
)
LOSSLESS = {"video_options": {"qp": "0"}}

EIGHT: list[tuple[str, int, bool, bool]] = [
    ("upright", 0, False, False),
    ("a quarter to the left", 90, False, False),
    ("half a turn", 180, False, False),
    ("a quarter to the right", 270, False, False),
    ("left and right exchanged", 0, True, False),
    ("top and bottom exchanged", 0, False, True),
    ("mirrored and a quarter to the left", 90, True, False),
    ("mirrored and a quarter to the right", 270, True, False),
]


def expected(degrees: int, hflip: bool, vflip: bool) -> np.ndarray:
    """`SCENE` turned counterclockwise by PIL, then mirrored."""
    turned = Image.fromarray(SCENE).rotate(degrees, expand=True)
    if hflip:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(turned.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if vflip else turned)


def frames_of(path: Path) -> list[Frame]:
    batches: list[FrameBatch] = []
    decode(path, audio=False, frames=[FrameRequest(25.0, batches.append)])
    return [frame for batch in batches for frame in batch.frames]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(("degrees", "hflip", "vflip"), [one[1:] for one in EIGHT], ids=[one[0] for one in EIGHT])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_a_frame_is_shown_as_its_matrix_says(
    make_media: MediaMaker, name: str, degrees: int, hflip: bool, vflip: bool
) -> None:
    path = make_media(
        name, frames=[SCENE] * 3, set_up=lambda video: video.set_display_rotation(degrees, hflip, vflip), **LOSSLESS
    )
    one, other = frames_of(path)[:2]
    whole = other.pixels
    assert difference(whole, expected(degrees, hflip, vflip)) < 4  # any other of the eight is 25 away
    assert (one.height, one.width) == whole.shape[:2]
    np.testing.assert_array_equal(one.region(11, 20, 71, 80), whole[20:80, 11:71])
    small = np.asarray(Image.fromarray(np.ascontiguousarray(whole)).reduce(2))
    assert difference(one.reduced(one.width // 2), small) < 4
    info = probe(path)
    assert (info.width, info.height) == (one.width, one.height)
    assert info.mirrored == (hflip ^ vflip)
    turned = np.rot90(SCENE[:, ::-1] if info.mirrored else SCENE, info.rotation // 90)
    assert difference(turned, expected(degrees, hflip, vflip)) == 0
    assert decode(path, audio=False, frames=[FrameRequest(5.0, lambda batch: None)]).info == info


@pytest.mark.parametrize(
    ("degrees", "nearest"), [(3, 0), (-30, 0), (44, 0), (46, 90), (135.1, 180), (200, 180), (260, 270)]
)
def test_a_slanted_matrix_counts_as_the_nearest_right_angle(
    make_media: MediaMaker, degrees: float, nearest: int
) -> None:
    path = make_media("a.mp4", frames=[SCENE] * 2, set_up=lambda video: video.set_display_rotation(degrees), **LOSSLESS)
    assert difference(frames_of(path)[0].pixels, expected(nearest, False, False)) < 4


@pytest.mark.parametrize(
    "matrix", [[0] * 9, [65536, 65536, 0, 65536, 65536, 0, 0, 0, 1 << 30], [0, 0, 0, 65536] + [0] * 5]
)
def test_a_matrix_that_leaves_nothing_of_the_picture_counts_as_none(matrix: list[int]) -> None:
    assert Orientation.of_matrix(matrix) == Orientation()


def anamorphic(aspect: Fraction) -> Any:
    def set_up(video: Any) -> None:
        video.codec_context.sample_aspect_ratio = aspect

    return set_up


ASPECTS: list[tuple[str, str, Fraction]] = [
    ("a.mp4", "libx264", Fraction(64, 45)),
    ("a.mkv", "libx264", Fraction(64, 45)),
    ("a.ts", "libx264", Fraction(64, 45)),
    ("a.avi", "mpeg4", Fraction(16, 11)),
    ("a.mp4", "libx264", Fraction(8, 9)),
    ("a.mkv", "libx264", Fraction(1, 2)),
    ("a.flv", "libx264", Fraction(4, 3)),
]


@pytest.mark.parametrize(("name", "codec", "aspect"), ASPECTS, ids=[f"{a[0]} {a[2]}" for a in ASPECTS])
def test_pixels_that_are_not_square_become_square(
    make_media: MediaMaker, name: str, codec: str, aspect: Fraction
) -> None:
    options = LOSSLESS if codec == "libx264" else {}
    path = make_media(name, frames=[SCENE] * 3, video_codec=codec, set_up=anamorphic(aspect), **options)
    one, other = frames_of(path)[0], frames_of(path)[0]
    width = round(128 * aspect)
    assert (one.width, one.height) == (width, 96)
    whole = other.pixels
    assert whole.shape == (96, width, 3)
    stretched = np.asarray(Image.fromarray(SCENE).resize((width, 96), Image.Resampling.BILINEAR))
    assert difference(whole, stretched) < 8
    np.testing.assert_array_equal(one.region(5, 8, 41, 70), whole[8:70, 5:41])
    assert one.reduced(width // 2).shape == (round(96 * (width // 2) / width), width // 2, 3)
    info = probe(path)
    assert (info.width, info.height) == (width, 96)


def test_pixels_are_made_square_before_the_frame_is_turned(make_media: MediaMaker) -> None:
    def set_up(video: Any) -> None:
        video.codec_context.sample_aspect_ratio = Fraction(3, 2)
        video.set_display_rotation(90)

    path = make_media("a.mov", frames=[SCENE] * 2, set_up=set_up, **LOSSLESS)
    frame = frames_of(path)[0]
    assert (frame.width, frame.height) == (96, 192)
    upright = np.asarray(Image.fromarray(SCENE).resize((192, 96), Image.Resampling.BILINEAR).rotate(90, expand=True))
    assert difference(frame.pixels, upright) < 8
    assert (probe(path).width, probe(path).height) == (96, 192)


@pytest.mark.parametrize(("first", "second"), [("pasp", 100), ("pasp", 0)])
def test_what_the_container_says_of_the_pixels_counts_before_what_the_codec_says(
    make_media: MediaMaker, first: str, second: int
) -> None:
    path = make_media("a.mp4", frames=[SCENE] * 2, set_up=anamorphic(Fraction(2)))
    data = path.read_bytes()
    at = data.index(first.encode()) + 4
    assert struct.unpack(">2I", data[at : at + 8]) == (2, 1)
    path.write_bytes(data[:at] + struct.pack(">2I", second, 100) + data[at + 8 :])
    # A ratio of 0 says nothing, and so the codec's own holds.
    assert frames_of(path)[0].width == (128 if second else 256)


@pytest.mark.parametrize("aspect", [Fraction(1, 200), Fraction(200)])
def test_a_shape_that_no_pixel_has_is_not_believed(make_media: MediaMaker, aspect: Fraction) -> None:
    assert frames_of(make_media("a.mkv", frames=[SCENE] * 2, set_up=anamorphic(aspect)))[0].width == 128


def test_frames_beyond_all_measure_are_not_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mse_pipeline.media.frames.MAX_PIXELS", 128 * 96)
    decoded = av.VideoFrame.from_ndarray(np.ascontiguousarray(SCENE), format="rgb24")
    assert Frame(decoded, Fraction(3, 2)).width == 128
    assert Frame(decoded, Fraction(1, 2)).width == 64


def test_the_shape_of_pixels_and_the_size_may_change_on_the_way(tmp_path: Path, make_media: MediaMaker) -> None:
    parts = [
        make_media(
            name,
            frames=numbered(8, *size),
            video_codec="mpeg2video",
            container="mpeg2video",
            set_up=anamorphic(aspect),
        )
        for name, size, aspect in (
            ("a.m2v", (64, 48), Fraction(1)),
            ("b.m2v", (64, 48), Fraction(4, 3)),  # 16:9, which MPEG-2 can say
            ("c.m2v", (96, 80), Fraction(1)),
        )
    ]
    whole = tmp_path / "whole.m2v"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    sizes = [(frame.width, frame.height) for frame in frames_of(whole)]
    assert list(dict.fromkeys(sizes)) == [(64, 48), (85, 48), (96, 80)]
    assert all(frame.pixels.shape == (frame.height, frame.width, 3) for frame in frames_of(whole))


def test_interlaced_frames_are_left_as_they_are(make_media: MediaMaker) -> None:
    fields = np.repeat(SCENE[..., :1], 3, 2)  # grey, since two lines share their colour
    fields[1::2] = fields[1::2, ::-1]
    path = make_media("a.mp4", frames=[fields] * 3, video_options={"qp": "0", "flags": "+ildct+ilme"})
    assert difference(frames_of(path)[0].pixels, fields) < 4
