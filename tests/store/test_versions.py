"""Versions of a stream: all of them are readable, and pruning takes those that the manifest no longer names."""

import time
from dataclasses import replace

import pytest
from filelock import Timeout

from mse_pipeline import store
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store import journal, pruning, storage
from mse_pipeline.store.commit import Commit, begin_run, run_lock
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import differences, stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.pruning import prune
from mse_pipeline.store.storage import files, remove
from tests.store.conftest import STREAM, VERSION, commit, features

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
        failed = JournalRow(clip="c3", stream=STREAM, version=A, status="failed", code="no_audio", stage="decode")
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
    assert differences(old.identity, IDENTITIES["B"]) == ("its settings are not known",)
    assert len(dataset.native(STREAM, A)) == 3


def test_a_journal_that_names_a_place_outside_is_not_followed(changed):
    dataset = changed()
    outside = JournalRow(clip="c0", stream=STREAM, version="../../..", status="done", key="c0", shard="shard-x.parquet")
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


# Pruning


def test_pruning_takes_the_version_that_the_manifest_does_not_name_and_nothing_else(changed):
    dataset = changed()
    before, size = used(dataset), sum(one.size for one in files(dataset.stream_folder(STREAM, A)))
    count = len(stored(dataset, A))
    done = prune(dataset)
    (gone,) = done.versions
    assert (gone.stream, gone.version, gone.done, gone.differs) == (STREAM, A, 3, ("set: A -> B",))
    assert (done.files, done.bytes) == (gone.files, gone.bytes) == (count, size)
    assert not dataset.stream_folder(STREAM, A).exists()
    assert {version for _, version in dataset.journal.read()} == {B, *(one.id for one in dataset.versions(OTHER))}
    assert used(dataset) == before
    assert [one.id for one in fresh(dataset).versions(STREAM)] == [B]
    assert prune(dataset).files == 0


def test_versions_are_kept_if_asked(changed):
    dataset = changed()
    packs = [name for name in stored(dataset, A) if name.startswith("pack-")]
    done = prune(dataset, keep_versions=True)
    assert (done.versions, done.files) == ((), len(packs))
    assert len(fresh(dataset).native(STREAM, A)) == 3


def test_a_dry_run_tells_the_same_and_touches_nothing(changed):
    dataset = changed()
    (dataset.stream_folder(STREAM, B) / "shard-orphan.parquet").write_bytes(b"12345")
    before = [(one.path, one.size) for one in files(dataset.path)]
    told = prune(dataset, dry_run=True)
    assert [(one.path, one.size) for one in files(dataset.path)] == before
    assert prune(dataset) == told
    assert len(told.versions) == 1


def test_somebody_s_own_file_stays(changed):
    dataset = changed()
    own = dataset.stream_folder(STREAM, A) / "notes.txt"
    own.write_text("mine")
    prune(dataset)
    assert stored(dataset, A) == ["notes.txt"]
    assert prune(dataset).files == 0


def test_a_stream_that_the_manifest_lost_goes_as_a_whole(changed):
    dataset = changed()
    streams = {STREAM: dataset.manifest.streams[STREAM]}
    dataset.set_manifest(replace(dataset.manifest, streams=streams))
    lost = [one for one in prune(dataset).versions if one.stream == OTHER]
    assert [one.differs for one in lost] == [("the dataset no longer has this stream",)]
    assert not (dataset.path / "streams" / OTHER).exists()


def test_the_manifest_counts_as_it_is_when_pruning_begins(changed):
    dataset = changed()
    seen_before = fresh(dataset)
    assert seen_before.manifest.streams[STREAM].version == B
    use(dataset, "A")
    assert [one.version for one in prune(seen_before).versions] == [B]
    assert len(fresh(dataset).native(STREAM)) == 3


def test_a_damaged_manifest_removes_nothing(changed):
    dataset = changed()
    (dataset.path / "dataset.json").write_text("{")
    before = [one.path for one in files(dataset.path)]
    with pytest.raises(MseError, match=r"dataset\.json is damaged.*mse cache verify mine --repair"):
        prune(dataset)
    assert [one.path for one in files(dataset.path)] == before


def test_a_journal_that_names_a_place_outside_costs_nothing_there(changed, tmp_path):
    dataset = changed()
    folder = tmp_path / "abcdefabcdef"
    folder.mkdir()
    (folder / "shard-x.parquet").write_bytes(b"precious")
    outside = JournalRow(
        clip="c0", stream="../..", version=folder.name, status="done", key="c0", shard="shard-x.parquet"
    )
    dataset.journal.commit(f"{time.time_ns():020d}-stranger", [outside])
    prune(dataset)
    assert (folder / "shard-x.parquet").read_bytes() == b"precious"
    assert folder.name not in {version for _, version in dataset.journal.read()}


