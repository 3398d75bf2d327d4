"""Runs: which exclude each other, which may commit, and what a beginning run cleans up."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import filelock
import pytest

from mse_pipeline import adapter, store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.commit import Commit, begin_run, run_lock
from mse_pipeline.store.journal import Journal, JournalRow
from mse_pipeline.store.pruning import compact
from mse_pipeline.store.storage import ASIDE, aside
from mse_pipeline.task import Regression
from tests.store.conftest import STREAM, VERSION, commit, features


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (None, None, False),
        (None, "1/2", False),
        ("1/2", None, False),
        ("1/2", "1/2", False),
        ("1/2", "2/2", True),
        ("2/8", "7/8", True),
    ],
)
def test_shares_run_side_by_side_and_the_whole_runs_alone(tmp_path, first, second, together):
    with run_lock(tmp_path, first):
        if together:
            with run_lock(tmp_path, second):
                pass
        else:
            with pytest.raises(filelock.Timeout), run_lock(tmp_path, second):
                pass
    with run_lock(tmp_path, second):  # what has ended is in nobody's way
        pass


@pytest.mark.parametrize("share", ["0/8", "9/8", "1", "1/0", "a/b", "../1", "", "1/2/3"])
def test_what_is_no_share_is_told(tmp_path, share):
    with pytest.raises(UsageError, match="as in 1/8"), run_lock(tmp_path, share):
        pass


def late(dataset, run):
    commit = Commit(dataset, run, guarded=True)
    commit.add(JournalRow(clip="c0", stream=STREAM, version=VERSION, status="done", key="k"), features(0))
    return commit.write()


@pytest.mark.parametrize(
    ("runs", "may_commit"),
    [
        ([("a", None), ("b", None)], "b"),
        ([("a", "1/2"), ("b", "2/2")], "ab"),
        ([("a", "1/2"), ("b", "2/2"), ("c", "1/2")], "bc"),
        ([("a", "1/2"), ("b", None)], "b"),
        ([("a", None), ("b", "1/2"), ("c", "2/2")], "bc"),
    ],
)
def test_a_run_takes_the_guard_of_earlier_runs_of_the_same_clips(made, runs, may_commit):
    dataset = made()
    for run, share in runs:
        begin_run(dataset, run, share)
    assert [run for run, _ in runs if late(dataset, run)] == list(may_commit)


def leave_unfinished(dataset):
    folder = dataset.stream_folder(STREAM, VERSION)
    (folder / f"{ASIDE}1-shard-x.parquet").write_bytes(b"half")
    (folder / "shard-orphan.parquet").write_bytes(b"no journal names it")


def test_a_share_leaves_alone_what_another_may_be_writing(made):
    dataset = made()
    leave_unfinished(dataset)
    with run_lock(dataset.path, "2/2"), run_lock(dataset.path, "1/2"):
        assert begin_run(dataset, "a", "1/2") == 0
    with run_lock(dataset.path, "1/2"):
        assert begin_run(dataset, "b", "1/2") == 2


# The order of commits


def test_of_two_commits_the_later_holds_though_the_clock_goes_backward(made, monkeypatch):
    dataset = made()
    seconds = iter(range(10**9, 0, -1))
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, lambda: next(seconds))
    for rows in (3, 4, 5):
        commit(dataset, "c0", rows=rows)
    monkeypatch.undo()
    assert [part.name[:20] for part in dataset.journal.parts()] == [f"{n:020d}" for n in (1, 2, 3)]
    again = Journal(dataset.journal.folder)
    assert again.read()["c0", VERSION].rows == 5


def test_commits_follow_those_that_earlier_versions_named_by_the_clock(made):
    dataset = made()
    row = JournalRow(clip="c0", stream=STREAM, version=VERSION, status="failed", code="no_audio")
    tomorrow = time.time_ns() + 86_400 * 10**9
    dataset.journal.commit(f"{tomorrow:020d}-run-abc", [row])
    commit(dataset, "c0", rows=4)
    assert dataset.journal.read()["c0", VERSION].rows == 4


def test_commits_after_a_compaction_follow_what_it_merged(made):
    dataset = made()
    for rows in (3, 4):
        commit(dataset, "c0", rows=rows)
    compact(dataset)
    commit(dataset, "c0", rows=5)
    assert [part.name[:20] for part in dataset.journal.parts()] == [f"{n:020d}" for n in (2, 3)]
    assert Journal(dataset.journal.folder).read()["c0", VERSION].rows == 5


def test_commits_of_two_processes_are_numbered_one_after_the_other(made):
    dataset = made()
    others = [store.open(dataset.path.parent)["mine"] for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: [commit(one, "c0", "c1") for _ in range(5)], others))
    assert [int(part.name[:20]) for part in dataset.journal.parts()] == list(range(1, 21))


@pytest.mark.slow
def test_on_object_storage_a_commit_comes_behind_those_that_have_ended(made, s3_cache):
    dataset = made(cache=s3_cache)
    for rows in (5, 4, 3):
        commit(store.open(s3_cache)["mine"], "c0", rows=rows)
    assert dataset.journal.read()["c0", VERSION].rows == 3


# Modes


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        dataset = store.open(tmp_path / "cache").create(
            "mine", [Clip(id="c0", split=Split.TRAIN)], task=Regression(0, 1)
        )
        dataset.put("visual.y", {"c0": features(1)})
        compact(dataset)
        adapter.save(
            adapter.MSEAdapter(adapter.AdapterConfig(hidden_size=64, acoustic_dim=3, visual_dim=3)),
            tmp_path / "adapter",
        )
        with aside(tmp_path / "private") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as libraries do that think of secrets
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert len(files) > 8
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}
