"""Probing one file, many files, and what it says of a clip."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from mse_pipeline.checking import probing
from mse_pipeline.checking.probing import examine
from mse_pipeline.checking.report import judge, length, merge, same_content
from mse_pipeline.child_process import each
from mse_pipeline.clip import Clip, Defect, Split
from mse_pipeline.errors import MseError
from mse_pipeline.media.frames import Orientation
from tests.checking.trees import link, write_clip


def clip(media="good.mp4", **more):
    return Clip(id=more.pop("id", "a"), split=Split.TRAIN, media=media, **more)


def found(seeds, kind, **more):
    """Codes of what is wrong with a clip whose file is of a kind."""
    path = seeds[kind]
    probed = examine(path.parent, path.name)
    return [defect.code for defect in judge(clip(path.name, **more), probed, 30.0)]


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("good", []),
        ("two frames", []),
        ("no sound", ["no_audio"]),
        ("no video", ["no_video"]),
        ("one frame", ["too_short"]),
        ("short sound", ["too_short"]),
        ("long", ["too_long"]),
        ("no index", ["undecodable"]),
        ("cut off", ["undecodable"]),
        ("empty", ["undecodable"]),
        ("text", ["undecodable"]),
    ],
)
def test_each_kind_of_file_gets_its_code(seeds, kind, codes):
    assert found(seeds, kind) == codes


@pytest.mark.parametrize(
    ("start", "end", "codes"),
    [
        (None, 9.0, []),
        (2.5, None, []),
        (31.5, 32.2, []),  # spans are rounded
        (1.0, 1.25, []),
        (1.0, 1.1, ["too_short"]),  # one picture at 10 a second
        (30.0, 33.0, ["too_short"]),
        (40.0, None, ["too_short"]),
        (-0.5, 3.0, ["negative_start"]),
        (0.0, 31.0, ["too_long"]),
    ],
)
def test_spans_are_held_against_their_file(seeds, start, end, codes):
    assert found(seeds, "long", start=start, end=end) == codes


def test_messages_name_the_file_below_the_root_alone(seeds):
    probed = examine(seeds["empty"].parent, "empty.mp4")
    assert probed.problems == (("undecodable", "empty.mp4 is empty (0 bytes); fetch it again."),)


def test_real_files_have_no_defect(shared):
    for path in [*(shared / "data/grid").glob("*.mpg"), *(shared / "data/multiface").glob("*.mp4")]:
        probed = examine(path.parent, path.name)
        assert not list(judge(clip(path.name), probed, 30.0))
        assert probed.frames > 70
        assert length(clip(path.name, start=1.0, end=2.5), probed) == 1.5


def test_subtitles_are_no_media(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    assert [code for code, _ in examine(tmp_path, "a.srt").problems] == ["undecodable"]


def test_a_file_without_sound_and_video_is_undecodable(seeds, monkeypatch):
    monkeypatch.setattr(probing, "find_stream", lambda container, kind: None)
    [(code, message)] = examine(seeds["good"].parent, "good.mp4").problems
    assert (code, message) == ("undecodable", "good.mp4 holds neither sound nor video.")


def test_frames_too_large_to_decode_are_told_before_they_are_decoded(seeds, monkeypatch):
    monkeypatch.setattr("mse_pipeline.media.container.MAX_PIXELS", 100)
    [(code, message)] = examine(seeds["good"].parent, "good.mp4").problems
    assert code == "undecodable"
    assert "frames of 32 x 32 pixels" in message


def test_fragments_are_counted_together(tmp_path):
    options = {"movflags": "frag_keyframe", "frag_duration": "100000"}
    probed = examine(tmp_path, write_clip(tmp_path / "a.mp4", frames=20, sound=2, options=options).name)
    assert probed.frames >= 20
    assert probed.problems == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
@pytest.mark.parametrize(("frames", "sound"), [(50, 5), (50, 0.5), (5, 5), (50, 0), (0, 5)])
def test_whole_files_are_not_taken_for_cut_off(tmp_path, suffix, frames, sound):
    path = write_clip(tmp_path / f"a{suffix}", frames=frames, sound=sound, container=None)
    probed = examine(tmp_path, path.name)
    assert probed.problems == ()
    assert (probed.info.has_video, probed.info.has_audio) == (frames > 0, sound > 0)


class Broken:
    """A container whose reading fails, as that of a failing disk."""

    duration = 1_000_000
    streams: tuple[object, ...] = ()

    def demux(self, *streams):
        raise av.error.InvalidDataError(1, "Invalid data")

    def seek(self, *args, **kwargs):
        raise av.error.PermissionError(1, "Operation not permitted")


def test_a_reading_that_fails_is_told_for_each_stream():
    streams = {"audio": SimpleNamespace(index=0), "video": SimpleNamespace(index=1)}
    assert probing._first_frames(Broken(), streams) == (
        Orientation(),
        dict.fromkeys(("audio", "video"), "cannot be decoded: Invalid data."),
    )


def test_a_file_that_cannot_be_positioned_is_not_taken_for_cut_off():
    assert not probing._is_cut_off(Broken(), SimpleNamespace(container="mov,mp4"))


def test_a_stream_of_garbage_is_told_with_its_kind(seeds, tmp_path):
    data = bytearray(seeds["long"].read_bytes())
    begin = data.index(b"mdat") + 4
    size = int.from_bytes(data[begin - 8 : begin - 4], "big")
    data[begin : begin + size - 8] = b"\xff" * (size - 8)
    (tmp_path / "a.mp4").write_bytes(data)
    probed = examine(tmp_path, "a.mp4")
    assert probed.info.has_audio
    assert {code for code, _ in probed.problems} == {"undecodable"}
    assert any("The video of a.mp4" in message for _, message in probed.problems)


def test_whatever_probing_raises_is_a_defect_of_the_file(seeds, monkeypatch):
    def fail(*args):
        raise RuntimeError("a bug in the demuxer")

    monkeypatch.setattr(probing, "describe", fail)
    [(code, message)] = examine(seeds["good"].parent, "good.mp4").problems
    assert code == "undecodable"
    assert message == "good.mp4 makes the reading fail: RuntimeError: a bug in the demuxer"


def test_a_file_that_has_gone_is_missing(tmp_path):
    [(code, _)] = examine(tmp_path, "a.mp4").problems
    assert code == "missing_media"


def unlucky(item, how):
    """What becomes of an item that ends its worker."""
    return {"worker_died": -1, "timeout": -2}[how] * item


def fragile(deadly: set[int], number: int) -> int:
    """Doubles a number, or ends its process, as a broken codec would."""
    if number in deadly:
        os._exit(11)
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_work_is_done_on_each_item_once(workers):
    results = [result for part in each(abs, list(range(-200, 0)), lost=unlucky, workers=workers) for result in part]
    assert sorted(results) == list(range(1, 201))


def test_a_worker_that_dies_costs_one_item():
    work = partial(fragile, {7})
    results = [result for part in each(work, range(40), lost=unlucky, workers=2) for result in part]
    assert sorted(results) == sorted([2 * n for n in range(40) if n != 7] + [-7])


def slow(hanging: set[int], number: int) -> int:
    """Doubles a number, or hangs on it, as a codec on a broken file would."""
    if number in hanging:
        time.sleep(600)
    return 2 * number


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_hangs_costs_one_item(workers):
    work = partial(slow, {3, 11})
    results = [result for part in each(work, range(20), lost=unlucky, workers=workers, limit=2.0) for result in part]
    assert sorted(results) == sorted([2 * n for n in range(20) if n not in {3, 11}] + [-6, -22])


def test_a_worker_that_cannot_begin_ends_the_work(monkeypatch):
    monkeypatch.setattr("mse_pipeline.child_process._PROGRAM", "import sys; sys.exit(3)")
    with pytest.raises(MseError, match=r"ended with exit code 3.* before it could begin"):
        list(each(abs, [1], lost=unlucky, limit=1.0))


def test_no_items_are_no_work():
    assert not list(each(abs, [], lost=unlucky))


def test_equal_content_is_told_for_the_later_clip_with_both_labels():
    clips = [clip("a.mp4", id="a", label="joy"), clip("b.mp4", id="b", label="fear"), clip("c.mp4", id="c")]
    [defect] = same_content([*clips, clip(None, id="d")], {"a.mp4": "1", "b.mp4": "1", "c.mp4": "2"})
    assert (defect.code, defect.clip, defect.path) == ("duplicate", "b", "b.mp4")
    assert defect.message == "b has a file with the content of a, a.mp4; their labels are different, joy and fear."


def test_spans_of_one_video_are_no_duplicates_but_the_same_span_is():
    spans = [clip("v.mp4", id=name, start=start, end=start + 1) for name, start in (("a", 0.0), ("b", 1.0), ("c", 1.0))]
    assert [(defect.clip, defect.message[:25]) for defect in same_content(spans, {})] == [
        ("c", "c has the file of b, v.mp")
    ]


def test_what_the_reader_told_is_not_told_again():
    told = [Defect(code="negative_start", message="Row 2.", clip="a"), Defect(code="duplicate", message="x", clip="a")]
    again = [Defect(code="negative_start", message="Again.", clip="a"), Defect(code="duplicate", message="y", clip="a")]
    assert [defect.message for defect in merge(told, again)] == ["Row 2.", "x", "y"]


def test_links_make_a_tree(seeds, tmp_path):
    root = link(tmp_path, seeds, {"x/y/a.mp4": "good", "b.mp4": "text"})
    assert (root / "x/y/a.mp4").read_bytes() == Path(seeds["good"]).read_bytes()
    assert (root / "b.mp4").read_bytes().startswith(b"<html>")
