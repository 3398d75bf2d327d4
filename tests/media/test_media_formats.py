"""Which formats are read, and in which words the others are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.format import ContainerFormat
from PIL import Image

from mse_pipeline.errors import ClipError
from mse_pipeline.media.container import NOT_READ, READ
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import FrameBatch
from mse_pipeline.media.probe import probe
from tests.media.media_files import bits, number_of, tone, write_media


def demuxers() -> dict[str, ContainerFormat]:
    """All that FFmpeg here has, by every name that it answers to."""
    found = {}
    for name in av.formats_available:
        try:
            one = ContainerFormat(name, "r")
        except ValueError:
            continue  # it only writes
        found.update(dict.fromkeys(one.name.split(","), one))
    return found


def test_each_demuxer_of_ffmpeg_is_either_read_or_refused_for_a_reason() -> None:
    assert not READ & NOT_READ.keys()
    assert not demuxers().keys() - READ - NOT_READ.keys()  # one is new: does it open other files, or run anything?


def test_what_opens_more_than_its_file_is_not_read() -> None:
    by_themselves = {name for name, one in demuxers().items() if one.flags & av.format.Flags.no_file.value}
    assert by_themselves <= NOT_READ.keys()
    followed = {"concat", "dash", "hls", "image2", "lavfi", "mlv", "rtp", "rtsp", "sap", "sdp", "svg_pipe", "vobsub"}
    assert followed <= NOT_READ.keys()
    assert {
        "webm_dash_manifest",
        "ffmetadata",
        "sbg",
        "tty",
        "data",
        "avisynth",
        "vapoursynth",
        "imf",
    } <= NOT_READ.keys()


SOUNDS: list[tuple[str, dict[str, Any]]] = [
    ("a.voc", {"audio_codec": "pcm_u8"}),
    ("a.w64", {"audio_codec": "pcm_s16le"}),
    ("a.caf", {"audio_codec": "pcm_s24be"}),
    ("a.au", {"audio_codec": "pcm_s16be"}),
    ("a.aiff", {"audio_codec": "pcm_s16be"}),
    ("a.g722", {"audio_codec": "g722"}),
    ("a.wv", {"audio_codec": "wavpack"}),
    ("a.tta", {"audio_codec": "tta"}),
    ("a.amr", {"audio_codec": "libopencore_amrnb", "sound_rate": 8000}),
    ("a.ac3", {"audio_codec": "ac3", "sound_rate": 48000}),
    ("a.eac3", {"audio_codec": "eac3", "sound_rate": 48000}),
    ("a.ircam", {"audio_codec": "pcm_s16le", "container": "ircam"}),
    ("a.sox", {"audio_codec": "pcm_s32le", "container": "sox"}),
    ("a.adx", {"audio_codec": "adpcm_adx"}),
    ("a.rso", {"audio_codec": "pcm_u8", "sound_rate": 8000}),
    ("a.mka", {"audio_codec": "flac"}),
    ("a.nut", {"audio_codec": "mp2"}),
    ("a.wtv", {"audio_codec": "mp2", "sound_rate": 48000}),
]


@pytest.mark.parametrize(("name", "kind"), SOUNDS, ids=[name for name, _ in SOUNDS])
def test_sound_of_any_container_is_read(tmp_path: Path, name: str, kind: dict[str, Any]) -> None:
    rate = kind.get("sound_rate", 16000)
    path = write_media(tmp_path / name, sound=tone(1.0, rate), **{"sound_rate": rate, **kind})
    audio = decode(path).audio
    assert audio is not None
    assert audio.duration == pytest.approx(1.0, abs=0.05)
    heard = np.abs(np.fft.rfft(audio.samples[2000:14000]))
    assert np.argmax(heard) * 16000 / 12000 == pytest.approx(440, abs=5)  # VOC tells its rate roughly


PICTURES: list[tuple[str, dict[str, Any]]] = [
    ("a.gif", {"video_codec": "gif", "video_format": "rgb8"}),
    ("a.apng", {"video_codec": "apng", "video_format": "rgb24"}),
    ("a.y4m", {"video_codec": "wrapped_avframe", "container": "yuv4mpegpipe"}),
    ("a.ivf", {"video_codec": "libvpx"}),
    ("a.swf", {"video_codec": "flv"}),
    ("a.mxf", {"video_codec": "mpeg2video"}),
    ("a.nut", {"video_codec": "ffv1"}),
    ("a.wtv", {"video_codec": "mpeg2video"}),
    ("a.h264", {}),
    ("a.hevc", {"video_codec": "libx265", "video_options": {"x265-params": "log-level=none"}}),
    ("a.m2v", {"video_codec": "mpeg2video", "container": "mpeg2video"}),
    ("a.smjpeg", {"video_codec": "mjpeg", "video_format": "yuvj420p", "container": "smjpeg"}),
]


@pytest.mark.parametrize(("name", "kind"), PICTURES, ids=[name for name, _ in PICTURES])
def test_video_of_any_container_is_read(tmp_path: Path, name: str, kind: dict[str, Any]) -> None:
    path = write_media(tmp_path / name, frames=[bits(k) for k in range(20)], **kind)
    batches: list[FrameBatch] = []
    decode(path, audio=False, frames=[FrameRequest(5.0, batches.append)])
    assert [number_of(pixels) for batch in batches for pixels in batch.pixels] == [2, 7, 12, 17]


def test_sphere_files_of_the_ldc_are_read(tmp_path: Path) -> None:
    fields = "channel_count -i 1\nsample_count -i 8000\nsample_rate -i 16000\nsample_n_bytes -i 2\n"
    head = f"NIST_1A\n   1024\n{fields}sample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n".encode()
    path = tmp_path / "a.sph"
    path.write_bytes(head.ljust(1024) + (tone(0.5, 16000)[0] * 32767).astype("<i2").tobytes())
    audio = decode(path).audio
    assert audio is not None
    np.testing.assert_allclose(audio.samples, tone(0.5, 16000)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("coding", "sample_bytes", "problem"),
    [
        ("-s26 pcm,embedded-shorten-v2.00", 2, "not what its header announces"),
        ("-s27 ulaw,embedded-shorten-v2.00", 1, "a codec that FFmpeg here cannot decode"),
        ("-s26 pcm,embedded-wavpack-v2.00", 2, "a codec that FFmpeg here cannot decode"),
        ("-s3 pcm", 3, "a variant of its format that FFmpeg does not read"),
    ],
)
def test_sphere_files_that_cannot_be_read_are_told_in_words(
    tmp_path: Path, coding: str, sample_bytes: int, problem: str
) -> None:
    fields = f"channel_count -i 1\nsample_count -i 8000\nsample_rate -i 16000\nsample_n_bytes -i {sample_bytes}\n"
    order = {1: "1", 2: "01", 3: "012"}[sample_bytes]
    head = f"NIST_1A\n   1024\n{fields}sample_byte_format -s{len(order)} {order}\nsample_coding {coding}\nend_head\n"
    body = (0.3 * 32767 * np.sin(np.arange(4500) * 0.1)).astype("<i2").tobytes()
    path = tmp_path / "a.sph"
    path.write_bytes(head.encode().ljust(1024) + b"ajkg\x02" + body)
    try:
        told = str(decode(path).audio_problem)
    except ClipError as error:
        told = str(error)
    assert problem in told


def picture(suffix: str) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(bits(7)).save(path, suffix)


REFUSED: dict[str, tuple[bytes | Callable[[Path], None], str]] = {
    "a.jpg": (picture("jpeg"), "a still picture"),
    "a.png": (picture("png"), "a still picture"),
    "a.webp": (picture("webp"), "a still picture"),
    "a.bmp": (picture("bmp"), "a still picture"),
    "a.tiff": (picture("tiff"), "a still picture"),
    "frame%03d.png": (picture("png"), "a still picture"),
    "a.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="b.png"/></svg>', "a still picture"),
    "a.sw": (struct.pack("<1000h", *range(1000)), "raw samples"),
    "a.al": (bytes(range(256)) * 9, "raw samples"),
    "a.yuv": (bytes(5000), "raw samples or pixels"),
    "a.srt": (b"1\n00:00:00,000 --> 00:00:02,000\nhello\n", "subtitles"),
    "a.vtt": (b"WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n", "subtitles"),
    "a.ass": (b"[Script Info]\nScriptType: v4.00+\n", "subtitles"),
    "a.ans": (b"\x1b[31mhello\n" * 30, "text, not media"),
    "a.sdp": (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "playlist or script",
    ),
    "a.m3u8": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nb.ts\n", "playlist or script"),
    "a.mpd": (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', "playlist or script"),
    "a.ffconcat": (b"ffconcat version 1.0\nfile b.mp4\n", "playlist or script"),
    "a.ffmeta": (b";FFMETADATA1\ntitle=x\n", "playlist or script"),
    "a.sbg": (b"a: 200+10/50\nNOW a\n", "playlist or script"),
    "a.idx": (b"# VobSub index file, v7\nid: en, index: 0\n", "playlist or script"),
    "a.mlv": (b"MLVI\x34\0\0\0v2.0\0\0\0\0" + bytes(200), "playlist or script"),
    "a.html": (b"<!DOCTYPE html><html>\n" * 9, "text, not media"),
    "a.zip": (b"PK\3\4" + bytes(400), "does not know"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_format_that_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    for _ in range(2):  # FFmpeg tells a line that it has just told no second time
        with pytest.raises(ClipError) as caught:
            probe(path)
        assert caught.value.code == "undecodable"
        assert words in str(caught.value)
        assert "Invalid argument" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_refusal_leaves_ffmpegs_log_as_it_was(tmp_path: Path) -> None:
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    path = tmp_path / "a.srt"
    path.write_bytes(b"1\n00:00:00,000 --> 00:00:02,000\nhello\n")
    with pytest.raises(ClipError):
        probe(path)
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before
