"""Keys of clips: what the values of a stream depend on changes its key, and nothing else does."""

import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.extraction.plan import StreamSpec, span_of
from mse_pipeline.store.keys import clip_key


def clip(**more):
    told = {"id": "a", "split": Split.TRAIN, "media": "a.mp4", "start": 2.0, "end": 7.0, "text": "so", **more}
    return Clip(**told)


def spec(**more):
    return StreamSpec("visual.made", {}, "0123456789ab", {}, **more)


@pytest.mark.parametrize(
    ("start", "end", "most", "span"),
    [
        (None, None, None, (None, None)),
        (2.0, 7.0, None, (2.0, 7.0)),
        (2.0, 7.0, 3.0, (2.0, 5.0)),  # seconds of the clip, not of the file
        (2.0, 7.0, 5.0, (2.0, 7.0)),
        (2.0, 7.0, 60.0, (2.0, 7.0)),
        (None, 7.0, 3.0, (None, 3.0)),
        (2.0, None, 3.0, (2.0, 5.0)),
        (None, None, 3.0, (None, 3.0)),
    ],
)
def test_the_span_ends_where_the_clip_does_or_where_it_is_cut(start, end, most, span):
    assert span_of(clip(start=start, end=end), most) == span


BASE = ("00ff", (0.0, 3.0), "0123456789ab", ("so", "en"), 1)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((0, value) for value in (None, "00fe")),
        *((1, value) for value in ((None, 3.0), (0.0, None), (0.0, 2.5), (0.5, 3.0), (3.0, 0.0))),
        (2, "0123456789ac"),
        *((3, value) for value in (None, ("so", "de"), ("no", "en"), ("en", "so"))),
        *((4, value) for value in (None, 0, 2)),
    ],
)
def test_every_part_of_a_key_tells(place, value):
    other = [*BASE]
    other[place] = value
    assert clip_key(*other) != clip_key(*BASE)
    assert clip_key(*BASE) == clip_key(*BASE)


def test_keys_are_those_of_earlier_caches():
    assert clip_key("00ff", (None, 30.0), "a1b2c3") == "75697be93372b107ee44e267df44f913"
    assert clip_key("00ff", (None, 30.0), "a1b2c3", ("so", "en"), face=0) == "37fc61904402e6afd7ac871fa55b8f77"


@pytest.mark.parametrize(
    ("reads", "change", "tells"),
    [
        ({"follows_face": True}, {"face": 0}, True),
        ({"follows_face": True}, {"face": 1}, True),
        ({}, {"face": 1}, False),
        ({"reads_text": True}, {"text": "no"}, True),
        ({"reads_text": True}, {"language": "de"}, True),
        ({}, {"text": "no"}, False),
        ({}, {"end": 6.0}, True),
        ({"reads_media": False, "reads_text": True}, {"end": 6.0}, False),
        ({"reads_media": False, "reads_span": True}, {"end": 6.0}, True),
        ({}, {"label": 1.0, "speaker": "b", "split": Split.TEST}, False),
    ],
)
def test_a_stream_is_made_anew_where_what_it_reads_has_changed(reads, change, tells):
    stream = spec(**reads)
    assert (stream.key(clip(**change), "00ff", None) != stream.key(clip(), "00ff", None)) == tells


@pytest.mark.parametrize(
    ("reads", "most", "tells"),
    [
        ({}, 3.0, True),
        ({}, 5.0, False),
        ({}, 60.0, False),
        ({"reads_media": False, "reads_text": True}, 3.0, False),
        ({"reads_media": False, "reads_span": True}, 3.0, False),
    ],
)
def test_the_longest_length_tells_where_it_cuts_the_clip(reads, most, tells):
    stream = spec(**reads)
    assert (stream.key(clip(), "00ff", most) != stream.key(clip(), "00ff", None)) == tells


def test_media_that_could_not_be_read_have_no_key():
    assert spec().key(clip(), None, None) == ""
    assert spec(reads_media=False, reads_text=True).key(clip(), None, None) != ""


def test_a_row_tells_of_media_only_what_its_stream_reads():
    media = {"digest": "00ff", "size": 5, "mtime_ns": 7}
    read = spec().row(clip(), media, 3.0, status="done")
    assert (read.key, read.digest, read.size) == (spec().key(clip(), "00ff", 3.0), "00ff", 5)
    unread = spec(reads_media=False, reads_text=True).row(clip(), media, 3.0, status="done")
    assert (unread.digest, unread.size, unread.mtime_ns) == (None, None, None)
