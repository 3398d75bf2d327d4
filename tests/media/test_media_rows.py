"""Which frame a row shows: the one on screen at its middle, by exact fractions, in a span as in the whole file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline.media import decode as decoding
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.media.timeline import exact
from tests.media.media_files import bits, number_of, write_media

NTSC = Fraction(30000, 1001)
RATES = [3.0, 4.0, 5.0, 10.0, 12.5, 25.0]
SECONDS = 4
PLAIN = {"bf": "0", "preset": "ultrafast", "g": "30"}


def shown(path: Path, rate: float, **span: float) -> tuple[list[int], np.ndarray]:
    batches: list[FrameBatch] = []
    decode(path, audio=False, frames=[FrameRequest(rate, batches.append)], **span)  # type: ignore[arg-type]
    numbers = [number_of(pixels) for batch in batches for pixels in batch.pixels]
    return numbers, np.concatenate([batch.intervals for batch in batches])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Fraction], Path]:
    """Numbered frames at every frame rate, made once."""
    folder = tmp_path_factory.mktemp("films")
    made = {}
    for fps in (Fraction(10), Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(50), Fraction(60)):
        frames = [bits(k) for k in range(int(SECONDS * fps))]
        for suffix in ("mp4", "mkv", "ts"):
            path = folder / f"{float(fps):.2f}.{suffix}"
            made[suffix, fps] = write_media(path, frames=frames, fps=fps, video_options=PLAIN)
    return made


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("fps", [10, 24, 25, NTSC, 30, 50, 60], ids=lambda fps: f"{float(fps):.2f}")
def test_a_row_shows_the_frame_at_its_middle(
    films: dict[tuple[str, Fraction], Path], fps: int | Fraction, suffix: str
) -> None:
    path = films[suffix, Fraction(fps)]
    for rate in RATES:
        numbers, intervals = shown(path, rate)
        whole = [k for k in range(len(numbers)) if intervals[k, 1] == float((k + 1) / exact(rate))]
        assert len(whole) >= int(rate * (SECONDS - 1))
        assert [numbers[k] for k in whole] == [int((k + Fraction(1, 2)) / exact(rate) * fps) for k in whole]


@pytest.mark.parametrize("fps", [10, 24, 25, NTSC, 30, 50, 60], ids=lambda fps: f"{float(fps):.2f}")
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_span_shows_what_the_whole_file_shows_there(
    films: dict[tuple[str, Fraction], Path], fps: int | Fraction, suffix: str
) -> None:
    path = films[suffix, Fraction(fps)]
    whole, _ = shown(path, 5.0)
    for first, past in ((1, 3), (7, 17), (9, 12), (12, 18)):
        assert shown(path, 5.0, start=first / 5, end=past / 5)[0] == whole[first:past]
    thirds, _ = shown(path, 3.0)
    assert shown(path, 3.0, start=5 / 3, end=8 / 3)[0] == thirds[5:8]


def test_sums_of_floats_are_the_fractions_that_they_mean() -> None:
    assert exact(0.1 + 0.2) == Fraction(3, 10)
    assert exact(29.97) == Fraction(2997, 100)
    assert exact(12.345678) == Fraction(12345678, 1000000)
    assert abs(exact(1234.56789012345) - Fraction(1234.56789012345)) < Fraction(1, 10**6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_frame_rate_is_followed_by_its_own_times(tmp_path: Path, suffix: str) -> None:
    times = [0.0, 0.1, 0.3, 0.45, 0.5, 0.7, 0.9, 1.1, 1.101, 1.3]
    path = write_media(
        tmp_path / f"a.{suffix}", frames=[bits(k) for k in range(10)], times=times, video_options={"bf": "0"}
    )
    middles = [Fraction(2 * k + 1, 10) for k in range(6)]
    expected = [sum(Fraction(round(time * 1000), 1000) <= middle for time in times) - 1 for middle in middles]
    assert shown(path, 5.0)[0][:6] == expected
    assert expected[2:5] == [4, 5, 6]  # they appear at 0.5, 0.7 and 0.9 s, which are middles


@pytest.mark.parametrize("fps", [24, NTSC, 30, 50, 60], ids=lambda fps: f"{float(fps):.2f}")
def test_what_is_not_decoded_is_not_shown(tmp_path: Path, fps: int | Fraction, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:keyint=24:scenecut=0"}
    frames = [bits(k) for k in range(2 * int(fps))]
    for suffix in ("mp4", "mkv"):
        path = write_media(tmp_path / f"a.{suffix}", frames=frames, fps=fps, video_options=options)
        for rate in (3.0, 5.0, 12.5):
            passing = shown(path, rate)[0], shown(path, rate, start=0.4, end=1.6)[0]
            with monkeypatch.context() as patched:
                patched.setattr(decoding, "CODECS", frozenset())
                every = shown(path, rate)[0], shown(path, rate, start=0.4, end=1.6)[0]
            assert passing == every


def test_a_bare_stream_without_times_is_counted_from_its_first_frame(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.h264", frames=[bits(k) for k in range(100)], container="h264", video_options=PLAIN)
    whole, _ = shown(path, 5.0)
    assert whole == [int(Fraction(2 * k + 1, 10) * 25) for k in range(20)]
    assert shown(path, 5.0, start=2.0, end=3.0)[0] == whole[10:15]
