"""Files decoded to their end: what is cut off or damaged is told, and no file holds up the rest."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mse_pipeline.checking.probing import examine, losses
from mse_pipeline.checking.run import check
from tests.checking.test_checking_run import TABLE
from tests.checking.trees import write_clip
from tests.media.media_files import tone, write_media

pytestmark = pytest.mark.slow

TONE = tone(1.0, 48000)[0]


def endless(path: Path, frames: int = 400, side: int = 6000) -> Path:
    """A few megabytes that keep a decoder busy for minutes: the same huge black picture again and again."""
    with av.open(str(path), "w", format="mov") as out:
        video = out.add_stream("png", rate=10)
        video.width = video.height = side
        video.pix_fmt = "gray"
        picture = av.VideoFrame(side, side, "gray")
        picture.planes[0].update(bytes(picture.planes[0].buffer_size))
        [first] = video.encode(picture)
        for number in range(frames):
            packet = av.Packet(bytes(first))
            packet.stream, packet.time_base, packet.pts, packet.dts = video, Fraction(1, 10), number, number
            out.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".flv"])
@pytest.mark.parametrize(("frames", "sound"), [(50, 5), (50, 0.5), (5, 5), (50, 0), (0, 5)])
def test_whole_files_have_no_losses(tmp_path, suffix, frames, sound):
    path = write_clip(tmp_path / f"a{suffix}", frames=frames, sound=sound, container=None)
    assert losses(path) == []


@pytest.mark.parametrize(
    ("suffix", "says"),
    [
        (".mkv", "its last 4"),
        (".flv", "its last 4"),
        (".avi", "cannot be decoded"),  # whose length is reckoned anew where its index is lost
    ],
)
def test_a_file_without_its_end_is_told_once_it_is_decoded(tmp_path, suffix, says):
    path = write_clip(tmp_path / f"a{suffix}", frames=100, sound=10, container=None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert examine(tmp_path, path.name).problems == ()
    problems = examine(tmp_path, path.name, whole=True).problems
    assert {code for code, _ in problems} == {"undecodable"}
    assert any(says in message for _, message in problems)


@pytest.mark.parametrize(
    ("wave", "code"),
    [
        (np.zeros((1, 48000)), "silent_audio"),
        (np.stack([TONE, -TONE]), "cancelled_audio"),
        (np.where(TONE > 0.4, np.nan, TONE)[None], "non_finite_audio"),
        (9 * TONE[None], "clipped_audio"),
    ],
    ids=["silence", "cancelled", "not a number", "beyond full scale"],
)
def test_what_is_strange_about_the_sound_is_told(tmp_path, wave, code):
    layout = "stereo" if len(wave) == 2 else "mono"
    write_media(tmp_path / "a.wav", sound=wave, layout=layout, audio_codec="pcm_f32le")
    assert examine(tmp_path, "a.wav").problems == ()
    [(told, message)] = examine(tmp_path, "a.wav", whole=True).problems
    assert told == code
    assert "a.wav" in message
    assert losses(tmp_path / "a.wav") == []


def test_damage_in_the_middle_is_told_with_its_extent(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=100, sound=0)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    size = int.from_bytes(data[begin - 8 : begin - 4], "big")
    data[begin + size // 3 : begin + size // 2] = b"\xff" * (size // 2 - size // 3)
    path.write_bytes(data)
    assert examine(tmp_path, "a.mp4").problems == ()
    [(code, message)] = examine(tmp_path, "a.mp4", whole=True).problems
    assert code == "undecodable"
    assert "packets of the video of a.mp4 cannot be decoded" in message


def test_a_length_that_is_only_reckoned_condemns_no_file(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=0, sound=5)
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.aac"), "w", format="adts") as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = (tmp_path / "a.aac").read_bytes()
    (tmp_path / "a.aac").write_bytes(data[: len(data) // 2])
    assert not any("cut off" in sentence for sentence in losses(tmp_path / "a.aac"))


def test_a_file_that_keeps_the_decoder_busy_costs_itself_alone(tmp_path):
    write_clip(tmp_path / "a.mp4")
    endless(tmp_path / "b.mov")
    write_clip(tmp_path / "c.mp4")
    rows = [f"{name},{name}.{'mov' if name == 'b' else 'mp4'},train,x,{place}" for place, name in enumerate("abc")]
    (tmp_path / "clips.csv").write_text("\n".join(["id,media,split,text,label", *rows]) + "\n")
    report = check(TABLE, tmp_path, decode=True, timeout=5.0)
    [defect] = report.defects
    assert (defect.code, defect.clip) == ("timeout", "b")
    assert defect.message == "b.mov could not be read within 5 s and was given up."
