"""What probing says of a file, and which files it refuses."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.media.fetching import media_digest
from mse_pipeline.media.probe import probe
from tests.media.media_files import MediaMaker, numbered, rotate_mp4, tone


def test_probe_tells_both_streams(make_media: MediaMaker) -> None:
    path = make_media(
        "a.mp4", frames=numbered(10, 64, 48), sound=tone(0.4, 44100, 2), sound_rate=44100, layout="stereo"
    )
    info = probe(path)
    assert (info.has_audio, info.audio_codec, info.sample_rate, info.channels) == (True, "aac", 44100, 2)
    assert (info.has_video, info.video_codec, info.width, info.height, info.fps) == (
        True,
        "h264",
        64,
        48,
        25.0,
    )
    assert info.size == path.stat().st_size
    assert info.duration == pytest.approx(0.4, abs=0.05)
    assert "mp4" in info.container
    assert info.rotation == 0


@pytest.mark.parametrize(("turned", "told"), [(0, 0), (90, 270), (180, 180), (270, 90)])
def test_probe_tells_the_rotation(make_media: MediaMaker, turned: int, told: int) -> None:
    assert probe(rotate_mp4(make_media("a.mp4", frames=numbered(3, 64, 48)), turned)).rotation == told


def test_a_stream_that_is_not_there_has_no_values(make_media: MediaMaker) -> None:
    info = probe(make_media("a.wav", sound=tone(0.2, 8000), sound_rate=8000, audio_codec="pcm_u8"))
    assert (info.has_audio, info.has_video, info.video_codec, info.width, info.fps) == (
        True,
        False,
        None,
        None,
        None,
    )


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = out.add_stream("png", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        out.mux(cover.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for piece in av.AudioResampler("fltp", "mono", 44100, frame_size=1152).resample(frame):
            out.mux(sound.encode(piece))
        out.mux(sound.encode())
    with av.open(str(path)) as plain:
        assert len(plain.streams.video) == 1  # FFmpeg itself counts it as one
    assert not probe(path).has_video


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / "bad.mp4"
    contents = {
        "empty": b"",
        "text": "Übung: no media here\n".encode() * 40,
        "noise": np.random.default_rng(0).bytes(5000),
        "page": b"<?xml version='1.0'?><MPD/>",
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.ts\n#EXT-X-ENDLIST\n",
    }
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("missing", "missing_media", "does not exist"),
        ("folder", "missing_media", "is not a file"),
        ("empty", "undecodable", "empty (0 bytes)"),
        ("text", "undecodable", "text, not media"),
        ("noise", "undecodable", "damaged"),
        ("page", "undecodable", "playlist or script"),
        ("playlist", "undecodable", "playlist or script"),
    ],
)
def test_a_file_that_is_no_media_is_refused_in_words(tmp_path: Path, kind: str, code: str, words: str) -> None:
    with pytest.raises(ClipError) as caught:
        probe(bad_file(tmp_path, kind))
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "bad.mp4" in str(caught.value)


def test_an_mp4_cut_before_its_index_is_undecodable(make_media: MediaMaker) -> None:
    path = make_media("a.mp4", frames=numbered(10, 64, 48))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")])
    with pytest.raises(ClipError, match="FFmpeg says 'Invalid data"):
        probe(path)


def test_a_script_cannot_make_ffmpeg_open_another_file(make_media: MediaMaker, tmp_path: Path) -> None:
    make_media("private.mp4", frames=numbered(5, 64, 48))
    script = tmp_path / "clip.mp4"
    script.write_text("ffconcat version 1.0\nfile private.mp4\n")
    with av.open(str(script)) as plain:
        assert len(plain.streams.video) == 1  # FFmpeg by itself follows it
    with pytest.raises(ClipError, match="playlist or script"):
        probe(script)


def test_a_playlist_with_its_own_extension_is_not_followed(make_media: MediaMaker, tmp_path: Path) -> None:
    make_media("private.ts", frames=numbered(5, 64, 48))
    playlist = tmp_path / "clip.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:0.2,\nprivate.ts\n#EXT-X-ENDLIST\n")
    with av.open(str(playlist)) as plain:
        assert len(plain.streams.video) == 1
    with pytest.raises(ClipError, match="playlist or script"):
        probe(playlist)


def test_a_file_whose_name_looks_like_an_address_is_read_as_a_file(make_media: MediaMaker, tmp_path: Path) -> None:
    path = make_media("a.mp4", frames=numbered(3, 64, 48)).rename(tmp_path / "concat:b|c.mp4")
    assert probe(path).has_video


def test_frames_of_absurd_size_are_refused(make_media: MediaMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_media("a.avi", frames=numbered(3, 64, 48), video_codec="png", video_format="rgb24")
    monkeypatch.setattr("mse_pipeline.media.container.MAX_PIXELS", 1000)
    with pytest.raises(ClipError) as caught:
        probe(path)
    assert caught.value.code == "undecodable"


def test_digest_is_of_the_content_and_not_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    (tmp_path / "c").write_bytes(b"x" * 2_999_999 + b"y")
    a, b, c = (media_digest(tmp_path / name) for name in "abc")
    assert a == b != c
    assert len(a) == 32
    assert set(a) <= set("0123456789abcdef")


def test_digest_of_a_missing_file_is_a_clip_error(tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        media_digest(tmp_path / "none.mp4")
    assert caught.value.code == "missing_media"
