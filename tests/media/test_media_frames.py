"""Frames are converted only as far as is asked for, and every way gives the same pixels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import Frame, FrameBatch
from tests.media.media_files import MediaMaker, rotate_mp4

NOISE = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(NOISE[:9, :12]).resize((120, 90), Image.Resampling.BICUBIC))


def frame(pixels: np.ndarray, pixel_format: str = "rgb24") -> Frame:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return Frame(rgb if pixel_format == "rgb24" else rgb.reformat(format=pixel_format, threads=1))


def first(path: Path) -> Frame:
    batches: list[FrameBatch] = []
    decode(path, audio=False, frames=[FrameRequest(5.0, batches.append)])
    return batches[0].frames[0]


@pytest.mark.parametrize("pixel_format", ["rgb24", "yuv420p", "yuvj420p", "yuv444p", "yuv422p", "yuv420p10le", "gray"])
@pytest.mark.parametrize("box", [(0, 0, 120, 90), (31, 17, 78, 60), (0, 1, 1, 2), (119, 89, 120, 90), (60, 0, 120, 90)])
def test_a_region_equals_that_part_of_the_whole_frame(pixel_format: str, box: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = box
    part = frame(SMOOTH, pixel_format).region(*box)
    np.testing.assert_array_equal(part, frame(SMOOTH, pixel_format).pixels[y1:y2, x1:x2])


@pytest.mark.parametrize("size", [(89, 120), (90, 119), (89, 119)])
def test_a_region_of_a_frame_of_odd_size_equals_the_whole(size: tuple[int, int]) -> None:
    odd = SMOOTH[: size[0], : size[1]]
    box = (33, 11, size[1], size[0])
    part = frame(odd, "yuv420p").region(*box)
    np.testing.assert_array_equal(part, frame(odd, "yuv420p").pixels[11:, 33:])


def test_regions_of_real_frames_equal_the_whole(shared: Path) -> None:
    for path in (shared / "data/grid/bbaf2n.mpg", shared / "data/multiface/street_1080p.mp4"):
        one, other = first(path), first(path)
        box = (101, 43, 278, 199)
        np.testing.assert_array_equal(one.region(*box), other.pixels[43:199, 101:278])


def test_reduced_pixels_are_means_of_the_areas_that_they_cover() -> None:
    reduced = frame(NOISE).reduced(60)
    assert reduced.shape == (45, 60, 3)
    expected = NOISE.reshape(45, 2, 60, 2, 3).mean((1, 3))
    assert abs(reduced - expected).max() <= 2


def test_frames_are_never_enlarged() -> None:
    for width in (120, 121, 500):
        np.testing.assert_array_equal(frame(NOISE).reduced(width), NOISE)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_frame_is_upright_in_every_way_of_asking(make_media: MediaMaker, turned: int) -> None:
    path = rotate_mp4(make_media("a.mp4", frames=[SMOOTH] * 3), turned)
    one, other = first(path), first(path)
    whole = other.pixels
    assert whole.shape == ((90, 120, 3) if turned == 180 else (120, 90, 3))
    assert (one.height, one.width) == whole.shape[:2]
    np.testing.assert_array_equal(one.region(11, 20, 71, 80), whole[20:80, 11:71])
    reduced = one.reduced(45)
    assert reduced.shape == (round(one.height * 45 / one.width), 45, 3)
    expected = np.asarray(
        Image.fromarray(np.ascontiguousarray(whole)).resize(reduced.shape[1::-1], Image.Resampling.BOX)
    )
    assert abs(reduced.astype(int) - expected).mean() < 8  # a mirrored picture is 60 away


def test_a_batch_of_given_pixels_holds_them() -> None:
    batch = FrameBatch.of(np.stack([NOISE, SMOOTH]), np.array([[0.0, 0.2], [0.2, 0.4]]))
    assert len(batch) == 2
    np.testing.assert_array_equal(batch.pixels, np.stack([NOISE, SMOOTH]))
    assert batch.reduced(40).shape == (2, 30, 40, 3)
