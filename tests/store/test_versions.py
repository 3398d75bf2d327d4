"""Versions of a stream: all of them are readable, and pruning takes those that the manifest no longer names."""

import time

import pytest

from mse_pipeline import store
from mse_pipeline.errors import UsageError
from mse_pipeline.store.journal import Row
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.storage import files, remove
from mse_pipeline.store.versions import differences
from tests.store.conftest import STREAM, VERSION, commit, features
from tests.store.s3_server import s3_cache, s3_server  # noqa: F401  fixtures

OTHER = "visual.other"
IDENTITIES = {name: {"stream": STREAM, "revision": 1, "config": {"set": name, "hop": 0.01}} for name in ("A", "B")}
A, B = (stream_id(identity) for identity in IDENTITIES.values())
FUTURE = -60.0  # an age that all files have


def use(dataset, name):
    """What a run's registration does: the manifest names this version of the stream."""
    identity = IDENTITIES[name]
    dataset.set_manifest(dataset.manifest.with_stream(STREAM, StreamEntry(stream_id(identity), identity)))


@pytest.fixture
def changed(made):
    """A dataset whose stream was made with setting A, then with B; its other stream was put there once."""

    def make(**options):
        dataset = made(**options)
        remove(dataset.stream_folder(STREAM, VERSION) / "stream.json")  # of the fixture, which has a version of its own
        use(dataset, "A")
        commit(dataset, "c0", "c1", version=A, key="old")
        commit(dataset, "c2", version=A)
        failed = Row(clip="c3", stream=STREAM, version=A, status="failed", code="no_audio", stage="decode")
        dataset.journal.commit(f"{time.time_ns():020d}-run", [failed])
        pack_stream(dataset, STREAM)
        dataset.put(OTHER, {"c0": features(7)})
        use(dataset, "B")
        commit(dataset, "c0", "c1", "c2", "c3", version=B, rows=5)
        pack_stream(dataset, STREAM)
        return dataset

    return make


def fresh(dataset):
    return store.open(dataset.path.parent)["mine"]


def values(view):
    return {clip: one.values.tobytes() + one.valid.tobytes() for clip, one in view.items()}


def used(dataset):
    """All that the current versions hold, native and packed."""
    opened = fresh(dataset)
    return {stream: (values(opened.native(stream)), values(opened[stream])) for stream in opened}


def stored(dataset, version):
    return [one.path.name for one in files(dataset.stream_folder(STREAM, version))]


# Reading


def test_each_version_reads_back_what_was_made_of_it(changed):
    dataset = fresh(changed())
    old, new = dataset.native(STREAM, A), dataset.native(STREAM)
    assert list(old) == ["c0", "c1", "c2"]
    assert all(old[f"c{n}"].equals(features(n)) for n in range(3))
    assert all(new[f"c{n}"].equals(features(n, rows=5)) for n in range(4))
    assert values(dataset.native(STREAM, B)) == values(new)
    assert {row.clip: row.status for row in dataset.rows(STREAM, A)}["c3"] == "failed"
    assert len(dataset.rows(STREAM)) == 4


def test_versions_are_told_with_the_current_one_first(changed):
    dataset = fresh(changed())
    told = dataset.versions(STREAM)
    assert [(one.id, one.done, one.current) for one in told] == [(B, 4, True), (A, 3, False)]
    assert [one.identity for one in told] == [IDENTITIES["B"], IDENTITIES["A"]]
    use(dataset, "A")
    assert [one.id for one in fresh(dataset).versions(STREAM)] == [A, B]


def test_what_was_put_from_elsewhere_has_versions_too(changed):
    dataset = changed()
    first = dataset.versions(OTHER)[0]
    dataset.put(OTHER, {"c0": features(8)}, source={"from": "a newer file"})
    told = dataset.versions(OTHER)
    assert [(one.done, one.current) for one in told] == [(1, True), (1, False)]
    assert (told[1].id, told[1].identity) == (first.id, first.identity)
    assert dataset.native(OTHER, first.id)["c0"].equals(features(7))
    assert any("a newer file" in word for word in differences(told[1].identity, told[0].identity))


def test_clips_that_the_corpus_no_longer_has_do_not_count(changed):
    dataset = changed()
    shorter = dataset.clips[:2]
    again = store.open(dataset.path.parent).create("mine", shorter, task=dataset.manifest.task)
    assert [one.done for one in again.versions(STREAM)] == [2, 2]


@pytest.mark.parametrize("asked", ["9" * 12, "", "../" + "0" * 9, "A"])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(changed, asked):
    dataset = changed()
    for read in (dataset.native, dataset.rows):
        with pytest.raises(UsageError, match=rf"has no version '{asked}'. It has: {B} \(current\), {A}."):
            read(STREAM, asked)


def test_a_version_of_another_stream_is_none_of_this_one(changed):
    dataset = changed()
    with pytest.raises(UsageError, match="has no version"):
        dataset.native(OTHER, A)
    with pytest.raises(UsageError, match="has no stream"):
        dataset.versions("acoustic.z")


@pytest.mark.parametrize("written", [None, b"{", b"[1]", b"\xff"])
def test_a_version_whose_identity_is_lost_is_still_readable(changed, written):
    dataset = changed()
    home = dataset.stream_folder(STREAM, A) / "stream.json"
    home.unlink() if written is None else home.write_bytes(written)
    old = dataset.versions(STREAM)[1]
    assert (old.id, old.done, dict(old.identity)) == (A, 3, {})
    assert differences(old.identity, IDENTITIES["B"]) == ("it is not known what it was made with",)
    assert len(dataset.native(STREAM, A)) == 3


def test_a_journal_that_names_a_place_outside_is_not_followed(changed):
    dataset = changed()
    outside = Row(clip="c0", stream=STREAM, version="../../..", status="done", key="c0", shard="shard-x.parquet")
    dataset.journal.commit(f"{time.time_ns():020d}-stranger", [outside])
    assert [one.id for one in dataset.versions(STREAM)] == [B, A]
    with pytest.raises(UsageError, match="has no version"):
        dataset.native(STREAM, "../../..")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ()),
        ({"revision": 2}, ("revision: 1 -> 2",)),
        ({"config": {"set": "C", "hop": 0.01}}, ("set: A -> C",)),
        ({"config": {"set": "A"}}, ("hop: 0.01 -> not set",)),
        ({"config": {"set": "A", "hop": 0.01, "names": ["x", "y"]}}, ('names: not set -> ["x","y"]',)),
        ({"model": "ab" * 32}, (f"weights: not set -> {('ab' * 32)[:39]}…",)),
        ({"config": {"set": "A", "hop": 0.01, "revision": "main"}}, ("config.revision: not set -> main",)),
        ({"imported": {"format": "csd"}}, ("imported.format: not set -> csd",)),
    ],
)
def test_what_versions_differ_in_is_told_in_words(changes, told):
    assert differences(IDENTITIES["A"], {**IDENTITIES["A"], **changes}) == told