def test_nothing_is_put_or_pruned_beside_a_run(changed):
    dataset = changed()
    with run_lock(dataset.path):
        with pytest.raises(Timeout):
            prune(dataset, dry_run=True)
        with pytest.raises(MseError, match="is running"):
            dataset.put(OTHER, {"c0": features(9)})
    assert dataset.native(OTHER)["c0"].equals(features(7))


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def dying_after(steps, monkeypatch):
    """Let so many changes of files happen, and end at the next."""
    left = [steps]

    def dying(function):
        def call(*arguments, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(storage.os, "replace", dying(storage.os.replace))
    for module in (journal, pruning):
        monkeypatch.setattr(module, "remove", dying(module.remove))


# One journal part comes, five go, then two shards, the pack, its state and the identity.
@pytest.mark.parametrize("after", range(1 + 5 + 5))
def test_a_pruning_that_is_killed_loses_nothing_that_is_used_and_the_next_one_completes_it(changed, monkeypatch, after):
    dataset = changed()
    before, old = used(dataset), values(dataset.native(STREAM, A))
    dying_after(after, monkeypatch)
    with pytest.raises(Killed):
        prune(dataset)
    monkeypatch.undo()
    assert used(dataset) == before
    opened = fresh(dataset)
    if A in {one.id for one in opened.versions(STREAM)}:  # whatever of it still counts is whole
        assert values(opened.native(STREAM, A)).items() <= old.items()
    prune(opened)
    assert used(dataset) == before
    assert not dataset.stream_folder(STREAM, A).exists()
    assert [one.id for one in fresh(dataset).versions(STREAM)] == [B]


@pytest.mark.parametrize("after", [1, 3, 6, 8])
def test_a_run_with_the_old_setting_after_a_killed_pruning_finds_what_counts_or_makes_it(changed, monkeypatch, after):
    dataset = changed()
    dying_after(after, monkeypatch)
    with pytest.raises(Killed):
        prune(dataset)
    monkeypatch.undo()
    again = fresh(dataset)
    use(again, "A")
    begin_run(again, "next")
    there = {clip for clip, version in again.rows_with_shards() if version == A}
    missing = [f"c{n}" for n in range(3) if f"c{n}" not in there]
    if missing:
        commit(again, *missing, version=A)
    pack_stream(again, STREAM)
    packed = fresh(dataset)[STREAM]
    assert all(packed[f"c{n}"].equals(features(n)) for n in range(3))


# Object storage, where nothing tells a run that is alive


@pytest.mark.slow
def test_on_object_storage_versions_wait_until_no_run_can_be_about_to_use_them(changed, s3_cache):
    dataset = changed(cache=s3_cache)
    begin_run(dataset, "first")
    done = prune(dataset)
    assert (done.versions, [one.version for one in done.left], done.files) == ((), [A], 0)
    assert len(fresh(dataset).native(STREAM, A)) == 3
    before = used(dataset)
    done = prune(dataset, older_than=FUTURE)
    assert ([one.version for one in done.versions], done.left) == ([A], ())
    assert stored(dataset, A) == []
    assert used(dataset) == before
    assert [one.id for one in fresh(dataset).versions(STREAM)] == [B]


@pytest.mark.slow
def test_on_object_storage_a_young_run_keeps_old_versions(changed, s3_cache, monkeypatch):
    dataset = changed(cache=s3_cache)
    monkeypatch.setattr(pruning, "last_begun", lambda folder: time.time() + 3600)
    assert [one.version for one in prune(dataset, older_than=FUTURE).left] == [A]


@pytest.mark.slow
def test_on_object_storage_what_a_run_commits_meanwhile_stays(changed, s3_cache, monkeypatch):
    dataset = changed(cache=s3_cache)
    merge = journal.Journal.merge

    def beside(self, parts, rows):
        one = Commit(dataset, "another")
        one.add(JournalRow(clip="c4", stream=STREAM, version=B, status="done", key="c4"), features(4))
        assert one.write()
        merge(self, parts, rows)

    monkeypatch.setattr(journal.Journal, "merge", beside)
    prune(dataset, older_than=FUTURE)
    monkeypatch.undo()
    assert fresh(dataset).native(STREAM)["c4"].equals(features(4))
    assert len(fresh(dataset).native(STREAM)) == 5
