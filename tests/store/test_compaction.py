"""Compaction and pruning: fewer files, the same features, at whatever moment it ends."""

import time

import filelock
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError
from mse_pipeline.store import commit as runs
from mse_pipeline.store import journal, pruning, storage
from mse_pipeline.store.commit import begin_run, run_lock
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.pruning import compact, prune
from mse_pipeline.store.storage import ASIDE
from tests.store.conftest import STREAM, VERSION, commit, features


def grown(made):
    """A dataset whose clips came in four commits, one clip twice, one clip failed."""
    dataset = made()
    commit(dataset, "c4", "c5")
    commit(dataset, "c0", "c1", key="old", rows=3)
    commit(dataset, "c0", "c2")
    failed = JournalRow(clip="c3", stream=STREAM, version=VERSION, status="failed", code="no_audio", stage="decode")
    dataset.journal.commit(f"{time.time_ns():020d}-run", [failed])
    pack_stream(dataset, STREAM)
    return dataset


def known(dataset):
    """All that counts: rows without the names of their shards, and features, by clip."""
    opened = store.open(dataset.path.parent)["mine"]
    rows = {row.clip: {**vars(row), "shard": None} for row in opened.rows(STREAM)}
    native = opened.native(STREAM)
    return rows, {clip: one.values.tobytes() + one.valid.tobytes() for clip, one in native.items()}


def shards(dataset):
    return sorted(path.name for path in dataset.stream_folder(STREAM, VERSION).glob("shard-*"))


def test_small_shards_become_one_and_the_journal_one_part(made):
    dataset = grown(made)
    before = known(dataset)
    done = compact(dataset)
    assert (done.files_before, done.files_after) == (3 + 4, 1 + 1)
    assert done.bytes_after < done.bytes_before
    assert len(shards(dataset)) == len(dataset.journal.parts()) == 1
    assert known(dataset) == before
    assert list(dataset.native(STREAM)) == ["c0", "c1", "c2", "c4", "c5"]


def test_a_pack_stays_current_and_its_bytes_the_same(made, shards_read):
    dataset = grown(made)
    pack = dataset.pack_path(STREAM).read_bytes()
    compact(dataset)
    shards_read.clear()
    assert not pack_stream(dataset, STREAM)
    assert not shards_read
    assert dataset.pack_path(STREAM).read_bytes() == pack


def test_a_second_compaction_has_nothing_to_do(made):
    dataset = grown(made)
    compact(dataset)
    before = shards(dataset), [part.name for part in dataset.journal.parts()]
    done = compact(dataset)
    assert done.files_before == done.files_after
    assert (shards(dataset), [part.name for part in dataset.journal.parts()]) == before


def test_what_is_committed_later_holds_over_the_merged_journal(made):
    dataset = grown(made)
    compact(dataset)
    commit(dataset, "c1", key="newer", rows=7)
    assert len(store.open(dataset.path.parent)["mine"].native(STREAM)["c1"]) == 7
    compact(dataset)
    assert len(store.open(dataset.path.parent)["mine"].native(STREAM)["c1"]) == 7


def test_large_shards_stay_and_merged_ones_do_not_outgrow_the_target(made):
    dataset = made(count=12)
    for n in range(11):
        commit(dataset, f"c{n}")
    commit(dataset, "c11", rows=4000)
    large = max(dataset.stream_folder(STREAM, VERSION).glob("shard-*"), key=lambda path: path.stat().st_size)
    small = max(path.stat().st_size for path in dataset.stream_folder(STREAM, VERSION).glob("shard-*") if path != large)
    compact(dataset, target=4 * small, large=10 * small)
    assert large.name in shards(dataset)
    assert len(shards(dataset)) == 1 + 3
    assert len(known(dataset)[1]) == 12


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("after", range(10))
def test_a_compaction_that_is_killed_loses_nothing_and_the_next_one_completes_it(made, monkeypatch, after):
    dataset = grown(made)
    before = known(dataset)
    steps = 0

    def dying(function):
        def call(*arguments, **options):
            nonlocal steps
            if steps == after:
                raise Killed
            steps += 1
            return function(*arguments, **options)

        return call

    # All that changes a file: renaming into place, and removing.
    monkeypatch.setattr(storage.os, "replace", dying(storage.os.replace))
    for module in (pruning, journal):
        monkeypatch.setattr(module, "remove", dying(module.remove))
    if after < 2 + 4 + 3:  # two files come, four parts and three shards go
        with pytest.raises(Killed):
            compact(dataset)
    else:
        compact(dataset)
    monkeypatch.undo()
    assert known(dataset) == before
    again = store.open(dataset.path.parent)["mine"]
    compact(again)
    begin_run(again, "next")
    assert known(again) == before
    assert len(again.journal.parts()) == 1
    named = {row.shard for row in again.rows(STREAM) if row.shard}
    assert set(shards(again)) == named


def test_a_damaged_shard_is_told_and_changes_nothing(made):
    dataset = grown(made)
    before = sorted(path.name for path in dataset.path.rglob("*"))
    path = dataset.stream_folder(STREAM, VERSION) / shards(dataset)[0]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(MseError, match="Nothing was changed"):
        compact(dataset)
    after = sorted(path.name for path in dataset.path.rglob("*"))
    assert set(before) <= set(after)


def test_shards_of_other_dimensions_are_not_merged(made):
    dataset = made()
    commit(dataset, "c0")
    one = pruning.Dataset(dataset.path)
    from mse_pipeline.store.commit import Commit

    other = Commit(one, "run")
    other.add(JournalRow(clip="c1", stream=STREAM, version=VERSION, status="done", key="c1"), features(1, dim=4))
    other.write()
    with pytest.raises(MseError, match="dimensions"):
        compact(dataset)


def test_compaction_and_pruning_wait_for_no_run_but_are_refused_beside_one(made):
    dataset = grown(made)
    for share in (None, "1/2"):
        for work in (compact, prune):
            with run_lock(dataset.path, share), pytest.raises(filelock.Timeout):
                work(dataset)


# Pruning


def test_pruning_removes_what_no_longer_counts_and_nothing_else(made):
    dataset = grown(made)
    before = known(dataset)
    folder = dataset.stream_folder(STREAM, VERSION)
    waste = [f"{ASIDE}1-shard-x.parquet", "shard-orphan.parquet", "pack-grid-000000000000.h5", "pack-grid-0.json"]
    for name in waste:
        (folder / name).write_bytes(b"12345")
    (folder / "notes.txt").write_text("mine")

    done = prune(dataset)
    assert (done.files, done.bytes) == (4, 20)
    assert not any((folder / name).exists() for name in waste)
    assert (folder / "notes.txt").is_file()
    assert dataset.pack_path(STREAM).is_file()
    assert dataset.pack_path(STREAM).with_suffix(".json").is_file()
    assert known(dataset) == before


def test_a_shard_that_is_gone_counts_as_missing_for_the_next_run(made):
    dataset = grown(made)
    place = ("c4", VERSION)
    assert place in dataset.rows_with_shards()
    (dataset.stream_folder(STREAM, VERSION) / str(dataset.journal.read()[place].shard)).unlink()
    there = dataset.rows_with_shards()
    assert place not in there
    assert {clip for clip, _ in there} == {"c0", "c1", "c2", "c3"}
    assert runs.is_current(dataset.path, "none") is False
