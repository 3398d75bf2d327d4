"""Files whose timestamps begin anew: the second part belongs to the clip, and sound and picture stay in step."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from mse_pipeline.media import timeline as timeline_module
from mse_pipeline.media.decode import Decoded, FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.media.timeline import Timeline
from tests.media.media_files import bits, number_of, write_media

SECONDS, FPS = 2.0, 25
X264 = {"video_options": {"preset": "ultrafast", "bf": "2", "g": "10"}}
JOINED: dict[str, tuple[dict[str, Any], bool]] = {
    "h264_aac.ts": (X264, True),
    "mpeg2_ac3.ts": ({"video_codec": "mpeg2video", "audio_codec": "ac3"}, True),
    "mpeg1_mp2.mpg": ({"video_codec": "mpeg1video", "audio_codec": "mp2"}, True),
    "mpeg2_ac3.vob": ({"video_codec": "mpeg2video", "audio_codec": "ac3"}, True),
    "h264_flac.mkv": ({**X264, "audio_codec": "flac"}, True),
    "vp8_opus.webm": ({"video_codec": "libvpx", "audio_codec": "libopus"}, True),
    "mpeg4_mp2.nut": ({"video_codec": "mpeg4", "audio_codec": "mp2"}, True),
    "opus.ogg": ({"audio_codec": "libopus"}, False),
    "flac.ogg": ({"audio_codec": "flac"}, False),
    "vorbis.ogg": ({"audio_codec": "vorbis", "audio_options": {"strict": "-2"}, "layout": "stereo"}, False),
    "flac.flac": ({"audio_codec": "flac"}, False),
    "mp3.mp3": ({"audio_codec": "libmp3lame"}, False),
    "aac.aac": ({"audio_codec": "aac", "container": "adts"}, False),
    "ac3.ac3": ({"audio_codec": "ac3"}, False),
}


def pulses(rate: int = 48000, channels: int = 1) -> np.ndarray:
    """A tone in each second frame of 1/5 s, so that it is seen when the sound is there."""
    time = np.arange(round(SECONDS * rate)) / rate
    return np.tile(0.5 * np.sin(2 * np.pi * 500 * time) * ((time * 2.5).astype(int) % 2 == 1), (channels, 1))


def part(path: Path, first: int, options: dict[str, Any], video: bool) -> bytes:
    frames = [bits(first + k) for k in range(int(SECONDS * FPS))] if video else []
    write_media(path, frames=frames, sound=pulses(channels=2 if "layout" in options else 1), **options)
    return path.read_bytes()


def rows(path: Path, rate: float = 5.0, **span: float) -> tuple[Decoded, list[int]]:
    batches: list[FrameBatch] = []
    decoded = decode(path, frames=[FrameRequest(rate, batches.append)], **span)  # type: ignore[arg-type]
    return decoded, [number_of(pixels) for batch in batches for pixels in batch.pixels]


def close(numbers: list[int], expected: list[int]) -> bool:
    """Whether rows show these frames or the ones before or after: encoded sound may begin 21 ms before the picture."""
    return len(numbers) == len(expected) and all(abs(a - b) <= 1 for a, b in zip(numbers, expected, strict=True))


def sound_of(decoded: Decoded) -> np.ndarray:
    assert decoded.audio is not None, decoded.audio_problem
    return decoded.audio.samples


@pytest.fixture
def joined(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    options, video = JOINED[request.param]
    whole = tmp_path / request.param
    whole.write_bytes(b"".join(part(tmp_path / f"{n}.{request.param}", 100 * n, options, video) for n in (1, 2)))
    return whole


@pytest.mark.parametrize("joined", JOINED, indirect=True)
def test_the_second_part_belongs_to_the_clip(joined: Path) -> None:
    video = JOINED[joined.name][1]
    decoded, numbers = rows(joined)
    sound = sound_of(decoded)
    assert decoded.duration == pytest.approx(2 * SECONDS, abs=0.15)
    # The parts follow each other as their samples do: the tone is heard in the second as in the first.
    loud = np.abs(sound[: len(sound) // 1600 * 1600]).reshape(-1, 1600).max(1) > 0.2
    begins = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    assert begins[:2] == pytest.approx([4, 12], abs=1)
    assert begins[2:4] == pytest.approx([24, 32], abs=1)
    if video:
        assert close(numbers[:20], [*range(102, 150, 5), *range(202, 250, 5)])


@pytest.mark.parametrize("joined", [name for name in JOINED if not name.startswith(("mp3", "aac"))], indirect=True)
@pytest.mark.parametrize(("start", "end"), [(0.4, 1.2), (1.6, 2.4), (2.6, 3.4), (1.4, 3.8)])
def test_a_span_on_either_side_of_the_joint_or_across_is_that_of_the_whole(
    joined: Path, start: float, end: float
) -> None:
    whole, numbers = rows(joined)
    decoded, some = rows(joined, start=start, end=end)
    assert some == numbers[round(start * 5) : round(end * 5)]
    expected = sound_of(whole)[round(start * 16000) : round(end * 16000)]
    np.testing.assert_allclose(sound_of(decoded), expected, atol=1e-3)


def test_a_clock_that_leaps_ahead_is_another_clock_where_recordings_are_cut(tmp_path: Path) -> None:
    early = part(tmp_path / "early.ts", 100, X264, True)
    write_media(
        tmp_path / "late.ts",
        frames=[bits(200 + k) for k in range(50)],
        sound=pulses(),
        options={"output_ts_offset": "90"},
        **X264,
    )
    whole = tmp_path / "whole.ts"
    whole.write_bytes(early + (tmp_path / "late.ts").read_bytes())
    decoded, numbers = rows(whole)
    assert decoded.duration == pytest.approx(2 * SECONDS, abs=0.15)
    assert close(numbers[:20], [*range(102, 150, 5), *range(202, 250, 5)])


def test_three_parts_of_several_lengths_follow_each_other(tmp_path: Path) -> None:
    whole = tmp_path / "whole.ts"
    pieces = []
    for number, frames in enumerate((10, 40, 25)):
        path = write_media(
            tmp_path / f"{number}.ts",
            frames=[bits(100 * number + k) for k in range(frames)],
            sound=pulses()[:, : frames * 1920],
            **X264,
        )
        pieces.append(path.read_bytes())
    whole.write_bytes(b"".join(pieces))
    decoded, numbers = rows(whole, 25.0)
    expected = [*range(10), *range(100, 140), *range(200, 225)]
    assert decoded.duration == pytest.approx(3.0, abs=0.2)
    # Sound ends in whole frames of its own, up to 21 ms later than the picture, which waits for it.
    assert set(expected) == set(numbers)
    assert numbers == sorted(numbers)
    assert len(numbers) - len(expected) <= 3


def test_a_file_of_one_piece_is_read_once_to_know_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(part(path, 100, X264, True))
    opened = []
    real = timeline_module.open_container
    monkeypatch.setattr(timeline_module, "open_container", lambda path: (opened.append(1), real(path))[1])
    for start in (1.2, 1.4, 1.6):
        rows(path, start=start, end=start + 0.2)
    assert len(opened) == 3 + 1


def packet(stream: int, dts: int | None, pts: int | None = None, duration: int = 40) -> Any:
    base = Fraction(1, 1000)
    own = SimpleNamespace(index=stream)
    return SimpleNamespace(stream=own, dts=dts, pts=dts if pts is None else pts, duration=duration, time_base=base)


def placed(container: str, packets: list[Any]) -> list[int | None]:
    timeline = Timeline(SimpleNamespace(format=SimpleNamespace(name=container)))
    for one in packets:
        timeline.place(one)
    return [one.pts for one in packets]


def test_streams_that_begin_anew_one_after_the_other_get_one_shift() -> None:
    packets = [
        packet(0, 0),
        packet(1, 0),
        packet(0, 1000),
        packet(1, 980),
        packet(0, 0),
        packet(1, 1020),
        packet(1, 10),
    ]
    assert placed("mpegts", packets) == [0, 0, 1000, 980, 1040, 1020, 1050]


def test_a_stream_that_reaches_farther_pushes_the_part_back_for_all() -> None:
    packets = [packet(0, 0), packet(1, 0), packet(0, 1000), packet(1, 3000), packet(0, 0), packet(1, 0), packet(0, 40)]
    assert placed("mpegts", packets) == [0, 0, 1000, 3000, 1040, 3040, 3080]


@pytest.mark.parametrize(
    ("container", "second"), [("mpegts", 20_000), ("ogg", 20_000), ("mov,mp4,m4a,3gp,3g2,mj2", 20_000)]
)
def test_a_long_gap_is_a_gap_where_clocks_do_not_leap(container: str, second: int) -> None:
    assert placed(container, [packet(0, 0), packet(0, second)]) == [0, second if "mov" in container else 40]


def test_a_little_disorder_is_no_new_beginning() -> None:
    times = [0, 40, 80, 30, 120, None, 160]
    assert placed("mpegts", [packet(0, time, time) for time in times]) == times


@pytest.mark.parametrize("container", ["mpegts", "mov,mp4,m4a,3gp,3g2,mj2"])
def test_one_stray_timestamp_is_no_new_beginning(container: str) -> None:
    times = [0, 40, 5000, 5040, 80, 5120, 5160]
    found = placed(container, [packet(0, time) for time in times])
    assert found[:4] + found[5:] == times[:4] + times[5:]


def test_the_file_begins_at_the_exact_time_of_its_earliest_stream(tmp_path: Path) -> None:
    from mse_pipeline.media.container import container_start

    path = write_media(tmp_path / "a.ts", frames=[bits(k) for k in range(5)], fps=Fraction(30000, 1001))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert container_start(container) == stream.start_time * stream.time_base
